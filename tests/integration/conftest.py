"""Integration tests talk to a cloud of their own, which the real ``cdk deploy`` has deployed."""

import contextlib
import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from local import cloud as local_cloud
from local.cloud import Cloud, Response
from pixelprompt.storage.keys import OVERLAY_KEY as OVERLAY

FINAL = {"completed", "partial", "failed", "cancelled"}
# The name of what the report says of the calls that were recorded.
RECORDED = "recorded calls"
# Seconds; 60 is the time limit of a model that has none of its own.
HELD = 55
# With which every key of a provider begins.
CANARY = "sk-canary-"
_THESE_TESTS = uuid.uuid4()
# What they know of the catalogue they keep for a minute. So does generate, but it reads the catalogue again for a name
# that it does not know, and a name that has gone no longer reaches it. Its processes, slow to start, may stay.
KNOW_THE_CATALOGUE = ("submit", "models")


class Service:
    """The deployed service as a client sees it, and the world around it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.s3 = cloud.client("s3")
        self.bucket = cloud.endpoints["bucket"]

    def generate(self, prompt: str = "a red fox", **body: Any) -> str:
        """Start a job; returns its id."""
        answer = self.cloud.request("POST", "/generate", {"prompt": prompt, **body})
        assert answer.status == 200, answer.body
        job_id: str = answer.json()["jobId"]
        return job_id

    def status(self, job_id: str) -> dict[str, Any]:
        """The job document as the API gives it."""
        answer = self.cloud.request("GET", f"/status/{job_id}")
        assert answer.status == 200, answer.body
        document: dict[str, Any] = answer.json()
        return document

    def wait(
        self,
        job_id: str,
        until: Callable[[dict[str, Any]], bool] = lambda job: job["status"] in FINAL,
        seconds: float = 120,
    ) -> dict[str, Any]:
        """Poll the job until it is as wanted."""
        limit = time.monotonic() + seconds
        while True:
            document = self.status(job_id)
            if until(document):
                return document
            assert time.monotonic() < limit, f"the job is still {json.dumps(document, indent=1)}"
            time.sleep(0.1)

    def run(self, prompt: str = "a red fox", **body: Any) -> dict[str, Any]:
        """Start a job and wait for its end."""
        return self.wait(self.generate(prompt, **body))

    def simulator(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the simulator's control interface."""
        url = f"{self.cloud.endpoints['simulator']}/_simulator{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, model: str, fault: str, **options: Any) -> None:
        """Switch a fault on for a model."""
        self.simulator("PUT", "/faults", {model: {"fault": fault, **options}})

    @contextlib.contextmanager
    def held(self, *models: str) -> Iterator[None]:
        """Hold back the images of these models, or of all, until the block is left, at most for ``HELD`` s."""
        before = self.simulator("GET", "/latency")
        held = {"models": {model: [HELD, HELD] for model in models}} if models else {"min": HELD, "max": HELD}
        self.simulator("PUT", "/latency", held)
        try:
            yield
        finally:
            # A model whose range is null has that of all again.
            self.simulator("PUT", "/latency", {**before, "models": {**dict.fromkeys(models), **before["models"]}})

    def provider_requests(self, model: str) -> list[Any]:
        """The requests for an image of this model that reached its provider."""
        found = self.simulator("GET", "/requests")
        requests = found["requests"] if isinstance(found, dict) else found
        return [request for request in requests if request["model"] == model and request["method"] == "POST"]

    def offer(self, names: Sequence[str]) -> None:
        """Offer, beside the catalogue's own models, some that answer alike, each with a small picture."""
        models = [
            {
                "name": name,
                "provider": "compatible",
                "id": name.lower().replace(" ", "-"),
                "baseUrl": f"{self.cloud.endpoints['simulator']}/compatible/v1",
                "default": False,
                "parameters": {"response_format": "b64_json", "size": "64x64"},
            }
            for name in names
        ]
        self.s3.put_object(Bucket=self.bucket, Key=OVERLAY, Body=json.dumps({"models": models}))

    def keys(self, prefix: str) -> list[str]:
        """The keys of the bucket that begin like this."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def function(self, part: str) -> str:
        """The name of a Lambda function."""
        names = [entry["FunctionName"] for entry in self.cloud.client("lambda").list_functions()["Functions"]]
        (name,) = [name for name in names if name.endswith(f"-{part}")]
        return str(name)

    def workers(self, part: str) -> list[psutil.Process]:
        """The processes that run a Lambda of this cloud."""
        state = json.loads((self.cloud.directory / "state.json").read_text())
        children = psutil.Process(state["emulator"]["pid"]).children(recursive=True)
        found = []
        for child in children:
            # A worker may end while it is looked at.
            with contextlib.suppress(psutil.Error):
                if any(f"-{part}-" in word for word in child.cmdline()):
                    found.append(child)
        return found

    def download(self, url: str) -> Response:
        """A picture by its address."""
        answer = self.cloud.request("GET", url)
        assert answer.status == 200, answer.body
        return answer

    def post_form(self, url: str, fields: Mapping[str, str], data: bytes, **headers: str) -> Response:
        """Post a form as a page does: the fields, and last the file."""
        boundary = uuid.uuid4().hex
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = "".join(f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
        file = f'{part}"file"; filename="fox.png"\r\nContent-Type: application/octet-stream\r\n\r\n'
        body = (head + file).encode() + data + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.cloud.request("POST", url, body, {**kind, **headers})

    def execution(self, job_id: str) -> dict[str, Any]:
        """The execution of a job."""
        arn = self.cloud.endpoints["stateMachineArn"].replace(":stateMachine:", ":execution:") + f":{job_id}"
        described: dict[str, Any] = self.cloud.client("stepfunctions").describe_execution(executionArn=arn)
        return described


def restart(service: Service, *parts: str) -> None:
    """Give Lambdas fresh processes, which remember nothing."""
    functions = service.cloud.client("lambda")
    for part in parts:
        name = service.function(part)
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables["RESTARTED"] = uuid.uuid4().hex
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what the recorded calls have come to."""
    for report in (report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)):
        for name, value in getattr(report, "user_properties", []):
            if name in (RECORDED, "canaries") and report.when == "call":
                terminalreporter.write_line(f"{name}: {value}")


def put_canaries(cloud: Cloud) -> None:
    """Replace each key of a provider by its canary, the same in all of these tests."""
    secrets, secret = cloud.client("secretsmanager"), cloud.endpoints["providerSecret"]
    names = json.loads(secrets.get_secret_value(SecretId=secret)["SecretString"])
    canaries = {name: CANARY + uuid.uuid5(_THESE_TESTS, name).hex for name in names}
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(canaries))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud in a folder of its own that holds each Lambda to its role; the simulators answer at once."""
    directory: Path = tmp_path_factory.mktemp("cloud")
    running = local_cloud.start(directory, {}, latency="0-0.2", enforce_iam=True)
    put_canaries(running)
    yield running
    running.stop()


def fresh(cloud: Cloud) -> Iterator[Service]:
    """The service of a cloud without faults, and with nothing counted yet; without faults again afterwards."""
    running = Service(cloud)
    for key in ("rate-limit/ratelimit.json", "rate-limit/enhance.json", "rate-limit/uploads.json"):
        running.s3.delete_object(Bucket=running.bucket, Key=key)
    running.simulator("DELETE", "/requests")
    yield running
    running.simulator("DELETE", "/faults")


@pytest.fixture
def service(cloud: Cloud) -> Iterator[Service]:
    """The service, as every test finds it."""
    yield from fresh(cloud)
