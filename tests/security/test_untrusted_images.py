"""Images are data from outside: a small file that claims a huge size, has two sizes, or is something else as well."""

import binascii
import io
import random
import re
import struct
import time
import warnings
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image as Pillow

from local import demo
from local.report import contact_sheet, images
from local.simulator import references
from pixelprompt.api import http
from pixelprompt.models.model import Image, ProviderError
from pixelprompt.providers.wire.image_bytes import read_image
from pixelprompt.storage.image_format import MAX_PIXELS, image_format
from pixelprompt.storage.images import ImageStorage
from tests.conftest import BUCKET
from tests.outcomes import outcome

ROOT = Path(__file__).parents[2]
METADATA = {"model": "Painter", "target": "2026-11-23-12-00-00-aaaaaaaa", "timestamp": 1763900000000}
BOMB = 30_000


def encoded(kind: str, size: tuple[int, int] = (48, 32), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, (200, 30, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", binascii.crc32(kind + content))


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def png(*chunks: bytes) -> bytes:
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def jpeg_frame(width: int, height: int) -> bytes:
    return struct.pack(">BBHBHHB", 0xFF, 0xC0, 11, 8, height, width, 1) + b"\x01\x11\x00"


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"pixels\xff\xd9"


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def whole(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(3, "little") for number in numbers)


def canvas(width: int, height: int) -> bytes:
    return webp_chunk(b"VP8X", b"\x02\0\0\0" + whole(width - 1, height - 1))


def lossless(width: int, height: int) -> bytes:
    return webp_chunk(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 4)


def lossy(width: int, height: int) -> bytes:
    return webp_chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\0" * 4)


def webp_frame(width: int, height: int, *inner: bytes, x: int = 0) -> bytes:
    return webp_chunk(b"ANMF", whole(x // 2, 0, width - 1, height - 1, 100) + b"\0" + b"".join(inner))


def gif(screen: tuple[int, int], *frames: tuple[int, int, int, int]) -> bytes:
    begin = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    images = b"".join(b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x44\x01\x00" for frame in frames)
    return begin + images + b";"


BOMBS = {
    "png": png(header(BOMB, BOMB)),
    "png as large as its numbers go": png(header(2**32 - 1, 2**32 - 1)),
    "png one line too many": png(header(MAX_PIXELS, 2)),
    "apng frame": png(header(8, 8), chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, BOMB, BOMB, 0, 0, 1, 1, 0, 0))),
    "apng offset": png(header(8, 8), chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, BOMB, BOMB, 1, 1, 0, 0))),
    "jpeg": jpeg(jpeg_frame(BOMB, BOMB)),
    "jpeg behind fill bytes": jpeg(b"\xff" * 9, jpeg_frame(BOMB, BOMB)),
    "webp lossy": riff(lossy(16383, 16383)),
    "webp lossless": riff(lossless(16384, 16384)),
    "webp canvas": riff(canvas(BOMB, BOMB), lossless(8, 8)),
    "webp picture larger than its canvas": riff(canvas(8, 8), lossless(16384, 16384)),
    "webp frame": riff(canvas(8, 8), webp_frame(BOMB, BOMB, lossless(8, 8))),
    "webp picture in a frame": riff(canvas(8, 8), webp_frame(8, 8, lossy(16383, 16383))),
    "webp frame behind one that lies about its chunks": riff(
        canvas(8, 8), webp_frame(8, 8, b"JUNK\xff\xff\xff\x7f"), webp_frame(BOMB, BOMB)
    ),
    "gif screen": gif((BOMB, BOMB), (0, 0, 8, 8)),
    "gif frame": gif((8, 8), (0, 0, BOMB, BOMB)),
    "gif second frame": gif((8, 8), (0, 0, 8, 8), (0, 0, BOMB, BOMB)),
    "gif offset": gif((8, 8), (BOMB, BOMB, 8, 8)),
}
EMPTY = {
    "png": png(header(0, 32)),
    "jpeg whose height comes later": jpeg(jpeg_frame(48, 0)),
    "webp": riff(lossy(0, 32)),
    "gif": gif((0, 0)),
}
EMPTY_EXTENSIONS = [
    b"\xff\x0bNETSCAPE2.0\0", b"\xff\x0bANIMEXTS1.0\0", b"\xf9\0", b"\xff\0", b"\x01\0", b"\x77\0",
]  # fmt: skip


def hiding_gif(extension: bytes) -> bytes:
    """A small GIF; who reads on where its empty extension ends finds a frame of 9000 pixels a side in its data."""
    hidden = b"\0," + struct.pack("<HHHHB", 0, 0, 9000, 9000, 0) + b"\x02\x02\x44\x01\0;"
    data = b"\x44" * 33 + hidden
    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02" + bytes([len(data)]) + data
    return screen + b"!" + extension + frame + b"\0;"


# Of these, decoders disagree on which size counts, or on what to skip.
AMBIGUOUS = {
    "png with two headers": png(header(8, 8), header(BOMB, BOMB)),
    "png whose header is not the first": png(chunk(b"tEXt", b"a\0b"), header(8, 8)),
    "png whose header is short": png(chunk(b"IHDR", struct.pack(">II", 8, 8))),
    "jpeg with two frame headers": jpeg(jpeg_frame(8, 8), jpeg_frame(BOMB, BOMB)),
    "jpeg with a header of a hierarchy": jpeg(jpeg_frame(8, 8), jpeg_frame(BOMB, BOMB).replace(b"\xc0", b"\xde", 1)),
    # Its two bytes of length would skip the large frame; decoders see that a restart has none.
    "jpeg with a restart before the scan": jpeg(
        b"\xff\xd0" + jpeg_frame(BOMB, BOMB)[:2], jpeg_frame(BOMB, BOMB)[2:] + b"\0" * 65459, jpeg_frame(8, 8)
    ),
    # One decoder looks inside for the next marker.
    "jpeg with a frame inside a reserved segment": jpeg(b"\xff\xf0\x00\x0f" + jpeg_frame(BOMB, BOMB), jpeg_frame(8, 8)),
    "jpeg without a scan": b"\xff\xd8" + jpeg_frame(8, 8) + b"\xff\xd9",
    "jpeg whose segment has no length": jpeg(b"\xff\xe0\x00\x00", jpeg_frame(8, 8)),
    "webp whose lossless picture is none": riff(webp_chunk(b"VP8L", b"\0" * 12)),
    "webp whose lossy picture is none": riff(webp_chunk(b"VP8 ", b"\0" * 14)),
    **{f"gif with an empty extension: {intro!r}": hiding_gif(intro) for intro in EMPTY_EXTENSIONS},
    "apng whose frame has a short header": png(header(8, 8), chunk(b"fcTL", bytes(25))),
    "gif with an unknown block": gif((8, 8), (0, 0, 8, 8))[:-1] + b"\x99;",
}
HONEST = {
    "png": encoded("PNG"),
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "jpeg with exif": encoded("JPEG", exif=b"Exif\x00\x00" + b"\x00" * 500),
    "webp": encoded("WEBP"),
    "webp lossless": encoded("WEBP", lossless=True),
    "gif": encoded("GIF"),
    "gif with a zero between its blocks": encoded("GIF")[:-1] + b"\0;",
    "gif with a comment without text": encoded("GIF")[:-1] + b"!\xfe\0;",
}


def by_name(cases: dict[str, bytes]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("data", cases.values(), ids=cases.keys())


@by_name(BOMBS)
def test_an_image_of_too_many_pixels_is_refused_by_its_header(data: bytes, s3: Any) -> None:
    assert len(data) < 1000
    failure = outcome(read_image, data)
    assert isinstance(failure, ProviderError) and failure.code == "no_image"
    assert "too large" in str(failure) and "64 megapixels" in str(failure)
    assert not failure.retryable
    with pytest.raises(ValueError, match="64 megapixels"):
        ImageStorage(s3, BUCKET).save(data, METADATA)
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    with pytest.raises(images.ImageTooLarge, match="image too large to show"):
        images.load(data)


@by_name(EMPTY)
def test_an_image_without_pixels_is_refused(data: bytes) -> None:
    failure = outcome(read_image, data)
    assert isinstance(failure, ProviderError) and (failure.code, "without pixels" in str(failure)) == ("no_image", True)
    with pytest.raises(images.ImageError):
        images.load(data)


@by_name(AMBIGUOUS)
def test_an_image_that_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    failure = outcome(read_image, data)
    assert isinstance(failure, ProviderError) and "data that isn't an image" in str(failure)
    with pytest.raises(images.ImageError):
        images.load(data)


@by_name(HONEST)
def test_an_honest_image_passes(data: bytes) -> None:
    image = read_image(data)
    assert isinstance(image, Image) and (image.width, image.height) == (48, 32)
    assert images.load(data).size == (48, 32)


def test_the_largest_image_that_is_stored() -> None:
    assert isinstance(read_image(png(header(8000, 8000))), Image)
    assert isinstance(outcome(read_image, png(header(8000, 8001))), ProviderError)


@pytest.mark.parametrize(
    "animation",
    [
        encoded("GIF", save_all=True, append_images=[Pillow.new("RGB", (48, 32), color) for color in ("red", "blue")]),
        encoded("PNG", save_all=True, append_images=[Pillow.new("RGB", (48, 32), color) for color in ("red", "blue")]),
        encoded("WEBP", save_all=True, append_images=[Pillow.new("RGB", (48, 32), "blue")]),
    ],
    ids=["gif", "apng", "webp"],
)
def test_an_animation_has_the_size_of_its_canvas(animation: bytes) -> None:
    found = image_format(animation)
    assert found and (found.width, found.height, found.problem) == (48, 32, None)
    assert images.load(animation).size == (48, 32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_no_damage_makes_a_decoder_see_more_pixels_than_were_counted(kind: str) -> None:
    """Whatever Pillow makes of a damaged file, it is no larger than what the headers were found to say."""
    chance = random.Random(kind)
    options: dict[str, Any] = {"save_all": True, "append_images": [Pillow.new("RGB", (48, 32), "blue")]}
    sound = [encoded(kind), encoded(kind, **options if kind != "JPEG" else {"progressive": True})]
    opened = 0
    for _ in range(600):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(8, min(len(data), 400))
            if chance.random() < 0.2:
                data[place:place] = data[place : place + chance.randint(1, 24)]
            else:
                data[place] = chance.choice([0, 1, 0x7F, 0xC0, 0xFF, chance.randrange(256)])
        found = image_format(bytes(data))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seen = Pillow.open(io.BytesIO(data), formats=images.FORMATS)
        except Exception:
            continue
        if found and not found.problem:
            opened += 1
            assert seen.width <= found.width and seen.height <= found.height
    assert opened > 50


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 2**25 + b"\xff\xd9",
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2**23 + b"\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + header(8, 8) + (b"\0\0\0\0tEXt" + b"\0" * 4) * 2**21 + b"IEND",
        b"RIFF" + struct.pack("<I", 2**25 + 14) + b"WEBP" + lossy(8, 8)[:22] + b"JUNK\0\0\0\0" * 2**22,
        gif((8, 8))[:-1] + b"!\xf9\x00" * 2**23 + b";",
        gif((8, 8))[:-1] + b"!\xfe" + b"\x01a" * 2**24 + b"\0;",
    ],
    ids=["fill", "segments", "chunks", "riff", "extensions", "blocks"],
)
def test_a_walk_over_a_hostile_file_is_short(data: bytes) -> None:
    started = time.process_time()
    image_format(data)
    assert time.process_time() - started < 3


def test_only_the_formats_that_are_stored_are_tried() -> None:
    for kind in ("BMP", "TIFF", "ICO", "PPM"):
        with pytest.raises(images.ImageError):
            images.load(encoded(kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_any_damage_is_one_error(kind: str) -> None:
    chance = random.Random(kind)
    buffer = io.BytesIO()
    Pillow.frombytes("RGB", (64, 64), chance.randbytes(64 * 64 * 3)).save(buffer, kind)
    sound = buffer.getvalue()
    for _ in range(200):
        data = bytearray(sound)
        for _ in range(3):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        try:
            images.load(bytes(data))
        except images.ImageError as error:
            assert str(error)


class Cloud:
    """Serves these images of a job."""

    def __init__(self, images: list[bytes]) -> None:
        self.images = images
        self.endpoints = {"simulated": ["openai"]}

    def request(self, method: str, url: str) -> Any:
        class Answer:
            status = 200
            body = self.images[int(url)]

        return Answer


def test_a_contact_sheet_is_drawn_whatever_the_images_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [BOMBS["png"], BOMBS["gif second frame"], encoded("PNG")[:40], b"<html>", encoded("JPEG")]
    tiles: list[contact_sheet.Tile] = []
    drawing = contact_sheet.draw

    def draw(prompt: str, shown: list[contact_sheet.Tile], summary: str) -> Any:
        tiles.extend(shown)
        return drawing(prompt, shown, summary)

    monkeypatch.setattr(contact_sheet, "draw", draw)
    moment = "2026-11-23T12:00:00Z"
    rows = [
        {"index": index, "model": f"M{index}", "provider": "openai", "status": "completed", "duration": 1.0,
         "completedAt": moment, "images": [{"binaryKey": f"images/g/M{index}-1.png", "imageUrl": str(index)}]}
        for index in range(len(files))
    ]  # fmt: skip
    document = {"prompt": "a red fox", "results": rows, "createdAt": moment, "updatedAt": moment,
                "completedModels": 5, "totalModels": 5}  # fmt: skip
    sheet = demo.save(Cloud(files), document, tmp_path)  # type: ignore[arg-type]
    assert Pillow.open(sheet).format == "PNG"
    assert [tile.error for tile in tiles[:2]] == ["image too large to show"] * 2
    assert all(tile.error and tile.image is None for tile in tiles[:4])
    assert tiles[4].image is not None and not tiles[4].error


def test_no_image_is_opened_in_another_way() -> None:
    """Every call of ``Image.open`` names the formats and is followed by a look at the size."""
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in ("functions", "local", "infra", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    # The benchmark opens an image of its own.
    opening = {name for name, text in found.items() if "Image.open(" in text} - {"benchmarks/references.py"}
    assert opening == {"local/report/images.py", "local/simulator/references.py"}
    for name in opening:
        assert "formats=FORMATS)" in found[name] and re.search(r"(<=|>) MAX_PIXELS", found[name])
    assert Pillow.MAX_IMAGE_PIXELS == MAX_PIXELS == references.MAX_PIXELS and {*references.FORMATS} < {*images.FORMATS}


@by_name(BOMBS | EMPTY | AMBIGUOUS)
def test_the_simulators_keep_little_of_a_reference_image(data: bytes) -> None:
    found = references.read_reference(data)
    if found:
        assert found.size[0] * found.size[1] <= MAX_PIXELS and max(found.thumbnail.size) <= references.THUMBNAIL


POLYGLOTS = {
    "html": encoded("GIF")[:-1] + b"!\xfe\x19<script>alert(1)</script>\x00;",
    "zip": encoded("PNG") + b"PK\x05\x06" + b"\0" * 18,
    "pdf": encoded("JPEG", comment=b"%PDF-1.7 <html><script>alert(1)</script>"),
}
KINDS = {"html": ("image/gif", "gif"), "zip": ("image/png", "png"), "pdf": ("image/jpeg", "jpg")}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_a_polyglot_is_stored_as_an_image_with_its_own_name(name: str, s3: Any) -> None:
    mime_type, extension = KINDS[name]
    storage = ImageStorage(s3, BUCKET)
    stored = storage.save(POLYGLOTS[name], METADATA)
    answer = s3.get_object(Bucket=BUCKET, Key=stored["binaryKey"])
    disposition = f'inline; filename="Painter-1763900000000.{extension}"'
    assert (answer["ContentType"], answer["ContentDisposition"]) == (mime_type, disposition)
    query = parse_qs(urlsplit(storage.image_url(stored["binaryKey"])).query)
    assert query["response-content-type"] == [mime_type]
    assert query["response-content-disposition"] == [disposition]
    record = s3.get_object(Bucket=BUCKET, Key=stored["imageKey"])
    assert record["ContentType"] == "application/json" and "ContentDisposition" not in record


@pytest.mark.parametrize("name", ['a".html', "a\r\nX: y.svg", "a.html", "page.svg", "плохо.js", "a"])
def test_a_key_that_was_not_made_here_is_never_served_as_a_document(name: str, s3: Any) -> None:
    query = parse_qs(urlsplit(ImageStorage(s3, BUCKET).image_url(f"images/g/{name}")).query)
    assert query["response-content-type"] == ["application/octet-stream"]
    assert re.fullmatch(r'inline; filename="[A-Za-z0-9.-]*"', query["response-content-disposition"][0])


@pytest.mark.parametrize("status", [200, 400])
def test_a_response_of_the_api_is_json_and_nothing_else(status: int) -> None:
    response = http.Response({"prompt": "<script>alert(1)</script>"}, status)
    headers = http.endpoint(lambda request: response)({"requestContext": {"http": {"method": "GET"}}}, None)["headers"]
    assert (headers["Content-Type"], headers["X-Content-Type-Options"]) == ("application/json", "nosniff")


def test_the_page_makes_no_markup_of_text() -> None:
    sinks = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|"
        r"createContextualFragment|setHTMLUnsafe|setTimeout\(\s*[\"'`]"
    )
    scripts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "web").glob("*.js")}
    assert scripts and not [name for name, text in scripts.items() if sinks.search(text)]
