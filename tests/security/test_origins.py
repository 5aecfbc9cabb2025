"""Which pages may make a browser send something; CORS itself only decides who may read the answer."""

import json
from collections.abc import Iterator
from typing import Any

import cancel
import pytest
import retry
import submit

import enhance
import upload
from pixelprompt.api import cors, http, routes

UNKNOWN = "00000000-0000-4000-8000-000000000000"
POSTS = {
    "/generate": submit.handler,
    "/enhance": enhance.handler,
    "/uploads": upload.handler,
    f"/cancel/{UNKNOWN}": cancel.handler,
    f"/retry/{UNKNOWN}": retry.handler,
}


class Context:
    """What Lambda hands to a handler."""

    function_name = "test"


@pytest.fixture(autouse=True)
def origins(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A deployment that names the origins that may call; it has nothing else, so whoever passes gets a 500."""
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, https://b.example:8443")
    cors.allowed_origins.cache_clear()
    yield monkeypatch
    cors.allowed_origins.cache_clear()


def answer(
    path: str,
    origin: str | None,
    method: str = "POST",
    body: str = '{"prompt":"a fox"}',
    route: str | None = None,
) -> dict[str, Any]:
    headers = {"content-type": "text/plain"} | ({"origin": origin} if origin is not None else {})
    context = {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "domainName": "api.test"}
    parameters = {"jobId": path.rpartition("/")[2]}
    matched = {} if route is None else {"routeKey": f"POST {route}"}
    event = {
        **matched,
        "version": "2.0",
        "rawPath": path,
        "headers": headers,
        "requestContext": context,
        "body": body,
        "pathParameters": parameters,
    }
    found: dict[str, Any] = POSTS.get(route or path, submit.handler)(event, Context())
    return found


def test_every_route_that_changes_something_is_tried() -> None:
    assert {path.rsplit("/{", 1)[0] for path, route in routes.ROUTES.items() if route.method == "POST"} == {
        path.replace(f"/{UNKNOWN}", "") for path in POSTS
    }


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "", "https://a.example.evil.example", "http://a.example", "https://a.example:444",
        "https://b.example", "https://A.example", "https://a.example,https://b.example:8443", "*",
    ],
)  # fmt: skip
def test_a_page_of_another_origin_sends_nothing(path: str, origin: str) -> None:
    refused = answer(path, origin)
    assert refused["statusCode"] == 403
    assert json.loads(refused["body"])["error"] == "ORIGIN_NOT_ALLOWED"
    assert "Access-Control-Allow-Origin" not in refused["headers"]


@pytest.mark.parametrize("path", ["/generate/", "/%67enerate", "//generate//", "/stage/GENERATE"])
def test_a_path_that_api_gateway_has_matched_counts_however_it_is_written(path: str) -> None:
    assert answer(path, "https://evil.example", route="/generate")["statusCode"] == 403
    assert answer(path, "https://a.example", route="/generate")["statusCode"] not in (401, 403)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("origin", ["https://a.example", "https://b.example:8443", None])
def test_named_pages_and_programs_pass(path: str, origin: str | None) -> None:
    assert answer(path, origin)["statusCode"] not in (401, 403)


def test_a_preflight_is_answered_and_reading_is_left_to_the_browser() -> None:
    assert answer("/generate", "https://evil.example", "OPTIONS")["statusCode"] == 204
    read = http.endpoint(lambda request: http.Response({}))
    event = {"rawPath": f"/status/{UNKNOWN}", "headers": {"origin": "https://evil.example"},
             "requestContext": {"http": {"method": "GET", "path": "/"}}}  # fmt: skip
    assert read(event, Context())["statusCode"] == 200


def test_a_path_that_is_none_is_not_found_whoever_asks() -> None:
    event = {"rawPath": "/nothing", "headers": {"origin": "https://evil.example"},
             "requestContext": {"http": {"method": "POST", "path": "/nothing"}}}  # fmt: skip

    def missing(request: http.Request) -> http.Response:
        raise routes.no_such_route(request.method, request.path)

    assert http.endpoint(missing)(event, Context())["statusCode"] == 404


@pytest.mark.parametrize("named", ["*", "", None, "https://a.example,*"])
def test_where_no_origin_is_named_every_page_passes(origins: pytest.MonkeyPatch, named: str | None) -> None:
    if named is None:
        origins.delenv("CORS_ORIGINS")
    else:
        origins.setenv("CORS_ORIGINS", named)
    cors.allowed_origins.cache_clear()
    assert answer("/generate", "https://evil.example")["statusCode"] not in (401, 403)
