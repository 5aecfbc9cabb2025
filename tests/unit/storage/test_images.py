"""Image formats read from bytes, and images in S3."""

import base64
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from PIL import Image

from pixelprompt.errors import StorageError
from pixelprompt.storage import clients
from pixelprompt.storage.image_format import image_format
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import file_name, stem

BUCKET = "test-bucket"
METADATA = {
    "model": "GPT Image 2",
    "prompt": "a red fox",
    "steps": 28,
    "guidance": 5,
    "target": "2026-11-23-12-00-00-aaaaaaaa",
    "timestamp": 1763900000000,
}


def picture(kind: str = "PNG", size: tuple[int, int] = (48, 32), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if options.pop("alpha", False) else "RGB", size, (200, 30, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (picture("PNG"), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("JPEG", progressive=True), "image/jpeg"),
        (picture("JPEG", exif=b"Exif\x00\x00" + b"\x00" * 500), "image/jpeg"),
        (picture("WEBP"), "image/webp"),
        (picture("WEBP", lossless=True), "image/webp"),
        (picture("WEBP", alpha=True, exif=b"Exif\x00\x00"), "image/webp"),
        (picture("GIF"), "image/gif"),
    ],
)
def test_type_and_size_are_read_from_the_bytes(data: bytes, mime_type: str) -> None:
    found = image_format(data)
    assert found is not None
    assert (found.mime_type, found.width, found.height) == (mime_type, 48, 32)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00", b"RIFF1234WEBPVP8?" + b"0" * 30, b"<html>",
     b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xff", b"GIF89a"],
)  # fmt: skip
def test_what_is_cut_or_no_image_is_not_guessed(data: bytes) -> None:
    assert image_format(data) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_without_its_end_is_no_image(kind: str) -> None:
    data = picture(kind, (300, 200))
    assert image_format(data) is not None
    assert image_format(data[: len(data) // 2]) is None


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "eu-south-2"])
def test_presigned_urls_name_the_host_of_the_region(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    url = ImageStorage(clients.client("s3"), BUCKET).image_url("images/a.png")
    assert url.startswith(
        f"https://{BUCKET}.s3.{region}.amazonaws.com/" if region != "us-east-1" else f"https://{BUCKET}.s3."
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GPT Image 2", "GPT-Image-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("FLUX.2 [pro]", "FLUX.2-pro"),
        ("a/b\\c\n\x00d", "a-b-c-d"),
        ("Ünïcode", "n-code"),
    ],
)
def test_names_in_keys_have_only_safe_characters(text: str, name: str) -> None:
    assert file_name(text) == name


def test_a_second_image_of_one_model_has_a_key_of_its_own() -> None:
    assert stem("g", "M", 1) == "g/M-1"
    assert stem("g", "M", 1, 1) == "g/M-1-2"


class TestImageStorage:
    def test_an_image_lies_as_a_record_and_as_a_picture(self, s3: Any) -> None:
        data = picture("JPEG")
        storage = ImageStorage(s3, BUCKET, "")
        key = storage.save_image(base64.b64encode(data).decode(), METADATA)
        assert key == "group-images/2026-11-23-12-00-00-aaaaaaaa/GPT-Image-2-1763900000000.json"
        answer = s3.get_object(Bucket=BUCKET, Key=key)
        assert answer["ContentType"] == "application/json"
        record = json.loads(answer["Body"].read())
        assert base64.b64decode(record["output"]) == data
        assert {name: record[name] for name in METADATA} == METADATA
        assert (record["NSFW"], record["mimeType"], record["width"], record["height"]) == (False, "image/jpeg", 48, 32)
        binary = s3.get_object(Bucket=BUCKET, Key="images/2026-11-23-12-00-00-aaaaaaaa/GPT-Image-2-1763900000000.jpg")
        assert (binary["Body"].read(), binary["ContentType"]) == (data, "image/jpeg")
        assert storage.get_image(key) == record

    def test_what_is_no_picture_is_refused(self, s3: Any) -> None:
        storage = ImageStorage(s3, BUCKET, "")
        for text in ("no base64!", base64.b64encode(b"<html>").decode()):
            with pytest.raises(ValueError, match=r"not an image|base64|Only|padding"):
                storage.save_image(text, METADATA)
        assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0

    def test_galleries_and_their_images_are_listed(self, s3: Any) -> None:
        storage = ImageStorage(s3, BUCKET, "")
        for target in ("2026-11-23-12-00-00-aaaaaaaa", "2026-11-23-12-00-00-bbbbbbbb"):
            for model in ("A", "B"):
                storage.save(picture(), {**METADATA, "target": target, "model": model})
        assert storage.list_galleries() == ["2026-11-23-12-00-00-aaaaaaaa", "2026-11-23-12-00-00-bbbbbbbb"]
        images = storage.list_gallery_images("2026-11-23-12-00-00-aaaaaaaa")
        assert images == [
            "group-images/2026-11-23-12-00-00-aaaaaaaa/A-1763900000000.json",
            "group-images/2026-11-23-12-00-00-aaaaaaaa/B-1763900000000.json",
        ]
        assert storage.list_gallery_images("2020-01-01-00-00-00") == []
        assert storage.list_gallery_images("../jobs") == []

    def test_more_galleries_than_one_page_of_s3(self, s3: Any) -> None:
        for number in range(1100):
            s3.put_object(Bucket=BUCKET, Key=f"group-images/{number:05}/x.json", Body=b"")
        assert len(ImageStorage(s3, BUCKET, "").list_galleries()) == 1100

    def test_pauses_double_while_s3_fails(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        monkeypatch.setattr("random.uniform", lambda low, high: pauses.append(high) or low)  # type: ignore[func-returns-value]
        failures = [ClientError({"Error": {"Code": "SlowDown"}}, "PutObject") for _ in range(7)]

        def fail(params: Any, **_: Any) -> None:
            if "/images/" in params["url"] and failures:
                raise failures.pop()

        s3.meta.events.register("before-call.s3.PutObject", fail)
        ImageStorage(s3, BUCKET, "").save(picture(), METADATA)
        assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])

    def test_a_listing_that_s3_refuses_is_not_an_empty_one(self, s3: Any) -> None:
        with pytest.raises(StorageError, match="NoSuchBucket"):
            ImageStorage(s3, "no-such-bucket", "").list_galleries()

    def test_only_an_image_with_both_objects_is_found(self, s3: Any) -> None:
        storage = ImageStorage(s3, BUCKET, "")
        stored = storage.save(picture(), METADATA)
        s3.put_object(Bucket=BUCKET, Key="group-images/g/half-1.json", Body=b"{}")
        assert storage.find(stem(METADATA["target"], METADATA["model"], METADATA["timestamp"])) == [stored]  # type: ignore[arg-type]
        assert storage.find("g/half-1") == []

    def test_urls_come_from_cloudfront_or_are_presigned(self, s3: Any) -> None:
        key = "images/2026/GPT-Image-2-1.png"
        assert ImageStorage(s3, BUCKET, "d1.cloudfront.net").image_url(key) == f"https://d1.cloudfront.net/{key}"
        presigned = ImageStorage(s3, BUCKET, "").image_url(key)
        assert key in presigned and "X-Amz-Expires=3600" in presigned
