"""The doctor, over sockets: providers as the simulators play them, or as a server that answers what a test says."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config

from local import __main__ as command
from local.aws import deployment
from local.aws.deployment import Deployment, former_secret
from local.cloud import CloudError
from local.doctor import BAD, GOOD, WARNING, Row, examine, examine_access, line, report, subscribe_command
from local.paths import ROOT
from local.simulator import Simulator
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.storage.keys import OVERLAY_KEY
from tests.canned import Answer, Asked, Canned
from tests.conftest import BUCKET
from tests.stacks import stacks
from tests.today import TODAY

SECRET = "ProviderKeys-x1Y2"
SIMULATED_PATHS = {name: row.simulator_path for name, row in PROVIDERS.items() if row.simulator_path}
KEYS = {
    name: f"secret-of-{name.lower()}"
    for name in (
        "OPENAI_API_KEY", "GEMINI_API_KEY", "STABILITY_API_KEY", "BFL_API_KEY", "RECRAFT_API_KEY", "XAI_API_KEY",
    )
}  # fmt: skip
DEFAULTS = [model.name for model in ModelRegistry.load(day=lambda: TODAY).get_all_models() if model.default]
ACTIVE = {"status": "ACTIVE"}
CORE = "stability.stable-image-core-v1:1"
WHERE = f"--region us-west-2 --model-id {CORE}"
SUBSCRIBE = (
    f'aws bedrock create-foundation-model-agreement {WHERE} --offer-token "$(aws bedrock '
    f"list-foundation-model-agreement-offers {WHERE} --query 'offers[0].offerToken' --output text)\""
)
OPEN = {
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}


@pytest.fixture
def quota() -> Iterator[Canned]:
    """Lambda, with a large account."""
    with Canned(Answer(content=account_of(1000))) as server:
        yield server


@pytest.fixture
def deployed(s3: Any, quota: Canned, simulator: Simulator) -> Deployment:
    """A deployment with all keys, whose providers are simulated."""
    boto3.client("secretsmanager").create_secret(Name=SECRET, SecretString=json.dumps(KEYS))
    endpoints = {provider: simulator.url + path for provider, path in SIMULATED_PATHS.items()}
    return Deployment("a test", "dev", "us-east-1", BUCKET, SECRET, clients({"lambda": quota.url}), endpoints)


def clients(places: Mapping[str, str]) -> deployment.ClientFactory:
    """Clients of moto, but for the services that have a place of their own."""

    def client(service: str, *, region: str | None = None, endpoint: str | None = None) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(
            service, region_name=region, endpoint_url=endpoint or places.get(service), config=config
        )  # fmt: skip

    return client


def account_of(executions: int) -> dict[str, Any]:
    return {"AccountLimit": {"ConcurrentExecutions": executions, "UnreservedConcurrentExecutions": executions}}


def set_keys(keys: Mapping[str, str]) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=json.dumps(keys))


def set_overlay(s3: Any, *models: Mapping[str, Any]) -> None:
    s3.put_object(Bucket=BUCKET, Key=OVERLAY_KEY, Body=json.dumps({"models": models}))


def rows_of(deployed: Deployment, **options: Any) -> dict[str, Row]:
    return {row.subject: row for row in examine(deployed, day=lambda: TODAY, **options)}


def with_endpoint(deployed: Deployment, provider: str, url: str) -> Deployment:
    return replace(deployed, endpoints={**deployed.endpoints, provider: url})


def sentences(row: Row) -> str:
    return " ".join(finding.sentence for finding in row.findings)


def test_a_healthy_deployment_is_all_good_and_asks_each_provider_once(
    deployed: Deployment, simulator: Simulator
) -> None:
    rows = rows_of(deployed)
    assert {row.mark for row in rows.values()} == {GOOD}, [line(row) for row in rows.values()]
    assert set(DEFAULTS) <= set(rows)
    assert rows["GPT Image 2.6 Flare"].listed == rows["Nano Banana 2.1"].listed == "yes"
    asked = sorted(record.provider for record in simulator.requests)
    assert asked == sorted(SIMULATED_PATHS)
    assert {record.method for record in simulator.requests} == {"GET"}


def test_models_that_are_no_default_are_looked_at_only_when_asked_for(deployed: Deployment) -> None:
    assert "GPT Image 1.5" not in rows_of(deployed)
    every = rows_of(deployed, every=True)
    assert every["GPT Image 1.5"].mark == WARNING
    assert "DALL-E 3" not in every
    names = [name for name in every if name in DEFAULTS or name == "GPT Image 1.5"]
    assert names == [*DEFAULTS, "GPT Image 1.5"]


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("OPENAI_API_KEY", "openai"),
        ("GEMINI_API_KEY", "gemini"),
        ("STABILITY_API_KEY", "stability"),
        ("BFL_API_KEY", "bfl"),
        ("RECRAFT_API_KEY", "recraft"),
    ],
)
def test_a_key_that_is_not_accepted(deployed: Deployment, name: str, provider: str) -> None:
    set_keys({**KEYS, name: "bad-and-still-a-secret"})
    rows = rows_of(deployed)
    touched = {row.subject for row in rows.values() if row.key == "refused"}
    assert touched
    for row in rows.values():
        assert "bad-and-still-a-secret" not in line(row)
        assert (row.mark == BAD) == (row.subject in touched)
        assert (row.provider == f"{provider} (simulated)") == (row.subject in touched)
        assert not row.findings or f"doesn't accept {name}; get a valid one and run `make keys" in sentences(row)


def test_a_missing_key_is_named_and_nobody_is_asked(deployed: Deployment, simulator: Simulator) -> None:
    set_keys({name: key for name, key in KEYS.items() if name not in ("BFL_API_KEY", "OPENAI_API_KEY")})
    rows = rows_of(deployed, every=True)
    assert rows["FLUX.2 Pro"].mark == BAD
    assert "no usable BFL_API_KEY; run `make keys STAGE=dev`" in sentences(rows["FLUX.2 Pro"])
    # Jobs do not need it unless they name it, and /enhance answers without its model.
    assert rows["FLUX 1.1 Pro"].mark == rows["GPT-5.4 mini (enhances prompts)"].mark == WARNING
    assert not {"bfl", "openai"} & {record.provider for record in simulator.requests}


def test_on_the_laptop_the_cure_is_another_one(deployed: Deployment) -> None:
    set_keys({})
    rows = rows_of(replace(deployed, on_laptop=True))
    assert "set BFL_API_KEY in the environment and run `make up`" in sentences(rows["FLUX.2 Pro"])


def test_what_the_provider_says_of_the_end_counts_before_the_catalogue(deployed: Deployment, s3: Any) -> None:
    set_overlay(s3, {"name": "GPT Image 1.5", "default": True, "shutdown": "2027-06-01"})
    row = rows_of(deployed)["GPT Image 1.5"]
    assert (row.mark, row.ends) == (WARNING, "2026-12-01")
    assert sentences(row) == ("It will be shut down on 2026-12-01, says its provider; use gpt-image-2.6-flare instead.")


@pytest.mark.parametrize(
    ("shutdown", "mark"),
    [("2026-11-23", BAD), ("2026-11-24", WARNING), ("2027-01-22", WARNING), ("2027-01-23", GOOD)],
)
def test_the_catalogues_date_counts_where_the_provider_tells_none(
    deployed: Deployment, s3: Any, shutdown: str, mark: str
) -> None:
    set_overlay(s3, {"name": "Recraft V4.1", "shutdown": shutdown, "replacement": "recraftv4_1"})
    row = rows_of(deployed)["Recraft V4.1"]
    assert (row.mark, row.ends) == (mark, shutdown)
    assert mark == GOOD or f"on {shutdown}, says the catalogue; use recraftv4_1 instead" in sentences(row)


def test_a_model_that_is_not_listed(deployed: Deployment, s3: Any) -> None:
    local = {"provider": "compatible", "baseUrl": "https://models.example/v1"}
    set_overlay(
        s3,
        {"name": "Gone", "provider": "openai", "id": "gpt-image-0", "replacement": "gpt-image-2"},
        {"name": "Gone too", "provider": "gemini", "id": "gemini-0-image"},
        {"name": "Never there", "provider": "bedrock", "id": "stability.sd0-v1:0", "region": "us-west-2"},
        {"name": "Perhaps", "id": "plain-0", **local},
        {"name": "Listed", "id": "plain-diffusion", **local},
    )
    rows = rows_of(deployed)
    marks = {name: rows[name].mark for name in ("Gone", "Gone too", "Never there", "Perhaps", "Listed")}
    assert marks == {"Gone": BAD, "Gone too": BAD, "Never there": BAD, "Perhaps": WARNING, "Listed": GOOD}
    assert "doesn't list gpt-image-0" in sentences(rows["Gone"])
    assert "use gpt-image-2 instead" in sentences(rows["Gone"])


def test_a_retired_model_that_no_job_misses_is_left_out(deployed: Deployment, s3: Any) -> None:
    set_overlay(s3, {"name": "Recraft V4.1", "retired": True, "replacement": "recraftv4_1_flash"})
    rows = rows_of(deployed, every=True)
    assert not {"Imagen 3.0", "Gemini 2.0", "DALL-E 3"} & rows.keys()
    assert rows["Recraft V4.1"].mark == BAD
    assert "It is gone, says the catalogue; use recraftv4_1_flash instead" in sentences(rows["Recraft V4.1"])


def test_a_disabled_model_is_left_out(deployed: Deployment, s3: Any) -> None:
    set_overlay(s3, {"name": "Recraft V4.1", "enabled": False})
    assert "Recraft V4.1" not in rows_of(deployed, every=True)


def test_a_broken_overlay_is_reported_and_the_built_in_catalogue_examined(deployed: Deployment, s3: Any) -> None:
    set_overlay(s3, {"name": "Broken", "provider": "nobody", "id": "x"})
    rows = rows_of(deployed)
    assert rows["Model catalogue"].mark == BAD
    assert "provider='nobody'" in sentences(rows["Model catalogue"])
    assert "make models-check" in sentences(rows["Model catalogue"])
    assert set(DEFAULTS) <= set(rows)
    s3.put_object(Bucket=BUCKET, Key=OVERLAY_KEY, Body=b"{")
    assert "not a JSON object" in sentences(rows_of(deployed)["Model catalogue"])


def test_a_secret_that_cannot_be_read(deployed: Deployment, simulator: Simulator) -> None:
    rows = rows_of(replace(deployed, secret="no-such-secret"))
    assert rows["Secret of the keys"].mark == BAD
    assert "ResourceNotFoundException" in sentences(rows["Secret of the keys"])
    assert {record.provider for record in simulator.requests} == {"bedrock"}
    set_keys({})
    boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString="[]")
    assert "make keys" in sentences(rows_of(deployed)["Secret of the keys"])


@pytest.mark.parametrize(
    ("answer", "mark", "says"),
    [
        (Answer(content={"credits": 12}), GOOD, ""),
        (Answer(content={"credits": 0}), BAD, "no credit left"),
        (Answer(402), BAD, "no credit left"),
        (Answer(401), BAD, "doesn't accept BFL_API_KEY"),
        (Answer(403, {"detail": "Invalid API key."}), BAD, "doesn't accept BFL_API_KEY"),
        (
            Answer(429, {"detail": "Your account balance is insufficient."}),
            BAD,
            "no credit left; add some. It says: Your",
        ),
        (
            Answer(403, {"detail": "You reached your monthly spending limit."}),
            BAD,
            "no credit left; add some. It says:",
        ),
        (Answer(403, {"detail": "Rate limit reached; retry in 9 s."}), WARNING, "busy or failing (HTTP 403)"),
        (Answer(408), WARNING, "busy or failing (HTTP 408)"),
        (Answer(403, b"<html>no</html>"), BAD, "denies access with BFL_API_KEY; check the account's"),
        (Answer(404, b"<html>no</html>"), WARNING, "returned HTTP 404, so only a job can tell."),
        (Answer(403, b"Missing scopes: api.model.read"), WARNING, "has no permission to list models"),
        (Answer(429), WARNING, "HTTP 429"),
        *(
            (Answer(status, {"detail": f"Pay for organization Acme; {KEYS['BFL_API_KEY']}"}), mark, "It says: Pay for")
            for status, mark in ((401, BAD), (402, BAD), (403, BAD), (429, WARNING))
        ),
        (Answer(500), WARNING, "HTTP 500"),
        (Answer(302, headers={"Location": "https://elsewhere.example/"}), WARNING, "HTTP 302"),
        (Answer(content=b"<html>"), WARNING, "invalid JSON"),
    ],
)
def test_what_an_answer_means(deployed: Deployment, answer: Answer, mark: str, says: str) -> None:
    with Canned(answer) as server:
        row = rows_of(with_endpoint(deployed, "bfl", server.url))["FLUX.2 Pro"]
    assert row.mark == mark
    assert says in sentences(row)
    assert KEYS["BFL_API_KEY"] not in sentences(row)
    (asked,) = server.asked
    assert (asked.path, asked.headers["x-key"]) == ("/v1/credits", KEYS["BFL_API_KEY"])


def google(status: str, message: str, reason: str | None = None) -> dict[str, Any]:
    """An error in Google's envelope."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return {"error": {"code": 400, "status": status, "message": message, "details": details}}


