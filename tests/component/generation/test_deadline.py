"""One deadline for a request, and what waits ends before it."""

import importlib
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.simulator import Simulator
from pixelprompt.api import http
from pixelprompt.deadline import Deadline, interrupted_after
from pixelprompt.errors import ConflictError, DeadlineExceeded, Interrupted, StorageError
from pixelprompt.jobs.executions import Executions, may_have_started
from pixelprompt.storage import clients
from pixelprompt.storage.documents import DocumentStore
from tests import built
from tests.canned import Answer, Asked, Canned
from tests.conftest import BUCKET

JOB = "0b8f9a52-0000-4000-8000-000000000000"


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deadline(clock: Clock) -> Deadline:
    """Ten seconds from now."""
    made = Deadline(2, clock=clock)
    made.begin(12)
    return made


def test_before_the_first_request_there_is_no_deadline() -> None:
    Deadline().check(1e9)


def test_each_invocation_has_its_own(deadline: Deadline, clock: Clock) -> None:
    assert deadline.left() == 10
    clock.now += 9
    deadline.check()
    with pytest.raises(DeadlineExceeded):
        deadline.check(1)
    clock.now += 5
    assert deadline.left() == 0
    with pytest.raises(DeadlineExceeded):
        deadline.check()
    deadline.begin(12)
    assert deadline.left() == 10


def test_aws_is_not_asked_after_the_deadline(s3: Any, deadline: Deadline, clock: Clock) -> None:
    documents = DocumentStore(clients.request_client("s3", deadline), BUCKET)
    assert documents.create("a.json", {"a": 1})
    clock.now += 10
    for ask in (
        lambda: documents.read("a.json"),
        lambda: documents.write("a.json", {}),
        lambda: documents.update("a.json", lambda value: {}),
    ):
        with pytest.raises(DeadlineExceeded) as error:
            ask()
        assert not may_have_started(error.value)
    clock.now -= 10
    assert documents.read("a.json")


def test_an_sdk_does_not_try_again_after_the_deadline(
    deadline: Deadline, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Asked) -> Answer:
        clock.now += 10
        return Answer(503, {"__type": "ServiceUnavailable"})

    with Canned(fail) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        executions = Executions(clients.request_client("stepfunctions", deadline), "arn:aws:states:x:1:stateMachine:m")
        with pytest.raises(DeadlineExceeded) as error:
            executions.start("a-job", "{}")
        # It was answered: not started.
        assert len(server.asked) == 1
        assert not may_have_started(error.value)
        with pytest.raises(DeadlineExceeded) as error:
            executions.start("a-job", "{}")
        assert len(server.asked) == 1
        assert not may_have_started(error.value)


@pytest.mark.parametrize("then", [Answer(400, {"__type": "ThrottlingException"}), None])
def test_a_start_of_which_one_attempt_has_no_answer_may_have_been_done(
    deadline: Deadline, clock: Clock, monkeypatch: pytest.MonkeyPatch, then: Answer | None
) -> None:
    """Whatever the SDK's other attempts were told, or where there was no time for another."""
    monkeypatch.setattr(clients, "_REQUEST_READ", 0.5)
    done = threading.Event()

    def answer(_: Asked) -> Answer:
        if len(server.asked) == 1:
            if then is None:
                clock.now += 10
            done.wait(30)
        return then or Answer(200, {})

    with Canned(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        executions = Executions(clients.request_client("stepfunctions", deadline), "arn:aws:states:x:1:stateMachine:m")
        with pytest.raises((ClientError, DeadlineExceeded)) as error:
            executions.start("a-job", "{}")
        done.set()
        assert len(server.asked) == (1 if then is None else 3)
    assert may_have_started(error.value)


def test_what_is_under_way_when_the_time_is_over_is_interrupted() -> None:
    started = time.monotonic()
    with pytest.raises(Interrupted) as error, interrupted_after(0.2):
        time.sleep(60)
    assert time.monotonic() - started < 30
    assert may_have_started(error.value)
    with interrupted_after(0.2):
        pass
    time.sleep(0.4)


def test_a_request_that_hangs_is_answered_before_its_lambda_ends() -> None:
    def respond(request: http.Request) -> http.Response:
        time.sleep(60)
        return http.Response({})

    context = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 2000)
    answer = http.endpoint(respond)({"rawPath": "/generate", "headers": {}}, context)
    assert answer["statusCode"] == 503


