"""Pages of galleries, newest first, at a constant number of S3 requests, and the images of one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from pixelprompt.errors import InvalidParameter, StorageError
from pixelprompt.jobs.schema import Reference
from pixelprompt.jobs.store import JobManager
from pixelprompt.storage.galleries import MAX_CURSOR, Galleries, Page
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import epoch_milliseconds, gallery, index_key
from tests.unit.storage.test_images import picture

BUCKET = "test-bucket"
DOMAIN = "d1.cloudfront.net"
MOMENT = 1_795_000_000_000


class Counted:
    """An S3 client that counts what is asked of it."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in ("list_objects_v2", "get_object", "head_object", "get_paginator"):
            self.requests[name] += 1
        return getattr(self._s3, name)


def galleries(s3: Any) -> Galleries:
    return Galleries(s3, BUCKET, ImageStorage(s3, BUCKET, DOMAIN), JobManager(s3, BUCKET).get_job_status)


def index(s3: Any, number: int, images: int = 1) -> str:
    """List a gallery in the index, the higher its number the newer; returns its id."""
    gallery_id = f"2026-11-18-12-00-00-{number:08x}"
    for image in range(images):
        key = index_key(MOMENT + number, f"images/{gallery_id}/Model-{image:03}-{MOMENT + number}.png")
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    return gallery_id


def walk(found: Galleries, limit: int) -> tuple[list[str], int]:
    """The ids of all galleries, page by page, and how many pages there were."""
    ids: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page = found.page(Page(limit, cursor))
        assert len(page["galleries"]) <= limit
        ids += [entry["galleryId"] for entry in page["galleries"]]
        cursor, pages = page["nextCursor"], pages + 1
        assert pages < 2000
    return ids, pages


def test_where_there_is_nothing_the_page_is_empty(s3: Any) -> None:
    assert galleries(s3).page(Page()) == {"galleries": [], "total": 0, "totalIsExact": True, "nextCursor": None}


