"""Reference images from the caller to the providers' wire, through the deployed cloud."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from pixelprompt.storage.keys import gallery, given_references_key, reference_key

from .conftest import Service
from .test_operating import everything, lines_of

MODELS = ["GPT Image 2", "Gemini 3 Pro Image"]
# What the Lambda logs at its end.
PREPARED = "The references were prepared."


def photo(color: str = "red", size: tuple[int, int] = (640, 480)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "JPEG")
    return stream.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def upload(service: Service, data: bytes) -> str:
    """Upload an image; its upload ID."""
    form = service.cloud.request("POST", "/uploads", {"contentType": "image/jpeg"}).json()
    assert service.post_form(form["url"], form["fields"], data).status == 204
    return str(form["uploadId"])


def digests(requests: list[Any]) -> list[list[str]]:
    """For each request at a provider, the SHA-256 of each image in it, in order."""
    return [_digests(request["body"]) for request in requests]


def _digests(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["sha256"]] if "sha256" in value else []
        return own + [digest for inner in value.values() for digest in _digests(inner)]
    return [digest for inner in value for digest in _digests(inner)] if isinstance(value, list) else []


def states_of(service: Service, job_id: str) -> list[str]:
    """The states that a job's execution entered, but for those of its models."""
    client = service.cloud.client("stepfunctions")
    history = client.get_execution_history(executionArn=service.execution(job_id)["executionArn"])
    names = [event.get("stateEnteredEventDetails", {}).get("name") for event in history["events"]]
    return [name for name in names if name in ("Prepare references", "Generate images", "Finish job")]


def test_an_upload_is_edited_by_several_models_and_a_result_is_edited_again(service: Service) -> None:
    upload_id = upload(service, photo())
    before = {model: len(service.provider_requests(id_of(service, model))) for model in MODELS}
    job = service.run("make it night", models=MODELS, images=[{"uploadId": upload_id}])
    assert job["status"] == "completed", job
    (reference,) = job["references"]
    assert (reference["source"], reference["mimeType"]) == ("uploadId", "image/jpeg")
    assert (reference["width"], reference["height"]) == (640, 480)
    stored = service.s3.get_object(Bucket=service.bucket, Key=reference_key(job["jobId"], 0))["Body"].read()
    assert len(stored) == reference["size"]
    for model in MODELS:
        (request,) = service.provider_requests(id_of(service, model))[before[model] :]
        assert digests([request]) == [[reference["sha256"]]]
    assert states_of(service, job["jobId"]) == ["Prepare references", "Generate images", "Finish job"]
    execution = service.execution(job["jobId"])["input"]
    assert json.loads(execution)["parameters"] == {"images": 1}
    assert upload_id not in execution and upload_id not in json.dumps(job)

    # The bytes of a JPEG begin alike in base64.
    said = everything(service)
    assert job["jobId"] in said and upload_id not in said and "/9j/4AAQ" not in said

    result = job["results"][0]["images"][0]["imageKey"]
    again = service.run("now in winter", models=MODELS, images=[{"imageKey": result}, {"uploadId": upload_id}])
    assert again["status"] == "completed", again
    first, second = again["references"]
    assert (first["imageKey"], first["fromGallery"]) == (result, result.split("/")[1])
    assert job["jobId"] not in json.dumps(again), "the key of an image opens no job"
    original = service.download(job["results"][0]["images"][0]["imageUrl"]).body
    assert service.download(first["imageUrl"]).body == original and "imageUrl" not in second
    shown = service.cloud.request("GET", f"/gallery/{gallery(again['jobId'], again['createdAt'])}").json()["references"]
    assert service.download(shown[0].pop("imageUrl")).body == original
    members = ("index", "source", "imageKey", "fromGallery", "width", "height")
    assert shown == [{name: entry[name] for name in members if name in entry} for entry in (first, second)]
    assert second["sha256"] == reference["sha256"]
    for model in MODELS:
        request = service.provider_requests(id_of(service, model))[-1]
        assert digests([request]) == [[first["sha256"], second["sha256"]]]


def test_nine_models_edit_an_image_that_is_prepared_once(service: Service) -> None:
    listed = service.cloud.request("GET", "/models").json()["models"]
    able = [model for model in listed if "images" in model["parameters"]]
    # A model of each provider, and others until there are nine.
    by_provider = {model["provider"]: model for model in reversed(able)}
    asked = [*by_provider.values(), *(model for model in able if model not in by_provider.values())][:9]
    assert len(by_provider) == 7 and len(asked) == 9
    before = {model["id"]: len(service.provider_requests(model["id"])) for model in asked}
    job = service.run(
        "make it night", models=[model["name"] for model in asked], images=[{"uploadId": upload(service, photo())}]
    )
    assert job["status"] == "completed", job
    (reference,) = job["references"]
    for model in asked:
        sent, *polls = service.provider_requests(model["id"])[before[model["id"]] :]
        assert digests([sent]) == [[reference["sha256"]]], model["name"]
        assert not any(map(any, digests(polls)))
    prepared = [line for line in lines_of(service, job["jobId"]) if line.get("message") == PREPARED]
    assert [line["references"] for line in prepared] == [1]
    assert states_of(service, job["jobId"]) == ["Prepare references", "Generate images", "Finish job"]