@pytest.mark.parametrize(
    ("content", "key", "says"),
    [
        (
            google("INVALID_ARGUMENT", "API key expired. Please renew it.", "API_KEY_INVALID"),
            "refused",
            "accept GEMINI",
        ),
        (google("INVALID_ARGUMENT", "Renew it.", "API_KEY_INVALID"), "refused", "doesn't accept GEMINI_API_KEY"),
        (google("INVALID_ARGUMENT", "API Key not found. Please pass a valid API key."), "refused", "doesn't accept"),
        (google("FAILED_PRECONDITION", "User location is not supported for the API use."), "denied", "denies access"),
        (google("FAILED_PRECONDITION", "Please set up the project first."), "denied", "billing, and region there"),
        (google("FAILED_PRECONDITION", ""), "denied", "billing, and region there"),
    ],
)
def test_googles_errors_mean_for_the_doctor_what_they_mean_for_jobs(
    deployed: Deployment, content: Any, key: str, says: str
) -> None:
    with Canned(Answer(400, content)) as server:
        row = rows_of(with_endpoint(deployed, "gemini", server.url))["Nano Banana 2.1"]
    assert (row.mark, row.key) == (BAD, key)
    assert says in sentences(row)


@pytest.mark.parametrize("said", ["The API key has expired.", "This API key has been revoked.", "Expired API key."])
def test_a_key_that_has_ended_is_not_an_account_that_is_denied(deployed: Deployment, said: str) -> None:
    with Canned(Answer(403, {"error": {"message": said}})) as server:
        row = rows_of(with_endpoint(deployed, "bfl", server.url))["FLUX.2 Pro"]
    assert (row.mark, row.key) == (BAD, "refused")


