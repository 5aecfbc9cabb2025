"""The reference images of a request: what each may be, and what a job makes of them."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image as Picture

from pixelprompt.errors import InvalidParameter, NoProviderConfigured, PayloadTooLarge
from pixelprompt.jobs.references import DATA_LIMIT, MAX_REFERENCES, described
from pixelprompt.jobs.schema import Estimate, JobStarted
from pixelprompt.jobs.submit import Submission
from pixelprompt.models.model import Model
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.storage.keys import given_references_key, status_key
from tests.unit.jobs.test_submit import BOTH, BUCKET, Executions, Secrets, submission

KEY = "group-images/2026-11-28-09-30-00-3f2b8c1e/GPT-Image-2-1795858200000.json"
UPLOAD = "9f86d081884c7d659a2feaa0c55ad015"
URL = "https://images.example/fox.png?signature=secret"


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Picture.new("RGB", (4, 4), "red").save(stream, kind)
    return stream.getvalue()


def png() -> bytes:
    return picture("PNG")


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


DATA = data_url(png())
EACH: list[dict[str, str]] = [{"imageKey": KEY}, {"uploadId": UPLOAD}, {"url": URL}, {"data": DATA}]
REGISTRY = ModelRegistry(
    [
        Model("Eight", "openai", "eight", supports={"images": {"max": 8}, "n": {"max": 4, "perCall": True}}),
        Model("One", "gemini", "one", supports={"images": {"max": 1}, "strength": {"min": 0.1, "max": 0.9}}),
        Model("None", "gemini", "none"),
        Model("Shy", "openai", "shy", supports={"images": {"max": 2}}, default=False),
    ]
)


class Service:
    """A submission with models that support reference images, and one that does not."""

    def __init__(self, s3: Any, **keys: str) -> None:
        self.s3 = s3
        self.executions = Executions()
        self.submission: Submission = submission(s3, self.executions, Secrets(**(keys or BOTH)), registry=REGISTRY)

    def submit(self, images: Any, **body: Any) -> JobStarted | Estimate:
        return self.submission.submit({"prompt": "make it night", "images": images, **body}, "192.0.2.1", "c")

    def job(self, response: JobStarted | Estimate) -> dict[str, Any]:
        assert "jobId" in response
        return self.object(status_key(response["jobId"]))

    def object(self, key: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        return loaded

    def refused(self, images: Any, **body: Any) -> InvalidParameter:
        """The error of a request that starts and stores nothing."""
        with pytest.raises(InvalidParameter) as caught:
            self.submit(images, **body)
        assert self.executions.started == []
        assert "Contents" not in self.s3.list_objects_v2(Bucket=BUCKET)
        return caught.value


@pytest.fixture
def service(s3: Any) -> Service:
    return Service(s3)


def test_a_job_keeps_its_references_and_its_execution_carries_only_their_number(service: Service) -> None:
    response = service.submit(EACH)
    document = service.job(response)
    assert document["parameters"] == {"images": 4}
    assert document["references"] == [
        {"index": 0, "source": "imageKey", "imageKey": KEY, "fromGallery": "2026-11-28-09-30-00-3f2b8c1e"},
        {"index": 1, "source": "uploadId"},
        {"index": 2, "source": "url", "host": "images.example"},
        {"index": 3, "source": "data"},
    ]
    assert service.object(given_references_key(document["jobId"])) == {"references": EACH}
    ((_, execution),) = service.executions.started
    assert execution["parameters"] == {"images": 4}
    told = json.dumps([execution, document])
    assert not any(secret in told for secret in ("signature", UPLOAD, DATA[40:]))


def test_without_models_those_are_asked_that_support_references(service: Service) -> None:
    document = service.job(service.submit(EACH[:1]))
    assert [row["model"] for row in document["results"]] == ["Eight", "One"]
    assert "skipped" not in document
    without = service.job(service.submission.submit({"prompt": "a fox"}, "192.0.2.1", "c"))
    assert [row["model"] for row in without["results"]] == ["Eight", "One", "None"]
    assert "references" not in without and "images" not in without["parameters"]


def test_the_first_references_go_to_a_model_that_accepts_fewer(service: Service) -> None:
    rows = service.job(service.submit(EACH))["results"]
    assert rows[0]["applied"] == {"images": 4}
    assert rows[1]["adjusted"] == {"images": {"requested": 4, "used": 1}}
    with pytest.raises(InvalidParameter, match="cannot use every parameter") as caught:
        service.submit(EACH, strict=True)
    unsupported = [{"model": "One", "parameter": "images", "reason": "The nearest supported value is 1."}]
    assert caught.value.details["unsupported"] == unsupported


def test_a_named_model_without_support_is_refused_or_left_out(service: Service) -> None:
    error = service.refused(EACH[:1], models=["Eight", "None"])
    assert error.message.startswith("1 of 2 models don't support reference images: None.")
    reason = "It doesn't support reference images."
    assert error.details["unsupported"] == [{"model": "None", "parameter": "images", "reason": reason}]
    response = service.submit(EACH[:1], models=["Eight", "None"], onUnsupported="skip")
    assert response.get("skipped") == service.job(response)["skipped"] == [{"model": "None", "reason": reason}]
    estimate = service.submit(EACH[:1], models=["Eight", "None"], onUnsupported="skip", dryRun=True)
    assert estimate.get("skipped") == [{"model": "None", "reason": reason}]


@pytest.mark.parametrize("choice", [None, "error", "skip"])
def test_where_no_named_model_supports_them_nothing_starts(choice: str | None, service: Service) -> None:
    error = service.refused(EACH[:1], models=["None"], **({"onUnsupported": choice} if choice else {}))
    assert error.message == "The model doesn't support reference images: None. See `images` in GET /models."


def test_without_a_key_for_models_that_support_them_the_operator_is_told(s3: Any) -> None:
    with pytest.raises(NoProviderConfigured, match="whose models support reference images"):
        Service(s3, OTHER_KEY="x").submit(EACH[:1])


def test_strength_needs_references(service: Service) -> None:
    rows = service.job(service.submit(EACH[:1], strength=1))["results"]
    assert rows[0]["ignored"] == {"strength": "This model doesn't support `strength`."}
    assert rows[1]["adjusted"] == {"strength": {"requested": 1, "used": 0.9}}
    with pytest.raises(InvalidParameter, match="`strength` needs `images`"):
        service.submission.submit({"prompt": "a fox", "strength": 0.5}, "192.0.2.1", "c")


def test_the_same_reference_may_come_twice(service: Service) -> None:
    assert service.job(service.submit([EACH[3], EACH[3]]))["parameters"] == {"images": 2}


@pytest.mark.parametrize(
    "images",
    [[], {}, "x", 5, [None], ["x"], [[]], EACH[:1] * (MAX_REFERENCES + 1), [{"imagekey": KEY}], [{"url": 5}],
     [{"url": URL, "more": 1}]],
)  # fmt: skip
def test_what_is_no_list_of_references_is_refused(images: Any, service: Service) -> None:
    error = service.refused(images)
    assert error.details["parameter"] == "images"
    assert "a list of 1 to 8 objects, each with one of imageKey, uploadId, url, and data" in error.message


@pytest.mark.parametrize("reference", [{}, {**EACH[0], **EACH[1]}, {"imageKey": None}, {**EACH[2], **EACH[3]}])
def test_a_reference_is_exactly_one_thing(reference: dict[str, Any], service: Service) -> None:
    error = service.refused([EACH[0], reference])
    assert error.message == "`images[1]` must have exactly one of imageKey, uploadId, url, and data."


@pytest.mark.parametrize(
    "key",
    ["", "group-images/", "images/2026-11-28-09-30-00-3f2b8c1e/GPT-Image-2-1795858200000.png", KEY + "x",
     KEY.replace("/GPT", "/../GPT"), "jobs/3f2b8c1e-5d6a-4b7c-8d9e-0f1a2b3c4d5e/status.json", "config/models.json",
     KEY.replace("3f2b8c1e", "3F2B8C1E"), KEY + "\n", "group-images/x/y.json"],
)  # fmt: skip
def test_an_image_key_has_the_form_of_one(key: str, service: Service) -> None:
    assert service.refused([{"imageKey": key}]).message.startswith("`images[0].imageKey` must be the imageKey")


@pytest.mark.parametrize("upload", ["", UPLOAD[1:], UPLOAD.upper(), "../" + UPLOAD, UPLOAD + "\n"])
def test_an_upload_id_has_the_form_of_one(upload: str, service: Service) -> None:
    assert (
        service.refused([{"uploadId": upload}]).message == "`images[0].uploadId` must be an uploadId of POST /uploads."
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://images.example/fox.png", "https"),
        ("ftp://images.example/fox.png", "https"),
        ("/fox.png", "https"),
        ("", "https"),
        ("https://user:password@images.example/", "user"),
        ("https://images.example/a fox.png", "percent-encoded"),
        ("https://images.example\\@10.0.0.1/", "percent-encoded"),
        ("https:///fox.png", "user"),
        (f"https://images.example/{'x' * 2048}", "characters"),
        *(
            (f"https://{host}/fox.png", "private network")
            for host in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00:ec2::254]", "localhost",
                         "LOCALHOST", "app.localhost", "localhost:8443", "192.168.0.1:443", "[fe80::1]")
        ),
        *(
            (f"https://{host}/", "unusual form")
            for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:10.0.0.1]")
        ),
    ],
)  # fmt: skip
def test_a_url_leads_to_the_public_internet(url: str, problem: str, service: Service) -> None:
    message = service.refused([{"url": url}]).message
    assert message.startswith("`images[0].url` ") and problem in message


@pytest.mark.parametrize("url", ["https://8.8.8.8/fox.png", "https://[2606:4700::1111]:8443/x", "HTTPS://x.example/"])
def test_a_public_address_is_accepted(url: str, service: Service) -> None:
    if url.startswith("HTTPS"):
        assert "https" in service.refused([{"url": url}]).message
    else:
        assert service.submit([{"url": url}])


@pytest.mark.parametrize(
    "data",
    ["", "fox", "data:,fox", "data:image/png,fox", "data:text/plain;base64,Zm94", "data:image/gif;base64,Zm94",
     "data:image/png;base64,", "data:image/png;base64,Zm94", "data:image/png;base64,Zm9*", DATA + " ",
     data_url(png()[:-20]), "DATA:image/png;base64,Zm94"],
)  # fmt: skip
def test_data_is_a_whole_image_in_base64(data: str, service: Service) -> None:
    assert service.refused([{"data": data}]).message.startswith("`images[0].data` ")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_data_has_one_of_the_types_whatever_its_label_says(kind: str, service: Service) -> None:
    assert service.submit([{"data": data_url(picture("PNG"), kind)}])
    with pytest.raises(InvalidParameter, match="is not a whole PNG, JPEG, or WebP image"):
        service.submit([{"data": data_url(picture("GIF"), kind)}])


def test_the_data_of_all_references_together_has_a_limit(service: Service) -> None:
    half = png() + bytes(DATA_LIMIT // 2 - len(png()))
    # What follows the end of an image counts, too; some encoders add a few bytes of their own.
    large = (
        png()[:-12] + (len(half) - 1100).to_bytes(4, "big") + b"teXt" + bytes(len(half) - 1100) + bytes(4) + png()[-12:]
    )
    assert service.submit([{"data": data_url(large)}, EACH[0]])
    with pytest.raises(PayloadTooLarge) as caught:
        service.submit([{"data": data_url(large)}] * 3)
    assert caught.value.details == {"limit": DATA_LIMIT}
    assert "POST /uploads" in caught.value.message


def test_the_document_shows_of_a_url_only_its_host() -> None:
    (shown,) = described([{"url": "https://Images.Example:8443/a/b?c=d#e"}])
    assert shown == {"index": 0, "source": "url", "host": "images.example:8443"}
