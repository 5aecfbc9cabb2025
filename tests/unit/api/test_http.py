"""Requests in, answers out."""

import base64
import contextlib
import importlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import status as status_function
from pixelprompt.api import cors, http, routes
from pixelprompt.api.body import read_json
from pixelprompt.errors import (
    ConfigurationError,
    InvalidJson,
    PayloadTooLarge,
    PermissionDenied,
    RequestError,
    StorageError,
)
from pixelprompt.settings import Settings
from tests import built


class Context:
    """What Lambda hands to a handler."""

    function_name = "test"


def event(
    body: str | bytes | None = None, method: str = "POST", path: str = "/generate", **headers: str
) -> dict[str, Any]:
    """An event of API Gateway's HTTP API."""
    encoded = isinstance(body, bytes)
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "domainName": "api.test"},
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": encoded,
    }


def parse(body: str | bytes | None) -> dict[str, Any]:
    return http.Request.from_event(event(body)).json()


def answer_of(respond: Callable[[http.Request], http.Response], request: dict[str, Any]) -> dict[str, Any]:
    return http.endpoint(respond)(request, Context())


def echo(request: http.Request) -> http.Response:
    return http.Response(request.json())


def test_a_body_is_json_whether_base64_or_not() -> None:
    assert parse('{"prompt":"ein Fuchs im Schnee: ü"}') == {"prompt": "ein Fuchs im Schnee: ü"}
    assert parse('{"prompt":"ü"}'.encode()) == {"prompt": "ü"}


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "banana",
        "[]",
        "1",
        '"text"',
        "null",
        "{'prompt': 'x'}",
        '{"prompt": "x"',
        '{"steps": NaN}',
        '{"steps": Infinity}',
        '{"steps": -Infinity}',
        '{"prompt": "a", "prompt": "b"}',
        '{"prompt": "\\ud800"}',
        '{"\\udfff": 1}',
        "[" * 30000,
        '{"steps": ' + "9" * 5000 + "}",
        b"\xff\xfe",
        b'{"prompt": "\xc3\x28"}',
    ],
)
def test_what_is_no_json_object_is_refused(body: str | bytes | None) -> None:
    with pytest.raises(InvalidJson):
        parse(body)


def test_a_number_that_is_too_long_is_named() -> None:
    with pytest.raises(InvalidJson, match=r"^The body contains a number of more than 4300 digits\.$"):
        parse('{"steps": ' + "9" * 5000 + "}")
    with pytest.raises(InvalidJson, match=r"^The body must be a JSON object\.$"):
        parse("null")


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    for body in ('\ufeff{"prompt": "a fox"}', b'\xef\xbb\xbf{"prompt": "a fox"}'):
        assert parse(body) == {"prompt": "a fox"}
    with pytest.raises(InvalidJson):
        parse("\ufeff\ufeff{}")


GATEWAY = "a1b2c3.execute-api.us-west-2.amazonaws.com"


@pytest.mark.parametrize(
    ("domain", "stage", "raw_path", "path", "url"),
    [
        (GATEWAY, "$default", "/generate", "/generate", f"https://{GATEWAY}"),
        (GATEWAY, "prod", "/prod/generate", "/generate", f"https://{GATEWAY}/prod"),
        (GATEWAY, "prod", "/prod/status/abc", "/status/abc", f"https://{GATEWAY}/prod"),
        (GATEWAY, "generate", "/generate/generate", "/generate", f"https://{GATEWAY}/generate"),
        # Nobody can have mapped a path there.
        (GATEWAY, "$default", "/v1/generate", "/v1/generate", f"https://{GATEWAY}"),
        ("api.example", "$default", "/generate", "/generate", "https://api.example"),
        ("api.example", "$default", "/v1/generate", "/generate", "https://api.example/v1"),
        ("api.example", "$default", "/images/v1/status/abc", "/status/abc", "https://api.example/images/v1"),
        ("api.example", "$default", "/v1/gallery/list", "/gallery/list", "https://api.example/v1"),
        ("api.example", "$default", "/v1/openapi.json", "/openapi.json", "https://api.example/v1"),
        ("api.example", "$default", "/status/generate", "/status/generate", "https://api.example"),
        ("api.example", "prod", "/prod/generate", "/generate", "https://api.example"),
        ("api.example", "$default", "/v1/nothing", "/v1/nothing", "https://api.example"),
    ],
)
def test_the_api_may_be_served_under_a_stage_or_a_base_path(
    domain: str, stage: str, raw_path: str, path: str, url: str
) -> None:
    context = {"domainName": domain, "stage": stage, "http": {"method": "GET"}}
    request = http.Request.from_event({"rawPath": raw_path, "requestContext": context})
    assert (request.path, request.url) == (path, url)