def test_no_credit_says_nothing_about_a_key_that_is_not_accepted(deployed: Deployment) -> None:
    content = {"error": {"message": "Invalid API key, or your account has insufficient credits"}}
    with Canned(Answer(401, content)) as server:
        row = rows_of(with_endpoint(deployed, "bfl", server.url))["FLUX.2 Pro"]
    assert (row.mark, row.key) == (BAD, "unknown")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "User location is not supported for the API use."),
        (403, "This service is not available in your region."),
        (403, "Your account has been suspended."),
        (403, "This API method requires permissions that your organization lacks."),
    ],
)
def test_an_account_that_is_denied_has_no_bad_key(deployed: Deployment, status: int, said: str) -> None:
    with Canned(Answer(status, {"error": {"message": f"{said} {KEYS['BFL_API_KEY']}"}})) as server:
        row = rows_of(with_endpoint(deployed, "bfl", server.url))["FLUX.2 Pro"]
    assert (row.mark, row.key) == (BAD, "denied")
    assert sentences(row).startswith(
        "bfl denies access with BFL_API_KEY; check the account's permissions, status, billing, and region there, or "
        f"get another key and run `make keys STAGE=dev`. It says: {said}"
    )
    assert KEYS["BFL_API_KEY"] not in sentences(row)


