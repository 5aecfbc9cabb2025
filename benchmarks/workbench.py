"""Environment of the parts: one laptop cloud for all of them, and an emulator's S3 alone."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.figures import Result
from local import cloud as local_cloud
from pixelprompt.storage.keys import status_key
from tests.integration.conftest import FINAL, Service
from tests.reliability.emulator import emulator

MAX_MODELS = 40
SETTINGS = {"IP_LIMIT": "100000", "GLOBAL_LIMIT": "100000"}

# What a Lambda costs that does nothing. It prints a line: the emulator waits 50 ms for the log of one that does not.
_BARE = """
import time

def handler(event, context):
    time.sleep(event.get("seconds", 0))
    print("done")
    return {"statusCode": 200, "body": "{}"}
"""
_IDLE_MACHINE = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}


class Workbench:
    """Starts what a part asks for when it first asks, and stops it all at the end."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress
        self._stack = contextlib.ExitStack()
        self._marks = itertools.count()

    def close(self) -> None:
        """Stop what was started."""
        self._stack.close()

    @cached_property
    def service(self) -> Service:
        """The deployed service; beside its own models it offers 40 that respond alike, each with a small image."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pixel-prompt-bench-")))
        cloud = local_cloud.start(folder, SETTINGS, latency="0", progress=self.progress)
        self._stack.callback(cloud.stop)
        service = Service(cloud)
        service.offer(self.models)
        return service

    @property
    def models(self) -> list[str]:
        """The names of the 40 models."""
        return [f"Bench {number:02}" for number in range(1, MAX_MODELS + 1)]

    @cached_property
    def s3_port(self) -> int:
        """The port of an emulator with an empty bucket."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pixel-prompt-bench-")))
        return self._stack.enter_context(emulator(folder))

    def latency(self, seconds: float, models: Mapping[str, float] | None = None) -> None:
        """Let every simulated model take so long, and single ones longer or shorter."""
        single = {name.lower().replace(" ", "-"): [value, value] for name, value in (models or {}).items()}
        forgotten = dict.fromkeys(self.service.simulator("GET", "/latency")["models"])
        self.service.simulator("PUT", "/latency", {"min": seconds, "max": seconds, "models": {**forgotten, **single}})

    def job(self, slowest: float, **body: Any) -> tuple[float, dict[str, Any]]:
        """Run a job whose slowest model takes so long.

        Returns
        -------
        seconds from the request until the last row is recorded, and the job document
        """
        service = self.service
        began = time.time()
        job_id = service.generate(**body)
        time.sleep(slowest)
        limit = time.monotonic() + 60
        while True:
            # The document itself: a status request would take processor time from what is measured.
            answer = service.s3.get_object(Bucket=service.bucket, Key=status_key(job_id))
            document: dict[str, Any] = json.loads(answer["Body"].read())
            if document["status"] in FINAL:
                break
            assert time.monotonic() < limit, document
            time.sleep(0.05)
        assert document["status"] == "completed", document
        return epoch(document["updatedAt"]) - began, document

    @cached_property
    def bare_function(self) -> str:
        """The name of a Lambda that sleeps for ``seconds`` of its event and prints a line."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("bare.py", _BARE)
        client, name = self.service.cloud.client("lambda"), "bench-bare"
        client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/bench",
            Handler="bare.handler",
            Code={"ZipFile": archive.getvalue()},
            Timeout=30,
        )
        return name

    @cached_property
    def bare_machine(self) -> str:
        """The ARN of a state machine that only invokes that Lambda for each number of its input, all at once."""
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": self.bare_function, "Payload": {"seconds": "{% $states.input %}"}},
            "End": True,
        }
        definition = {
            "QueryLanguage": "JSONata",
            "StartAt": "Invoke",
            "States": {
                "Invoke": {
                    "Type": "Map",
                    "Items": "{% $states.input %}",
                    "ItemProcessor": {
                        "ProcessorConfig": {"Mode": "INLINE"},
                        "StartAt": "Sleep",
                        "States": {"Sleep": task},
                    },
                    "End": True,
                }
            },
        }
        answer = self.service.cloud.client("stepfunctions").create_state_machine(
            name="bench-bare", definition=json.dumps(definition), roleArn="arn:aws:iam::000000000000:role/bench"
        )
        arn: str = answer["stateMachineArn"]
        return arn

    @cached_property
    def bare_address(self) -> str:
        """The URL of an HTTP API with that Lambda behind it."""
        client = self.service.cloud.client("apigatewayv2")
        function = self.service.cloud.client("lambda").get_function(FunctionName=self.bare_function)
        api_id = client.create_api(Name="bench", ProtocolType="HTTP")["ApiId"]
        integration = client.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=function["Configuration"]["FunctionArn"],
            PayloadFormatVersion="2.0",
        )["IntegrationId"]
        client.create_route(ApiId=api_id, RouteKey="GET /bare", Target=f"integrations/{integration}")
        client.create_stage(ApiId=api_id, StageName="$default", AutoDeploy=True)
        return f"{self.service.cloud.endpoints['aws']}/_aws/execute-api/{api_id}/bare"

    def make_cold(self, function: str) -> None:
        """Let the next invocation of a Lambda be its first."""
        self.configure(function, BENCH=str(next(self._marks)))

    def environment(self, function: str) -> dict[str, str]:
        """The environment variables of a Lambda."""
        found = self.service.cloud.client("lambda").get_function_configuration(FunctionName=function)
        variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
        return variables

    def configure(self, function: str, **variables: str) -> None:
        """Set environment variables of a Lambda; its processes are replaced."""
        self.service.cloud.client("lambda").update_function_configuration(
            FunctionName=function, Environment={"Variables": {**self.environment(function), **variables}}
        )

    @contextlib.contextmanager
    def idle_machine(self) -> Iterator[None]:
        """Within the block an execution ends at once, so that submit is measured and not what it starts."""
        client = self.service.cloud.client("stepfunctions")
        arn = self.service.cloud.endpoints["stateMachineArn"]
        definition = client.describe_state_machine(stateMachineArn=arn)["definition"]
        client.update_state_machine(stateMachineArn=arn, definition=json.dumps(_IDLE_MACHINE))
        try:
            yield
        finally:
            client.update_state_machine(stateMachineArn=arn, definition=definition)


@dataclass(frozen=True)
class Part:
    """A part of the benchmark; ``about`` says what is measured and what the floor is."""

    name: str
    title: str
    about: str
    measure: Callable[[Workbench], Result]


def epoch(moment: str) -> float:
    """Epoch seconds of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).timestamp()


def elapsed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
