"""A second engine for the workflow: moto's Step Functions runs the definition in this process, in milliseconds.

It has what the emulator lacks: the machine's time limit, MaxDelaySeconds and JitterStrategy, the 256 KiB limit, custom
error names and the history of a Map's items. What it lacks itself is added here:

- It needs a Java VM for JSONata: the Python port that the emulator uses evaluates in its place.
- A Lambda needs Docker: each is a Python function.
- Pauses are recorded, not waited for.
- As on AWS, ``States.ALL`` matches neither ``States.DataLimitExceeded`` nor ``States.Runtime``, and an item's error
  of any name may leave its Map.
- A redriven execution has a ``RedriveCount``; moto's context object never has one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import Event
from types import SimpleNamespace
from typing import Any

import jsonata
import pytest
from botocore.exceptions import ClientError
from moto.stepfunctions.parser.asl.component.common.error_name import error_equals_decl
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import jitter_strategy_decl, retrier_decl
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import iteration_worker
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.jsonata import jsonata as engine
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from infra.definition import workflow_definition
from infra.settings import Settings

Payload = dict[str, Any]
Function = Callable[[Payload], Any]
Definition = dict[str, Any]

# By placeholder, the name of the function that stands for it.
FUNCTIONS = {
    "PrepareReferencesFunctionArn": "prepare_references",
    "GenerateFunctionArn": "generate",
    "RecordFailureFunctionArn": "record_failure",
    "FinishFunctionArn": "finish",
}
_ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
_ROLE = "arn:aws:iam::123456789012:role/state-machine"


class TaskTimedOut(TimeoutError):
    """Raised by a function: it ran longer than its state's TimeoutSeconds."""


def service_error(code: str) -> ClientError:
    """The error of a Lambda that could not be invoked; the engine calls it ``Lambda.{code}``."""
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 500, "RequestId": "r"},
    }
    return ClientError(response, "Invoke")


@dataclass(frozen=True)
class Execution:
    """An execution that has ended.

    Attributes
    ----------
    error : the name of the error that it failed with, or None
    calls : by function, the payloads of its invocations in order
    waits : seconds of the Wait states
    delays : before each retry, the least and the most seconds
    entered : the names of the states that were entered; each is a transition that AWS charges for
    events : how many events its history has
    """

    status: str
    error: str | None
    output: Any
    calls: Mapping[str, list[Payload]]
    waits: list[float]
    delays: list[tuple[float, float]]
    entered: list[str]
    events: int

    @property
    def outcomes(self) -> list[Any]:
        """What *Finish job* was told of the items."""
        outcomes: list[Any] = self.calls["finish"][-1]["outcomes"]
        return outcomes


@dataclass
class Workflow:
    """The definition, the engine that runs it, and what its present execution has done so far.

    Attributes
    ----------
    redrives : how often executions were redriven; None where the engine's context object does not say
    """

    definition: Definition
    redrives: int | None = None
    waits: list[float] = field(default_factory=list)
    delays: list[tuple[float, float]] = field(default_factory=list)
    calls: dict[str, list[Payload]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def run(self, models: Any, *, references: int = 0, **functions: Function) -> Execution:
        """Run a job of models, with so many reference images; functions that are not named work as they should."""
        self.waits, self.delays = [], []
        self.calls = {name: [] for name in FUNCTIONS.values()}
        self.functions = {
            "prepare_references": prepared,
            "generate": done,
            "record_failure": recorded,
            "finish": finished,
            **functions,
        }
        text = json.dumps(self.definition)
        for placeholder, name in FUNCTIONS.items():
            text = text.replace(f"${{{placeholder}}}", _ARN + name)
        backend = StepFunctionsParserBackend("us-east-1", "123456789012")
        machine = backend.create_state_machine(name="machine", definition=text, roleArn=_ROLE)
        ran = backend.start_execution(machine.arn, "execution", json.dumps(job_input(models, references)))
        events = ran.to_history_output()["events"]
        return Execution(
            status=ran.status,
            error=ran.error,
            output=ran.output,
            calls=self.calls,
            waits=self.waits,
            delays=self.delays,
            entered=[
                details["name"]
                for e in events
                if e["type"].endswith("StateEntered") and (details := e["stateEnteredEventDetails"])
            ],
            events=len(events),
        )

    def invoke(self, *, FunctionName: str, Payload: bytes, **_: Any) -> dict[str, Any]:
        """The call of Lambda's client that the engine makes."""
        name, payload = FunctionName.removeprefix(_ARN), json.loads(Payload)
        self.calls[name].append(payload)
        error: dict[str, str] = {}
        try:
            answer = self.functions[name](payload)
        except (ClientError, TaskTimedOut):
            raise
        except Exception as exception:
            answer = {"errorType": type(exception).__name__, "errorMessage": str(exception)}
            error = {"FunctionError": "Unhandled"}
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), "StatusCode": 200, **error}

    def changed(self, change: Callable[[Definition], None]) -> Workflow:
        """Change the definition; returns the workflow itself."""
        change(self.definition)
        return self


