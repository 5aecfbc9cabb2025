"""The lines that `make up` prints work when they are pasted into a shell."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from shutil import which
from typing import Any

import pytest

from local.cloud import Endpoints
from local.usage import execution_arn, usage

JOB = "0bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"


@pytest.fixture
def api() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """An API that notes what it is asked, and its address."""
    asked: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path, body))
            answer = json.dumps({"message": 'Say "hello".', "jobId": JOB, "totalModels": 9}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api", asked
        server.shutdown()


def _endpoints(api: str) -> Endpoints:
    return Endpoints(
        api=api,
        aws="http://127.0.0.1:1",
        bucket="pictures",
        stateMachineArn="arn:aws:states:us-east-1:000000000000:stateMachine:machine",
        providerSecret="keys",
        simulator="http://127.0.0.1:2",
        simulated=["openai"],
        region="us-east-1",
        certificate="",
        page="http://127.0.0.1:3/",
    )


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
def test_the_lines_start_a_job_and_ask_for_it(api: tuple[str, list[tuple[str, str, bytes]]]) -> None:
    url, asked = api
    assert usage(_endpoints(url)).startswith("# the page, for a browser: http://127.0.0.1:3/\n")
    lines = [line for line in usage(_endpoints(url)).splitlines() if not line.startswith("aws ")]
    environment = {"PATH": "/usr/bin:/bin", "no_proxy": "*"}
    script = "\n".join(["set -e", *lines, 'printf "\\n%s %s" "$JOB" "$AWS_ENDPOINT_URL"'])
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{JOB} http://127.0.0.1:1"
    body = b'{"prompt": "a lighthouse in fog"}'
    assert asked == [
        ("POST", "/api/generate", body),
        ("GET", f"/api/status/{JOB}", b""),
        ("POST", "/api/enhance", body),
    ]


def test_a_cloud_with_tls_comes_with_what_to_trust_it_by() -> None:
    endpoints: Endpoints = {**_endpoints("https://127.0.0.1:3"), "certificate": "/tmp/my cloud/server.crt"}
    page, _, trust, *_ = usage(endpoints).splitlines()
    assert page == "# the page, for a browser that trusts '/tmp/my cloud/server.crt': http://127.0.0.1:3/"
    assert trust == "export CURL_CA_BUNDLE='/tmp/my cloud/server.crt' AWS_CA_BUNDLE='/tmp/my cloud/server.crt'"


def test_the_execution_of_a_job() -> None:
    arn = execution_arn(_endpoints("http://127.0.0.1:3"), JOB)
    assert arn == f"arn:aws:states:us-east-1:000000000000:execution:machine:{JOB}"