@pytest.mark.parametrize(("method", "status"), [("GET", 405), ("POST", 404)])
def test_another_method_under_a_base_path_is_405(method: str, status: int) -> None:
    """With the route's own method, API Gateway has found no route: the path is none."""
    answer = status_function.handler(event(method=method, path="/v1/generate"), Context())
    assert answer["statusCode"] == status


@pytest.mark.parametrize(
    ("domain", "stage", "route", "raw_path", "path", "url"),
    [
        # API Gateway says which route has matched, so a base path may be named like a route.
        ("api.example", "$default", "/generate", "/status/generate", "/generate", "https://api.example/status"),
        ("api.example", "$default", "/retry/{jobId}", "/cancel/retry/x", "/retry/x", "https://api.example/cancel"),
        ("api.example", "$default", "/generate", "/generate", "/generate", "https://api.example"),
        ("api.example", "models", "/models", "/models", "/models", "https://api.example"),
        ("api.example", "prod", "/models", "/prod/models", "/models", "https://api.example"),
        ("api.example", "prod", "/models", "/prod/v1/models", "/models", "https://api.example/v1"),
        ("api.example", "$default", "/generate", "//generate", "/generate", "https://api.example"),
        ("api.example", "$default", "/generate", "/v1/generate/", "/generate", "https://api.example/v1"),
        (GATEWAY, "generate", "/generate", "/generate/generate", "/generate", f"https://{GATEWAY}/generate"),
    ],
)
def test_the_route_tells_what_stands_before_it(
    domain: str, stage: str, route: str, raw_path: str, path: str, url: str
) -> None:
    context = {"domainName": domain, "stage": stage, "http": {"method": "POST"}}
    asked = {"rawPath": raw_path, "requestContext": context, "routeKey": f"POST {route}"}
    request = http.Request.from_event(asked)
    assert (request.path, request.url) == (path, url)


def test_an_event_without_context_is_a_request() -> None:
    assert http.Request.from_event({"requestContext": None}).path == "/"