def states_of(definition: Definition) -> Iterator[tuple[str, Definition]]:
    """All states by name, those of a Map's items included."""
    for name, state in definition["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states_of(state["ItemProcessor"])


def job_input(models: Any, references: int = 0) -> Payload:
    """The input of an execution as *submit* and *retry* write it; without models where they are None."""
    given = {
        "jobId": "job",
        "run": 1,
        "createdAt": "2026-11-26T12:00:00.000Z",
        "correlationId": "c",
        "prompt": 'a "red" fox',
        "parameters": {"steps": 28, **({"images": references} if references else {})},
        "models": models,
    }
    return given if models is not None else {name: value for name, value in given.items() if name != "models"}


def done(payload: Payload) -> Payload:
    """*Generate image* makes its image."""
    return {"state": "done", "index": payload["index"], "model": payload["model"], "recorded": True}


def prepared(payload: Payload) -> Payload:
    """*Prepare references* finds that all can be used."""
    return {"state": "ready", "references": 1}


def recorded(payload: Payload) -> Payload:
    """*Record failure* closes the row."""
    return {
        "state": "failed",
        "index": payload["index"],
        "model": payload["model"],
        "recorded": True,
        "errorCode": "unknown_outcome",
    }


def finished(payload: Payload) -> Payload:
    """*Finish job* computes the job's status."""
    return {"jobId": payload["jobId"], "status": "completed"}


class _Delay(float):
    """The seconds of a retry with jitter: any number up to this one."""


@contextmanager
def running_workflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    """The deployed definition in the engine; nothing of it stays behind."""
    workflow = Workflow(workflow_definition(Settings(), FUNCTIONS.keys()))
    monkeypatch.setattr(engine, "_eval_jsonata", lambda expression: jsonata.Jsonata(expression).evaluate(None))
    monkeypatch.setattr(lambda_eval_utils, "boto_client_for", lambda **_: workflow)
    # The engine parses a definition for each of its steps, which takes most of its time.
    monkeypatch.setattr(AmazonStateLanguageParser, "parse", staticmethod(_parse))
    # It describes the whole definition at every error, at every level.
    for name in ("_log_exception", "_log_failure_event_exception"):
        monkeypatch.setattr(EvalComponent, name, lambda *_, **__: None)
    monkeypatch.setattr(iteration_worker, "CustomErrorName", _error_name)

    def pause(_: Any, env: Any, wait_seconds: float) -> None:
        workflow.waits.append(wait_seconds)

    def sleep(seconds: float) -> None:
        workflow.delays.append((0.0 if isinstance(seconds, _Delay) else seconds, float(seconds)))

    monkeypatch.setattr(WaitFunction, "_wait_interval", pause)
    monkeypatch.setattr(retrier_decl, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(jitter_strategy_decl, "random", SimpleNamespace(uniform=lambda _, most: _Delay(most)))
    matches = error_equals_decl.ErrorEqualsDecl._eval_body

    def match(self: Any, env: Any) -> None:
        terminal = env.stack[-1].error_name in ("States.DataLimitExceeded", "States.Runtime")
        matches(self, env)
        names = [name.error_name for name in self.error_names]
        if terminal and names == ["States.ALL"]:
            env.stack[-1] = False

    monkeypatch.setattr(error_equals_decl.ErrorEqualsDecl, "_eval_body", match)
    environment = ExecutionWorker._get_evaluation_environment

    def environment_of(self: Any) -> Any:
        env: Any = environment(self)
        if workflow.redrives is not None:
            env.states.context_object.context_object_data["Execution"]["RedriveCount"] = workflow.redrives
        return env

    monkeypatch.setattr(ExecutionWorker, "_get_evaluation_environment", environment_of)
    # An execution has ended when its start returns.
    monkeypatch.setattr(ExecutionWorker, "start", ExecutionWorker._execution_logic)
    yield workflow


def _error_name(error_name: str) -> CustomErrorName | StatesErrorName:
    for kind in StatesErrorNameType:
        if kind.to_name() == error_name:
            return StatesErrorName(typ=kind)
    return CustomErrorName(error_name)


_parse_once = cache(AmazonStateLanguageParser.parse)


def _parse(definition: str) -> Any:
    return _parse_once(definition)


@contextmanager
def hanging() -> Iterator[Function]:
    """A function that does not end before the block does."""
    released = Event()

    def function(_: Payload) -> None:
        released.wait(60)

    try:
        yield function
    finally:
        released.set()
