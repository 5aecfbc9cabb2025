"""What a request may cost in requests to AWS, imports and memory: counts that a change must not raise unseen.

Times are in docs/explanation/benchmarks.md.
"""

import base64
import importlib
import io
import json
import time
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from PIL import Image

from benchmarks.figures import Budget, Figure, number, percentile
from benchmarks.requests import Requests, Sent, chain
from pixelprompt.jobs.executions import START_SECONDS
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.api_keys import new_key
from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model
from pixelprompt.providers.stability import generate as ask_stability
from pixelprompt.storage import clients
from pixelprompt.storage.clients import REQUEST_RESERVE
from pixelprompt.storage.images import ImageStorage
from tests import built
from tests.canned import Answer, Asked, Canned
from tests.component.test_cold_start import run
from tests.conftest import BUCKET, LEDGER

CONTEXT = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 200_000)
MODEL = "Grok Imagine 2.0"


def picture(side: int = 8) -> bytes:
    """A PNG of noise."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 100).save(file, "PNG", compress_level=0)
    return file.getvalue()


Load = Callable[[str], ModuleType]


@pytest.fixture
def requests(s3: Any) -> Iterator[Requests]:
    """The requests that the entry points send from now on."""
    clients.session.cache_clear()
    yield Requests(clients.session())
    clients.session.cache_clear()


@pytest.fixture
def provider(s3: Any) -> Iterator[Canned]:
    """A provider that answers like OpenAI's, when a row's start has been written."""
    answer = Answer(content={"data": [{"b64_json": base64.b64encode(picture()).decode()}]})
    # Of another session than the entry points', whose requests are counted.
    observer = boto3.client("s3")

    def is_pending() -> bool:
        keys = [entry["Key"] for entry in observer.list_objects_v2(Bucket=BUCKET, Prefix="jobs/")["Contents"]]
        documents = [json.loads(observer.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]
        return any(document["status"] == "pending" for document in documents)

    def respond(asked: Asked) -> Answer:
        limit = time.monotonic() + 30
        while is_pending() and time.monotonic() < limit:
            time.sleep(0.02)
        # The writer's own answer is still on its way.
        time.sleep(0.2)
        return answer

    with Canned(respond) as server:
        yield server


@pytest.fixture
def load(requests: Requests, provider: Canned, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Gives an entry point with its settings, and nothing made yet."""
    secret = boto3.client("secretsmanager").create_secret(Name="keys", SecretString='{"XAI_API_KEY": "x"}')
    machine = boto3.client("stepfunctions").create_state_machine(
        name="machine",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/role",
    )
    settings = {
        "BUCKET_NAME": BUCKET,
        "PROVIDER_SECRET": secret["ARN"],
        "PROVIDER_ENDPOINTS": json.dumps({"compatible": provider.url}),
        "STATE_MACHINE_ARN": machine["stateMachineArn"],
        "FINISH_FUNCTION": "finish",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    built.forget()
    yield importlib.import_module


def event(method: str, path: str, body: Any = None, key: str | None = None, job_id: str = "") -> dict[str, Any]:
    """What API Gateway hands to an entry point."""
    return {
        "rawPath": path,
        "headers": {"idempotency-key": key} if key else {},
        "pathParameters": {"jobId": job_id},
        "requestContext": {"http": {"method": method, "sourceIp": "192.0.2.1"}},
        "body": None if body is None else json.dumps(body),
    }


def test_what_could_not_be_started_in_time_is_not_begun(load: Load, s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    job_id = jobs.create_job("a red fox", {}, [{"name": MODEL, "provider": "compatible"}])
    failed = jobs.mark_model_error(job_id, MODEL, "No.")
    # Enough to ask AWS, and too little to start a job.
    left = 1000 * (REQUEST_RESERVE + START_SECONDS - 0.5)
    context = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: left)
    for name, given in (
        ("submit", event("POST", "/generate", {"prompt": "a red fox", "models": [MODEL]})),
        ("retry", event("POST", f"/retry/{job_id}", {}, job_id=job_id)),
    ):
        assert load(name).handler(given, context)["statusCode"] == 503
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="jobs/")["KeyCount"] == 1
    assert jobs.get_job_status(job_id) == failed


def sent(requests: Requests, handler: Callable[..., Any], given: dict[str, Any]) -> tuple[list[Sent], Any]:
    """What a handler asks of AWS for an event, and what it answers."""
    with requests.during() as found:
        answer = handler(given, CONTEXT)
    assert answer.get("statusCode", 200) == 200, answer
    return found, answer


