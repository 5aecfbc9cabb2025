"""The description of the API says what the code does, and the written one what the code says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from local.checks import openapi as written
from local.checks.api_description import description
from pixelprompt import errors
from pixelprompt.api import routes
from pixelprompt.api.body import read_json
from pixelprompt.api.description import description as served
from pixelprompt.jobs.request import GenerateRequest
from pixelprompt.jobs.status import Wait
from pixelprompt.models.parameters import NAMES
from pixelprompt.prompts.prompt import read_body_with_prompt

DESCRIPTION = description()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def codes(operation: dict[str, Any], status: str) -> set[str]:
    """The values of ``error`` that an answer may have."""
    found = nodes(operation["responses"].get(status, {}))
    return {code for node in found for code in node.get("properties", {}).get("error", {}).get("enum", [])}


def test_the_written_description_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert written.run(check=True) == 0, capsys.readouterr().err


def test_a_drift_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(routes.ROUTES, "/models", routes.Route("POST", "/models", "models"))
    assert written.run(check=True) == 1
    assert "api/openapi.json" in capsys.readouterr().err


def test_a_route_without_a_description_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(routes.ROUTES, "/new", routes.Route("GET", "/new", "status"))
    with pytest.raises(KeyError, match="/new"):
        description()


def test_every_route_is_there_and_nothing_else() -> None:
    assert set(OPERATIONS) == {route.key for route in routes.ROUTES.values()}
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere() -> None:
    references = [node["$ref"] for node in nodes(DESCRIPTION) if "$ref" in node]
    assert references
    for reference in references:
        place: Any = DESCRIPTION
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    linked = {node["operationId"] for node in nodes(DESCRIPTION) if "operationId" in node}
    assert linked == {operation["operationId"] for operation in OPERATIONS.values()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_can_be_missed_throttled_and_broken(name: str) -> None:
    operation = OPERATIONS[name]
    assert {"200", "404", "405", "429", "500", "503"} <= set(operation["responses"])
    assert "NOT_FOUND" in codes(operation, "404") and codes(operation, "405") == {"METHOD_NOT_ALLOWED"}
    assert "SERVICE_UNAVAILABLE" in codes(operation, "503") and codes(operation, "500") == {"INTERNAL_SERVER_ERROR"}
    in_path = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", name))
    if "requestBody" in operation:
        assert "INVALID_JSON" in codes(operation, "400") and "PAYLOAD_TOO_LARGE" in codes(operation, "413")


def test_everything_is_described() -> None:
    for name, operation in OPERATIONS.items():
        assert operation["summary"].endswith(".") and operation["description"].endswith("."), name
        assert all(parameter["description"] for parameter in operation["parameters"] if parameter["in"] != "path"), name
    for name, schema in DESCRIPTION["components"]["schemas"].items():
        assert schema["description"], name
        for member, described in schema["properties"].items():
            # What it refers to is described there.
            assert "$ref" in described or described["description"], f"{name}.{member}"


def test_every_example_is_valid() -> None:
    examples = 0
    for name, schema in DESCRIPTION["components"]["schemas"].items():
        for member, described in schema["properties"].items():
            whole = {**described, "components": DESCRIPTION["components"]}
            for example in described.get("examples", []):
                examples += 1
                assert jsonschema_rs.Draft202012Validator(whole).is_valid(example), f"{name}.{member}: {example}"
    assert examples > 60


def test_only_the_gallery_may_be_off() -> None:
    optional = {name for name, operation in OPERATIONS.items() if "404 `NOT_FOUND`" in operation.get("description", "")}
    assert optional == {"GET /gallery/list", "GET /gallery/{galleryId}"}


def subclasses(kind: type[errors.RequestError]) -> Iterator[type[errors.RequestError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from subclasses(inner)


@pytest.mark.parametrize("kind", [*subclasses(errors.RequestError)], ids=lambda kind: kind.__name__)
def test_every_error_is_an_answer_of_some_route(kind: type[errors.RequestError]) -> None:
    assert any(kind.code in codes(operation, str(kind.status)) for operation in OPERATIONS.values())


def validator(name: str) -> jsonschema_rs.Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DESCRIPTION["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [0, 1, 1.0, 1.5, 2, 4, 5, 30, 30.5, 150, 151, -1, 2**32 - 1, 2**32, True, "1:1", "16:9", "1K", "high", "png", "gif",
     "x" * 1000, "x" * 1001, "", [], {}, None],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_a_parameter_is_described_as_it_is_read(name: str, value: Any) -> None:
    try:
        body = read_json(json.dumps({"prompt": "a fox", name: value}).encode())
        read_body_with_prompt(body, GenerateRequest).given()
    except errors.InvalidParameter:
        taken = False
    else:
        taken = True
    assert validator("GenerateRequest").is_valid({"prompt": "a fox", name: value}) == taken


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"prompt": "a fox"}, True),
        ({"prompt": "x" * 1000}, True),
        ({"prompt": "x" * 1001}, False),
        ({"prompt": "  "}, False),
        ({"prompt": None}, False),
        ({}, False),
        ({"prompt": "a fox", "models": []}, False),
        ({"prompt": "a fox", "models": None}, True),
        ({"prompt": "a fox", "dryRun": 1}, False),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_request_is_described_as_it_is_checked(body: dict[str, Any], valid: bool) -> None:
    assert validator("GenerateRequest").is_valid(body) == valid


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({}, True),
        ({"models": ["Painter"]}, True),
        ({"models": None}, True),
        ({"models": []}, False),
        ({"models": "Painter"}, False),
        ({"models": ["Painter", 1]}, False),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_retry_is_described_as_it_is_checked(body: dict[str, Any], valid: bool) -> None:
    assert validator("RetryRequest").is_valid(body) == valid


@pytest.mark.parametrize(
    "since", ['"a-1"', 'W/"a-1"', "a-1", "", 'w/"a"', '""a"', "a b", "x" * 100, "x" * 101], ids=lambda value: value[:9]
)
def test_a_version_is_described_as_it_is_read(since: str) -> None:
    parameters = OPERATIONS["GET /status/{jobId}"]["parameters"]
    (schema,) = (entry["schema"] for entry in parameters if entry["name"] == "since")
    try:
        Wait.from_query({"since": since}, "", 20)
    except errors.InvalidParameter:
        taken = False
    else:
        taken = True
    assert jsonschema_rs.Draft202012Validator(schema).is_valid(since) == taken


def test_an_error_is_described_as_it_is_answered() -> None:
    error = errors.RateLimitExceeded("Too many.", retryAfter=3, scope="ip")
    assert validator("ErrorResponse").is_valid({"error": error.code, "message": error.message, **error.details})
    assert not validator("ErrorResponse").is_valid({"message": "Too many."})


def test_the_file_is_what_a_lambda_reads() -> None:
    assert served(routes.ROUTES) == DESCRIPTION == json.loads(written.FILE.read_bytes())
