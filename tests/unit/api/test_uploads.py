"""``POST /uploads``: what a request must have, and what the form that it gets allows."""

import base64
import json
import re
import time
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

import upload
from pixelprompt.api.uploads import Uploads
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.storage import clients
from pixelprompt.storage.uploads import FORM_SECONDS, MAX_BYTES, UploadStorage
from tests import built

BUCKET = "test-bucket"
CONTEXT = SimpleNamespace(function_name="upload", get_remaining_time_in_millis=lambda: 60_000)
COUNTS = "rate-limit/uploads.json"
PNG = {"contentType": "image/png"}


@pytest.fixture(autouse=True)
def _settings(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BUCKET_NAME": BUCKET, "UPLOAD_LIMIT": "3", "UPLOAD_IP_LIMIT": "2"}.items():
        monkeypatch.setenv(name, value)
    built.forget()


def post(body: Any = PNG, ip: str = "192.0.2.1", **event: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of the response."""
    request = {
        "rawPath": "/uploads",
        "headers": {},
        "requestContext": {"http": {"method": "POST", "path": "/uploads", "sourceIp": ip}},
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        **event,
    }
    response = upload.handler(request, CONTEXT)
    return response["statusCode"], json.loads(response["body"])


def policy(form: dict[str, Any]) -> dict[str, Any]:
    """The policy that a form's signature is for."""
    document: dict[str, Any] = json.loads(base64.b64decode(form["fields"]["policy"], validate=True))
    return document


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/webp"])
def test_the_policy_allows_one_key_one_type_and_a_limited_size(content_type: str) -> None:
    status, form = post({"contentType": content_type})
    assert status == 200
    assert set(form) == {"uploadId", "url", "fields", "expiresAt", "maxBytes"}
    assert re.fullmatch("[0-9a-f]{32}", form["uploadId"])
    assert form["maxBytes"] == MAX_BYTES == 20_971_520
    fields = form["fields"]
    key = f"uploads/{form['uploadId']}"
    assert (fields["key"], fields["Content-Type"]) == (key, content_type)
    signing = {name: fields[name] for name in ("x-amz-algorithm", "x-amz-credential", "x-amz-date")}
    assert signing["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    conditions = policy(form)["conditions"]
    # An object is an exact match. What no condition names, S3 refuses as an extra field.
    assert [condition for condition in conditions if isinstance(condition, list)] == [
        ["content-length-range", 1, MAX_BYTES]
    ]
    exact = {name: value for c in conditions if isinstance(c, dict) for name, value in c.items()}
    assert exact == {"bucket": BUCKET, "key": key, "Content-Type": content_type, **signing}
    assert set(fields) == {"key", "Content-Type", *signing, "policy", "x-amz-signature"}


def test_the_form_goes_to_the_bucket_itself() -> None:
    assert post()[1]["url"] == f"https://{BUCKET}.s3.amazonaws.com/"


def test_the_form_of_a_role_names_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-a-session")
    # Botocore keeps the credentials that it has found.
    clients.session.cache_clear()
    built.forget()
    try:
        form = post()[1]
    finally:
        clients.session.cache_clear()
    assert form["fields"]["x-amz-security-token"] == "of-a-session"
    assert {"x-amz-security-token": "of-a-session"} in policy(form)["conditions"]


def test_a_form_expires_after_a_quarter_of_an_hour() -> None:
    earliest = int(time.time()) + FORM_SECONDS
    form = post()[1]
    latest = time.time() + FORM_SECONDS
    assert form["expiresAt"] == policy(form)["expiration"]
    assert form["expiresAt"].endswith("Z")
    assert FORM_SECONDS == 900
    assert earliest <= datetime.fromisoformat(form["expiresAt"]).timestamp() <= latest


def test_every_form_has_an_id_of_its_own() -> None:
    assert post()[1]["uploadId"] != post()[1]["uploadId"]


@pytest.mark.parametrize(
    ("body", "error", "parameter", "words"),
    [
        (None, "INVALID_JSON", None, "a JSON object"),
        ("", "INVALID_JSON", None, "a JSON object"),
        ("null", "INVALID_JSON", None, "a JSON object"),
        ("[]", "INVALID_JSON", None, "a JSON object"),
        ('{"contentType": "image/png"', "INVALID_JSON", None, "a JSON object"),
        ({}, "INVALID_PARAMETER", "contentType", "one of image/png, image/jpeg, image/webp"),
        ({"contentType": None}, "INVALID_PARAMETER", "contentType", "one of image/png, image/jpeg, image/webp"),
        ({"contentType": "image/gif"}, "INVALID_PARAMETER", "contentType", "one of image/png"),
        ({"contentType": "IMAGE/PNG"}, "INVALID_PARAMETER", "contentType", "one of image/png"),
        ({"contentType": "image/png; charset=utf-8"}, "INVALID_PARAMETER", "contentType", "one of image/png"),
        ({"contentType": ["image/png"]}, "INVALID_PARAMETER", "contentType", "one of image/png"),
        ({"contentType": 1}, "INVALID_PARAMETER", "contentType", "one of image/png"),
        ({**PNG, "key": "uploads/mine"}, "INVALID_PARAMETER", "key", "Unknown member"),
        ({"content_type": "image/png"}, "INVALID_PARAMETER", "content_type", "`contentType`"),
        ({**PNG, "ip": 7}, "INVALID_PARAMETER", "ip", "an IPv4 or IPv6 address"),
    ],
)
def test_what_is_wrong_is_named_and_not_counted(
    s3: Any, body: Any, error: str, parameter: str | None, words: str
) -> None:
    status, answer = post(body)
    assert (status, answer["error"], answer.get("parameter")) == (400, error, parameter)
    assert words in answer["message"] and answer["message"].endswith(".")
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_an_address_has_a_limit_a_day_and_all_have_one_an_hour(s3: Any) -> None:
    assert [post()[0] for _ in range(3)] == [200, 200, 429]
    refused = post()[1]
    assert (refused["error"], refused["scope"]) == ("RATE_LIMIT_EXCEEDED", "ip")
    assert "uploadId" not in refused and "fields" not in refused
    assert post(ip="192.0.2.2")[0] == 200
    status, refused = post(ip="192.0.2.3")
    assert (status, refused["scope"]) == (429, "global") and 3_000 < refused["retryAfter"] <= 3_600
    counted = json.load(s3.get_object(Bucket=BUCKET, Key=COUNTS)["Body"])
    assert {address: len(times) for address, times in counted["ip_requests"].items()} == {
        "192.0.2.1": 2,
        "192.0.2.2": 1,
    }


def test_the_ip_of_the_body_counts_only_where_it_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [{**PNG, "ip": f"198.51.100.{number}"} for number in range(3)]
    assert [post(body)[0] for body in bodies] == [200, 200, 429]
    monkeypatch.setenv("TRUST_BODY_IP", "true")
    built.forget()
    assert post(bodies[0])[0] == 200


def test_s3_is_asked_for_the_counts_alone(s3: Any) -> None:
    asked: list[str] = []
    s3.meta.events.register("before-send", lambda request, **_: asked.append(f"{request.method} {request.url}"))
    limiter = RateLimiter(s3, BUCKET, 3, 2, key=COUNTS)
    Uploads(limiter, UploadStorage(s3, BUCKET), trust_body_ip=False).create(PNG, "192.0.2.1")
    url = f"https://{BUCKET}.s3.amazonaws.com/{COUNTS}"
    assert asked == [f"GET {url}", f"PUT {url}"]