def test_a_submit_waits_for_four_requests(requests: Requests, load: Load) -> None:
    handler = load("submit").handler
    given = event("POST", "/generate", {"prompt": "a red fox", "models": [MODEL]})
    cold, _ = sent(requests, handler, given)
    assert len(chain(cold)) <= 6
    warm, _ = sent(requests, handler, given)
    assert [request.operation for request in warm] == [
        "s3:GetObject", "s3:PutObject", "s3:PutObject", "sfn:StartExecution",
    ]  # fmt: skip


def test_a_submit_with_a_key_waits_for_one_more(requests: Requests, load: Load) -> None:
    handler = load("submit").handler
    body = {"prompt": "a red fox", "models": [MODEL]}
    sent(requests, handler, event("POST", "/generate", body))
    with_key, _ = sent(requests, handler, event("POST", "/generate", body, str(uuid.uuid4())))
    assert len(with_key) == 5


def test_with_an_api_key_and_budgets_a_submit_waits_for_six(
    requests: Requests, load: Load, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = {"LEDGER_TABLE": LEDGER, "CHARGES": "true", "DAILY_BUDGET": "10", "UNKNOWN_PRICE_CEILING": "0.1"}
    for name, value in deployment.items():
        monkeypatch.setenv(name, value)
    built.forget()
    handler = load("submit").handler
    given = event("POST", "/generate", {"prompt": "a red fox", "models": [MODEL]})
    limits = {"is_admin": False, "daily": 5_000_000, "monthly": 50_000_000, "rate": 20, "models": [MODEL]}
    given["requestContext"]["authorizer"] = {"lambda": {"keyId": "ada", "limits": json.dumps(limits)}}
    sent(requests, handler, given)
    warm, _ = sent(requests, handler, given)
    assert [request.operation for request in warm] == [
        *["dynamodb:UpdateItem"] * 4, "s3:PutObject", "sfn:StartExecution",
    ]  # fmt: skip


def test_a_decision_on_a_key_is_one_request(
    requests: Requests, load: Load, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_TABLE", LEDGER)
    built.forget()
    handler = load("authorize").handler
    for key, operations in ((new_key(), ["dynamodb:BatchGetItem"]), ("pp_" + "x" * 49, []), ("", [])):
        found, answer = sent(requests, handler, {"headers": {"authorization": f"Bearer {key}"}})
        assert [request.operation for request in found] == operations and not answer["isAuthorized"]


def test_a_status_is_one_request(requests: Requests, load: Load, s3: Any) -> None:
    job_id = JobManager(s3, BUCKET).create_job("a red fox", {}, [{"name": MODEL, "provider": "compatible"}])
    handler = load("status").handler
    for _ in range(2):
        found, _ = sent(requests, handler, event("GET", f"/status/{job_id}", job_id=job_id))
        assert [request.operation for request in found] == ["s3:GetObject"]


def test_a_row_that_nobody_else_writes_beside_costs_six_requests(requests: Requests, load: Load, s3: Any) -> None:
    """Its start is read and written, three objects are the picture, its end is written: it knows what it has stored."""
    jobs = JobManager(s3, BUCKET)
    handler = load("generate").handler
    # The first invocation reads keys and overlay as well.
    for expected in ({"secrets-manager:GetSecretValue": 1, "s3:GetObject": 2}, {"s3:GetObject": 1}):
        job_id = jobs.create_job("a red fox", {}, [{"name": MODEL, "provider": "compatible"}])
        document = jobs.get_job_status(job_id)
        assert document
        item = {name: document[name] for name in ("jobId", "createdAt", "prompt", "parameters")}
        found, outcome = sent(requests, handler, {**item, "index": 0, "model": MODEL, "attempt": 1})
        assert outcome["state"] == "done"
        assert Counter(request.operation for request in found) == {"s3:PutObject": 5, **expected}


def test_an_end_that_starts_from_what_was_stored_loses_nothing_to_others(s3: Any) -> None:
    """Somebody has written in between after all: the end is computed again from what is there."""
    mine, other = JobManager(s3, BUCKET), JobManager(s3, BUCKET)
    job_id = mine.create_job("a red fox", {}, [{"name": "A", "provider": "openai"}])
    mine.mark_model_started(job_id, "A")
    other.update_job_status(job_id, {"note": "kept"})
    document = mine.mark_model_complete(job_id, "A", {"imageKey": "group-images/g/a.json"})
    assert (document["status"], document.get("note")) == ("completed", "kept")
    assert mine.get_job_status(job_id) == document


def test_what_was_stored_is_not_believed_where_nothing_is_to_be_changed(s3: Any) -> None:
    mine, other = JobManager(s3, BUCKET), JobManager(s3, BUCKET)
    job_id = mine.create_job("a red fox", {}, [{"name": "A", "provider": "openai"}])
    mine.mark_model_started(job_id, "A")
    other.cancel(job_id)
    assert mine.mark_model_started(job_id, "A")["status"] == "cancelled"


def test_starts_of_one_job_are_apart_and_never_outlast_the_answer(s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    job_id = jobs.create_job("a red fox", {}, [{"name": name, "provider": "openai"} for name in "ABC"])
    began = time.monotonic()
    jobs.mark_model_started(job_id, "C", place=2)
    assert time.monotonic() - began > 0.15
    began = time.monotonic()
    with pytest.raises(Exception, match="about to be closed"):
        jobs.mark_model_started(job_id, "B", place=39, give_up=lambda: True)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "name", ["submit", "status", "finish", "cancel", "retry", "gallery", "models", "usage", "authorize"]
)
def test_the_cold_path_imports_nothing_that_it_does_not_need(name: str) -> None:
    unneeded = {"boto3", "s3transfer", "jiter", "httpx2", "aws_xray_sdk", "multiprocessing", "asyncio", "PIL"}
    loaded = run(f"{built.start(name)}; import sys; print(*sys.modules)", **built.LAMBDA).split()
    assert not unneeded & set(loaded)
    rooms = {".".join(module.split(".")[:2]) for module in loaded if module.startswith("pixelprompt.")}
    assert "pixelprompt.generation" not in rooms
    # What judges prompts, and what knows models and providers.
    assert ("pixelprompt.prompts" in rooms) == (name == "submit")
    assert ("pixelprompt.providers" in rooms) == (name in ("submit", "models"))


@pytest.mark.parametrize("name", built.SERVICES)
def test_lambda_makes_the_services_while_it_starts_and_sends_nothing(name: str) -> None:
    code = f"""
import socket, gc
def refuse(*_): raise AssertionError("a connection at import")
socket.socket.connect = refuse
import {name}
made = [getattr({name}.services, service).cache_info().currsize for service in {built.SERVICES[name]!r}]
print(set(made), gc.isenabled(), gc.get_freeze_count() > 10_000)
"""
    assert run(code, **built.LAMBDA).split() == ["{1}", "True", "True"]


@pytest.mark.parametrize("name", ["submit", "generate"])
def test_a_lambda_without_its_settings_starts_all_the_same(name: str) -> None:
    code = f"""
import os, gc
os.environ |= dict(AWS_LAMBDA_FUNCTION_NAME="f")
import {name}
print(gc.isenabled())
"""
    assert run(code).strip() == "True"


def test_a_picture_is_in_memory_less_than_three_times(s3: Any) -> None:
    data = picture(1500)
    body = json.dumps({"image": base64.b64encode(data).decode(), "finish_reason": "SUCCESS"}).encode()
    model = Model("Stable Image Core", "stability", "core")
    stored: list[int] = []

    class Sink:
        """S3 that keeps nothing."""

        def put_object(self, *, Body: bytes, **_: Any) -> None:
            stored.append(len(Body))

    with Canned(Answer(content=body)) as server:

        def turn() -> None:
            answer = ask_stability(ImageRequest("a red fox"), model, Credentials("x", server.url), time.time() + 60)
            assert isinstance(answer, Generated)
            ImageStorage(Sink(), BUCKET).save(answer.images[0].data, {"model": "A"})

        turn()
        tracemalloc.start()
        try:
            turn()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(data) in stored
    assert peak < 3 * len(data)


def test_an_address_is_signed_once_and_not_given_out_when_half_of_its_time_is_over(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageStorage(s3, BUCKET)
    now = 1_763_900_000.0 // 1800 * 1800
    monkeypatch.setattr(time, "time", lambda: now)
    first = images.image_url("images/a.png")
    now += 1799
    assert images.image_url("images/a.png") is first
    now += 1
    assert images.image_url("images/a.png") is not first


def test_a_chain_is_what_waits_for_each_other() -> None:
    assert chain([Sent("a", 0, 2), Sent("b", 0, 1), Sent("c", 1, 3), Sent("d", 3, 4)]) == ["b", "c", "d"]


def test_a_budget_is_kept_by_the_median_or_by_the_ratio_to_the_floor() -> None:
    samples, floor = [2.0, 2.2, 9.0], [2.0]
    assert Figure("a", "s", samples, budget=Budget(2.2)).holds
    assert not Figure("a", "s", samples, budget=Budget(2.1)).holds
    assert Figure("a", "s", samples, floor, budget=Budget(1.15, of="ratio")).holds
    assert Figure("a", "s", samples).holds is None


def test_numbers_have_three_digits_that_matter() -> None:
    texts = [number(0.01234, "s"), number(1, "requests"), number(12.345), number(1234.5, "ms")]
    assert texts == ["0.0123 s", "1 request", "12.3", "1234 ms"]
    assert [percentile([1, 2, 3, 4], share) for share in (0.1, 0.5, 0.99)] == [1, 2, 4]
