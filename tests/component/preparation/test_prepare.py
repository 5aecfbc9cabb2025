"""Reference images of a job, from what its caller gave to what the providers get and the job document says."""

import base64
import hashlib
import io
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import prepare_references
import pytest
from botocore.exceptions import ClientError
from PIL import Image as Picture

from pixelprompt.errors import JobNotFound, StorageError
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Reference
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import Image
from pixelprompt.preparation import prepare
from pixelprompt.preparation.normalize import UnusableImage, normalize
from pixelprompt.preparation.prepare import Preparation, PrepareRequest, fetch_guarded
from pixelprompt.providers.wire.download import DownloadFailed
from pixelprompt.storage.keys import gallery
from pixelprompt.storage.references import ReferenceStorage
from tests import built
from tests.conftest import BUCKET

UPLOAD = "7b1e7f0c-93a1-4a8e-9b55-0d7c5be5c6a1"
URL = "https://images.example/fox.png?secret=abc"


def picture(color: str = "red", kind: str = "PNG", side: int = 40) -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (side, side), color).save(file, kind)
    return file.getvalue()


def data_url(data: bytes, mime_type: str = "image/png") -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


class Web:
    """What URLs lead to; keeps what was fetched, and until when."""

    def __init__(self) -> None:
        self.found: dict[str, bytes | Exception] = {}
        self.fetched: list[tuple[str, float]] = []

    def __call__(self, url: str, deadline: float) -> bytes:
        self.fetched.append((url, deadline))
        found = self.found[url]
        if isinstance(found, Exception):
            raise found
        return found


class Job:
    """A job of two models with these references, and what prepares them."""

    def __init__(self, s3: Any, *given: dict[str, str]) -> None:
        self.s3 = s3
        self.web = Web()
        self.now = 1_000_000.0
        self.jobs = JobManager(s3, BUCKET, patience=0.5)
        self.references = ReferenceStorage(s3, BUCKET)
        self.preparation = Preparation(self.jobs, self.references, self.web, lambda: self.now)
        self.id = self.jobs.create_job("a red fox", {}, [{"name": name, "provider": "openai"} for name in "AB"])
        self.give(*given)

    def give(self, *given: dict[str, str]) -> None:
        """As submit does."""
        recorded: list[Any] = [{"index": index, "source": next(iter(entry))} for index, entry in enumerate(given)]
        self.references.save_given(self.id, given)
        self.jobs.record_references(self.id, recorded)

    def prepare(self, run: int | None = 1) -> dict[str, Any]:
        return dict(self.preparation.prepare(PrepareRequest(self.id, run, "correlation")))

    def shown(self) -> list[Reference]:
        document = self.jobs.get_job_status(self.id)
        assert document
        return document["references"]

    def rows(self) -> list[Any]:
        document = self.jobs.get_job_status(self.id)
        assert document
        return [*document["results"]]

    def color(self, number: int) -> Any:
        """The color of a prepared reference."""
        data = self.s3.get_object(Bucket=BUCKET, Key=f"references/{self.id}/{number}")["Body"].read()
        return Picture.open(io.BytesIO(data)).convert("RGB").getpixel((20, 20))

    def failure(self) -> str:
        """The sentence that all rows end with."""
        (sentence,) = {row["error"] for row in self.rows()}
        return str(sentence)


Make = Callable[..., Job]


@pytest.fixture
def job(s3: Any) -> Make:
    return lambda *given: Job(s3, *given)


def made(job: Job) -> dict[str, str]:
    """An image of a model of an earlier job, stored as jobs store it."""
    created = job.jobs.now()
    job_id = job.jobs.create_job("a fox", {}, [{"name": "A", "provider": "openai"}], created_at=created)
    stem = f"{gallery(job_id, created)}/A-1763900000000"
    image = {"imageKey": f"group-images/{stem}.json", "binaryKey": f"images/{stem}.png"}
    job.s3.put_object(Bucket=BUCKET, Key=image["binaryKey"], Body=picture("blue"))
    job.jobs.mark_model_complete(job_id, "A", {"imageKey": image["imageKey"], "images": [image]})
    return {"job": job_id, **image}


def is_near(color: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 6 for a, b in zip(color, wanted, strict=True))


