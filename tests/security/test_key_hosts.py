"""A provider's key goes only to that provider's hosts.

The attacker can write one object in the bucket, the overlay of the model catalogue, or runs a server that a model is
called at, and wants a key of the deployment's secret.
"""

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from infra.context import SettingsError
from infra.settings import Settings as StackSettings
from local.catalogue import check as models_check
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue, overlay
from pixelprompt.models.model import Credentials, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.providers import adapter
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.providers.wire.download import DownloadFailed, download
from pixelprompt.settings import Settings
from pixelprompt.storage import documents
from tests.canned import Answer, Asked, Canned
from tests.outcomes import outcome

EVIL = "evil.example"
SERVER = {"name": "Evil", "provider": "compatible", "id": "evil-1", "baseUrl": f"https://{EVIL}/v1"}
BUILT_IN = ModelRegistry.load()
GROK = "Grok Imagine 2.0"
KEYS = {provider.key_name for provider in PROVIDERS.values() if provider.key_name} | {
    model.api_key_name for model in BUILT_IN.get_all_models() if model.api_key_name
}
SECRET = {name: f"secret-of-{name}" for name in (*sorted(KEYS), "MY_KEY")}
MY_HOSTS = {"MY_KEY": ["my.example", "127.0.0.1:8080"], "RECRAFT_API_KEY": ["Proxy.Example:8443"]}


class Secrets:
    """Secrets Manager with every key."""

    def get_secret_value(self, **_: Any) -> dict[str, str]:
        return {"SecretString": json.dumps(SECRET)}


def load(*models: Mapping[str, Any], section: str = "models", **options: Any) -> ModelRegistry:
    return ModelRegistry.load(overlay={section: list(models)}, **options)


def model(entry: Mapping[str, Any]) -> Model:
    """A model as the catalogue reads it, without the check of its key."""
    (found,) = catalogue.parse({"models": [entry], "textModels": []})["models"]
    return found


def every_value(asked: list[Asked]) -> str:
    return " ".join(f"{request.path} {dict(request.headers)} {request.body!r}" for request in asked)


@pytest.fixture
def thief() -> Iterator[Canned]:
    """A server that is not the key's."""
    with Canned(Answer(401, {"error": {"message": "give me a key"}})) as server:
        yield server