@pytest.mark.parametrize(
    ("said", "key"), [("Not authenticated", "missing"), ("Not available in your region.", "denied")]
)
def test_a_server_without_a_key_tells_whether_it_wants_one(deployed: Deployment, s3: Any, said: str, key: str) -> None:
    with Canned(Answer(403, {"detail": said})) as server:
        set_overlay(s3, {"name": "Mine", "provider": "compatible", "id": "sd", "baseUrl": f"{server.url}/v1"})
        row = rows_of(replace(deployed, on_laptop=True))["Mine"]
    assert (row.mark, row.key) == (BAD, key)
    assert ("asks for a key; give the model an apiKeyName" in sentences(row)) == (key == "missing")
    assert ("denies access; check" in sentences(row)) == (key == "denied")


def test_a_list_of_several_pages_is_read_to_its_end(deployed: Deployment) -> None:
    def pages(asked: Asked) -> Answer:
        if "pageToken=second" in asked.path:
            return Answer(content={"models": [{"name": "models/gemini-nano-banana-2.1"}]})
        return Answer(content={"models": [], "nextPageToken": "second"})

    with Canned(pages) as server:
        row = rows_of(with_endpoint(deployed, "gemini", server.url))["Nano Banana 2.1"]
    assert (row.mark, row.listed, len(server.asked)) == (GOOD, "yes", 2)


def test_a_server_that_nobody_started(deployed: Deployment) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        row = rows_of(with_endpoint(deployed, "bfl", f"http://127.0.0.1:{unused.getsockname()[1]}"))["FLUX.2 Pro"]
    assert row.mark == BAD
    assert "is unreachable" in sentences(row)


