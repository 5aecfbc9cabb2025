"""The providers, and the rule for keys: a provider's key goes only to that provider's hosts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pixelprompt.models.model import Model

# Stricter than RFC 3986, so that every parser finds the same host in what matches: no user and password, no backslash,
# no white space, no letters beyond ASCII.
_URL = re.compile(
    r"(https?)://((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:[/?#][!-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Provider:
    """A provider that models can name.

    Attributes
    ----------
    module : the adapter's module in this package
    key_name : name of its key in the secret and in the owner's environment; None where the AWS role is enough
    key_required : whether its models can be called only with the key
    hosts : its own hosts, which its key may go to; models without a ``baseUrl`` are called at the first one
    """

    module: str
    key_name: str | None
    key_required: bool = True
    hosts: tuple[str, ...] = ()


PROVIDERS: dict[str, Provider] = {
    "openai": Provider("openai", "OPENAI_API_KEY", hosts=("api.openai.com",)),
    "gemini": Provider("gemini", "GEMINI_API_KEY", hosts=("generativelanguage.googleapis.com",)),
    "bedrock": Provider("bedrock", None, key_required=False),
    "stability": Provider("stability", "STABILITY_API_KEY", hosts=("api.stability.ai",)),
    # It names the host to poll in each response, such as api.eu4.bfl.ai; the adapter knows their pattern.
    "bfl": Provider("bfl", "BFL_API_KEY", hosts=("api.bfl.ai", "api.eu.bfl.ai", "api.us.bfl.ai")),
    "recraft": Provider("recraft", "RECRAFT_API_KEY", hosts=("external.api.recraft.ai",)),
    "compatible": Provider("compatible", "COMPATIBLE_API_KEY", key_required=False),
}


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
    return model.key_name or PROVIDERS[model.provider].key_name


def called_host(provider: str, base_url: str | None) -> str | None:
    """The host that a model is called at, or None where it is not known: for Bedrock, and without a ``baseUrl``."""
    return url_host(base_url) if base_url else next(iter(PROVIDERS[provider].hosts), None)


class KeyHosts:
    """Which hosts each key may go to: a provider's key to the provider's own, and what is added here.

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