@pytest.mark.parametrize("body", ["", "  \n", "{}", "\ufeff", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}"])
def test_a_body_may_be_empty(body: str | bytes) -> None:
    assert http.Request.from_event(event(body)).json_or_empty() == {}


def test_the_description_is_served_under_a_base_path() -> None:
    answer = status_function.handler(event(method="GET", path="/v1/openapi.json"), Context())
    assert answer["statusCode"] == 200 and json.loads(answer["body"])["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"GALLERY": "off", "USAGE": "true"}, ["/gallery/list", "/gallery/{galleryId}"]),
        ({"GALLERY": "owner"}, ["/usage"]),
        ({"USAGE": "true"}, []),
    ],
    ids=str,
)
def test_only_the_routes_that_are_there_are_described(
    settings: dict[str, str], absent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    built.forget()
    answer = status_function.handler(event(method="GET", path="/openapi.json"), Context())
    assert json.loads(answer["body"])["paths"].keys() == routes.ROUTES.keys() - absent
    built.forget()


@pytest.mark.parametrize("function", ["submit", "enhance", "upload", "cancel", "retry", "models", "gallery", "status"])
def test_an_unknown_query_parameter_is_rejected(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(function)
    # What would be done with the request is not reached.
    monkeypatch.setattr(module, "services", MagicMock())
    asked = event("{}", method="GET" if function in ("models", "gallery", "status") else "POST")
    answer = module.handler(
        {**asked, "queryStringParameters": {"dryRum": "1"}, "pathParameters": {"jobId": "x"}}, Context()
    )
    assert answer["statusCode"] == 400
    body = json.loads(answer["body"])
    assert (body["error"], body["parameter"]) == ("INVALID_PARAMETER", "dryRum")


def test_invalid_base64_is_refused() -> None:
    broken = {**event(b"{}"), "body": "%%%"}
    assert answer_of(echo, broken)["statusCode"] == 400


def test_a_body_of_2_mb_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        parse('{"prompt": "' + "x" * 2_000_000 + '"}')


IMAGE = "data:image/png;base64," + "A" * 3_000_000


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"prompt": "a fox", "images": [{"data": IMAGE}]}),
        json.dumps({"images": [{"data": IMAGE[:1_000_000]}] * 4, "prompt": "x" * 60_000}),
        json.dumps({"images": [{"data": IMAGE}]}).replace("AAAAAAAA", "AAAAAA\\/A", 9),
    ],
)
def test_data_urls_count_against_a_limit_of_their_own(text: str) -> None:
    assert read_json(text.encode(), may_have_images=True)["images"]
    with pytest.raises(PayloadTooLarge, match="the limit is 65536"):
        read_json(text.encode())


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "x" * 66_000, "images": [{"data": IMAGE}]},
        {"prompt": IMAGE, "images": []},
        {"prompt": "a fox", "images": [{"url": IMAGE}]},
        {"prompt": "a fox", "images": {"data": IMAGE}},
        {"prompt": "a fox", "image": [{"data": IMAGE}]},
        {"images": [{"data": IMAGE, "more": [{"data": IMAGE[:100_000]}]}]},
        {"images": [{"data": [IMAGE]}]},
        {"images": [[]] * 30_000},
        {"images": [{"data": IMAGE.replace("image/png", "text/plain")}]},
    ],
)
def test_outside_of_the_data_urls_the_limit_stays(value: dict[str, Any]) -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        read_json(json.dumps(value).encode(), may_have_images=True)
    assert caught.value.details == {"limit": 65536}


def test_a_body_with_data_urls_has_a_limit() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        read_json(json.dumps({"images": [{"data": IMAGE + "A" * 1_500_000}]}).encode(), may_have_images=True)
    assert caught.value.details == {"limit": 4_500_000}


@given(st.binary(max_size=300))
def test_no_body_breaks_the_parser(data: bytes) -> None:
    with contextlib.suppress(InvalidJson):
        parse(data)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_no_json_breaks_the_parser(value: Any) -> None:
    try:
        assert parse(json.dumps({"value": value})) == {"value": value}
    except InvalidJson:
        json.dumps(value).encode()


def test_errors_become_answers() -> None:
    def refuse(request: http.Request) -> http.Response:
        raise RequestError("No.", headers={"Retry-After": "3"}, limit=7)

    answer = answer_of(refuse, event("{}"))
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"]) == {"error": "BAD_REQUEST", "message": "No.", "limit": 7}
    assert answer["headers"]["Retry-After"] == "3"


@pytest.mark.parametrize(
    "error", [ConfigurationError("The secret is sk-abcdef123456"), ZeroDivisionError("internal.py")]
)
def test_our_own_failures_tell_nothing(error: Exception, log: io.StringIO) -> None:
    def fail(request: http.Request) -> http.Response:
        raise error

    answer = answer_of(fail, event("{}"))
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"]) == {
        "error": "INTERNAL_SERVER_ERROR",
        "message": "Internal error.",
    }
    lines = log.getvalue()
    assert "Traceback" not in lines and "sk-abcdef" not in lines
    assert type(error).__name__ in lines


def test_a_key_in_the_path_is_not_logged(log: io.StringIO) -> None:
    key = "pp_" + "x1" * 24 + "9"
    answer_of(echo, {**event("{}"), "rawPath": f"/status/{key}"})
    assert "/status/[hidden]" in log.getvalue() and key not in log.getvalue()


def test_a_correlation_id_is_echoed_or_made() -> None:
    assert answer_of(echo, event("{}", X_Correlation_ID="abc-1"))["headers"]["X-Correlation-ID"] == "abc-1"
    made = [answer_of(echo, event("{}"))["headers"]["X-Correlation-ID"] for _ in range(2)]
    assert made[0] != made[1]