def test_a_server_that_never_answers_holds_nobody_up(deployed: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        rows = rows_of(
            with_endpoint(deployed, "bfl", f"http://127.0.0.1:{silent.getsockname()[1]}"), seconds=0.5
        )  # fmt: skip
    assert time.monotonic() - began < 30
    assert (rows["FLUX.2 Pro"].mark, rows["GPT Image 2.6 Flare"].mark) == (BAD, GOOD)
    assert "didn't respond" in sentences(rows["FLUX.2 Pro"])


def test_a_server_of_ones_own_is_asked_where_it_is(deployed: Deployment, s3: Any) -> None:
    entry = {"name": "Mine", "provider": "compatible", "id": "sd"}
    with Canned(Answer(content={"data": [{"id": "sd"}]})) as server:
        set_overlay(s3, {**entry, "baseUrl": f"{server.url}/v1"})
        here = rows_of(replace(deployed, on_laptop=True))["Mine"]
        assert (here.mark, here.key, here.provider) == (GOOD, "not needed", "compatible")
        assert [asked.path for asked in server.asked] == ["/v1/models"]
        assert "authorization" not in server.asked[0].headers
        on_aws = rows_of(deployed)["Mine"]
        assert (on_aws.mark, len(server.asked)) == (BAD, 1)
        assert "loopback" in sentences(on_aws)
    with Canned(Answer(404)) as server:
        set_overlay(s3, {**entry, "baseUrl": f"{server.url}/v1"})
        row = rows_of(replace(deployed, on_laptop=True))["Mine"]
        assert (row.mark, "doesn't list its models" in sentences(row)) == (WARNING, True)


@pytest.mark.parametrize(
    ("models", "mark", "listed"),
    [
        ([{"id": "sd"}, {"name": "sd-2"}, "sd-3"], GOOD, "yes"),
        ({"data": [{"id": "models/sd"}]}, GOOD, "yes"),
        ({"data": [{"id": "sd-2"}]}, WARNING, "no"),
        ({"data": {"id": "sd"}}, GOOD, ""),
        ("sd", GOOD, ""),
    ],
)
def test_a_list_of_models_however_it_is_written(
    deployed: Deployment, s3: Any, models: Any, mark: str, listed: str
) -> None:
    with Canned(Answer(content=models)) as server:
        set_overlay(s3, {"name": "Mine", "provider": "compatible", "id": "sd", "baseUrl": f"{server.url}/v1"})
        row = rows_of(replace(deployed, on_laptop=True))["Mine"]
    assert (row.mark, row.listed) == (mark, listed)


@pytest.mark.parametrize(("left", "mark"), [(0, BAD), (-0.5, BAD), (0.5, GOOD), (None, GOOD)])
def test_openrouter_is_asked_for_its_credit(deployed: Deployment, s3: Any, left: Any, mark: str) -> None:
    entry = {"name": "Mine", "provider": "compatible", "id": "maker/picture", "dialect": "openrouter"}
    with Canned(Answer(content={"data": {"limit_remaining": left}})) as server:
        set_overlay(s3, {**entry, "baseUrl": f"{server.url}/api/v1"})
        row = rows_of(replace(deployed, on_laptop=True))["Mine"]
    assert [asked.path for asked in server.asked] == ["/api/v1/key"]
    assert (row.mark, "no credit left" in sentences(row)) == (mark, mark == BAD)


@pytest.mark.parametrize(("status", "mark"), [(200, GOOD), (401, BAD)])
def test_azure_is_asked_with_its_own_header(deployed: Deployment, s3: Any, status: int, mark: str) -> None:
    entry = {"name": "Mine", "provider": "compatible", "id": "my-deployment", "dialect": "azure"}
    set_keys({**KEYS, "AZURE_OPENAI_API_KEY": "azure-1"})
    with Canned(Answer(status, {"data": [{"id": "gpt-image-2"}]})) as server:
        set_overlay(s3, {**entry, "baseUrl": f"{server.url}/openai/v1", "apiKeyName": "AZURE_OPENAI_API_KEY"})
        refused = rows_of(replace(deployed, on_laptop=True))
        assert "Mine" not in refused and "keyHosts=" in sentences(refused["Model catalogue"])
        assert server.asked == []
        hosts = json.dumps({"AZURE_OPENAI_API_KEY": [server.url.removeprefix("http://")]})
        with Canned(Answer(content={**account_of(1000), "Environment": {"Variables": {"KEY_HOSTS": hosts}}})) as aws:
            allowing = replace(deployed, client=clients({"lambda": aws.url}), on_laptop=True)
            assert rows_of(allowing)["Mine"].mark == mark
        (asked,) = server.asked
    assert asked.path == "/openai/v1/models?api-version=v1"
    assert asked.headers["api-key"] == "azure-1" and "authorization" not in asked.headers


def test_a_key_is_not_sent_to_a_host_that_is_not_its_own(deployed: Deployment, s3: Any) -> None:
    set_keys({**KEYS, "COMPATIBLE_API_KEY": "general-1"})
    with Canned(Answer(401)) as server:
        set_overlay(s3, {"name": "Mine", "provider": "compatible", "id": "mine", "baseUrl": f"{server.url}/v1"})
        row = rows_of(replace(deployed, on_laptop=True))["Mine"]
        assert (row.mark, row.key) == (BAD, "missing")
        assert f'allow the key for this host (keyHosts={{"KEY": ["127.0.0.1:{server.port}"]}})' in sentences(row)
        (asked,) = server.asked
    assert "authorization" not in asked.headers


def bedrock(availability: Any, lifecycle: Mapping[str, Any]) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/foundation-models"):
            return Answer(content={"modelSummaries": [{"modelId": CORE, "modelLifecycle": lifecycle}]})
        return availability if isinstance(availability, Answer) else Answer(content=availability)

    return answer


@pytest.mark.parametrize(
    ("availability", "lifecycle", "mark", "says"),
    [
        (OPEN, ACTIVE, GOOD, ""),
        (
            {**OPEN, "agreementAvailability": {"status": "NOT_AVAILABLE"}},
            ACTIVE,
            BAD,
            SUBSCRIBE,
        ),
        ({**OPEN, "agreementAvailability": {"status": "PENDING"}}, ACTIVE, WARNING, "few minutes"),
        (
            {**OPEN, "agreementAvailability": {"status": "ERROR", "errorMessage": "no card"}},
            ACTIVE,
            BAD,
            "no card",
        ),
        ({**OPEN, "authorizationStatus": "NOT_AUTHORIZED"}, ACTIVE, BAD, "not authorized"),
        ({**OPEN, "entitlementAvailability": "NOT_AVAILABLE"}, ACTIVE, BAD, "not entitled"),
        ({**OPEN, "regionAvailability": "NOT_AVAILABLE"}, ACTIVE, BAD, "another region"),
        (
            Answer(403, {"message": "no"}, {"x-amzn-ErrorType": "AccessDeniedException"}),
            ACTIVE,
            WARNING,
            "AccessDeniedException",
        ),
        (OPEN, {"status": "LEGACY"}, WARNING, "legacy"),
        (OPEN, {"status": "LEGACY", "endOfLifeTime": "2026-12-31T00:00:00Z"}, WARNING, "on 2026-12-31"),
        (OPEN, {"status": "LEGACY", "endOfLifeTime": "2026-09-30T00:00:00Z"}, BAD, "on 2026-09-30"),
    ],
)
def test_bedrock_says_whether_the_account_may_invoke_a_model(
    deployed: Deployment, quota: Canned, availability: Any, lifecycle: Mapping[str, Any], mark: str, says: str
) -> None:
    real = {provider: url for provider, url in deployed.endpoints.items() if provider != "bedrock"}
    with Canned(bedrock(availability, lifecycle)) as server:
        client = clients({"lambda": quota.url, "bedrock": server.url})
        row = rows_of(replace(deployed, endpoints=real, client=client))["Stable Image Core (Bedrock)"]
    assert (row.mark, row.provider) == (mark, "bedrock")
    assert says in sentences(row)


def test_access_alone_asks_only_about_the_bedrock_models_of_a_default_job(deployed: Deployment, s3: Any) -> None:
    closed = {**OPEN, "agreementAvailability": {"status": "NOT_AVAILABLE"}}
    with Canned(bedrock(closed, ACTIVE)) as server:
        on_aws = replace(deployed, endpoints={}, client=clients({"bedrock": server.url}))
        (row,) = examine_access(on_aws, day=lambda: TODAY)
        assert (row.subject, row.mark, SUBSCRIBE in sentences(row)) == ("Stable Image Core (Bedrock)", BAD, True)
        assert [asked.path for asked in server.asked] == [f"/foundation-model-availability/{quote(CORE, safe='')}"]
        set_overlay(s3, {"name": row.subject, "enabled": False})
        assert examine_access(on_aws, day=lambda: TODAY) == []


def test_access_is_examined_without_leave_to_read_the_overlay(deployed: Deployment) -> None:
    with Canned(bedrock(OPEN, ACTIVE)) as server:
        on_aws = replace(deployed, bucket="no-such-bucket", endpoints={}, client=clients({"bedrock": server.url}))
        (row,) = examine_access(on_aws, day=lambda: TODAY)
    assert (row.subject, row.mark) == ("Stable Image Core (Bedrock)", GOOD)


def test_the_guide_has_the_command_that_subscribes() -> None:
    """Exactly as the doctor prints it, and for no other model than those of a default job."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docs/how-to/deploy-to-aws.md").read_text(encoding="utf-8"))
    models = [model for model in ModelRegistry.load(day=lambda: TODAY).get_all_models() if model.default]
    commands = {subscribe_command(model) for model in models if model.provider == "bedrock"}
    assert set(re.findall(r"^aws bedrock create-foundation-model-agreement .*$", text, re.MULTILINE)) == commands


def test_a_bedrock_model_of_the_overlay_is_not_in_the_roles_policy(
    deployed: Deployment, s3: Any, quota: Canned
) -> None:
    set_keys({})
    set_overlay(s3, {"name": "Stable Image Core (Bedrock)", "region": "us-east-1"})
    with Canned(bedrock(OPEN, ACTIVE)) as server:
        client = clients({"lambda": quota.url, "bedrock": server.url})
        row = rows_of(replace(deployed, endpoints={}, client=client))["Stable Image Core (Bedrock)"]
    assert row.mark == BAD
    assert "may invoke only the Bedrock models of the built-in catalogue" in sentences(row)


@pytest.mark.parametrize(
    ("executions", "mark", "says"),
    [
        (0, BAD, "one job of 9 models needs 12 with the requests about it: .* requests may fail. Ask for more"),
        (3, WARNING, "one job of 9 models needs 12 with the requests about it: .* requests may fail. Ask for more"),
        (4, WARNING, 'one job of 9 models needs 12 with the requests about it: .* CDK="-c maxConcurrency=1"'),
        (10, WARNING, 'one job of 9 models needs 12 with the requests about it: .* CDK="-c maxConcurrency=7"'),
        (11, WARNING, 'STAGE=dev CDK="-c maxConcurrency=8"'),
        (12, WARNING, "4 jobs of 9 models need 36: further ones wait. Ask"),
        (35, WARNING, "4 jobs of 9 models need 36: further ones wait. Ask"),
        (36, GOOD, "^$"),
        (1000, GOOD, "^$"),
    ],
)
def test_the_quota_of_functions_at_once(deployed: Deployment, executions: int, mark: str, says: str) -> None:
    with Canned(Answer(content=account_of(executions))) as server:
        row = rows_of(replace(deployed, client=clients({"lambda": server.url})))["Lambda concurrency"]
    assert row.mark == mark
    assert re.search(says, sentences(row))
    assert (f"runs {executions} functions at once" in sentences(row)) == (mark != GOOD)
    command = (
        "aws service-quotas request-service-quota-increase --region us-east-1 --service-code lambda "
        "--quota-code L-B99A9384 --desired-value 1000"
    )
    assert (command in sentences(row)) == (mark != GOOD)


def test_a_lower_concurrency_needs_less_quota(deployed: Deployment) -> None:
    """The cure that the doctor names for a new account is one: the warning about a single job goes away."""
    definition = json.dumps({"States": {"Generate": {"Type": "Map", "MaxConcurrency": 7}, "Finish": {"Type": "Task"}}})
    with Canned(Answer(content=account_of(10))) as server, Canned(Answer(content={"definition": definition})) as states:
        client = clients({"lambda": server.url, "stepfunctions": states.url})
        arn = "arn:aws:states:us-east-1:123456789012:stateMachine:pixel-prompt-dev-generate-images"
        row = rows_of(replace(deployed, client=client, machine=arn))["Lambda concurrency"]
    assert row.mark == WARNING
    assert "4 jobs of 9 models need 28" in sentences(row)


def test_a_quota_that_may_not_be_read_is_told_in_a_line(deployed: Deployment) -> None:
    refusal = Answer(403, {"message": "no"}, {"x-amzn-ErrorType": "AccessDeniedException"})
    with Canned(refusal) as server:
        rows = rows_of(replace(deployed, client=clients({"lambda": server.url})))
    row = rows["Lambda concurrency"]
    assert (row.mark, sentences(row)) == (
        WARNING,
        "The quota is unknown (AccessDeniedException); allow yourself lambda:GetAccountSettings.",
    )
    assert set(DEFAULTS) <= set(rows)


def test_a_laptop_has_no_quota(deployed: Deployment) -> None:
    with Canned(Answer(content=account_of(10))) as server:
        client = clients({"lambda": server.url})
        assert rows_of(replace(deployed, client=client, on_laptop=True))["Lambda concurrency"].mark == GOOD


def test_every_provider_has_its_probe() -> None:
    probed = {name: provider for name, provider in PROVIDERS.items() if provider.probe}
    assert set(probed) == set(SIMULATED_PATHS) - {"bedrock"}
    assert all(str(row.base_url).startswith("https://") for row in probed.values() if not row.is_any_server)


def test_keys_left_in_the_secret_of_an_earlier_version_are_told_of(deployed: Deployment) -> None:
    secrets, former = boto3.client("secretsmanager"), former_secret("dev")
    set_keys({})
    assert not any(former in finding.sentence for finding in rows_of(deployed)["Secret of the keys"].findings)
    secrets.create_secret(Name=former, SecretString=json.dumps({"OPENAI_API_KEY": "secret-of-old", "MINE": "secret"}))
    row = rows_of(deployed)["Secret of the keys"]
    assert row.mark == BAD
    assert f"holds MINE, OPENAI_API_KEY; copy them (`make keys STAGE=dev FROM={former}`)" in line(row)
    assert "secret-of" not in line(row)
    # The cloud on a laptop holds what its environment gives.
    assert former not in line(rows_of(replace(deployed, on_laptop=True))["Secret of the keys"])
    set_keys(KEYS)
    assert rows_of(deployed)["Secret of the keys"].mark == GOOD
    set_keys({})
    secrets.delete_secret(SecretId=former)
    assert former not in line(rows_of(deployed)["Secret of the keys"])


def test_a_stack_of_an_earlier_version_is_warned_of_what_the_next_deployment_does(deployed: Deployment) -> None:
    former = former_secret("dev")
    boto3.client("secretsmanager").create_secret(Name=former, SecretString=json.dumps(KEYS))
    row = rows_of(replace(deployed, secret=former, earlier_version=True))["Secret of the keys"]
    assert row.mark == WARNING
    assert "save the keys first" in line(row)


def test_the_report_has_one_line_or_one_row_each(
    deployed: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("Good"), Row("Bad", "openai", "refused", "no", "2026-12-01")]
    rows[1].add(WARNING, "It ends.")
    rows[1].add(BAD, "It is [gone].")
    report(deployed, rows)
    _, good, bad, sums = capsys.readouterr().out.splitlines()
    assert good == "✓ Good"
    assert bad == "✗ Bad [openai, key refused, not listed, ends 2026-12-01]: It ends. It is [gone]."
    assert sums == "1 ✓, 0 !, 1 ✗"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    report(deployed, rows)
    shown = capsys.readouterr().out
    assert "It is [gone]." in shown
    assert "what to do" in shown


@pytest.fixture
def stack(s3: Any, quota: Canned, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stage dev on AWS: S3 and Secrets Manager are moto's, the other services are servers of their own."""
    boto3.client("secretsmanager").create_secret(Name=SECRET, SecretString="{}")
    outputs = {"BucketName": BUCKET, "ProviderSecretArn": SECRET}
    with Canned(stacks({"PixelPrompt-dev": outputs})) as formation, Canned(bedrock(OPEN, ACTIVE)) as models:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", models.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", quota.url)
        yield


