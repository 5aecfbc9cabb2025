"""The handlers of all Lambdas, with the services that they wire, on moto's AWS and the simulated providers."""

import importlib
import json
from types import SimpleNamespace
from typing import Any

import pytest

from local.simulator import Simulator
from pixelprompt import services
from pixelprompt.jobs.finish import FinishRequest
from pixelprompt.storage import clients
from tests import built
from tests.shipped import FIRST

BUCKET = "test-bucket"
MODEL = FIRST.name
MISSING = "12345678-1234-4234-8234-123456789012"
CONTEXT = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 60_000)


class Service:
    """A deployment whose Lambdas are called in this process."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.workflow = clients.client("stepfunctions")
        self.machine = self.workflow.create_state_machine(
            name="machine",
            definition=json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
            roleArn="arn:aws:iam::123456789012:role/workflow",
        )["stateMachineArn"]

    def call(self, name: str, method: str, path: str, body: Any = None, **event: Any) -> dict[str, Any]:
        """The response of an API Lambda; its body is parsed."""
        request = {
            "rawPath": path,
            "headers": event.pop("headers", {}),
            "requestContext": {
                "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "domainName": "api.test",
            },
            "body": None if body is None else json.dumps(body),
            **event,
        }  # fmt: skip
        response: dict[str, Any] = importlib.import_module(name).handler(request, CONTEXT)
        return {**response, "body": json.loads(response["body"]) if response.get("body") else None}

    def job_call(self, name: str, job_id: str, body: Any = None, **event: Any) -> dict[str, Any]:
        """The response of a Lambda whose path names a job."""
        method = "GET" if name == "status" else "POST"
        return self.call(name, method, f"/{name}/{job_id}", body, pathParameters={"jobId": job_id}, **event)

    def submit(self, **fields: Any) -> str:
        response = self.call("submit", "POST", "/generate", {"prompt": "a red fox", "models": [MODEL], **fields})
        assert response["statusCode"] == 200, response["body"]
        job_id: str = response["body"]["jobId"]
        return job_id

    def execution(self, name: str) -> dict[str, Any]:
        """The input of an execution."""
        arn = f"{self.machine.replace(':stateMachine:', ':execution:')}:{name}"
        found: dict[str, Any] = json.loads(self.workflow.describe_execution(executionArn=arn)["input"])
        return found

    def item(self, name: str) -> dict[str, Any]:
        """The event of the first model of an execution, as the state machine makes it."""
        execution = self.execution(name)
        shared = {key: value for key, value in execution.items() if key != "models"}
        return {**shared, **execution["models"][0], "attempt": 1}

    def document(self, job_id: str) -> dict[str, Any]:
        """The job document in the bucket."""
        stored: dict[str, Any] = json.load(self.s3.get_object(Bucket=BUCKET, Key=f"jobs/{job_id}/status.json")["Body"])
        return stored


@pytest.fixture
def service(s3: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service(s3)
    secret = clients.client("secretsmanager").create_secret(Name="keys", SecretString='{"OPENAI_API_KEY": "test-key"}')
    for name, value in {
        "BUCKET_NAME": BUCKET,
        "PROVIDER_SECRET": secret["ARN"],
        "PROVIDER_ENDPOINTS": json.dumps({"openai": f"{simulator.url}/openai/v1"}),
        "STATE_MACHINE_ARN": made.machine,
        "FINISH_FUNCTION": "finish-function",
        "IP_LIMIT": "5",
    }.items():
        monkeypatch.setenv(name, value)
    built.forget()
    return made


def test_a_job_from_its_request_to_its_gallery(service: Service, simulator: Simulator) -> None:
    job_id = service.submit(seed=7, quality="low")
    item = service.item(job_id)
    assert (item["prompt"], item["model"], item["run"]) == ("a red fox", MODEL, 1)
    assert service.document(job_id)["status"] == "pending"

    outcome = importlib.import_module("generate").handler(item, CONTEXT)
    assert outcome == {"state": "done", "index": 0, "model": MODEL, "recorded": True}
    (request,) = simulator.requests
    assert (request.body["prompt"], request.body["quality"]) == ("a red fox", "low")

    finished = importlib.import_module("finish").handler({"jobId": job_id, "outcomes": [outcome], "run": 1}, CONTEXT)
    assert finished == {"jobId": job_id, "status": "completed", "totalModels": 1, "completedModels": 1}

    status = service.job_call("status", job_id)
    (row,) = status["body"]["results"]
    assert (status["statusCode"], status["body"]["status"], row["status"]) == (200, "completed", "completed")
    assert row["imageUrl"].startswith("https://") and row["ignored"].keys() == {"seed"}
    assert status["headers"]["Cache-Control"] == "no-cache"
    unchanged = service.job_call("status", job_id, headers={"if-none-match": status["headers"]["ETag"]})
    assert (unchanged["statusCode"], unchanged["body"]) == (304, None)
    assert unchanged["headers"]["ETag"] == status["headers"]["ETag"]

    page = service.call("gallery", "GET", "/gallery/list")
    assert (page["statusCode"], page["headers"]["Cache-Control"]) == (200, "no-cache")
    (listed,) = page["body"]["galleries"]
    gallery = service.call("gallery", "GET", "/gallery/x", pathParameters={"galleryId": listed["galleryId"]})
    assert (gallery["statusCode"], gallery["headers"]["Cache-Control"]) == (200, "no-cache")
    (image,) = gallery["body"]["images"]
    assert image["model"] == MODEL


def test_a_cancelled_job_is_run_again(service: Service) -> None:
    job_id = service.submit()
    cancelled = service.job_call("cancel", job_id)
    assert (cancelled["statusCode"], cancelled["body"]["status"]) == (200, "cancelled")
    assert service.document(job_id)["results"][0]["billable"] == "no"
    arn = f"{service.machine.replace(':stateMachine:', ':execution:')}:{job_id}"
    assert service.workflow.describe_execution(executionArn=arn)["status"] == "ABORTED"

    response = service.job_call("retry", job_id, {"models": [MODEL]})
    assert response["statusCode"] == 200
    assert response["body"] == {
        "jobId": job_id,
        "message": "Run 2 was started with 1 model.",
        "run": 2,
        "totalModels": 1,
        "statusUrl": f"https://api.test/status/{job_id}",
    }
    assert service.item(f"{job_id}-r2")["run"] == 2
    document = service.document(job_id)
    assert (document["status"], document["run"], "cancelRequested" in document) == ("pending", 2, False)


def test_a_broken_invocation_becomes_an_error_of_its_model(service: Service) -> None:
    job_id = service.submit()
    event = {**service.item(job_id), "error": {"Error": "Lambda.AccessDeniedException"}}
    outcome = importlib.import_module("record_failure").handler(event, CONTEXT)
    assert (outcome["state"], outcome["recorded"]) == ("failed", True)
    row = service.document(job_id)["results"][0]
    assert (row["status"], row["errorCode"], row["billable"]) == ("error", outcome["errorCode"], "no")


def test_the_models_are_listed_with_whether_their_key_is_there(service: Service) -> None:
    response = service.call("models", "GET", "/models")
    assert (response["statusCode"], response["headers"]["Cache-Control"]) == (200, "max-age=60")
    listed = {model["name"]: model for model in response["body"]["models"]}
    assert listed[MODEL]["configured"] is True
    assert {model["configured"] for model in listed.values() if model["provider"] == "gemini"} == {False}


def test_an_idempotency_key_makes_one_job(service: Service) -> None:
    body = {"prompt": "a red fox", "models": [MODEL]}
    first, second = (
        service.call("submit", "POST", "/generate", body, headers={"idempotency-key": "order-1"}) for _ in range(2)
    )
    assert first["body"]["jobId"] == second["body"]["jobId"]
    replayed = [response["headers"].get("Idempotent-Replayed") for response in (first, second)]
    assert replayed == [None, "true"]
    assert len(service.workflow.list_executions(stateMachineArn=service.machine)["executions"]) == 1


def test_a_dry_run_has_no_job_and_no_status_url(service: Service) -> None:
    response = service.call("submit", "POST", "/generate", {"prompt": "a red fox", "models": [MODEL], "dryRun": True})
    assert response["statusCode"] == 200 and {"jobId", "statusUrl"}.isdisjoint(response["body"])
    assert service.workflow.list_executions(stateMachineArn=service.machine)["executions"] == []


@pytest.mark.parametrize("name", ["status", "cancel", "retry"])
def test_a_job_that_is_not_there_is_not_found(service: Service, name: str) -> None:
    response = service.job_call(name, MISSING, None if name == "status" else {})
    assert (response["statusCode"], response["body"]["error"]) == (404, "JOB_NOT_FOUND")


def test_the_operator_limits_the_jobs_of_an_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IP_LIMIT", "1")
    built.forget()
    service.submit()
    response = service.call("submit", "POST", "/generate", {"prompt": "a red fox", "models": [MODEL]})
    assert (response["statusCode"], response["body"]["scope"]) == (429, "ip")


def test_an_abandoned_job_is_handed_to_the_finish_lambda(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    invoked: list[dict[str, Any]] = []
    monkeypatch.setattr(services, "_finish_client", lambda: SimpleNamespace(invoke=lambda **call: invoked.append(call)))
    services.ask_to_finish(MISSING, 2)
    (call,) = invoked
    assert (call["FunctionName"], call["InvocationType"]) == ("finish-function", "Event")
    assert FinishRequest.from_event(json.loads(call["Payload"])).run == 2


def test_the_finish_lambda_is_told_of_a_job_that_expired(service: Service) -> None:
    finished = importlib.import_module("finish").handler({"jobId": MISSING}, CONTEXT)
    assert finished == {"jobId": MISSING, "status": None}