def test_data_comes_in_the_request(service: Service) -> None:
    image = photo("blue", (1200, 900))
    job = service.run("make it night", models=MODELS[:1], images=[{"data": data_url(image)}])
    assert job["status"] == "completed", job
    assert [(r["source"], r["width"], r["height"]) for r in job["references"]] == [("data", 1200, 900)]
    assert service.keys(f"references/{job['jobId']}/") == [
        reference_key(job["jobId"], 0),
        given_references_key(job["jobId"]),
    ]


def test_an_image_that_cannot_be_used_fails_the_job_before_any_provider_is_asked(service: Service) -> None:
    form = service.cloud.request("POST", "/uploads", {"contentType": "image/png"}).json()
    before = {model: len(service.provider_requests(id_of(service, model))) for model in MODELS}
    references = [{"data": data_url(photo())}, {"uploadId": form["uploadId"]}]
    job = service.run("make it night", models=MODELS, images=references)
    assert job["status"] == "failed"
    for row in job["results"]:
        assert (row["errorCode"], row["billable"], "cost" in row) == ("invalid_request", "no", False)
        assert row["error"].startswith("Reference image 2 can't be used: the upload isn't there")
    assert "error" not in job["references"][0] and "isn't there" in job["references"][1]["error"]
    assert {model: len(service.provider_requests(id_of(service, model))) for model in MODELS} == before
    assert states_of(service, job["jobId"]) == ["Prepare references", "Finish job"]

    # Once the upload is there, the job can run again.
    assert service.post_form(form["url"], {**form["fields"]}, photo("green")).status == 204
    answer = service.cloud.request("POST", f"/retry/{job['jobId']}", {})
    assert answer.status == 200, answer.body
    retried = service.wait(job["jobId"])
    assert retried["status"] == "completed", retried
    assert [len(digest) for digest in digests(service.provider_requests(id_of(service, MODELS[0]))[-1:])] == [2]


def test_an_image_that_the_provider_refuses_fails_its_model_alone(service: Service) -> None:
    service.fault(id_of(service, MODELS[0]), "refused_image")
    try:
        job = service.run("make it night", models=MODELS, images=[{"data": data_url(photo())}])
    finally:
        service.simulator("DELETE", "/faults")
    by_model = {row["model"]: row for row in job["results"]}
    assert job["status"] == "partial"
    assert (by_model[MODELS[0]]["errorCode"], by_model[MODELS[0]]["billable"]) == ("refused", "no")
    assert by_model[MODELS[1]]["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"images": []}, 400, "INVALID_PARAMETER"),
        ({"images": [{"url": "https://127.0.0.1/fox.png"}]}, 400, "INVALID_PARAMETER"),
        ({"images": [{"url": "https://example.com/fox.png", "data": "x"}]}, 400, "INVALID_PARAMETER"),
        ({"images": [{"data": data_url(photo())}] * 9}, 400, "INVALID_PARAMETER"),
        ({"images": [{"data": data_url(photo())}], "models": ["Stable Image Core"]}, 400, "INVALID_PARAMETER"),
        ({"images": [{"data": "data:image/png;base64," + "A" * 4_600_000}]}, 413, "PAYLOAD_TOO_LARGE"),
        ({"images": [{"data": "data:image/png;base64," + "A" * 100_000}], "models": ["x" * 70_000]}, 413,
         "PAYLOAD_TOO_LARGE"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_starts_nothing(body: dict[str, Any], status: int, code: str, service: Service) -> None:
    answer = service.cloud.request("POST", "/generate", {"prompt": "make it night", **body})
    assert (answer.status, answer.json()["error"]) == (status, code)


def test_an_edit_is_estimated_without_storing_anything(service: Service) -> None:
    asked = {"prompt": "make it night", "models": MODELS, "dryRun": True}
    plain = service.cloud.request("POST", "/generate", asked).json()
    before = service.keys("references/")
    edit = service.cloud.request("POST", "/generate", {**asked, "images": [{"data": data_url(photo())}] * 2}).json()
    assert all(row["applied"] == {"images": 2} for row in edit["models"])
    assert edit["cost"]["amount"] == pytest.approx(plain["cost"]["amount"] + 2 * (0.012 + 0.0011))
    assert service.keys("references/") == before


def id_of(service: Service, name: str) -> str:
    """The provider's ID of a model."""
    listed = service.cloud.request("GET", "/models").json()["models"]
    return next(str(model["id"]) for model in listed if model["name"] == name)
