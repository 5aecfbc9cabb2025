"""The providers, and the rule for keys: a provider's key goes only to that provider's hosts."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct

from pixelprompt.models.model import Model

# Stricter than RFC 3986, so that every parser finds the same host in what matches: no user and password, no backslash,
# no white space, no letters beyond ASCII.
_URL = re.compile(
    r"(https?)://((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:[/?#][!-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)


ProviderName = Annotated[str, Meta(description="Name of the provider.", examples=["openai"])]


class Probe(Struct, frozen=True):
    """A provider's free GET request that tells whether a key is accepted, as ``make doctor`` sends it.

    Attributes
    ----------
    path : below the provider's base URL, with its query
    models : member of the response that lists the models; None where it lists none
    model_id : member of a listed model that holds its id, after ``models/`` or not
    credit : the members that lead to the account's credit; empty where the response does not tell
    """

    path: str
    models: str | None = None
    model_id: str = "id"
    credit: tuple[str, ...] = ()


_MODEL_LIST = Probe("/models", models="data")


class Provider(Struct, frozen=True, dict=True):
    """A provider that models can name, and what its protocol can do.

    Attributes
    ----------
    module : name of its module in ``pixelprompt.providers`` (the adapter) and in ``local.simulator.protocols``
    key_name : name of its key in the secret and in the operator's environment; None where the AWS role is enough
    base_url : where models without a ``baseUrl`` are called; None where AWS knows, or each model says
    parameters : which of our parameters the protocol can send, beside ``n``
    several_per_call : whether one call can make several images
    sends_pixels : whether an image's size can be sent in pixels
    key_header : the header that the key is sent in
    key_required : whether its models can be called only with the key
    more_hosts : its own hosts beside that of ``base_url``, which its key may go to as well
    custom_servers : whether a model may have a ``baseUrl``
    forbidden_parameters : of the provider's own, what a model's ``parameters`` must not hold
    probe : the request with which ``make doctor`` checks a key; None where the AWS role is enough
    simulator_path : path of its simulator, which stands for ``base_url``
    """

    module: str
    key_name: str | None
    base_url: str | None
    parameters: frozenset[str]
    several_per_call: bool = False
    sends_pixels: bool = False
    key_header: str = "authorization"
    key_required: bool = True
    more_hosts: tuple[str, ...] = ()
    custom_servers: bool = False
    forbidden_parameters: frozenset[str] = frozenset()
    probe: Probe | None = None
    simulator_path: str = ""

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """Its own hosts, which its key may go to."""
        host = url_host(self.base_url) if self.base_url else None
        return (host, *self.more_hosts) if host else ()

    @property
    def is_any_server(self) -> bool:
        """Whether many servers speak the protocol, so that each model says which one."""
        return self.custom_servers and self.base_url is None


_OPENAI = frozenset(
    {
        "aspectRatio",
        "resolution",
        "quality",
        "outputFormat",
        "outputCompression",
        "background",
        "providerModeration",
    }
)

PROVIDERS: dict[str, Provider] = {
    "openai": Provider(
        "openai",
        "OPENAI_API_KEY",
        "https://api.openai.com/v1",
        _OPENAI | {"images"},
        several_per_call=True,
        sends_pixels=True,
        probe=_MODEL_LIST,
        simulator_path="/openai/v1",
    ),
    "gemini": Provider(
        "gemini",
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com",
        frozenset({"aspectRatio", "resolution", "images"}),
        key_header="x-goog-api-key",
        # With these, the SDK calls any server, with the key.
        forbidden_parameters=frozenset({"http_options", "httpOptions"}),
        probe=Probe("/v1beta/models?pageSize=1000", models="models", model_id="name"),
        simulator_path="/gemini",
    ),
    "bedrock": Provider(
        "bedrock",
        None,
        None,
        frozenset({"aspectRatio", "seed", "outputFormat", "negativePrompt", "images", "strength"}),
        key_required=False,
        simulator_path="/bedrock",
    ),
    "stability": Provider(
        "stability",
        "STABILITY_API_KEY",
        "https://api.stability.ai",
        frozenset({"aspectRatio", "seed", "outputFormat", "negativePrompt", "guidance", "images", "strength"}),
        custom_servers=True,
        probe=Probe("/v1/user/balance", credit=("credits",)),
        simulator_path="/stability",
    ),
    "bfl": Provider(
        "bfl",
        "BFL_API_KEY",
        "https://api.bfl.ai",
        frozenset({"aspectRatio", "resolution", "seed", "outputFormat", "steps", "guidance", "images", "strength"}),
        sends_pixels=True,
        key_header="x-key",
        # It names the host to poll in each response, such as api.eu4.bfl.ai; the adapter knows their pattern.
        more_hosts=("api.eu.bfl.ai", "api.us.bfl.ai"),
        custom_servers=True,
        probe=Probe("/v1/credits", credit=("credits",)),
        simulator_path="/bfl",
    ),
    "recraft": Provider(
        "recraft",
        "RECRAFT_API_KEY",
        "https://external.api.recraft.ai/v1",
        frozenset({"aspectRatio", "seed", "outputFormat", "negativePrompt", "images", "strength"}),
        several_per_call=True,
        custom_servers=True,
        probe=Probe("/users/me", credit=("credits",)),
        simulator_path="/recraft/v1",
    ),
    # Servers that speak the OpenAI Images API; their dialects are in ``pixelprompt.models.dialect``.
    "compatible": Provider(
        "compatible",
        "COMPATIBLE_API_KEY",
        None,
        _OPENAI | {"seed", "steps", "guidance", "negativePrompt", "images"},
        several_per_call=True,
        sends_pixels=True,
        key_required=False,
        custom_servers=True,
        probe=_MODEL_LIST,
        simulator_path="/compatible/v1",
    ),
}


def key_headers(header: str, key: str | None) -> dict[str, str]:
    """The header that carries a key, or none without one."""
    if not key:
        return {}
    return {header: f"Bearer {key}" if header == "authorization" else key}


def url_host(url: str) -> str | None:
    """The host of a URL in lower case, with its port unless that is 443 over HTTPS; None for a URL to refuse.

    Refused are URLs with a user or a password, other schemes than HTTP and HTTPS, and URLs that two parsers may read as
    two hosts.
    """
    found = _URL.fullmatch(url)
    if not found:
        return None
    scheme, host, port = found.groups()
    number = int(port) if port else {"https": 443}.get(scheme.lower(), 80)
    if not 0 < number < 65536:
        return None
    return host.lower() if scheme.lower() == "https" and number == 443 else f"{host.lower()}:{number}"


def key_name(model: Model) -> str | None:
    """Name of the key that a model is called with, or None where its provider needs none."""
    return model.api_key_name or PROVIDERS[model.provider].key_name


def called_host(provider: str, base_url: str | None) -> str | None:
    """The host that a model is called at, or None where it is not known: for Bedrock, and without a ``baseUrl``."""
    return url_host(base_url) if base_url else next(iter(PROVIDERS[provider].hosts), None)


class KeyHosts:
    """Hosts that each key may go to: a provider's key to the provider's own, and those added here.

    Parameters
    ----------
    more : further hosts by the names of keys, with a port unless it is 443; no wildcards
    """

    def __init__(self, *more: Mapping[str, Iterable[str]]) -> None:
        self._hosts = {provider.key_name: {*provider.hosts} for provider in PROVIDERS.values() if provider.key_name}
        for allowed in more:
            for name, hosts in allowed.items():
                added = {host.lower().removesuffix(":443") for host in hosts}
                self._hosts[name] = self._hosts.get(name, set()) | added

    def of(self, name: str) -> list[str]:
        """The hosts that a key may go to."""
        return sorted(self._hosts.get(name, ()))

    def sent_key(self, model: Model) -> str | None:
        """Name of the key that may be sent to a model's host, or None."""
        name, host = key_name(model), called_host(model.provider, model.base_url)
        return name if name and host is not None and host in self._hosts.get(name, ()) else None
