"""The HTTP contract, one row a case, against the deployed API."""

import base64
import http.client
import json
import ssl
import time
import uuid
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.shipped import FIRST, OTHER

from .conftest import Service

JSON = {"Content-Type": "application/json"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/generate", "", 400, "INVALID_JSON"),
        ("POST", "/generate", "banana", 400, "INVALID_JSON"),
        ("POST", "/generate", "[]", 400, "INVALID_JSON"),
        ("POST", "/generate", '"a fox"', 400, "INVALID_JSON"),
        ("POST", "/generate", '{"prompt": "a fox"', 400, "INVALID_JSON"),
        ("POST", "/generate", '{"prompt": "a", "prompt": "b"}', 400, "INVALID_JSON"),
        ("POST", "/generate", '{"prompt": "a fox", "steps": NaN}', 400, "INVALID_JSON"),
        ("POST", "/generate", b'{"prompt": "\xff"}', 400, "INVALID_JSON"),
        ("POST", "/generate", '{"prompt": "\\ud800"}', 400, "INVALID_JSON"),
        ("POST", "/generate", "[" * 20_000, 400, "INVALID_JSON"),
        ("POST", "/generate", "{}", 400, "PROMPT_REQUIRED"),
        ("POST", "/generate", '{"prompt": null}', 400, "PROMPT_REQUIRED"),
        ("POST", "/generate", '{"prompt": "   "}', 400, "PROMPT_REQUIRED"),
        ("POST", "/generate", '{"prompt": 123}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": ["a"]}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", json.dumps({"prompt": "x" * 1001}), 400, "PROMPT_TOO_LONG"),
        ("POST", "/generate", '{"prompt": "a fox", "steps": "banana"}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "steps": 0}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "guidance": -5}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "control": true}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "guidance": 1e999}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "models": ["no-such-model"]}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "ip": "not an address"}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a naked woman"}', 400, "INAPPROPRIATE_CONTENT"),
        ("POST", "/generate", json.dumps({"prompt": "x" * 2_000_000}), 413, "PAYLOAD_TOO_LARGE"),
        ("GET", f"/status/{UNKNOWN}", None, 404, "JOB_NOT_FOUND"),
        ("GET", "/status/nonsense", None, 404, "JOB_NOT_FOUND"),
        ("GET", f"/status/{UNKNOWN}?wait=soon", None, 404, "JOB_NOT_FOUND"),
        ("GET", f"/status/{UNKNOWN}?wiat=5", None, 404, "JOB_NOT_FOUND"),
        ("POST", f"/cancel/{UNKNOWN}", '{"force": true}', 404, "JOB_NOT_FOUND"),
        ("POST", f"/retry/{UNKNOWN}", '{"model": "x"}', 404, "JOB_NOT_FOUND"),
        ("POST", f"/cancel/{UNKNOWN}?force=1", "{", 404, "JOB_NOT_FOUND"),
        ("POST", f"/retry/{UNKNOWN}?force=1", "{", 404, "JOB_NOT_FOUND"),
        ("GET", "/models?page=2", None, 400, "INVALID_PARAMETER"),
        ("GET", "/openapi.json?v=1", None, 400, "INVALID_PARAMETER"),
        ("GET", "/gallery/list?limt=2", None, 400, "INVALID_PARAMETER"),
        ("POST", "/generate?dryRun=true", '{"prompt": "a fox"}', 400, "INVALID_PARAMETER"),
        ("POST", "/generate", '{"prompt": "a fox", "model": "painter"}', 400, "INVALID_PARAMETER"),
        ("POST", "/enhance", '{"prompt": "a fox", "seed": null}', 400, "INVALID_PARAMETER"),
        ("POST", "/enhance", "{}", 400, "PROMPT_REQUIRED"),
        ("POST", "/enhance", json.dumps({"prompt": "x" * 501}), 400, "PROMPT_TOO_LONG"),
        ("POST", "/enhance", '{"prompt": "a naked woman"}', 400, "INAPPROPRIATE_CONTENT"),
        ("POST", "/enhance", "nonsense", 400, "INVALID_JSON"),
        ("POST", "/uploads", None, 400, "INVALID_JSON"),
        ("POST", "/uploads", "null", 400, "INVALID_JSON"),
        ("POST", "/uploads", "{}", 400, "INVALID_PARAMETER"),
        ("POST", "/uploads", '{"contentType": null}', 400, "INVALID_PARAMETER"),
        ("POST", "/uploads", '{"contentType": "image/gif"}', 400, "INVALID_PARAMETER"),
        ("POST", "/uploads", '{"contentType": "image/png", "key": "images/mine"}', 400, "INVALID_PARAMETER"),
        ("GET", "/", None, 404, "NOT_FOUND"),
        ("POST", "/no-such-route", "{}", 404, "NOT_FOUND"),
        ("GET", "/status", None, 404, "NOT_FOUND"),
        ("GET", "/generate", None, 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/enhance", None, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/uploads", None, 405, "METHOD_NOT_ALLOWED"),
        ("POST", f"/status/{UNKNOWN}", "{}", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_what_is_wrong_gets_its_code(
    service: Service, method: str, path: str, body: Any, status: int, code: str
) -> None:
    jobs = service.keys("jobs/")
    # Bytes go without a JSON content type, so that API Gateway passes them on as they are, in base64.
    answer = service.cloud.request(method, path, body, {} if isinstance(body, bytes) else JSON)
    assert (answer.status, answer.json()["error"]) == (status, code)
    message = answer.json()["message"]
    assert message.endswith(".") and "Traceback" not in message
    assert answer.headers["x-correlation-id"] and answer.headers["access-control-allow-origin"] == "*"
    assert service.keys("jobs/") == jobs


def test_a_path_cannot_climb(service: Service) -> None:
    for path in ("/status/..%2F..%2Frate-limit%2Fratelimit.json", "/status/%2e%2e", "/status/..%5C"):
        answer = service.cloud.request("GET", path)
        assert answer.status == 404 and answer.json()["error"] in ("JOB_NOT_FOUND", "NOT_FOUND")


def test_404_names_path_and_method_and_405_what_is_allowed(service: Service) -> None:
    missing = service.cloud.request("PUT", "/no-such-route", "{}").json()
    assert (missing["path"], missing["method"]) == ("/no-such-route", "PUT")
    assert service.cloud.request("GET", "/generate").headers["allow"] == "POST, OPTIONS"


def test_a_job_is_answered_with_its_id_and_address(service: Service) -> None:
    answer = service.cloud.request("POST", "/generate", {"prompt": "a fox", "models": [FIRST.id]})
    job = answer.json()
    assert set(job) == {"jobId", "message", "totalModels", "statusUrl"}
    assert uuid.UUID(job["jobId"]).version == 4 and job["totalModels"] == 1
    assert job["statusUrl"].endswith(f"/status/{job['jobId']}")
    service.wait(job["jobId"])


def test_a_body_without_content_type_is_json(service: Service) -> None:
    """As ``curl -d`` sends it: API Gateway hands it over base64-encoded."""
    body = b'{"prompt":"sunset","steps":25,"guidance":7,"ip":"1.2.3.4"}'
    trusting = ssl.create_default_context(cafile=service.cloud.endpoints["certificate"])
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {}):
        url = urlsplit(service.cloud.endpoints["api"])
        connection = http.client.HTTPSConnection(url.netloc, timeout=20, context=trusting)
        connection.request("POST", f"{url.path}/generate", body, headers)
        answer = connection.getresponse()
        job = json.loads(answer.read())
        assert answer.status == 200, job
        connection.close()
        assert service.wait(job["jobId"])["parameters"]["steps"] == 25


def test_a_preflight_is_answered(service: Service) -> None:
    page = service.cloud.endpoints["page"].rstrip("/")
    headers = {"Origin": page, "Access-Control-Request-Method": "POST"}
    for path in ("/generate", "/enhance", f"/status/{UNKNOWN}"):
        answer = service.cloud.request("OPTIONS", path, None, headers)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]


def test_status_knows_what_the_caller_has(service: Service) -> None:
    job = service.run(models=[FIRST.id])
    path = f"/status/{job['jobId']}"
    first = service.cloud.request("GET", path)
    etag = first.headers["etag"]
    again = service.cloud.request("GET", path, None, {"If-None-Match": etag})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert service.cloud.request("GET", path, None, {"If-None-Match": '"other"'}).status == 200


def test_who_waits_hears_of_each_change_and_of_the_end(service: Service) -> None:
    service.fault(FIRST.id, "slow", seconds=2)
    job_id = service.generate(models=[FIRST.id, OTHER.id])
    etags: list[str] = []
    statuses: list[str] = []
    while not statuses or statuses[-1] != "completed":
        since = f"&since={quote(etags[-1])}" if etags else ""
        began = time.monotonic()
        answer = service.cloud.request("GET", f"/status/{job_id}?wait=20{since}")
        assert time.monotonic() - began < 15, "the change was waited past"
        assert answer.status == 200, "nothing has changed within twenty seconds"
        etags.append(answer.headers["etag"])
        statuses.append(answer.json()["status"])
    assert len(set(etags)) == len(etags)
    assert len(etags) <= 7, "each answer tells of a change"
    ended = service.cloud.request("GET", f"/status/{job_id}?wait=10&since={quote(etags[-1])}")
    assert (ended.status, ended.body) == (304, b"")


def test_a_correlation_id_goes_through_to_the_logs_of_every_lambda(service: Service) -> None:
    mark = f"test-{uuid.uuid4().hex}"
    body = {"prompt": "a fox", "models": [FIRST.id]}
    answer = service.cloud.request("POST", "/generate", body, {**JSON, "X-Correlation-ID": mark})
    assert answer.headers["x-correlation-id"] == mark
    service.wait(answer.json()["jobId"])
    logs = service.cloud.client("logs")
    for part in ("submit", "generate", "finish"):
        group = f"/aws/lambda/{service.function(part)}"
        # The document is final before the execution ends with "Finish job".
        limit = time.monotonic() + 15
        while not any(mark in event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]):
            assert time.monotonic() < limit, part
            time.sleep(0.1)


def test_base64_is_decoded_whatever_it_holds(service: Service) -> None:
    text = base64.b64encode(b'{"prompt": "a fox"}')
    assert service.cloud.request("POST", "/generate", text).json()["error"] == "INVALID_JSON"
