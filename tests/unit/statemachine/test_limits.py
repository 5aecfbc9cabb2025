"""What AWS limits and the emulator does not, measured with the largest job: 40 models with n = 4."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from infra.settings import MAX_MODELS
from pixelprompt.api import body
from pixelprompt.generation.failure import FailureRecorder
from pixelprompt.generation.item import MAX_WAIT
from pixelprompt.generation.run import WAIT_HERE
from pixelprompt.jobs.executions import map_item
from pixelprompt.jobs.progress import Progress
from pixelprompt.jobs.references import DATA_LIMIT
from pixelprompt.jobs.schema import FailedResult, ModelResult
from pixelprompt.jobs.status import JobStatus
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import ProviderError
from pixelprompt.models.parameters import MAX_IMAGES, Receipt
from pixelprompt.models.parameters import NAMES as PARAMETERS
from pixelprompt.providers.response import MAX_TOKEN
from pixelprompt.storage import clients
from pixelprompt.storage.images import ImageStorage
from tests.workflow_engine import Workflow, done, running_workflow, service_error, states_of

BUCKET = "test-bucket"
KIB = 1024
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
STATE_PAYLOAD, HISTORY_EVENTS = 256 * KIB, 25_000
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_RESPONSE = 6 * KIB * KIB
# What a session token of a Lambda's role has; it is part of each presigned URL.
SESSION_TOKEN = "x" * 1500
# A character that is written with twelve, as an escaped surrogate pair.
WIDEST = "\N{FOX FACE}"
NAMES = [f"A Model With a Rather Long Name {number:02d}" for number in range(MAX_MODELS)]


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    with running_workflow(monkeypatch) as workflow:
        yield workflow


def test_the_largest_input_of_an_execution_is_below_the_limit() -> None:
    """Of a retry: its items bring the tokens of requests that go on."""
    parameters = {"negativePrompt": WIDEST * 1000, **{f"parameter{number}": "x" * 20 for number in range(12)}}
    # A call has a token or an error, and only the first error has a sentence.
    progress = Progress(
        tokens=dict.fromkeys(range(MAX_IMAGES), '"' * (MAX_TOKEN // 2)),
        failures={0: cast(FailedResult, ProviderError("provider_unavailable", WIDEST * 9000).row())},
    )
    resume = progress.dump()
    receipt = _largest_receipt()
    rows = [
        ModelResult(
            index=index,
            model=name,
            provider="openai",
            status="pending",
            applied=receipt.applied,
            adjusted=receipt.adjusted,
            ignored=receipt.ignored,
        )
        for index, name in enumerate(NAMES)
    ]
    models = [map_item(row, resume) for row in rows]
    execution = {"prompt": WIDEST * 1000, "parameters": parameters, "correlationId": "c" * 128, "models": models}
    size = len(json.dumps(execution))
    print(f"the input of a retry of {MAX_MODELS} models has at most {size} bytes")
    assert size < STATE_PAYLOAD


def _largest_receipt() -> Receipt:
    """Of a request with every parameter, each adjusted."""
    longest = 0.1234567890123456
    return Receipt(adjusted={name: {"requested": longest, "used": longest} for name in PARAMETERS})


def test_a_job_document_and_its_response_are_far_below_the_limits(s3: Any) -> None:
    signer = clients.session().create_client(
        "s3",
        config=s3.meta.config,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        aws_session_token=SESSION_TOKEN,
    )
    jobs, images = JobManager(s3, BUCKET, clock=lambda: datetime.now(UTC)), ImageStorage(signer, BUCKET)
    job_id = jobs.create_job(WIDEST * 1000, {}, [{"name": name, "provider": "openai"} for name in NAMES])
    for name in NAMES:
        key = f"2026-11-26-12-00-00-0123abcd/{name.replace(' ', '-')}-1795724541766"
        stored = [
            {"imageKey": f"group-images/{key}-{n}.json", "binaryKey": f"images/{key}-{n}.png", "width": 1, "height": 1}
            for n in range(MAX_IMAGES)
        ]
        jobs.mark_model_complete(job_id, name, {"imageKey": stored[0]["imageKey"], "images": stored})
    document, _ = JobStatus(jobs, images, lambda *_: None, lambda name: True, clock=time.time).get(job_id)
    assert SESSION_TOKEN in document["results"][0]["imageUrl"]
    body = json.dumps(document)
    assert len(body) < LAMBDA_RESPONSE / 8
    print(f"a response with {MAX_MODELS * MAX_IMAGES} presigned URLs has {len(body)} bytes")


def test_a_request_has_less_than_api_gateway_and_lambda_let_through() -> None:
    assert body.BODY_LIMIT < LAMBDA_RESPONSE / 8
    # API Gateway hands a body over in base64 where its content type is not text, beside the headers.
    assert body.IMAGES_BODY_LIMIT * 4 / 3 + body.BODY_LIMIT < LAMBDA_RESPONSE
    assert DATA_LIMIT * 4 / 3 + body.BODY_LIMIT < body.IMAGES_BODY_LIMIT


def test_the_longest_history_is_below_the_limit(workflow: Workflow) -> None:
    """Of 40 models that all find no free Lambda at first, and then wait as often as they can."""
    turn = {"state": "wait", "waitSeconds": 1, "attempt": 2, "resume": None, "deadline": None}
    waits = iter(range(2))

    def generate(payload: dict[str, Any]) -> dict[str, Any]:
        return {**done(payload), **turn} if next(waits, None) is not None else done(payload)

    throttled = iter(range(3))

    def busy(payload: dict[str, Any]) -> dict[str, Any]:
        if next(throttled, None) is not None:
            raise service_error("TooManyRequestsException")
        return done(payload)

    def broken(payload: dict[str, Any]) -> dict[str, Any]:
        if payload["attempt"] == 1:
            raise RuntimeError
        return done(payload)

    states = dict(states_of(workflow.definition))
    plain = workflow.run(["a"]).events
    a_wait = (workflow.run(["a"], generate=generate).events - plain) / 2
    an_attempt = (workflow.run(["a"], generate=busy).events - plain) / 3
    a_break = workflow.run(["a"], generate=broken, record_failure=lambda p: {**done(p), **turn}).events - plain
    # A pause is at least a second; before it, all that the Lambda may wait for has passed.
    most_waits = MAX_WAIT / (WAIT_HERE / 2 + 1)
    (patient,) = [r for r in states["Generate image"]["Retry"] if "Lambda.TooManyRequestsException" in r["ErrorEquals"]]
    print(f"events: {plain} a job of one, {a_wait} a wait, {an_attempt} a throttled attempt, {a_break} a break")
    most_breaks = max(FailureRecorder.MAX_ATTEMPTS * a_break, most_waits * a_wait)
    assert MAX_MODELS * (plain + patient["MaxAttempts"] * an_attempt + most_breaks) < HISTORY_EVENTS