@pytest.mark.parametrize("evil", ["a\r\nSet-Cookie: x", "x" * 129, "<script>", "ü", " ", "pp_" + "x" * 49])
def test_a_correlation_id_cannot_carry_anything_else(evil: str) -> None:
    assert answer_of(echo, event("{}", X_Correlation_ID=evil))["headers"]["X-Correlation-ID"] != evil


def test_a_preflight_is_answered_with_what_browsers_ask_for() -> None:
    answer = answer_of(echo, event(method="OPTIONS", origin="https://example.org"))
    assert answer["statusCode"] == 204
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer["headers"]["Access-Control-Allow-Methods"]
    for name in ("Date", "ETag", "Retry-After", "X-Correlation-ID", "Idempotent-Replayed"):
        assert name in answer["headers"]["Access-Control-Expose-Headers"]


@pytest.fixture
def named_origins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment that names the origins that may call."""
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example,https://b.example")
    cors.allowed_origins.cache_clear()
    yield
    cors.allowed_origins.cache_clear()


@pytest.mark.usefixtures("named_origins")
def test_only_named_origins_are_allowed() -> None:
    allowed = answer_of(echo, event("{}", origin="https://b.example"))["headers"]
    refused = answer_of(echo, event("{}", origin="https://evil.example"))["headers"]
    assert (allowed["Access-Control-Allow-Origin"], allowed["Vary"]) == ("https://b.example", "Origin")
    assert "Access-Control-Allow-Origin" not in refused


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/generate", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/status/abc", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/enhance", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/uploads", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/uploads/x", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/status", 404, "NOT_FOUND"),
        ("GET", "/status/a/b", 404, "NOT_FOUND"),
        ("POST", "/generate/", 404, "NOT_FOUND"),
    ],
)
def test_the_catch_all_knows_the_routes(method: str, path: str, status: int, code: str) -> None:
    error = routes.no_such_route(method, path)
    assert (error.status, error.code) == (status, code)
    assert (error.details["path"], error.details["method"]) == (path, method)
    assert ("Allow" in error.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/gallery/list", "/gallery/2026-01-02-03-04-05-0bfe8cdc"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_gallery_that_is_off_is_an_unknown_path(method: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missed(given: str) -> dict[str, Any]:
        built.forget()
        return status_function.handler(event(method=method, path=given), Context())

    monkeypatch.setenv("GALLERY", "public")
    public = missed(path)
    monkeypatch.setenv("GALLERY", "off")
    off, unknown = missed(path), missed("/elsewhere")
    # API Gateway sends a GET here only where there is no route.
    expected = (404, "NOT_FOUND") if method == "GET" else (405, "METHOD_NOT_ALLOWED")
    assert (public["statusCode"], json.loads(public["body"])["error"]) == expected
    assert (off["statusCode"], json.loads(off["body"])["error"]) == (404, "NOT_FOUND")
    assert off["body"] == unknown["body"].replace("/elsewhere", path)
    assert {**off["headers"], "X-Correlation-ID": ""} == {**unknown["headers"], "X-Correlation-ID": ""}


def test_a_gallery_that_is_off_leaves_the_other_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALLERY", "off")
    deployed = routes.deployed_routes(has_gallery=Settings.from_environment().has_gallery, has_usage=True)
    assert set(routes.ROUTES) - {route.path for route in deployed} == {"/gallery/list", "/gallery/{galleryId}"}


def test_an_s3_that_is_busy_can_be_asked_again() -> None:
    def fail(request: http.Request) -> http.Response:
        raise StorageError("S3 answered SlowDown.") from ClientError(
            {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}},
            "GetObject",
        )

    answer = answer_of(fail, event("{}"))
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
    assert json.loads(answer["body"])["error"] == "SERVICE_UNAVAILABLE"


def test_an_s3_that_refuses_is_a_fault_of_the_deployment() -> None:
    def fail(request: http.Request) -> http.Response:
        raise PermissionDenied("S3 refused GetObject on jobs/x.")

    assert answer_of(fail, event("{}"))["statusCode"] == 500