def test_every_source_is_prepared_in_order(job: Make, s3: Any, log: io.StringIO) -> None:
    prepared = job()
    image = made(prepared)
    s3.put_object(Bucket=BUCKET, Key=f"uploads/{UPLOAD}", Body=picture("lime", "WEBP"), ContentType="text/html")
    prepared.web.found[URL] = picture("white", "JPEG")
    prepared.give(
        # What it calls itself doesn't count.
        {"data": data_url(picture("red"), "image/gif")},
        {"uploadId": UPLOAD},
        {"imageKey": image["imageKey"]},
        {"url": URL},
    )
    assert prepared.prepare() == {"state": "ready", "references": 4}

    for number, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        assert is_near(prepared.color(number), color)
    for entry in prepared.shown():
        stored = s3.get_object(Bucket=BUCKET, Key=f"references/{prepared.id}/{entry['index']}")
        data = stored["Body"].read()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest() and entry["size"] == len(data)
        assert entry["mimeType"] == stored["ContentType"] == "image/jpeg"
        assert (entry["width"], entry["height"]) == (40, 40)
    assert {row["status"] for row in prepared.rows()} == {"pending"}
    assert len(prepared.references.load(prepared.id, 4)) == 4

    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert line["references"] == 4 and line["bytes"] == sum(entry["size"] for entry in prepared.shown())
    assert not any(text in log.getvalue() for text in (UPLOAD, "images.example", "base64", image["imageKey"]))


def fail_as(error: Exception) -> Callable[[Job], dict[str, str]]:
    def given(job: Job) -> dict[str, str]:
        job.web.found[URL] = error
        return {"url": URL}

    return given


def with_upload(body: bytes) -> Callable[[Job], dict[str, str]]:
    def given(job: Job) -> dict[str, str]:
        job.s3.put_object(Bucket=BUCKET, Key=f"uploads/{UPLOAD}", Body=body)
        return {"uploadId": UPLOAD}

    return given


def large_image(job: Job) -> dict[str, str]:
    image = made(job)
    job.s3.put_object(Bucket=BUCKET, Key=image["binaryKey"], Body=bytes(32 * 1024**2 + 1))
    return {"imageKey": image["imageKey"]}


def expired_image(job: Job) -> dict[str, str]:
    image = made(job)
    job.s3.delete_object(Bucket=BUCKET, Key=image["binaryKey"])
    return {"imageKey": image["imageKey"]}


def expired_job(job: Job) -> dict[str, str]:
    image = made(job)
    job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{image['job']}/status.json")
    return {"imageKey": image["imageKey"]}


def other_image(job: Job) -> dict[str, str]:
    """Of a job that exists, but not of its images."""
    return {"imageKey": made(job)["imageKey"].replace("/A-", "/B-")}


GONE = "the image no longer exists; images expire with their job."


@pytest.mark.parametrize(
    ("given", "reason", "retryable"),
    [
        (lambda job: {"data": data_url(b"no image")}, "it isn't a PNG, JPEG, or WebP image.", False),
        (lambda job: {"data": "data:image/png;base64,AAAAA"}, "it isn't valid base64.", False),
        (lambda job: {"data": data_url(b"")}, "it is empty.", False),
        (
            lambda job: {"uploadId": UPLOAD},
            "the upload isn't there; it was never finished or has expired.",
            False,
        ),
        (with_upload(b""), "it is empty.", False),
        (with_upload(picture()[:-30]), "it is damaged or cut off.", False),
        (with_upload(bytes(20 * 1024**2 + 1)), "it has more than 20 MiB.", False),
        (large_image, "it has more than 32 MiB.", False),
        (lambda job: {"imageKey": "config/models.json"}, GONE, False),
        (lambda job: {"imageKey": "group-images/2026-11-28-09-30-00-3f2b8c1e/A-1763900000000.json"}, GONE, False),
        (expired_image, GONE, False),
        (expired_job, GONE, False),
        (other_image, GONE, False),
        (fail_as(UnusableImage("The image is too large.")), "the image is too large.", False),
        (
            fail_as(UnusableImage("The image could not be fetched in time.", passing=True)),
            "the image could not be fetched in time.",
            True,
        ),
    ],
    ids=[
        "no image", "no base64", "empty", "no upload", "empty upload", "cut off", "large upload", "large image",
        "no key of an image", "no such job", "expired image", "expired job", "other image", "large download",
        "slow download",
    ],
)  # fmt: skip
def test_an_unusable_reference_ends_the_run(
    job: Make, metrics: Any, log: io.StringIO, given: Callable[[Job], dict[str, str]], reason: str, retryable: bool
) -> None:
    failed = job()
    failed.give({"data": data_url(picture())}, given(failed), {"data": data_url(picture("blue"))})
    metrics()
    assert failed.prepare() == {"state": "failed", "references": 1}
    assert failed.failure() == f"Reference image 2 can't be used: {reason}"
    for row in failed.rows():
        assert (row["status"], row["errorCode"]) == ("error", "invalid_request")
        assert (row["billable"], row["retryable"]) == ("no", retryable)
    first, second, third = failed.shown()
    assert "sha256" in first and "error" not in first
    assert second["error"] == reason[0].upper() + reason[1:] and "sha256" not in second
    assert third == {"index": 2, "source": "data"}
    measured = metrics()
    assert [entry["model"] for entry in measured if "ModelsFailed" in entry] == ["A", "B"]
    assert [entry for entry in measured if "ModelErrors" in entry] == [
        {"ModelErrors": 1, "errorCode": "invalid_request"}
    ] * 2
    assert UPLOAD not in log.getvalue() and "images.example" not in log.getvalue()


