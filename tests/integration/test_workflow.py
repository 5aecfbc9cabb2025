"""The real workflow, *Record failure* and *Finish job* around a generate Lambda that breaks in every way."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pixelprompt.jobs.status import STARTING_SECONDS
from pixelprompt.jobs.store import JobManager
from pixelprompt.storage.keys import epoch_milliseconds, gallery, resume_key, stem

from .conftest import Service

DEFINITION = Path(__file__).parents[2] / "statemachine" / "generate_images.asl.json"
GENERATE = """
import time

def handler(event, context):
    print(event)
    model, attempt = event["model"], event["attempt"]
    done = {"state": "done", "index": event["index"], "model": model, "recorded": False,
            "row": {"imageKey": "group-images/x.json", "usage": {"attempts": attempt, "resume": event["resume"]}}}
    wait = {"state": "wait", "index": event["index"], "model": model,
            "waitSeconds": 1.4, "attempt": attempt + 1, "resume": "token", "deadline": 4e9}
    if model == "polled":
        return done if attempt == 3 else wait
    if model == "crashes":
        raise RuntimeError("boom " + "x" * 5000)
    if model == "crashes while polling":
        if attempt == 1:
            return wait
        raise RuntimeError("boom")
    if model == "resumed":
        if event["resume"] is None:
            raise RuntimeError("boom after the provider had taken the request")
        return done
    if model == "answers nonsense":
        return {"state": "wait"}
    if model == "answers nothing":
        return None
    if model == "over its time limit":
        time.sleep(20)
    return done
"""
TOKEN = '{"tokens":{"0":"token"}}'
MODELS = {
    "fine": ("completed", None),
    "polled": ("completed", None),
    "crashes": ("error", "unknown_outcome"),
    "crashes while polling": ("error", "unknown_outcome"),
    "resumed": ("completed", None),
    "answers nonsense": ("error", "internal"),
    "answers nothing": ("error", "internal"),
    "over its time limit": ("error", "unknown_outcome"),
}


DEAD = """
def handler(event, context):
    raise RuntimeError("boom")
"""


def role(cloud: Any, name: str) -> str:
    """Make a role that may do nothing; its ARN."""
    principal = {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}],
    }
    made = cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return str(made["Role"]["Arn"])


def create_function(cloud: Any, name: str, source: str) -> str:
    """Make a Lambda function of this source with a role of its own; its ARN."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("main.py", source)
    made = cloud.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="main.handler",
        Role=role(cloud, name),
        Timeout=5,
        Code={"ZipFile": package.getvalue()},
    )
    return str(made["FunctionArn"])


@contextmanager
def state_machine(cloud: Any, name: str, record_failure: str, finish: str) -> Iterator[str]:
    """A state machine of the real definition whose generate Lambda is the one above; its ARN."""
    generate = create_function(cloud, f"{name}-generate", GENERATE)
    text = DEFINITION.read_text()
    values = {
        # None of these jobs has reference images.
        "PrepareReferencesFunctionArn": generate,
        "GenerateFunctionArn": generate,
        "RecordFailureFunctionArn": record_failure,
        "FinishFunctionArn": finish,
    }
    for placeholder, value in values.items():
        text = text.replace(f"${{{placeholder}}}", value)
    states = cloud.client("stepfunctions")
    arn = states.create_state_machine(name=name, definition=text, roleArn=role(cloud, name))["stateMachineArn"]
    yield arn
    states.delete_state_machine(stateMachineArn=arn)
    cloud.client("lambda").delete_function(FunctionName=f"{name}-generate")
    for role_name in (name, f"{name}-generate"):
        cloud.client("iam").delete_role(RoleName=role_name)


@pytest.fixture(scope="module")
def machine(cloud: Any) -> Iterator[str]:
    """The workflow with the real *Record failure* and *Finish job*."""
    service = Service(cloud)
    with state_machine(cloud, "broken", service.function("record-failure"), service.function("finish")) as arn:
        yield arn


@pytest.fixture(scope="module")
def dead(cloud: Any) -> str:
    """A Lambda that always breaks; its ARN."""
    return create_function(cloud, "dead", DEAD)


def execute(service: Service, machine: str, models: Any) -> tuple[dict[str, Any], str]:
    """Create a job and run it; returns its document and the execution's status."""
    jobs = JobManager(service.s3, service.bucket)
    created_at = jobs.now()
    rows = [{"name": name, "provider": "openai"} for name in models]
    job_id = jobs.create_job("a red fox", {}, rows, created_at=created_at)
    if "resumed" in models:
        body = json.dumps({"resume": TOKEN})
        key = resume_key(job_id, list(models).index("resumed"))
        service.s3.put_object(Bucket=service.bucket, Key=key, Body=body)
    given: dict[str, Any] = {
        "jobId": job_id,
        "run": 1,
        "createdAt": created_at,
        "correlationId": "c",
        "prompt": "a red fox",
        "parameters": {},
        "models": list(models) if isinstance(models, dict) else models,
    }
    states = service.cloud.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine, name=job_id, input=json.dumps(given))["executionArn"]
    limit = time.monotonic() + 60
    while (status := states.describe_execution(executionArn=arn)["status"]) == "RUNNING":
        assert time.monotonic() < limit
        time.sleep(0.1)
    document = jobs.read(job_id)
    assert document is not None
    return document.value, status