CALLS: dict[str, tuple[str, str, str | None]] = {
    "submit": ("POST", "/generate", '{"prompt": "a red fox"}'),
    "enhance": ("POST", "/enhance", '{"prompt": "a red fox"}'),
    "upload": ("POST", "/uploads", '{"contentType": "image/png"}'),
    "status": ("GET", f"/status/{JOB}", None),
    "cancel": ("POST", f"/cancel/{JOB}", None),
    "retry": ("POST", f"/retry/{JOB}", None),
    "models": ("GET", "/models", None),
    "gallery": ("GET", "/gallery/list", None),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_function_asks_aws_when_its_time_is_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, path, body = CALLS[name]
    with Canned(Answer(500)) as server:
        for variable, value in {
            "BUCKET_NAME": BUCKET, "PROVIDER_SECRET": "keys", "STATE_MACHINE_ARN": "arn:aws:states:x:1:stateMachine:m",
            "FINISH_FUNCTION": "finish", "AWS_ENDPOINT_URL": server.url,
        }.items():  # fmt: skip
            monkeypatch.setenv(variable, value)
        module = importlib.import_module(name)
        built.forget()
        event = {
            "rawPath": path,
            "headers": {},
            "pathParameters": {"jobId": JOB} if JOB in path else {},
            "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
            "body": body,
        }
        left = 1000 * clients.REQUEST_RESERVE
        context = SimpleNamespace(function_name=name, get_remaining_time_in_millis=lambda: left)
        answer = module.handler(event, context)
        assert (answer["statusCode"], server.asked) == (503, [])


def test_a_pause_ends_with_the_deadline(s3: Any) -> None:
    deadline = Deadline()
    documents = DocumentStore(s3, BUCKET, deadline=deadline)
    documents.write("a.json", {"n": 0})

    def lose(value: Any) -> Any:
        # Another one is always quicker.
        DocumentStore(s3, BUCKET).write("a.json", {"n": value["n"] + 1})
        return {"n": -1}

    deadline.begin(0)
    started = time.monotonic()
    # After a lost race a pause of up to minutes is drawn.
    with pytest.raises((ConflictError, DeadlineExceeded)):
        documents.update("a.json", lose, contenders=lambda value, losses: 1000)
    assert time.monotonic() - started < 20


def test_a_request_whose_time_is_over_is_answered_with_503() -> None:
    seen: list[float] = []

    def respond(request: http.Request) -> http.Response:
        seen.append(http.deadline.left())
        http.deadline.check(1000)
        return http.Response({})

    context = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 20_000)
    answer = http.endpoint(respond)({"rawPath": "/generate", "headers": {}}, context)
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"] == "SERVICE_UNAVAILABLE"
    assert int(answer["headers"]["Retry-After"]) > 0
    assert 0 < seen[0] <= 20 - clients.REQUEST_RESERVE


class Refusing:
    """Step Functions, which answers as it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def describe_execution(self, executionArn: str) -> Any:
        assert executionArn == "arn:aws:states:x:1:execution:m:a-job"
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"status": self.answer}


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "DescribeExecution")


@pytest.mark.parametrize(
    ("answer", "running"),
    [("RUNNING", True), ("ABORTED", False), ("SUCCEEDED", False), (error("ExecutionDoesNotExist"), False)],
)
def test_whether_an_execution_runs(answer: Any, running: bool) -> None:
    machine = "arn:aws:states:x:1:stateMachine:m"
    assert Executions(Refusing(answer), machine).is_running("a-job") is running


def test_who_may_not_ask_learns_nothing() -> None:
    with pytest.raises(ClientError):
        Executions(Refusing(error("AccessDeniedException")), "arn:aws:states:x:1:stateMachine:m").is_running("a-job")


@pytest.mark.parametrize("moderation", ["keyword", "model"])
def test_enhance_is_answered_in_time_whatever_the_models_do(
    s3: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, moderation: str
) -> None:
    import enhance

    secret = clients.client("secretsmanager").create_secret(Name="keys", SecretString='{"OPENAI_API_KEY": "k"}')
    for name, value in {
        "BUCKET_NAME": BUCKET,
        "PROVIDER_SECRET": secret["ARN"],
        "PROVIDER_ENDPOINTS": json.dumps({"openai": f"{simulator.url}/openai/v1"}),
        "MODERATION": moderation,
    }.items():
        monkeypatch.setenv(name, value)
    built.forget()
    simulator.set_fault("gpt-5.4-mini", "slow", seconds=100)
    event = {
        "rawPath": "/enhance",
        "headers": {},
        "requestContext": {"http": {"method": "POST", "path": "/enhance", "sourceIp": "192.0.2.1"}},
        "body": '{"prompt": "a red fox"}',
    }
    # Four seconds, and what may be under way then.
    left = 1000 * (4 + clients.REQUEST_RESERVE)
    context = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: left)
    started = time.monotonic()
    answer = enhance.handler(event, context)
    assert time.monotonic() - started < left / 1000
    body = json.loads(answer["body"])
    if moderation == "keyword":
        assert answer["statusCode"] == 200 and body["enhanced"] == "a red fox" and body["warning"]
    else:
        assert (answer["statusCode"], body["error"]) == (503, "SERVICE_UNAVAILABLE")


def test_the_deadline_is_a_fault_of_storage_that_passes() -> None:
    assert issubclass(DeadlineExceeded, StorageError)
