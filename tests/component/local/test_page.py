"""What serves the page on a laptop: its files and config.json, with the security headers, and nothing else."""

import gzip
import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from infra.web import CONTENT_TYPES, WEB
from local.page import PageServer

API = "http://127.0.0.1:4566/_aws/execute-api/pixel-prompt"


@pytest.fixture
def server() -> Iterator[PageServer]:
    """The page on a free port."""
    with PageServer(0, API, 20) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the path goes out exactly as it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_folder_of_the_page_holds_nothing_else() -> None:
    strangers = [path.name for path in WEB.iterdir() if not path.is_file() or path.suffix not in CONTENT_TYPES]
    assert not strangers, "neither CloudFront nor the laptop would serve them"


@pytest.mark.parametrize("name", sorted(path.name for path in WEB.iterdir()))
def test_each_file_of_the_page_is_served_with_its_type(server: PageServer, name: str) -> None:
    status, headers, body = ask(server, f"/{name}")
    assert (status, body) == (200, (WEB / name).read_bytes())
    assert headers["Content-Type"] == CONTENT_TYPES[(WEB / name).suffix]
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/?x=1", "/nothing", "/config.json"])
def test_every_answer_carries_the_security_headers(server: PageServer, path: str) -> None:
    _, headers, _ = ask(server, path)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' blob: http://127.0.0.1:4566"
    assert policy["img-src"] == "'self' blob: http://127.0.0.1:4566"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_root_is_the_page_and_the_configuration_names_the_api(server: PageServer) -> None:
    assert ask(server, "/")[2] == (WEB / "index.html").read_bytes()
    config = {"apiUrl": API, "statusWait": 20, "gallery": True, "auth": "none", "usage": False}
    assert json.loads(ask(server, "/config.json")[2]) == config


def test_the_configuration_says_what_the_api_has() -> None:
    with PageServer(0, API, 0, gallery=False, auth="keys", usage=True) as running:
        config = {"apiUrl": API, "statusWait": 0, "gallery": False, "auth": "keys", "usage": True}
        assert json.loads(running.config) == config


@pytest.mark.parametrize(
    "path",
    [
        "/../README.md",
        "/..%2fREADME.md",
        "//etc/passwd",
        "/../web/app.js",
        "/web/",
        "/./app.js",
        "/%61pp.js",
        "/..",
        "/.",
    ],
)
def test_what_is_no_file_of_the_page_is_not_there(server: PageServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert (status, body) == (404, b"File not found.\n")
    assert headers["Content-Type"].startswith("text/plain")


def test_head_sends_no_body_and_other_methods_are_refused(server: PageServer) -> None:
    status, headers, body = ask(server, "/app.js", "HEAD")
    assert (status, body, int(headers["Content-Length"])) == (200, b"", (WEB / "app.js").stat().st_size)
    assert ask(server, "/app.js", "POST")[0] == 501


def test_who_takes_gzip_gets_it(server: PageServer) -> None:
    _, headers, body = ask(server, "/app.js", **{"Accept-Encoding": "gzip, br"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == (WEB / "app.js").read_bytes()
    assert headers["Vary"] == "Accept-Encoding"