def test_every_way_of_breaking_ends_its_own_row_only(service: Service, machine: str) -> None:
    document, status = execute(service, machine, MODELS)
    assert status == "SUCCEEDED"
    found = {row["model"]: (row["status"], row.get("errorCode")) for row in document["results"]}
    assert found == MODELS
    assert document["status"] == "partial"
    rows = {row["model"]: row for row in document["results"]}
    assert rows["polled"]["usage"] == {"attempts": 3, "resume": "token"}
    assert rows["resumed"]["usage"]["resume"] == TOKEN
    assert all(row["error"].endswith(".") and "boom" not in row["error"] for row in rows.values() if "error" in row)


def test_an_input_that_the_map_cannot_take_is_a_failed_job(service: Service, machine: str) -> None:
    jobs = JobManager(service.s3, service.bucket)
    job_id = jobs.create_job("a red fox", {}, [{"name": "fine", "provider": "openai"}])
    states = service.cloud.client("stepfunctions")
    given = {"jobId": job_id, "run": 1, "correlationId": "c", "models": "no list"}
    states.start_execution(stateMachineArn=machine, name=job_id, input=json.dumps(given))
    assert service.wait(job_id, seconds=20)["status"] == "failed"


def test_forty_models_in_one_job(service: Service, machine: str) -> None:
    models = {f"Model {number}": ("completed", None) for number in range(40)}
    document, _ = execute(service, machine, models)
    assert document["completedModels"] == 40


def test_an_abandoned_job_is_closed_when_somebody_looks(service: Service) -> None:
    """No execution was ever started; the document is older than any job can be."""
    old = datetime(2026, 1, 1, tzinfo=UTC)
    jobs = JobManager(service.s3, service.bucket, clock=lambda: old)
    job_id = jobs.create_job("a red fox", {}, [{"name": "fine", "provider": "openai"}])
    assert service.wait(job_id, seconds=20)["status"] == "failed"


def test_a_job_that_was_never_started_is_closed_soon_and_not_billed(service: Service) -> None:
    """Its submit died between document and execution."""
    jobs = JobManager(service.s3, service.bucket, clock=lambda: datetime.now(UTC) - timedelta(seconds=STARTING_SECONDS))
    job_id = jobs.create_job("a red fox", {}, [{"name": "fine", "provider": "openai"}])
    assert service.status(job_id)["status"] == "pending", "one look is not enough"
    job = service.wait(job_id, seconds=60)
    assert job["status"] == "failed"
    assert [(row["errorCode"], row["billable"]) for row in job["results"]] == [("internal", "no")]


def test_where_record_failure_dies_too_the_end_of_the_job_mends_the_row(service: Service, dead: str) -> None:
    with state_machine(service.cloud, "no-record-failure", dead, service.function("finish")) as arn:
        document, status = execute(service, arn, {"fine": None, "crashes": None})
    assert status == "SUCCEEDED"
    assert [row["status"] for row in document["results"]] == ["completed", "error"]
    assert document["status"] == "partial"


def test_where_finish_job_dies_too_the_failure_event_ends_the_job_and_keeps_its_images(
    service: Service, dead: str
) -> None:
    with state_machine(service.cloud, "no-finish", dead, dead) as arn:
        document, status = execute(service, arn, {"fine": None, "crashes": None})
        assert status == "FAILED"
        assert document["status"] == "pending"
        # The image of one model lies in S3; only its row is missing.
        name = stem(
            gallery(document["jobId"], document["createdAt"]), "fine", epoch_milliseconds(document["createdAt"])
        )
        for key in (f"group-images/{name}.json", f"images/{name}.png"):
            service.s3.put_object(Bucket=service.bucket, Key=key, Body=b"{}")
        detail = {"name": document["jobId"], "status": "FAILED", "input": json.dumps({"jobId": document["jobId"]})}
        event = json.dumps({"detail-type": "Step Functions Execution Status Change", "detail": detail})
        service.cloud.client("lambda").invoke(FunctionName=service.function("finish"), Payload=event)
    ended = service.wait(document["jobId"], seconds=5)
    assert [row["status"] for row in ended["results"]] == ["completed", "error"]
    assert ended["status"] == "partial"
