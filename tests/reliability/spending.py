"""What the processes of a storm on the budget do; in a module of its own, because each of them imports it.

Each is all Lambdas of one deployment, and takes the part of the state machine as well. At any request to AWS it may
die: the request goes out or not, nothing more is done, and the next event is handled by a new one.
"""

import importlib
import json
import os
import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import botocore.client

from pixelprompt.limits.budget import DEPLOYMENT, Budget, Budgets, Reservation
from pixelprompt.storage import clients
from pixelprompt.storage.ledger import Ledger

from .. import built
from .emulator import TABLE

CONTEXT = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 60_000)
_ask_aws = botocore.client.BaseClient._make_api_call


@dataclass(frozen=True)
class Amounts:
    """Amounts to be reserved in one budget, in millionths of a US dollar."""

    amounts: Sequence[int]
    daily: int


def reserve(client: Any, task: Amounts, await_instant: Callable[[int], None]) -> list[tuple[int, bool]]:
    """Reserve each amount for a job of its own; whether there was room."""
    budgets = Budgets(Ledger(client, TABLE))
    await_instant(0)
    limits = [Budget(DEPLOYMENT, daily=task.daily)]
    return [
        (amount, isinstance(budgets.reserve(str(uuid.uuid4()), 1, amount, limits), Reservation))
        for amount in task.amounts
    ]


class Killed(BaseException):
    """The process of a Lambda has died."""


class Mortality:
    """Lets a Lambda die at a request to AWS, which may have gone out."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._left: int | None = None
        self._is_dead = False
        mortality = self

        def ask(client: Any, operation: str, arguments: Any) -> Any:
            mortality._live(lambda: _ask_aws(client, operation, arguments))
            return _ask_aws(client, operation, arguments)

        botocore.client.BaseClient._make_api_call = ask

    def _live(self, ask: Callable[[], Any]) -> None:
        if self._left == 0 and not self._is_dead:
            self._is_dead = True
            if self._chance.random() < 0.5:
                ask()
        if self._is_dead:
            raise Killed
        if self._left:
            self._left -= 1

    @contextmanager
    def life(self, deadly: float) -> Iterator[None]:
        """One invocation, which dies with this probability."""
        self._is_dead = False
        self._left = self._chance.randrange(8) if self._chance.random() < deadly else None
        try:
            yield
        finally:
            self._is_dead, self._left = False, None


@dataclass(frozen=True)
class Life:
    """So many jobs in a deployment with these settings."""

    seed: int
    jobs: int
    environment: Mapping[str, str]
    models: Sequence[str]
    key: str
    daily: int


def live(client: Any, task: Life, await_instant: Callable[[int], None]) -> list[str]:
    """Send jobs, play the state machine, cancel and retry at random; how each request was answered."""
    os.environ.update(task.environment)
    built.forget()
    worker = _Worker(task, random.Random(task.seed))
    await_instant(0)
    return [worker.job() for _ in range(task.jobs)]


class _Worker:
    def __init__(self, task: Life, chance: random.Random) -> None:
        self._task = task
        self._chance = chance
        self._mortality = Mortality(chance)
        self._workflow = clients.client("stepfunctions")

    def job(self) -> str:
        """One job from its request to its last run."""
        body = {
            "prompt": "a red fox",
            "models": self._chance.sample(self._task.models, self._chance.randint(4, len(self._task.models))),
        }
        key = {"idempotency-key": str(uuid.uuid4())}
        response = self._call("submit", "POST", "/generate", body, key)
        if response is None:
            # The caller has heard nothing, and sends it again.
            response = self._call("submit", "POST", "/generate", body, key, deadly=0.1)
        if response is None or response["statusCode"] != 200:
            return str(response and response["statusCode"])
        job_id = json.loads(response["body"])["jobId"]
        self._run(job_id, 1)
        if self._chance.random() < 0.4:
            again = self._call("retry", "POST", f"/retry/{job_id}", {}, {}, job_id)
            if again and again["statusCode"] == 200:
                self._run(job_id, json.loads(again["body"])["run"])
        return "200"

    def _run(self, job_id: str, run: int) -> None:
        """What the state machine does with one run."""
        name = job_id if run == 1 else f"{job_id}-r{run}"
        arn = f"{os.environ['STATE_MACHINE_ARN'].replace(':stateMachine:', ':execution:')}:{name}"
        try:
            execution = json.loads(self._workflow.describe_execution(executionArn=arn)["input"])
        except self._workflow.exceptions.ExecutionDoesNotExist:
            return
        shared = {key: value for key, value in execution.items() if key != "models"}
        outcomes: list[Any] = []
        for item in execution["models"]:
            if self._chance.random() < 0.03:
                self._call("cancel", "POST", f"/cancel/{job_id}", {}, {}, job_id)
            outcomes.append(self._generate({**shared, **item}))
        if self._chance.random() < 0.8:
            self._invoke("finish", {"jobId": job_id, "run": run, "outcomes": [told for told in outcomes if told]})

    def _generate(self, item: dict[str, Any]) -> Any:
        outcome = None
        for attempt in (1, 2):
            outcome = self._invoke("generate", {**item, "attempt": attempt, **(outcome or {})})
            if outcome is None:
                broke = {**item, "attempt": attempt, "error": {"Error": "Lambda.Unknown"}}
                outcome = self._invoke("record_failure", broke, deadly=0.1)
            if not outcome or outcome["state"] != "wait":
                return outcome
        return None

    def _call(
        self,
        name: str,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        job_id: str = "",
        *,
        deadly: float = 0.15,
    ) -> Any:
        http = {"method": method, "path": path, "sourceIp": f"192.0.2.{self._chance.randrange(256)}"}
        authorizer = {"lambda": {"keyId": self._task.key, "limits": json.dumps({"daily": self._task.daily})}}
        event = {
            "rawPath": path,
            "headers": dict(headers),
            "requestContext": {"http": http, "domainName": "api.test", "authorizer": authorizer},
            "body": json.dumps(body),
            "pathParameters": {"jobId": job_id},
        }
        return self._invoke(name, event, deadly=deadly)

    def _invoke(self, name: str, event: Mapping[str, Any], *, deadly: float = 0.15) -> Any:
        """The result of an entry point; None where it has died, or failed as Lambda would report it."""
        handler = importlib.import_module(name).handler
        try:
            with self._mortality.life(deadly):
                return handler(event, CONTEXT)
        except (Killed, Exception):
            return None
