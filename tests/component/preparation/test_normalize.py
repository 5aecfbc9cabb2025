"""Images of callers, as bytes of every kind, and the images that providers get of them."""

import io
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from PIL import ImageCms, PngImagePlugin

from infra.memory import ALLOCATION
from local.paths import ROOT
from pixelprompt.models.model import Image
from pixelprompt.preparation.normalize import BYTES, PIXELS, UnusableImage, normalize
from pixelprompt.storage.image_format import image_format

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
OTHER = "It isn't a PNG, JPEG, or WebP image."
DAMAGED = "It is damaged or cut off."
# The peak of a process that normalizes images at the limits, in megabytes.
MEMORY = 400


def saved(picture: Picture.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def opened(image: Image) -> Picture.Image:
    """The picture in a normalized image, whose description is that of its bytes."""
    found = image_format(image.data)
    assert found and (found.mime_type, found.width, found.height) == (image.mime_type, image.width, image.height)
    picture = Picture.open(io.BytesIO(image.data))
    picture.load()
    return picture


def quarters(mode: str = "RGB", side: int = 64) -> Picture.Image:
    """Red and green above, blue and white below; wider than high."""
    picture = Picture.new("RGB", (2 * side, side))
    for place, color in {(0, 0): RED, (side, 0): GREEN, (0, side // 2): BLUE, (side, side // 2): WHITE}.items():
        picture.paste(color, (*place, place[0] + side, place[1] + side // 2))
    return picture.convert(mode)


def corners(picture: Picture.Image) -> list[Any]:
    """The colors near the corners, row by row, each channel as 0, 1 (in between), or 2."""
    width, height = picture.size
    places = [(x, y) for y in (height // 8, height * 7 // 8) for x in (width // 8, width * 7 // 8)]
    found = [picture.convert("RGB").getpixel(place) for place in places]
    return [tuple(round(channel / 127.5) for channel in color) for color in found]  # type: ignore[union-attr]


def levels(*colors: tuple[int, int, int]) -> list[Any]:
    return [tuple(round(channel / 127.5) for channel in color) for color in colors]


UPRIGHT = levels(RED, GREEN, BLUE, WHITE)


def noise(width: int, height: int, bands: int = 3) -> Picture.Image:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[bands]
    return Picture.frombytes(mode, (width, height), random.Random(1).randbytes(width * height * bands))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int, depth: int = 8, color: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)


GIF = saved(quarters(), "GIF")
TIFF = saved(quarters(), "TIFF")
BMP = saved(quarters(), "BMP")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
BOMB = png(header(8125, 8000), (b"IDAT", zlib.compress(bytes(8_000_000))), (b"IEND", b""))
WHOLE_PNG, WHOLE_JPEG = saved(noise(60, 60)), saved(noise(60, 60), "JPEG")
WHOLE_WEBP = saved(noise(60, 60), "WEBP")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "It is empty."),
        (b"not an image", OTHER),
        (b"\0" * 1000, OTHER),
        (GIF, OTHER),
        (TIFF, OTHER),
        (BMP, OTHER),
        (HEIC, OTHER),
        (SVG, OTHER),
        (WHOLE_PNG[:-400], DAMAGED),
        (WHOLE_JPEG[: len(WHOLE_JPEG) // 2], DAMAGED),
        (WHOLE_WEBP[:-100], DAMAGED),
        (png(header(4, 4), (b"IDAT", b"no zlib"), (b"IEND", b"")), DAMAGED),
        (png(header(4, 4), (b"IEND", b"")), DAMAGED),
        (png(header(4, 4, depth=7), (b"IDAT", zlib.compress(bytes(52))), (b"IEND", b"")), DAMAGED),
        # Text that unfolds to 100 MB.
        (png(header(4, 4), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), (b"IEND", b"")), DAMAGED),
        (png(header(0, 4), (b"IEND", b"")), "It has no pixels."),
    ],
    ids=[
        "empty", "text", "zeros", "GIF", "TIFF", "BMP", "HEIC", "SVG", "cut PNG", "cut JPEG",
        "cut WebP", "PNG without zlib", "PNG without pixels", "PNG of seven bits", "text bomb", "no width",
    ],
)  # fmt: skip
def test_what_is_no_image_is_said(data: bytes, sentence: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnusableImage) as raised:
            normalize(data)
    assert str(raised.value) == sentence and not raised.value.passing


def test_a_bomb_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(BOMB) < 10_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.__init__", lambda *_: pytest.fail("It is opened."))
    with pytest.raises(
        UnusableImage, match="too large: 8125 × 8000 pixels; the limit is 24 megapixels, and 64 for a J"
    ):
        normalize(BOMB)


def test_a_jpeg_may_have_more_pixels_than_a_png() -> None:
    picture = Picture.new("L", (6000, 4200), 128)
    assert opened(normalize(saved(picture, "JPEG"))).getpixel((5, 5)) == (128, 128, 128)
    with pytest.raises(UnusableImage, match="too large: 6000 × 4200"):
        normalize(saved(picture, "PNG"))
    with pytest.raises(UnusableImage, match="too large: 8100 × 8000"):
        normalize(saved(Picture.new("L", (8100, 8000)), "JPEG"))


def test_a_jpeg_in_scans_whose_coefficients_fill_the_memory_is_refused() -> None:
    wide = saved(Picture.new("RGB", (7000, 6000)), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(UnusableImage, match="progressive"):
        normalize(wide)
    # With fewer of them it passes, and one scan needs none.
    assert normalize(saved(Picture.new("RGB", (7000, 6000)), "JPEG", progressive=True)).mime_type == "image/jpeg"
    assert normalize(saved(Picture.new("RGB", (7000, 6000)), "JPEG", subsampling=0)).mime_type == "image/jpeg"


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = saved(noise(40, 40), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UnusableImage, match="scans"):
        normalize(data[:last] + data[last:-2] * 200 + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "MPO"])
def test_the_type_is_that_of_the_bytes(kind: str) -> None:
    options: dict[str, Any] = {"save_all": True, "append_images": [quarters()]} if kind == "MPO" else {}
    found = normalize(saved(quarters(), kind, **options))
    assert (found.mime_type, found.width, found.height) == ("image/jpeg", 128, 64)
    assert corners(opened(found)) == UPRIGHT


def test_what_a_phone_appends_to_a_photograph_is_left_out() -> None:
    film = b"\0\0\0\x18ftypmp42" + random.Random(2).randbytes(5000).replace(b"\xff", b"\0")
    assert corners(opened(normalize(saved(quarters(), "JPEG") + film))) == UPRIGHT


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Picture.new("RGB", (128, 64), color) for color in (GREEN, BLUE)]
    found = normalize(saved(quarters(), kind, save_all=True, append_images=frames, duration=100))
    assert corners(opened(found)) == UPRIGHT


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "P"), ("PNG", "RGBA"), ("WEBP", "RGBA"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("JPEG", "RGB"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", [64, 2200], ids=["small", "scaled"])
def test_every_mode_becomes_rgb(kind: str, mode: str, side: int) -> None:
    picture = opened(normalize(saved(quarters(mode, side), kind)))
    assert picture.mode == "RGB" and picture.width * picture.height <= PIXELS
    assert corners(picture) == UPRIGHT


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.parametrize("width", [128, 4400], ids=["small", "scaled"])
def test_gray_becomes_rgb(mode: str, width: int) -> None:
    half = Picture.new("L", (width, width // 2), 255)
    half.paste(0, (0, 0, width // 2, width // 2))
    gray = half.convert(mode)
    if mode == "I;16":
        gray = Picture.frombytes(mode, half.size, Picture.merge("LA", [half, half]).tobytes())
    picture = opened(normalize(saved(gray)))
    assert picture.mode == "RGB"
    assert corners(picture) == [(0, 0, 0), (2, 2, 2)] * 2


def test_sixteen_bits_keep_their_shades() -> None:
    shades = Picture.frombytes("I;16", (256, 64), struct.pack("<256H", *range(0, 65536, 256)) * 64)
    picture = opened(normalize(saved(shades)))
    for x in (20, 128, 230):
        assert picture.getpixel((x, 30)) == pytest.approx((x, x, x), abs=4)
    # Of color: big-endian samples, the high byte first.
    rows = b"".join(b"\0" + struct.pack(">3H", 0x80FF, 0x40FF, 0xC0FF) * 32 for _ in range(32))
    color = png(header(32, 32, depth=16), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    assert opened(normalize(color)).getpixel((16, 16)) == pytest.approx((0x80, 0x40, 0xC0), abs=4)


def half_clear(side: int) -> Picture.Image:
    picture = Picture.new("RGBA", (side, side), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 0), (0, 0, side // 2, side))
    return picture


@pytest.mark.parametrize("side", [64, 2400], ids=["small", "scaled"])
@pytest.mark.parametrize(
    "make",
    [
        saved,
        lambda picture: saved(picture, "WEBP", lossless=True, exact=True),
        lambda picture: saved(picture.quantize(16)),
        lambda picture: saved(picture.convert("LA")),
        lambda picture: saved(picture.convert("RGB"), transparency=BLUE),
    ],
    ids=["PNG", "WebP", "palette", "gray", "color key"],
)
def test_alpha_is_kept(make: Any, side: int) -> None:
    found = normalize(make(half_clear(side)))
    picture = opened(found)
    assert (found.mime_type, picture.mode) == ("image/png", "RGBA")
    clear, solid = (picture.getpixel((x, found.height // 2)) for x in (found.width // 4, found.width * 3 // 4))
    assert clear[3] == 0 and solid[3] == 255  # type: ignore[index]
    assert solid[0] > 70  # type: ignore[index]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_stands_upright(kind: str, orientation: int) -> None:
    turns = {
        2: Picture.Transpose.FLIP_LEFT_RIGHT, 3: Picture.Transpose.ROTATE_180, 4: Picture.Transpose.FLIP_TOP_BOTTOM,
        5: Picture.Transpose.TRANSPOSE, 6: Picture.Transpose.ROTATE_90, 7: Picture.Transpose.TRANSVERSE,
        8: Picture.Transpose.ROTATE_270,
    }  # fmt: skip
    # As the sensor has it: what makes it upright undoes this.
    stored = quarters().transpose(turns[orientation]) if orientation > 1 else quarters()
    exif = Picture.Exif()
    exif[0x0112] = orientation
    found = normalize(saved(stored, kind, exif=exif))
    assert (found.width, found.height) == (128, 64)
    assert corners(opened(found)) == UPRIGHT


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert corners(opened(normalize(saved(quarters(), "JPEG", exif=exif)))) == UPRIGHT


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("PNG", "P")]
)
def test_metadata_is_gone(kind: str, mode: str) -> None:
    secret = "taken-at-home"
    exif = Picture.Exif()
    exif[0x010E] = secret
    options: dict[str, Any] = {"exif": exif, "icc_profile": SRGB, "xmp": f"<x>{secret}</x>".encode()}
    if kind == "PNG":
        options["pnginfo"] = text = PngImagePlugin.PngInfo()
        text.add_text("Comment", secret)
        text.add_itxt("XML:com.adobe.xmp", secret)
        options["dpi"] = (300, 300)
    if kind == "JPEG":
        options["comment"] = secret
    source = half_clear(64) if mode == "RGBA" else quarters(mode)
    data = saved(source, kind, **options)
    assert secret.encode() in data
    image = normalize(data)
    assert secret.encode() not in image.data
    picture = opened(image)
    assert not {"exif", "icc_profile", "comment", "Comment", "xmp", "dpi", "XML:com.adobe.xmp"} & picture.info.keys()
    assert not picture.getexif()


def matrix_profile(red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...]) -> bytes:
    """An ICC profile of these primaries (XYZ, D50), with the tone curve of gamma 2.2 (ICC.1:2010)."""

    def fixed(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78) + b"\0"
    tags = {
        b"desc": text, b"wtpt": fixed((0.9642, 1.0, 0.8249)), b"rXYZ": fixed(red), b"gXYZ": fixed(green),
        b"bXYZ": fixed(blue), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The primaries of Display P3, adapted to D50 (SMPTE EG 432-1).
DISPLAY_P3 = matrix_profile((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))


@pytest.mark.parametrize("side", [64, 2400], ids=["small", "scaled"])
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGB")])
def test_colors_become_srgb(kind: str, mode: str, side: int) -> None:
    color = (200, 60, 60)
    source = Picture.new("RGB", (side, side), color)
    if mode == "RGBA":
        source.putalpha(Picture.linear_gradient("L").resize((side, side)))
    picture = opened(normalize(saved(source, kind, icc_profile=DISPLAY_P3)))
    red, green, blue = picture.getpixel((30, picture.height * 3 // 4))[:3]  # type: ignore[index]
    # A red of Display P3 is a stronger one of sRGB.
    assert 210 < red < 225 and 30 < green < 55 and 45 < blue < 60
    plain = opened(normalize(saved(source, kind))).getpixel((30, picture.height * 3 // 4))
    assert plain[:3] == pytest.approx(color, abs=4)  # type: ignore[index]


@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", b"broken"), ("RGB", DISPLAY_P3[:200]), ("L", DISPLAY_P3), ("RGB", SRGB)],
    ids=["garbage", "cut off", "of another kind", "sRGB"],
)
def test_a_profile_that_says_nothing_changes_nothing(mode: str, profile: bytes) -> None:
    source = Picture.new("RGB", (64, 64), (120, 120, 120)).convert(mode)
    for kind in ("PNG", "JPEG"):
        found = opened(normalize(saved(source, kind, icc_profile=profile)))
        assert found.getpixel((32, 32)) == pytest.approx((120, 120, 120), abs=3)


def test_a_gray_profile_is_for_gray() -> None:
    # Gray of gamma 1 is brighter in sRGB.
    curve = b"curv\0\0\0\0\0\0\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"wtpt", white), (b"kTRC", curve)]
    start = 128 + 4 + 12 * len(tags)
    table = (
        struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", start, 20) + b"kTRC" + struct.pack(">II", start + 20, 12)
    )
    head = (
        struct.pack(">I4sI4s4s4s", start + 32, b"\0\0\0\0", 0x02400000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    )
    profile = (head + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + white + curve
    for mode in ("L", "LA"):
        gray = Picture.new("LA", (64, 64), (64, 200)).convert(mode)
        found = opened(normalize(saved(gray, icc_profile=profile))).getpixel((32, 32))
        assert found[:3] == pytest.approx((137, 137, 137), abs=4)  # type: ignore[index]


@pytest.mark.parametrize("bands", [3, 4])
def test_noise_is_within_both_limits(bands: int) -> None:
    found = normalize(saved(noise(2600, 2000, bands), compress_level=0))
    assert len(found.data) <= BYTES and found.width * found.height <= PIXELS
    assert found.width / found.height == pytest.approx(1.3, abs=0.01)
    assert opened(found).mode == ("RGBA" if bands == 4 else "RGB")
    # As much as fits stays.
    assert len(found.data) > BYTES / 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), (1, 1)), ((2, 1), (2, 1)), ((1, 20_000), (1, 20_000)), ((20_000, 1), (20_000, 1)),
        ((2048, 2048), (2048, 2048)), ((4096, 4096), (2048, 2048)), ((3, 90_000), (2, 65_500)),
    ],
)  # fmt: skip
def test_sides_are_kept_or_scaled_alike(size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = normalize(saved(Picture.new("RGB", size, (10, 200, 10)), compress_level=1))
    assert (found.width, found.height) == expected
    assert opened(found).getpixel((0, 0)) == pytest.approx((10, 200, 10), abs=4)


def test_strips_leave_no_seam() -> None:
    """Scaled as a whole, the picture has the same pixels."""
    gradient = Picture.linear_gradient("L").resize((3000, 4000), Picture.Resampling.BICUBIC)
    source = Picture.merge("RGB", [gradient, gradient.transpose(Picture.Transpose.ROTATE_180), gradient])
    found = opened(normalize(saved(source, compress_level=1)))
    whole = opened(normalize(saved(source.resize(found.size, Picture.Resampling.LANCZOS))))
    differences = [abs(a - b) for a, b in zip(found.tobytes(), whole.tobytes(), strict=True)]
    assert max(differences) <= 4


# Prints the peak of this process after normalizing each file in turn, in bytes.
PROGRAM = """
import runpy, sys
from pathlib import Path
peak = runpy.run_path(sys.argv[1])["_peak"]
from pixelprompt.preparation.normalize import normalize
for name in sys.argv[2:]:
    print(len(normalize(Path(name).read_bytes()).data), file=sys.stderr)
print(peak())
"""


@pytest.mark.slow
def test_eight_images_at_the_limits_fit_into_memory(tmp_path: Path) -> None:
    """One process normalizes them one after the other."""
    photograph = noise(250, 250).resize((8000, 8000), Picture.Resampling.BILINEAR)
    clear = photograph.crop((0, 0, 6000, 4000))
    clear.putalpha(Picture.linear_gradient("L").resize(clear.size))
    files = {name: tmp_path / f"an image {name}" for name in ("png", "jpeg", "webp", "lossless", "progressive")}
    clear.save(files["png"], "PNG", compress_level=1)
    photograph.save(files["jpeg"], "JPEG", quality=80, subsampling=0)
    photograph.save(files["progressive"], "JPEG", quality=80, progressive=True)
    clear.save(files["webp"], "WEBP", quality=50, method=0)
    clear.save(files["lossless"], "WEBP", lossless=True, quality=0, method=0)
    del photograph, clear
    names = [str(files[name]) for name in ("png", "jpeg", "progressive", "webp", "lossless", "png", "jpeg", "webp")]
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "benchmarks" / "in_archive.py"), *names]
    environment = {"PYTHONPATH": str(ROOT / "functions"), **ALLOCATION}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 8 and all(0 < int(size) <= BYTES for size in result.stderr.split())
    # Less would be no decoding of these.
    assert 100 < int(result.stdout) / 1024**2 < MEMORY
