"""Requests that schemathesis makes from the description of the API, valid and not, sent to a cloud of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local import cloud
from local.cloud import Cloud, CloudError
from local.paths import ROOT, SCRIPTS, SYSTEM_PATH
from local.progress import Progress
from pixelprompt.storage.keys import OVERLAY_KEY

# No server error, and no response that the description does not allow.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "negative_data_rejection",
)
# Enough jobs to meet every state of one, and few enough to meet the limits as well; who waits does so shortly.
SETTINGS = {
    "IP_LIMIT": "200",
    "GLOBAL_LIMIT": "300",
    "ENHANCE_IP_LIMIT": "200",
    "ENHANCE_LIMIT": "300",
    "UPLOAD_IP_LIMIT": "200",
    "UPLOAD_LIMIT": "300",
    "STATUS_WAIT": "1",
    # With it, there is a route more.
    "DAILY_BUDGET": "100000",
}
_CATALOGUE = ROOT / "functions" / "pixelprompt" / "models" / "models.json"


@dataclass(frozen=True)
class Outcome:
    """The findings of a run.

    Attributes
    ----------
    routes : how many were tried
    requests : how many were sent
    report : the text that schemathesis writes
    """

    passed: bool
    routes: int
    requests: int
    report: str


@contextlib.contextmanager
def fuzzed_cloud(progress: Progress | None = None) -> Iterator[Cloud]:
    """A cloud for generated requests, each Lambda held to its role: images come at once, and a job has one model."""
    with tempfile.TemporaryDirectory(prefix="pixel-prompt-fuzz-") as folder:
        running = cloud.start(
            Path(folder), SETTINGS, latency="0", enforce_iam=True, progress=progress or (lambda text: None)
        )
        try:
            first, *others = json.loads(_CATALOGUE.read_text(encoding="utf-8"))["models"]
            overlay = {"models": [first, *({**model, "default": False} for model in others)]}
            client, bucket = running.client("s3"), running.endpoints["bucket"]
            client.put_object(Bucket=bucket, Key=OVERLAY_KEY, Body=json.dumps(overlay))
            yield running
        finally:
            running.stop()


def fuzz(running: Cloud, *, seconds: int = 0, examples: int = 0) -> Outcome:
    """Send requests for so many seconds, or so many generated ones to each route, however long that takes.

    Raises
    ------
    CloudError : schemathesis did not come to its end
    """
    api = running.endpoints["api"]
    folder = running.directory / "fuzz"
    folder.mkdir(exist_ok=True)
    # With its URL, schemathesis would leave out the route that the description comes from.
    description = folder / "openapi.json"
    description.write_bytes(running.request("GET", "/openapi.json").body)
    found = folder / "report.json"
    command = [
        str(SCRIPTS / "schemathesis"), "run", str(description), "--url", api,
        *(["--max-time", str(seconds)] if seconds else ["--max-examples", str(examples)]),
        # One worker: in Python 3.11 two threads that parse source at once, as hypothesis does, can break each other
        # ("AST constructor recursion depth mismatch", https://github.com/python/cpython/issues/106905).
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", "30", "--workers", "1",
        "--report", "json", "--report-json-path", str(found), "--generation-database", "none", "--no-color",
        "--suppress-health-check", "all", "--warnings", "off",
        "--tls-verify", running.endpoints["certificate"],
    ]  # fmt: skip
    environment = {"PATH": f"{SCRIPTS}:{SYSTEM_PATH}", "LANG": "C.UTF-8", "HOME": str(folder), "NO_PROXY": "*"}
    # The time for the requests, and some for telling apart and shortening what failed.
    limit = 2 * seconds + 60 if seconds else 600
    try:
        ended = subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
            env=environment,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise CloudError(f"schemathesis was not done {limit} s after its start.") from error
    if not found.is_file():
        raise CloudError(f"schemathesis could not begin:\n{ended.stdout}{ended.stderr}")
    result = json.loads(found.read_text(encoding="utf-8"))
    routes, requests = result["operations"]["tested"], result["test_cases"]["generated"]
    return Outcome(ended.returncode == 0, routes, requests, ended.stdout)


def run(seconds: int, progress: Progress) -> int:
    """Start a cloud, send requests, print what was found; the exit code."""
    with fuzzed_cloud(progress) as running:
        progress(f"sending generated requests for {seconds} s")
        outcome = fuzz(running, seconds=seconds)
    print(outcome.report)
    print(
        f"{outcome.requests} requests to {outcome.routes} routes: "
        + ("nothing found." if outcome.passed else "see above.")
    )
    return 0 if outcome.passed else 1