def test_the_same_reference_twice_is_fetched_once(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = job({"url": URL}, {"data": data_url(picture("blue"))}, {"url": URL}, {"url": URL})
    twice.web.found[URL] = picture("lime")
    decoded = []

    def counted(data: bytes) -> Image:
        decoded.append(data)
        return normalize(data)

    monkeypatch.setattr(prepare, "normalize", counted)
    assert twice.prepare() == {"state": "ready", "references": 4}
    assert len(twice.web.fetched) == 1 and len(decoded) == 2
    assert [is_near(twice.color(number), (0, 255, 0)) for number in range(4)] == [True, False, True, True]


def test_an_earlier_image_is_recorded_with_its_key(job: Make, s3: Any) -> None:
    edit = job()
    image = made(edit)
    earlier = {"imageKey": image["imageKey"]}
    edit.give(earlier, {"data": data_url(picture())}, earlier, {"uploadId": UPLOAD})
    assert edit.prepare()["state"] == "failed"
    # Every one that was found, also of a job that fails.
    keys = [image["binaryKey"], None, image["binaryKey"], None]
    assert [entry.get("binaryKey") for entry in edit.shown()] == keys
    document = s3.get_object(Bucket=BUCKET, Key=f"jobs/{edit.id}/status.json")["Body"].read().decode()
    assert image["job"] not in document

    # What is prepared already keeps it, although the image is gone.
    s3.put_object(Bucket=BUCKET, Key=f"uploads/{UPLOAD}", Body=picture())
    s3.delete_object(Bucket=BUCKET, Key=f"jobs/{image['job']}/status.json")
    assert edit.prepare() == {"state": "ready", "references": 4}
    assert [entry.get("binaryKey") for entry in edit.shown()] == keys

    # What must be prepared anew is looked for anew.
    s3.delete_object(Bucket=BUCKET, Key=f"references/{edit.id}/2")
    assert edit.prepare()["state"] == "failed"
    assert [entry.get("binaryKey") for entry in edit.shown()] == [image["binaryKey"], None, None, None]


def test_an_image_is_looked_for_once_however_often_it_is_named(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = job()
    image = made(edit)
    edit.give(*[{"imageKey": image["imageKey"]}] * 3)
    looked_for: list[str] = []
    look = edit.references.jobs_beginning_with

    def counted(beginning: str) -> list[str]:
        looked_for.append(beginning)
        return look(beginning)

    monkeypatch.setattr(edit.references, "jobs_beginning_with", counted)
    assert edit.prepare() == {"state": "ready", "references": 3}
    assert looked_for == [image["job"][:8]]
    assert [entry["binaryKey"] for entry in edit.shown()] == [image["binaryKey"]] * 3


def test_downloads_have_their_time_and_all_of_them_have_theirs(job: Make) -> None:
    urls = [f"https://images.example/{number}" for number in range(6)]
    slow = job(*({"url": url} for url in urls))
    start = slow.now

    def fetch(url: str, deadline: float) -> bytes:
        slow.web.fetched.append((url, deadline))
        slow.now += 25
        return picture()

    Preparation(slow.jobs, slow.references, fetch, lambda: slow.now).prepare(PrepareRequest(slow.id, 1))
    assert [deadline - start for _, deadline in slow.web.fetched] == [30, 55, 80, 105, 120, 120]


def test_what_is_prepared_is_not_fetched_again(job: Make, s3: Any) -> None:
    urls = ["https://images.example/0", "https://images.example/1"]
    again = job(*({"url": url} for url in urls))
    again.web.found = {urls[0]: picture("red"), urls[1]: UnusableImage("The image could not be fetched.", passing=True)}
    assert again.prepare()["state"] == "failed"
    again.web.found[urls[1]] = picture("blue")
    assert again.prepare() == {"state": "ready", "references": 2}
    assert [url for url, _ in again.web.fetched] == [urls[0], urls[1], urls[1]]
    assert all("error" not in entry and "sha256" in entry for entry in again.shown())
    before = again.shown()

    # What is gone is fetched anew; the other stays.
    s3.delete_object(Bucket=BUCKET, Key=f"references/{again.id}/0")
    assert again.prepare() == {"state": "ready", "references": 2}
    assert again.web.fetched[3:] and {url for url, _ in again.web.fetched[3:]} == {urls[0]}
    assert again.shown() == before


def test_prepared_references_outlive_what_was_given(job: Make, s3: Any) -> None:
    old = job({"data": data_url(picture())})
    old.prepare()
    s3.delete_object(Bucket=BUCKET, Key=f"references/{old.id}/given.json")
    assert old.prepare() == {"state": "ready", "references": 1}
    s3.delete_object(Bucket=BUCKET, Key=f"references/{old.id}/0")
    assert old.prepare() == {"state": "failed", "references": 0}
    assert old.failure() == "Reference image 1 can't be used: it has expired; send the request again."


def test_an_earlier_run_closes_no_row(job: Make) -> None:
    late = job({"uploadId": UPLOAD})
    late.jobs.cancel(late.id)
    late.jobs.begin_run(late.id, NextRun(earlier=1, stored={}, images_wanted=1))
    assert late.prepare(run=1) == {"state": "failed", "references": 0}
    assert {row["status"] for row in late.rows()} == {"pending"}
    assert late.prepare(run=2)["state"] == "failed"
    assert {row["status"] for row in late.rows()} == {"error"}


def test_trouble_with_s3_is_raised_and_a_repetition_succeeds(
    job: Make, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubled = job({"data": data_url(picture("lime"))})
    put = s3.put_object

    def refuse(**call: Any) -> Any:
        if call["Key"] == f"references/{troubled.id}/0":
            raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")
        return put(**call)

    monkeypatch.setattr(s3, "put_object", refuse)
    with pytest.raises(StorageError):
        troubled.prepare()
    assert {row["status"] for row in troubled.rows()} == {"pending"}
    monkeypatch.undo()
    assert troubled.prepare() == {"state": "ready", "references": 1}


def test_a_job_that_has_expired_is_not_found(job: Make) -> None:
    gone = job({"data": data_url(picture())})
    gone.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{gone.id}/status.json")
    with pytest.raises(JobNotFound):
        gone.prepare()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://10.0.0.5/fox.png", "The address of the image is not allowed: it leads into a private network."),
        ("https://169.254.169.254/latest", "The address of the image is not allowed: it leads into a private network."),
        ("http://images.example/fox.png", "The address of the image is not allowed: only https is."),
    ],
)
def test_a_private_url_is_refused(no_connections: list[Any], monkeypatch: Any, url: str, sentence: str) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UnusableImage) as raised:
        fetch_guarded(url, time.time() + 5)
    assert (str(raised.value), raised.value.passing) == (sentence, False)
    assert no_connections == []


def test_an_endless_download_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard's own tests show that it ends by the deadline and the limit that it is given."""
    asked: list[Any] = []

    def download(url: str, deadline: float, *, limit: int) -> bytes:
        asked.append((url, deadline, limit))
        raise DownloadFailed("The image is too large.")

    monkeypatch.setattr("pixelprompt.providers.wire.download.download", download)
    with pytest.raises(UnusableImage, match="too large"):
        fetch_guarded(URL, 17.0)
    assert asked == [(URL, 17.0, 20_971_520)]


def test_the_entry_point_prepares(job: Make, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    wired = job({"data": data_url(picture("lime"))})
    monkeypatch.setenv("BUCKET_NAME", BUCKET)
    built.forget()
    event = {"jobId": wired.id, "run": 1, "correlationId": "from-the-caller", "models": []}
    context = SimpleNamespace(function_name="prepare-references")
    assert prepare_references.handler(event, context) == {"state": "ready", "references": 1}
    assert is_near(wired.color(0), (0, 255, 0))
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert (line["correlation_id"], line["job_id"]) == ("from-the-caller", wired.id)