@pytest.mark.parametrize("name", sorted(KEYS))
def test_an_overlay_sends_no_key_to_another_server(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({**SERVER, "apiKeyName": name})
    message = str(caught.value)
    assert all(part in message for part in ("Evil", name, EVIL, f'keyHosts={{"{name}": ["{EVIL}"]}}')), message


@pytest.mark.parametrize(
    ("entry", "key", "host"),
    [
        # Only the URL of a built-in entry changes.
        ({"name": GROK, "baseUrl": f"https://{EVIL}/v1"}, "XAI_API_KEY", EVIL),
        ({"name": GROK, "baseUrl": "https://api.x.ai:8443/v1"}, "XAI_API_KEY", "api.x.ai:8443"),
        ({"name": GROK, "baseUrl": "https://api.x.ai.evil.example/v1"}, "XAI_API_KEY", "api.x.ai.evil.example"),
        ({"name": GROK, "baseUrl": "http://127.0.0.1:8080/v1"}, "XAI_API_KEY", "127.0.0.1:8080"),
        ({"name": "FLUX 3", "baseUrl": f"https://{EVIL}"}, "BFL_API_KEY", EVIL),
        ({"name": "Recraft V4.1", "baseUrl": f"https://{EVIL}"}, "RECRAFT_API_KEY", EVIL),
        # Only the key.
        ({"name": GROK, "apiKeyName": "OPENAI_API_KEY"}, "OPENAI_API_KEY", "api.x.ai"),
        ({"name": GROK, "apiKeyName": "OPENROUTER_API_KEY"}, "OPENROUTER_API_KEY", "api.x.ai"),
        ({"name": "FLUX 3", "apiKeyName": "OPENAI_API_KEY"}, "OPENAI_API_KEY", "api.bfl.ai"),
        ({"name": "GPT Image 2.6 Flare", "apiKeyName": "GEMINI_API_KEY"}, "GEMINI_API_KEY", "api.openai.com"),
        ({"name": "Nano Banana 2.1", "apiKeyName": "MY_KEY"}, "MY_KEY", "generativelanguage.googleapis.com"),
        # A new entry of a provider that always sends its key.
        ({**SERVER, "provider": "stability"}, "STABILITY_API_KEY", EVIL),
        ({**SERVER, "provider": "bfl"}, "BFL_API_KEY", EVIL),
        ({**SERVER, "provider": "recraft"}, "RECRAFT_API_KEY", EVIL),
        ({**SERVER, "provider": "stability", "apiKeyName": "MY_KEY"}, "MY_KEY", EVIL),
        # A retired model is still in the catalogue.
        ({**SERVER, "apiKeyName": "MY_KEY", "retired": True}, "MY_KEY", EVIL),
        ({**SERVER, "apiKeyName": "COMPATIBLE_API_KEY"}, "COMPATIBLE_API_KEY", EVIL),
    ],
    ids=str,
)
def test_an_overlay_cannot_steer_a_key_elsewhere(entry: dict[str, Any], key: str, host: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(entry)
    message = str(caught.value)
    assert all(part in message for part in (entry["name"], key, host, "keyHosts=")), message


def test_a_text_model_sends_no_key_of_another_provider() -> None:
    with pytest.raises(ConfigurationError, match=r"textModels .* would send the key OPENAI_API_KEY to generativelang"):
        load({"name": "Gemini 3.8 Flash", "apiKeyName": "OPENAI_API_KEY"}, section="textModels")


def test_an_overlay_allows_itself_nothing() -> None:
    for changes in ({"keyHosts": {"MY_KEY": [EVIL]}}, {"models": [{**SERVER, "keyHosts": [EVIL]}]}):
        with pytest.raises(ConfigurationError):
            ModelRegistry.load(overlay=changes)
    # Another entry with the same key and host is no permission either.
    with pytest.raises(ConfigurationError, match="would send the key MY_KEY"):
        load({**SERVER, "apiKeyName": "MY_KEY"}, {**SERVER, "name": "Too", "id": "too", "apiKeyName": "MY_KEY"})


def test_a_running_function_keeps_its_last_good_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    class Document:
        def __init__(self, etag: str, value: Any) -> None:
            self.etag, self.value = etag, value

    stored = [Document("1", {"models": [{"name": "FLUX 3", "timeLimit": 90}]})]
    monkeypatch.setattr(documents.DocumentStore, "read", lambda *_, **__: stored[-1])
    registry = overlay.LiveRegistry(None, "bucket")
    found = registry(fresh=True).find("FLUX 3")
    assert found and found.time_limit == 90
    stored.append(Document("2", {"models": [{**SERVER, "apiKeyName": "RECRAFT_API_KEY"}]}))
    assert registry(fresh=True).find("Evil") is None
    found = registry(fresh=True).find("FLUX 3")
    assert found and found.time_limit == 90


@pytest.mark.parametrize("provider", ["compatible", "stability", "bfl", "recraft"])
@pytest.mark.parametrize("key", [None, *sorted(KEYS), "MY_KEY"])
def test_no_key_arrives_at_another_server(thief: Canned, provider: str, key: str | None) -> None:
    """The last line of defense: a model that no check of an overlay has seen."""
    entry = {**SERVER, "provider": provider, "baseUrl": f"{thief.url}/v1", **({"apiKeyName": key} if key else {})}
    steered = model(entry)
    credentials = ProviderKeys(Secrets(), "keys").credentials(steered)
    if credentials:
        outcome(adapter(provider).generate, ImageRequest("a fox"), steered, credentials, time.time() + 5)
    assert "secret-of" not in every_value(thief.asked)
    # A server of one's own is called all the same, without a key.
    assert bool(thief.asked) == (provider == "compatible" and key is None)


def test_a_key_is_given_only_for_its_hosts() -> None:
    """Every provider, key, server and endpoint: a key comes only with one of its hosts, or with the operator's URL."""
    registry = ModelRegistry.load(key_hosts=MY_HOSTS)
    urls = [
        None, f"https://{EVIL}", "https://my.example/v1", "https://MY.example:443", "https://my.example:444",
        "http://127.0.0.1:8080/v1", "http://127.0.0.1:8081", "http://localhost:8080", "https://proxy.example:8443",
        "https://proxy.example", "https://api.x.ai/v1", "https://openrouter.ai/api/v1", "https://api.openai.com",
        "https://external.api.recraft.ai/v1", "https://api.bfl.ai", "https://sub.my.example", "https://my.example.",
    ]  # fmt: skip
    allowed = {
        "OPENAI_API_KEY": {"api.openai.com"},
        "GEMINI_API_KEY": {"generativelanguage.googleapis.com"},
        "STABILITY_API_KEY": {"api.stability.ai"},
        "BFL_API_KEY": {"api.bfl.ai"},
        "RECRAFT_API_KEY": {"external.api.recraft.ai", "proxy.example:8443"},
        "XAI_API_KEY": {"api.x.ai"},
        "OPENROUTER_API_KEY": {"openrouter.ai"},
        "MINIMAX_API_KEY": {"api.minimax.io"},
        "MY_KEY": {"my.example", "127.0.0.1:8080"},
    }
    homes = {
        "openai": "api.openai.com", "gemini": "generativelanguage.googleapis.com", "stability": "api.stability.ai",
        "bfl": "api.bfl.ai", "recraft": "external.api.recraft.ai",
    }  # fmt: skip
    given = 0
    for provider, name, url, endpoints in itertools.product(
        PROVIDERS, [None, *SECRET], urls, ({}, {"compatible": "http://127.0.0.1:1/v1"})
    ):
        keys = ProviderKeys(Secrets(), "keys", endpoints, registry.key_hosts)
        credentials = keys.credentials(Model("x", provider, "x", base_url=url, api_key_name=name))
        if credentials is None or credentials.key is None:
            continue
        given += 1
        used = name or PROVIDERS[provider].key_name or ""
        assert credentials.key == SECRET[used]
        parts = urlsplit(url or f"https://{homes.get(provider)}")
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        host = f"{parts.hostname}" + ("" if (parts.scheme, port) == ("https", 443) else f":{port}")
        assert credentials.base_url == endpoints.get(provider, "none") or host in allowed.get(used, set()), (used, url)
    assert given > 50


def test_the_setting_allows_a_host_and_nothing_beside_it() -> None:
    mine = {**SERVER, "apiKeyName": "MY_KEY"}
    for url in ("https://my.example/v1", "https://MY.EXAMPLE:443/v1", "http://127.0.0.1:8080/v1"):
        registry = load({**mine, "baseUrl": url}, key_hosts=MY_HOSTS)
        found = registry.find("Evil")
        credentials = found and ProviderKeys(Secrets(), "keys", None, registry.key_hosts).credentials(found)
        assert credentials and credentials.key == SECRET["MY_KEY"]
    for url in (
        "https://my.example:8080", "http://127.0.0.1:8081", "http://127.0.0.1", "http://localhost:8080",
        "https://sub.my.example", "https://my.example.evil.example", "https://xmy.example",
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match="would send the key MY_KEY"):
            load({**mine, "baseUrl": url}, key_hosts=MY_HOSTS)
    with pytest.raises(ConfigurationError, match=r"would send the key RECRAFT_API_KEY to my\.example"):
        load({**mine, "baseUrl": "https://my.example", "apiKeyName": "RECRAFT_API_KEY"}, key_hosts=MY_HOSTS)


def test_a_general_key_goes_only_where_the_setting_says() -> None:
    for hosts, key in (({}, None), ({"COMPATIBLE_API_KEY": [EVIL]}, SECRET["COMPATIBLE_API_KEY"])):
        registry = load(SERVER, key_hosts=hosts)
        found = registry.find("Evil")
        credentials = found and ProviderKeys(Secrets(), "keys", None, registry.key_hosts).credentials(found)
        assert credentials and credentials.key == key


def test_the_operators_endpoints_get_keys() -> None:
    endpoints = {"compatible": "http://127.0.0.1:9000/compatible/v1"}
    keys = ProviderKeys(Secrets(), "keys", endpoints, BUILT_IN.key_hosts)
    for url, base_url, key in (
        ("https://my.example/v1", endpoints["compatible"], SECRET["COMPATIBLE_API_KEY"]),
        ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1", SECRET["COMPATIBLE_API_KEY"]),
        ("http://127.0.0.1:9001/v1", "http://127.0.0.1:9001/v1", None),
    ):
        credentials = keys.credentials(model({**SERVER, "baseUrl": url}))
        assert credentials == Credentials(key, base_url)
    # The endpoint of one provider is none for another's key.
    assert keys.credentials(model({**SERVER, "provider": "bfl", "baseUrl": "http://127.0.0.1:9000"})) is None


def test_the_built_in_catalogue_needs_no_setting() -> None:
    keys = ProviderKeys(Secrets(), "keys", None, BUILT_IN.key_hosts)
    for found in (*BUILT_IN.get_all_models(), *BUILT_IN.get_text_models()):
        credentials = keys.credentials(found)
        assert credentials and (credentials.key or found.provider == "bedrock"), found.name


def test_a_model_without_a_base_url_is_called_at_its_providers_own_host() -> None:
    keys = ProviderKeys(Secrets(), "keys", None, BUILT_IN.key_hosts)
    for name, provider in PROVIDERS.items():
        credentials = keys.credentials(Model("x", name, "x"))
        assert credentials
        host = urlsplit(credentials.base_url).hostname if credentials.base_url else None
        assert host == next(iter(provider.hosts), None)
        assert provider.hosts or name in ("bedrock", "compatible")


AWKWARD_URLS = [
    "https://api.openai.com@evil.example/v1", "https://user:password@api.x.ai/v1", "https://api.x.ai\\@evil.example",
    "https://evil.example\\@api.x.ai", "https://api.x.ai\t.evil.example", "https://api.\nx.ai", " https://api.x.ai",
    "https://api.x.ai /v1", "https://@api.x.ai", "https://api.x.ai:@evil.example", "https://api.x.ai:99999",
    "https://api.x.ai:443:1", "https:api.x.ai", "https:///api.x.ai", "//api.x.ai", "https://", "https://[::1",
    "https://api。x。ai", "https://ａpi.x.ai", "https://api.x.ai%2eevil.example", "https://api.x.ai.", "https://a..b",
    "http://127.0.0.1@evil.example", "http://evil.example#@127.0.0.1", "http://localhost.evil.example",
    "https://api.x.ai/v1 @evil.example", "https://api.x.ai/\\evil.example", "ftp://api.x.ai", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("url", AWKWARD_URLS)
def test_a_url_that_may_have_two_hosts_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an https URL without user and password"):
        load({**SERVER, "baseUrl": url})


AWKWARD_PATHS = [
    "@evil.example/", "//evil.example/x", "/\\evil.example", "\\\\evil.example", "\\evil", ".evil.example/", ":8080/",
    "", "/x y", "/x\r\nhost: evil.example", "https://evil.example/", "/é", "?x", "#x",
]  # fmt: skip


@pytest.mark.parametrize("path", AWKWARD_PATHS)
def test_a_path_cannot_name_a_host(path: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a path such as"):
        load({"name": GROK, "path": path})


def test_what_is_accepted_has_one_host_for_every_parser() -> None:
    """Random URLs and paths of what parsers disagree about."""
    chance = random.Random(1)
    pieces = [
        "https://", "http://", "api.x.ai", EVIL, "127.0.0.1", "localhost", "[::1]", "@", ":", "/", "//", "\\", "?", "#",
        "443", "80", ".", "%40", "%2f", "%5c", "\t", " ", "user", "v1", "é", "。", ";", "&", "[", "]",
    ]  # fmt: skip
    accepted = 0
    for _ in range(6_000):
        url = "https://api.x.ai" * chance.randint(0, 1) + "".join(chance.choices(pieces, k=chance.randint(1, 6)))
        path = "/" * chance.randint(0, 1) + "".join(chance.choices(pieces, k=chance.randint(0, 4)))
        try:
            found = model({**SERVER, "baseUrl": url, "path": path})
        except ConfigurationError:
            continue
        accepted += 1
        before, after = urlsplit(url), httpx2.URL(url.rstrip("/") + path)
        assert found.base_url == url
        assert not after.userinfo and before.username is None
        assert after.host == before.hostname
        assert (after.port or {"https": 443}.get(after.scheme, 80)) == (
            before.port or {"https": 443}.get(before.scheme, 80)
        )
    assert accepted > 100


@pytest.mark.parametrize("region", ["us-west-2.evil.example", "evil.example/", "us-west-2@evil", "us-west-2#", "x y"])
def test_a_region_cannot_name_a_host(region: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an AWS region"):
        load({"name": "Evil", "provider": "bedrock", "id": "evil-1", "region": region})


def test_bedrock_gets_no_key() -> None:
    with pytest.raises(ConfigurationError, match="uses the AWS role instead of a key"):
        load({"name": "Evil", "provider": "bedrock", "id": "evil-1", "apiKeyName": "OPENAI_API_KEY"})


@pytest.mark.parametrize("name", ["http_options", "httpOptions"])
def test_parameters_of_gemini_cannot_name_a_server(thief: Canned, name: str) -> None:
    parameters = {name: {"base_url": thief.url, "baseUrl": thief.url}}
    with pytest.raises(ConfigurationError, match="in parameters, which is not allowed"):
        load({"name": "Gemini 3.8 Flash", "parameters": parameters}, section="textModels")
    steered = Model("x", "gemini", "gemini-x", parameters={name: {"base_url": thief.url}})
    with Canned(Answer(500, {})) as home:
        outcome(
            adapter("gemini").complete, "a fox", steered, Credentials("secret-of-gemini", home.url), time.time() + 5
        )
        assert len(home.asked) == 1
    assert thief.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("provider", ["openai", "gemini", "stability", "bfl", "recraft", "compatible"])
def test_a_redirect_carries_no_key_elsewhere(thief: Canned, provider: str, status: int) -> None:
    with Canned(Answer(status, {}, {"location": f"{thief.url}/v1"})) as home:
        called, credentials = Model("x", provider, "x"), Credentials("secret-of-it", home.url)
        answer = outcome(adapter(provider).generate, ImageRequest("a fox"), called, credentials, time.time() + 5)
        assert isinstance(answer, ProviderError)
        if provider in ("openai", "gemini"):
            assert isinstance(
                outcome(adapter(provider).complete, "a fox", called, credentials, time.time() + 5), ProviderError
            )
        assert home.asked
    assert thief.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_while_polling_carries_no_key_elsewhere(thief: Canned, status: int) -> None:
    with Canned(Answer(status, {}, {"location": f"{thief.url}/poll"})) as home:
        token = json.dumps({"url": f"{home.url}/poll", "at": time.time(), "cost": None})
        request = ImageRequest("a fox", resume=token)
        called = Model("x", "bfl", "x")
        outcome(adapter("bfl").generate, request, called, Credentials("secret-of-bfl", home.url), time.time() + 5)
        assert home.asked
    assert thief.asked == []


POLLED_ELSEWHERE = [
    # The server of the model, its key's host, and the URL that it or a resume token in the bucket names.
    ("https://my.example", "https://api.bfl.ai/v1/get_result?id=1"),
    ("https://my.example", "https://api.eu4.bfl.ai/v1/get_result?id=1"),
    ("https://my.example", "https://my.example:8443/v1/get_result?id=1"),
    ("https://my.example", "http://my.example/v1/get_result?id=1"),
    ("https://my.example", "https://user@my.example/v1/get_result?id=1"),
    (None, "https://my.example/v1/get_result?id=1"),
    (None, "https://api.bfl.ai:8443/v1/get_result?id=1"),
    (None, "https://user:password@api.bfl.ai/v1/get_result?id=1"),
    (None, "https://blog.bfl.ai/v1/get_result?id=1"),
    (None, "https://a.b.bfl.ai/v1/get_result?id=1"),
    (None, "https://api.a.b.bfl.ai/v1/get_result?id=1"),
]


@pytest.mark.parametrize(("base_url", "url"), POLLED_ELSEWHERE)
def test_a_polling_url_carries_no_key_elsewhere(base_url: str | None, url: str, no_connections: list[Any]) -> None:
    token = json.dumps({"url": url, "at": time.time(), "cost": None})
    called = Model("x", "bfl", "x", base_url=base_url)
    answer = outcome(
        adapter("bfl").generate,
        ImageRequest("a fox", resume=token),
        called,
        Credentials("secret", base_url or PROVIDERS["bfl"].base_url),
        time.time() + 5,
    )
    assert isinstance(answer, ProviderError)
    assert no_connections == []


def test_a_server_is_polled_where_its_key_may_go(no_connections: list[Any]) -> None:
    for base_url, host in (("https://my.example", "my.example"), (None, "api.bfl.ai"), (None, "api.eu4.bfl.ai")):
        token = json.dumps({"url": f"https://{host}/v1/get_result?id=1", "at": time.time(), "cost": None})
        called = Model("x", "bfl", "x", base_url=base_url)
        request = ImageRequest("a fox", resume=token)
        credentials = Credentials("secret", base_url or PROVIDERS["bfl"].base_url)
        answer = outcome(adapter("bfl").generate, request, called, credentials, time.time() + 5)
        assert isinstance(answer, Waiting)
        assert no_connections.pop() == (host, 443)


def test_an_image_url_with_a_password_is_refused(no_connections: list[Any], thief: Canned) -> None:
    for url, base in (
        ("https://user:password@93.184.216.34/x.png", None),
        (f"http://user@127.0.0.1:{thief.port}/x.png", thief.url),
    ):
        with pytest.raises(DownloadFailed, match=r"not valid|has a user name"):
            download(url, time.time() + 5, base_url=base)
    assert no_connections == []
    assert thief.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("providerEndpoints", {"openai": "http://user:password@127.0.0.1:8000"}),
        ("providerEndpoints", {"openai": "http://evil.example@127.0.0.1:8000"}),
        ("apiUrl", "http://user@127.0.0.1:4566/api"),
        ("corsOrigins", "https://user:password@example.com"),
        ("jwtIssuer", "https://user@example.com/pool"),
    ],
)
def test_settings_refuse_urls_with_a_password(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is .*; it must be "):
        StackSettings.from_context({"target": "local", name: value})


def test_functions_refuse_endpoints_with_a_password() -> None:
    for url in ("http://user:password@127.0.0.1:8000", "http://evil.example@127.0.0.1:1", "http://[::1", 1):
        with pytest.raises(ConfigurationError, match=r"without user and\s+password"):
            _ = Settings({"PROVIDER_ENDPOINTS": json.dumps({"openai": url})}).provider_endpoints


@pytest.mark.parametrize(
    "value",
    [
        '{"MY_KEY": ["*"]}', '{"MY_KEY": ["*.my.example"]}', '{"MY_KEY": ["https://my.example"]}', '["my.example"]',
        '{"MY_KEY": "my.example"}', '{"MY_KEY": ["my.example/v1"]}', '{"MY_KEY": ["user@my.example"]}', "my.example",
        '{"MY_KEY": [""]}', '{"MY_KEY": ["."]}', '{"MY_KEY": [".example"]}', '{"MY_KEY": [1]}', "{", "null",
        '{"MY_KEY": ["my.example:"]}', '{"MY_KEY": ["my.example:port"]}', '{"MY_KEY": ["my example"]}',
    ],
)  # fmt: skip
def test_the_setting_takes_exact_hosts_only(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^keyHosts is .*exact names"):
        StackSettings.from_context({"keyHosts": value})
    with pytest.raises(ConfigurationError, match=r"^KEY_HOSTS is .*exact names"):
        _ = Settings({"KEY_HOSTS": value}).key_hosts


def test_the_check_says_which_key_goes_where() -> None:
    entries = [
        {"name": GROK, "timeLimit": 90},
        {**SERVER, "name": "Mine", "baseUrl": "https://my.example/v1", "apiKeyName": "MY_KEY"},
        {**SERVER, "name": "Open", "id": "open"},
        {**SERVER, "name": "Proxy", "provider": "recraft", "id": "proxy", "baseUrl": "https://proxy.example:8443"},
        {"name": "Stable Image Core (Bedrock)", "provider": "bedrock", "id": "stability.other-v1:0"},
        {"name": "Nowhere", "provider": "compatible", "id": "nowhere"},
        {"name": "FLUX 3", "enabled": False},
    ]
    lines = models_check.describe({"models": entries}, key_hosts=MY_HOSTS)
    assert [line.strip() for line in lines if line.startswith("  sends ")] == [
        "sends XAI_API_KEY to api.x.ai",
        "sends MY_KEY to my.example",
        f"sends no key to {EVIL}: COMPATIBLE_API_KEY may go there only with "
        f'keyHosts={{"COMPATIBLE_API_KEY": ["{EVIL}"]}}',
        "sends RECRAFT_API_KEY to proxy.example:8443",
        "sends no key: bedrock uses the AWS role",
        "sends no COMPATIBLE_API_KEY: it has no baseUrl",
        "sends BFL_API_KEY to api.bfl.ai",
    ]
    with pytest.raises(ConfigurationError, match=r"would send the key MY_KEY to my\.example"):
        models_check.describe({"models": entries})
