"""The lines that `make up` prints work when they are pasted into a shell."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from local.cloud import Endpoints
from local.emulator.access_key import AccessKey
from local.paths import ROOT
from local.report.usage import execution_arn, usage
from tests.canned import Answer, Canned

JOB = "0bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"


REFERENCE = ROOT / "docs/reference/api.md"


def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port, and the address of its API."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


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

    yield from ((url, asked) for url in serve(Handler))


class Jobs:
    """An API whose status answers one after the other of ``answers``, each a status of HTTP and one of the job."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        jobs = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                jobs.asked.append(self.path)
                status, told = jobs.answers.pop(0)
                # As the API writes it; rows have a status as well.
                document = {"jobId": JOB, "status": told, "results": [{"model": "A", "status": "in_progress"}]}
                answer = json.dumps(document, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def waiting_line() -> str:
    """The line of docs/reference/api.md that waits for a job's end."""
    (line,) = (
        line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if "?wait=20" in line and "curl" in line
    )
    return line


def waits(url: str, job: str = JOB) -> subprocess.CompletedProcess[str]:
    """Run the line of docs/reference/api.md."""
    environment = {"PATH": "/usr/bin:/bin", "no_proxy": "*", "API": url, "JOB": job}
    command = ["/bin/sh", "-c", waiting_line()]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


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
        shellFile="/tmp/my cloud/aws.sh",
        page="http://127.0.0.1:3/",
        apiAuth="none",
        ledgerTable="",
    )


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
def test_the_lines_start_a_job_and_ask_for_it(api: tuple[str, list[tuple[str, str, bytes]]], tmp_path: Path) -> None:
    url, asked = api
    folder = tmp_path / "my cloud"
    folder.mkdir()
    AccessKey("an-id", "a-secret").save_shell_file(folder, "http://127.0.0.1:1", "us-east-1", "")
    endpoints: Endpoints = {**_endpoints(url), "shellFile": str(folder / "aws.sh")}
    assert usage(endpoints).startswith("# the page, for a browser: http://127.0.0.1:3/\n")
    assert "a-secret" not in usage(endpoints)
    lines = [line for line in usage(endpoints).splitlines() if not line.startswith("aws ")]
    # What the caller has of an account of their own has no part in it.
    own = {"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SESSION_TOKEN": "own", "AWS_PROFILE": "own", "AWS_REGION": "eu-west-1"}
    environment = {"PATH": "/usr/bin:/bin", "no_proxy": "*", **own}
    script = "\n".join(["set -eu", *lines, "env", 'printf "\\n%s %s" "$JOB" "$AWS_ENDPOINT_URL"'])
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{JOB} http://127.0.0.1:1"
    variables = {line for line in done.stdout.splitlines() if line.startswith("AWS_")}
    assert variables == {
        "AWS_ACCESS_KEY_ID=an-id",
        "AWS_SECRET_ACCESS_KEY=a-secret",
        "AWS_ENDPOINT_URL=http://127.0.0.1:1",
        "AWS_REGION=us-east-1",
        "AWS_DEFAULT_REGION=us-east-1",
    }
    body = b'{"prompt": "a lighthouse in fog"}'
    assert asked == [
        ("POST", "/api/generate", body),
        ("GET", f"/api/status/{JOB}", b""),
        ("GET", f"/api/status/{JOB}?wait=20", b""),
        ("POST", "/api/enhance", body),
    ]


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
@pytest.mark.parametrize("end", ["completed", "partial", "failed", "cancelled"])
def test_the_line_that_waits_ends_with_the_job(end: str) -> None:
    jobs = Jobs((200, "pending"), (200, "in_progress"), (200, end))
    for url in serve(jobs.handler()):
        began = time.monotonic()
        done = waits(url)
        assert time.monotonic() - began >= 2, "two requests are less than a second apart"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert jobs.asked == [f"/api/status/{JOB}?wait=20"] * 3


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
@pytest.mark.parametrize(("job", "status"), [(JOB, 404), ("", 404), (JOB, 429), (JOB, 503)])
def test_the_line_that_waits_ends_with_a_message_where_the_api_refuses(job: str, status: int) -> None:
    jobs = Jobs((status, "in_progress"))
    for url in serve(jobs.handler()):
        done = waits(url, job)
    assert str(status) in done.stderr
    assert jobs.asked == [f"/api/status/{job}?wait=20"]


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
def test_the_line_that_waits_ends_with_a_message_where_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = waits(f"http://127.0.0.1:{free.getsockname()[1]}/api")
    assert "curl: (7)" in done.stderr


@pytest.mark.skipif(not which("curl"), reason="there is no curl")
def test_the_key_goes_along_with_every_request() -> None:
    answer = Answer(content=f'{{"jobId":"{JOB}","status":"completed"}}'.encode())
    with Canned(answer) as api:
        printed = usage(_endpoints(api.url), "pp_key")
        lines = [line for line in printed.splitlines() if not line.startswith((". ", "aws "))]
        environment = {"PATH": "/usr/bin:/bin", "no_proxy": "*"}
        subprocess.run(["/bin/sh", "-euc", "\n".join(lines)], env=environment, check=True, timeout=60)
    assert [asked.headers.get("authorization") for asked in api.asked] == ["Bearer pp_key"] * 4
    assert api.asked[1].path == f"/status/{JOB}"


def test_the_line_that_waits_is_printed() -> None:
    assert waiting_line() in usage(_endpoints("http://127.0.0.1:3")).splitlines()


def test_a_cloud_with_tls_comes_with_what_to_trust_it_by() -> None:
    endpoints: Endpoints = {**_endpoints("https://127.0.0.1:3"), "certificate": "/tmp/my cloud/server.crt"}
    page, _, trust, *_ = usage(endpoints).splitlines()
    assert page == "# the page, for a browser that trusts '/tmp/my cloud/server.crt': http://127.0.0.1:3/"
    assert trust == "export CURL_CA_BUNDLE='/tmp/my cloud/server.crt'"


def test_the_execution_of_a_job() -> None:
    arn = execution_arn(_endpoints("http://127.0.0.1:3"), JOB)
    assert arn == f"arn:aws:states:us-east-1:000000000000:execution:machine:{JOB}"