def test_the_command_examines_a_stage_on_aws(stack: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--directory", str(tmp_path), "doctor", "--stage", "dev"]
    assert command.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pixel Prompt, stage dev in us-east-1"
    assert any(text.startswith("✓ Stable Image Core (Bedrock) [bedrock, key AWS role, listed]") for text in lines)
    assert any(text.startswith("✗ FLUX.2 Pro [bfl, key missing]") for text in lines)


def test_without_failures_the_command_succeeds(
    stack: None, s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [name for name in DEFAULTS if name != "Stable Image Core (Bedrock)"]
    set_overlay(s3, *({"name": name, "enabled": False} for name in others))
    assert command.main(["--directory", str(tmp_path), "doctor"]) == 0, capsys.readouterr().out


def test_without_a_deployment_the_cure_is_named(stack: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CloudError, match="make up"):
        deployment.find(tmp_path, {}, local=True)
    with pytest.raises(CloudError, match="Stack PixelPrompt-prod not found in eu-west-1"):
        deployment.find(tmp_path, {"AWS_REGION": "eu-west-1"}, stage="prod")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(CloudError, match="AWS_REGION"):
        deployment.find(tmp_path, {})


def test_the_text_model_is_the_deployed_one(deployed: Deployment) -> None:
    environment = {"Environment": {"Variables": {"PROMPT_MODEL_INDEX": "Gemini 3.5 Flash"}}}

    def answer(asked: Asked) -> Answer:
        if "account-settings" in asked.path:
            return Answer(content=account_of(1000))
        assert "/functions/pixel-prompt-dev-enhance/" in asked.path
        return Answer(content=environment)

    with Canned(answer) as server:
        rows = rows_of(replace(deployed, client=clients({"lambda": server.url})))
    assert rows["Gemini 3.5 Flash (enhances prompts)"].mark == GOOD
    assert not any(name.startswith("GPT-5.4 mini") for name in rows)
