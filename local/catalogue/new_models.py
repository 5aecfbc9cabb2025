"""The image models that the lists have and the catalogue lacks, and the entries that they would get."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from local.catalogue.corroboration import Difference, Entry, doubt, key
from local.catalogue.price_differences import composed, price_text
from local.catalogue.price_lists import Listed, PriceList
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue
from pixelprompt.storage import keys

_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_GEOGRAPHY = re.compile(r"^(us|us-gov|eu|apac|global)\.")
_WORDS = {"gpt": "GPT", "dall": "DALL", "flux": "FLUX", "sd": "SD"}


def compare(
    models: Sequence[Entry],
    lists: Sequence[PriceList],
    day: date,
    names_of_own: Collection[str],
    usual: Mapping[str, float],
) -> Iterator[Difference]:
    """The image models that a list has and the catalogue lacks."""
    known = {(key(entry), entry["id"]) for entry in models}
    drawn = {(hit.provider, hit.id): hit for one in lists for hit in one.entries if hit.draws}
    bases = {(provider, _base(provider, model)) for provider, model in known}
    taken = {keys.file_name(entry["name"]).casefold() for entry in models}
    for provider, model in drawn:
        listed = [hit for one in lists if (hit := one.find(provider, model))]
        base = _base(provider, model)
        is_version = (provider, base) in bases or (base != model and (provider, base) in drawn)
        is_over = any(hit.shutdown and hit.shutdown <= day.isoformat() for hit in listed)
        is_replaced = any((provider, hit.replacement) in {*known, *drawn} for hit in listed)
        template = next((entry for entry in models if key(entry) == provider), None)
        if "preview" in model or model.endswith("-latest") or is_version or is_over or is_replaced or not template:
            continue
        # OpenRouter puts the maker before the id of a model that the catalogue may have from there.
        if provider == "compatible/openrouter" and any(model.partition("/")[2] == other for _, other in known):
            continue
        found = composed(template["provider"], model, listed, day, names_of_own, usual, text=False)
        price, why = found.price, found.doubt
        entry = _entry(template, model, taken, price, listed)
        taken.add(keys.file_name(entry["name"]).casefold())
        own = next((one for one in lists if one.own == provider), None)
        if own and not own.find(provider, model):
            why = f"{own.name} lacks it"
        elif not own and len(listed) == 1:
            why = f"only {listed[0].list} has it"
        source = price["source"] if price else next((hit.source for hit in listed if hit.source), None)
        why = why or doubt({}, source, own=names_of_own) or _fault(entry)
        # What is shown is the price, where there is one.
        names = found.lists or ", ".join(hit.list for hit in listed)
        yield Difference("new", model, "none", price_text(price) if price else "there", names, source or "", entry, why)
        yield from found.others


def _base(provider: str, model: str) -> str:
    """The id without the day of a snapshot; on Bedrock without geography and version."""
    if provider == "bedrock":
        return re.sub(r"(-v\d+)?(:\d+)?$", "", _GEOGRAPHY.sub("", model))
    return _SNAPSHOT.sub("", model)


def _entry(template: Entry, model: str, taken: set[str], price: Entry, listed: Sequence[Listed]) -> dict[str, Any]:
    words = re.split(r"[-_/]", model)
    name = " ".join(_WORDS.get(word, word[:1].upper() + word[1:]) for word in words)
    if keys.file_name(name).casefold() in taken:
        name = f"{name} ({template['provider']})"
    # How a server is reached is the same for all its models.
    reached = {
        part: template[part] for part in ("region", "baseUrl", "apiKeyName", "dialect", "path") if part in template
    }
    if template["provider"] == "compatible" and "parameters" in template:
        reached["parameters"] = template["parameters"]
    entry = {"name": name, "provider": template["provider"], "id": model, **reached, "default": False}
    shutdown = next((hit.shutdown for hit in listed if hit.shutdown), None)
    return {**entry, **({"shutdown": shutdown} if shutdown else {}), **({"price": dict(price)} if price else {})}


def _fault(entry: Entry) -> str:
    try:
        catalogue.parse({"models": [entry], "textModels": []})
    except ConfigurationError as error:
        return str(error)
    return ""