def test_a_saved_image_makes_a_gallery(s3: Any) -> None:
    storage = ImageStorage(s3, BUCKET, DOMAIN)
    metadata = {"target": "2026-11-18-10-26-40-aaaaaaaa", "timestamp": 1_795_000_000_123}
    for model in ("GPT Image 2", "FLUX.2 [pro]"):
        storage.save(picture(), {**metadata, "model": model})
    storage.save(picture(), {**metadata, "model": "GPT Image 2"})
    assert galleries(s3).page(Page())["galleries"] == [
        {
            "galleryId": metadata["target"],
            "createdAt": "2026-11-18T11:06:40.123Z",
            "coverUrl": f"https://{DOMAIN}/images/2026-11-18-10-26-40-aaaaaaaa/FLUX.2-pro-1795000000123.png",
            "images": 2,
        }
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_hold_every_gallery_once_newest_first(s3: Any, limit: int) -> None:
    ids = [index(s3, number, images=1 + number % 3) for number in range(7)]
    found, pages = walk(galleries(s3), limit)
    assert found == ids[::-1]
    assert pages == -(-7 // limit)
    assert {entry["galleryId"]: entry["images"] for entry in galleries(s3).page(Page())["galleries"]} == {
        gallery_id: 1 + number % 3 for number, gallery_id in enumerate(ids)
    }


def test_a_page_that_one_listing_does_not_hold_ends_early(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelprompt.storage.galleries.LISTING", 20)
    ids = [index(s3, number, images=3) for number in range(9)]
    first = galleries(s3).page(Page(9))
    assert [entry["images"] for entry in first["galleries"]] == [3] * 6
    assert first["nextCursor"] and (first["total"], first["totalIsExact"]) == (9, True)
    assert walk(galleries(s3), 9) == (ids[::-1], 2)


def test_a_page_costs_two_requests_however_many_there_are(s3: Any) -> None:
    there = 0
    for number, total, exact in ((10, 10, True), (1000, 1000, True), (1001, 1000, False)):
        for place in range(there, number):
            index(s3, place)
        there = number
        counted = Counted(s3)
        page = galleries(counted).page(Page(10))
        assert counted.requests == {"list_objects_v2": 2}
        assert len(page["galleries"]) == 10
        assert (page["total"], page["totalIsExact"]) == (total, exact)


def test_a_picture_is_kept_where_the_index_cannot_be_written(s3: Any) -> None:
    class Refusing(Counted):
        def put_object(self, *, Key: str, **options: Any) -> Any:
            if Key.startswith("gallery-index/"):
                raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
            return self._s3.put_object(Key=Key, **options)

    storage = ImageStorage(Refusing(s3), BUCKET)
    stored = storage.save(picture(), {"model": "A", "target": "g", "timestamp": MOMENT})
    assert ImageStorage(s3, BUCKET).find("g/") == [stored]


def job_with_images(s3: Any, references: Sequence[Reference] = ()) -> str:
    """The gallery of a job of two models."""
    jobs, storage = JobManager(s3, BUCKET), ImageStorage(s3, BUCKET, DOMAIN)
    names = ("GPT Image 2", "FLUX.2 [pro]")
    job_id = jobs.create_job("a fox", {}, [{"name": name, "provider": "p"} for name in names])
    document = jobs.get_job_status(job_id)
    assert document
    target = gallery(job_id, document["createdAt"])
    for name in names:
        metadata = {"model": name, "target": target, "timestamp": epoch_milliseconds(document["createdAt"])}
        keys = storage.save(picture(), metadata)
        image = {**keys, "width": 48, "height": 32}
        jobs.mark_model_complete(job_id, name, {"imageKey": keys["imageKey"], "images": [image]})
    if references:
        jobs.record_references(job_id, references)
    return target


def test_the_images_of_a_gallery_have_addresses_and_no_bytes(s3: Any) -> None:
    target = job_with_images(s3)
    counted = Counted(s3)
    found = galleries(counted).gallery(target)
    assert (found["galleryId"], found["total"]) == (target, 2)
    assert [image["model"] for image in found["images"]] == ["FLUX.2 [pro]", "GPT Image 2"]
    for image in found["images"]:
        assert set(image) == {"model", "imageUrl", "imageKey", "width", "height"}
        assert image["imageUrl"].startswith(f"https://{DOMAIN}/images/{target}/")
        assert s3.head_object(Bucket=BUCKET, Key=image["imageKey"])
    # Records, pictures, and the job document, which is looked for by the beginning of its id.
    assert counted.requests == {"get_paginator": 2, "list_objects_v2": 1, "get_object": 1}


def test_a_gallery_shows_the_references_of_its_job_without_what_only_its_caller_may_know(s3: Any) -> None:
    earlier: Reference = {
        "index": 0, "source": "imageKey", "imageKey": "group-images/h/B-1.json", "fromGallery": "h",
        "width": 40, "height": 30,
    }  # fmt: skip
    prepared: Reference = {
        "index": 1, "source": "url", "host": "images.example", "sha256": "ab", "size": 5, "mimeType": "image/png",
        "width": 20, "height": 10,
    }  # fmt: skip
    recorded: Reference = {**earlier, "binaryKey": "images/h/B-1.png", "sha256": "cd", "size": 7}
    target = job_with_images(s3, [recorded, prepared, {"index": 2, "source": "uploadId"}])
    counted = Counted(s3)
    assert galleries(counted).gallery(target)["references"] == [
        {**earlier, "imageUrl": f"https://{DOMAIN}/images/h/B-1.png"},
        {"index": 1, "source": "url", "width": 20, "height": 10},
        {"index": 2, "source": "uploadId"},
    ]
    assert counted.requests == {"get_paginator": 2, "list_objects_v2": 1, "get_object": 1}


def test_a_gallery_without_references_has_none(s3: Any) -> None:
    assert galleries(s3).gallery(job_with_images(s3))["references"] == []


def test_a_gallery_outlives_its_job_document(s3: Any) -> None:
    target = job_with_images(s3, [{"index": 0, "source": "data"}])
    for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="jobs/")["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    found = galleries(s3).gallery(target)
    assert [image["model"] for image in found["images"]] == ["FLUX.2-pro", "GPT-Image-2"]
    assert found["references"] == []


def test_a_job_with_the_same_beginning_is_not_mistaken(s3: Any) -> None:
    target = job_with_images(s3)
    beginning = target.rpartition("-")[2]
    JobManager(s3, BUCKET).create_job(
        "x", {}, [], job_id=f"{beginning}-0000-4000-8000-000000000000", created_at="2020-01-01T00:00:00.000Z"
    )
    assert [image["model"] for image in galleries(s3).gallery(target)["images"]] == ["FLUX.2 [pro]", "GPT Image 2"]


@pytest.mark.parametrize(
    "gallery_id",
    [
        "2020-01-01-00-00-00-aaaaaaaa",
        "",
        "..",
        "../jobs",
        "a/b",
        "%2e%2e",
        "x" * 5000,
        "a\x00b",
        "a\r\nb",
        "\ud800",
        "ü",
    ],
)
def test_an_unknown_or_malformed_id_has_no_images(s3: Any, gallery_id: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="jobs/x/status.json", Body=b"{}")
    assert galleries(s3).gallery(gallery_id) == {
        "galleryId": gallery_id,
        "images": [],
        "references": [],
        "total": 0,
    }


@given(st.text())
def test_no_id_reaches_s3_but_a_plain_name(gallery_id: str) -> None:
    class Prefixes:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def get_paginator(self, name: str) -> "Prefixes":
            return self

        def paginate(self, *, Prefix: str, **options: str) -> list[dict[str, Any]]:
            self.seen.append(Prefix)
            return []

    s3 = Prefixes()
    galleries(s3).gallery(gallery_id)
    assert s3.seen in ([], [f"group-images/{gallery_id}/", f"images/{gallery_id}/"])
    assert not s3.seen or (gallery_id.isascii() and "/" not in gallery_id and gallery_id != "..")


@pytest.mark.parametrize("query", [{}, {"limit": "1"}, {"limit": "100"}, {"cursor": f"{1:013}-a"}, {"other": "x"}])
def test_what_a_page_may_ask_for(query: dict[str, str]) -> None:
    page = Page.from_query(query)
    assert (page.limit, page.cursor) == (int(query.get("limit", 20)), query.get("cursor"))


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": text} for text in ("0", "101", "-1", "1.5", "", " 1", "1e2", "٣", "9" * 5000, "1,2", "x\x00")),
        *({"cursor": text} for text in ("", "..", "1-a", f"{1:013}-a/b", f"{1:013}-ü", f"{1:013}-{'a' * MAX_CURSOR}")),
    ],
    ids=lambda query: repr(query)[:40],
)
def test_what_it_may_not(query: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        Page.from_query(query)


def test_a_failing_s3_is_a_storage_error(s3: Any) -> None:
    with pytest.raises(StorageError):
        Galleries(s3, "no-such-bucket", ImageStorage(s3, BUCKET), JobManager(s3, BUCKET).get_job_status).page(Page())
