"""The providers' own lists of models: which there are, and when they end."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from msgspec.structs import replace

from local.catalogue.price_lists import Listed, PriceList, is_plain

_REQUEST_SECONDS = 20.0
# These lists do not distinguish image models from others; OpenRouter has one of image models alone.
_DRAWN = {
    "openai": re.compile(r"^(gpt-image|chatgpt-image|dall-e)-"),
    "gemini": re.compile(r"^imagen-|image|banana"),
    "compatible/xai": re.compile(r"image"),
    "compatible/openrouter": re.compile(r""),
}


@dataclass(frozen=True)
class _Own:
    title: str
    provider: str
    base_url: str = ""
    path: str = ""


_OWN = {
    "OPENAI_API_KEY": _Own("OpenAI", "openai"),
    "GEMINI_API_KEY": _Own("Gemini", "gemini"),
    "XAI_API_KEY": _Own("xAI", "compatible/xai", "https://api.x.ai/v1"),
    "OPENROUTER_API_KEY": _Own("OpenRouter", "compatible/openrouter", "https://openrouter.ai/api/v1", "/images/models"),
}
KEY_NAMES = tuple(_OWN)


def read(
    environment: Mapping[str, str], endpoints: Mapping[str, str] | None = None
) -> tuple[list[PriceList], list[str]]:
    """The model lists of the providers whose keys are in the environment, and a sentence for each that is left out.

    Parameters
    ----------
    endpoints : other URLs, by the name of the key
    """
    keys = {name: environment.get(name, "").strip() for name in _OWN}
    with ThreadPoolExecutor() as pool:
        asked = {
            name: pool.submit(_ask, name, key, (endpoints or {}).get(name, "")) for name, key in keys.items() if key
        }
    lists: list[PriceList] = []
    left_out: list[str] = []
    for name, own in _OWN.items():
        if name not in asked:
            left_out.append(f"{own.title}: its own list was not asked for; set {name} to add it.")
            continue
        found = asked[name].result()
        if isinstance(found, str):
            left_out.append(f"{own.title}: {found}")
        else:
            lists.append(found)
    return lists, left_out


def _ask(name: str, key: str, endpoint: str) -> PriceList | str:
    # Imported late: it brings the SDK of AWS with it.
    from local.doctor.probe import Server, ask
    from pixelprompt.models.provider import PROVIDERS

    own = _OWN[name]
    protocol = own.provider.partition("/")[0]
    provider = PROVIDERS[protocol]
    base_url = own.base_url or provider.base_url or ""
    if provider.probe is None:
        return "it lists no models."
    probe = replace(provider.probe, path=own.path or provider.probe.path)
    server = Server(protocol, endpoint or base_url, key, name, provider.key_header, probe)
    result = ask(server, time.time() + _REQUEST_SECONDS, f"set {name} again")
    if result.shutdowns is None:
        return result.problem.sentence if result.problem else "it lists no models."
    title, source = f"{own.title}'s own list", base_url + probe.path.partition("?")[0]
    drawn = _DRAWN[own.provider]
    entries = [
        Listed(
            title, own.provider, model, shutdown=end, source=source, shutdown_source=source,
            draws=bool(drawn.search(model)) and "edit" not in model,
        )
        for model, end in result.shutdowns.items()
        if is_plain(model)
    ]  # fmt: skip
    return PriceList(title, "", entries, own.provider)
