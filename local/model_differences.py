"""Where the catalogue and the lists differ, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import isclose
from typing import Any

from local.price_lists import Listed, PriceList
from pixelprompt import catalogue
from pixelprompt.errors import ConfigurationError

Entry = Mapping[str, Any]
_TOLERANCE = 0.01
# Why a price is not corroborated of which no list has any part.
UNLISTED = "no list has it"
_TOKENS = ("inputText", "inputImage", "outputText", "outputImage")
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_GEOGRAPHY = re.compile(r"^(us|us-gov|eu|apac|global)\.")
_WORDS = {"gpt": "GPT", "dall": "DALL", "flux": "FLUX", "sd": "SD"}


@dataclass(frozen=True)
class Difference:
    """One thing that a list says otherwise.

    Attributes
    ----------
    kind : price, shutdown, replacement, new or gone
    model : the id
    ours, theirs : what the catalogue and the lists have, for a person
    lists : which lists say so
    source : where they have it from
    changes : the fields of the entry that become different; all of them where it is new
    doubt : why it is not corroborated; empty where it is
    """

    kind: str
    model: str
    ours: str
    theirs: str
    lists: str
    source: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    doubt: str = ""


def key(entry: Entry) -> str:
    """Whose model a catalogue entry is, in the words of the lists."""
    return f"compatible/{entry.get('dialect', 'openai')}" if entry["provider"] == "compatible" else entry["provider"]


def compare(models: Mapping[str, Any], lists: Sequence[PriceList], day: date) -> list[Difference]:
    """The differences between a catalogue (its JSON object) and the lists on a day."""
    found: list[Difference] = []
    for section in catalogue.SECTIONS:
        entries = {entry["id"]: entry for entry in models[section]}
        for entry in models[section]:
            listed = [hit for one in lists if (hit := one.find(key(entry), entry["id"]))]
            if not _has_ended(entry, day):
                found += _price(entry, listed, day, text=section == "textModels")
            found += _shutdown(entry, listed)
            found += _replacement(entry, listed, entries, day)
            found += _gone(entry, listed, lists, day)
    return found + list(_new(models["models"], lists, day))


def changed(models: Mapping[str, Any], differences: Sequence[Difference]) -> dict[str, Any]:
    """The catalogue with every corroborated difference in it."""
    sure = [difference for difference in differences if not difference.doubt]
    result = dict(models)
    for section in catalogue.SECTIONS:
        ids = {entry["id"] for entry in models[section]}
        changes: dict[str, dict[str, Any]] = {}
        for difference in sure:
            if difference.kind != "new" and difference.model in ids:
                changes.setdefault(difference.model, {}).update(difference.changes)
        result[section] = [{**entry, **changes.get(entry["id"], {})} for entry in models[section]]
    result["models"] += [dict(difference.changes) for difference in sure if difference.kind == "new"]
    return result


def _has_ended(entry: Entry, day: date) -> bool:
    return bool(entry.get("retired")) or str(entry.get("shutdown", "9999-12-31")) <= day.isoformat()


def _doubt(mark: object, source: str | None, stated: Mapping[str, str]) -> str:
    """Why a value is not sure: `stated` has what each list says."""
    if len(set(stated.values())) > 1:
        return "the lists disagree: " + ", ".join(f"{name} has {value}" for name, value in stated.items())
    if mark:
        return f"known: {mark}"
    return "" if source else "no source is given"


def _same(left: Any, right: float) -> bool:
    return left is not None and isclose(left, right, rel_tol=_TOLERANCE)


def _shown(member: str, value: float | None) -> str:
    if value is None:
        return f"{member} unknown"
    return f"{member} ${value * 1e6:.6g}/M" if member in _TOKENS else f"{member} ${value:.6g}"


def _price(entry: Entry, listed: Sequence[Listed], day: date, *, text: bool) -> Iterator[Difference]:
    price = entry.get("price")
    if price is None:
        yield from _first_price(entry, listed, day, text=text)
        return
    sure: dict[str, float] = {}
    source, who, confirmed = "", "", False
    for member, ours in _members(price).items():
        said = [hit for hit in listed if member in hit.prices]
        # A picture in 2K costs what any picture costs, unless a table says otherwise.
        confirmed = confirmed or bool(said)
        differing = [hit for hit in said if not _same(ours, hit.prices[member])]
        if not differing:
            continue
        chosen = next((hit for hit in differing if hit.source), differing[0])
        stated = {hit.list: _shown(member, _agreed(hit.prices[member], chosen.prices[member])) for hit in said}
        doubt = _doubt(price.get("uncorroborated") or entry.get("uncorroborated"), chosen.source, stated)
        names = ", ".join(hit.list for hit in differing)
        if doubt:
            shown = _shown(member, ours), _shown(member, chosen.prices[member])
            yield Difference("price", entry["id"], *shown, names, chosen.source or "", doubt=doubt)
        else:
            sure[member] = chosen.prices[member]
            source, who = source or str(chosen.source), who or names
    if sure:
        ours_shown = ", ".join(_shown(member, _members(price)[member]) for member in sure)
        theirs = ", ".join(_shown(member, value) for member, value in sure.items())
        new = {"price": _with(price, sure, day, source)}
        yield Difference("price", entry["id"], ours_shown, theirs, who, source, new)
    elif not confirmed:
        yield Difference("price", entry["id"], _price_text(price), "", "none", price["source"], doubt=UNLISTED)


def _agreed(value: float, other: float) -> float:
    return other if _same(value, other) else value


def _members(price: Entry) -> dict[str, float | None]:
    """What can be compared: the members of a catalogue price by their names in the lists."""
    each = "amount" if price["unit"] == "image" else "estimate"
    members = {name: price[name] for name in _TOKENS if name in price}
    if each in price:
        members["image"] = price[each]
        members["2K"] = price.get("byResolution", {}).get("2K", price[each])
    return members


def _with(price: Entry, values: Mapping[str, float], day: date, source: str) -> dict[str, Any]:
    each = "amount" if price["unit"] == "image" else "estimate"
    new = {**price, **{each if name == "image" else name: value for name, value in values.items() if name != "2K"}}
    if "2K" in values:
        new["byResolution"] = {**price.get("byResolution", {}), "2K": values["2K"]}
    return {**new, "date": day.isoformat(), "source": source}


def _first_price(entry: Entry, listed: Sequence[Listed], day: date, *, text: bool) -> Iterator[Difference]:
    price, doubt, who = _composed(entry["provider"], listed, day, text=text)
    if not price:
        return
    doubt = doubt or (f"known: {entry['uncorroborated']}" if entry.get("uncorroborated") else "")
    yield Difference("price", entry["id"], "none", _price_text(price), who, price["source"], {"price": price}, doubt)


def _price_text(price: Entry) -> str:
    members = _members(price)
    if "2K" not in price.get("byResolution", {}):
        members.pop("2K", None)
    return ", ".join(_shown(member, value) for member, value in members.items())


def _composed(provider: str, listed: Sequence[Listed], day: date, *, text: bool) -> tuple[dict[str, Any], str, str]:
    """A price for a model that has none, why it is not sure, and which lists have it; it is empty where none has."""
    values: dict[str, float] = {}
    doubt = ""
    useful = ("inputText", "outputText") if text else (*_TOKENS, "image", "2K")
    priced = [hit for hit in listed if hit.source and any(name in hit.prices for name in useful)]
    for hit in priced:
        for name in useful:
            value = hit.prices.get(name)
            if value is not None and not _same(values.setdefault(name, value), value):
                doubt = f"the lists disagree: {_shown(name, values[name])}, {hit.list} has {_shown(name, value)}"
    if "image" in values and provider != "openai":
        price: dict[str, Any] = {"unit": "image", "amount": values["image"]}
        if "2K" in values:
            price["byResolution"] = {"2K": values["2K"]}
    elif "outputImage" in values or (text and len(values) == len(useful)):
        price = {"unit": "token", **{name: values[name] for name in _TOKENS if name in values}}
    else:
        return {}, "", ""
    dated = {"date": day.isoformat(), "source": priced[0].source}
    return {**price, **dated}, doubt, ", ".join(hit.list for hit in priced)


def _shutdown(entry: Entry, listed: Sequence[Listed]) -> Iterator[Difference]:
    stated = {hit.list: hit.shutdown for hit in listed if hit.shutdown}
    ours = entry.get("shutdown")
    differing = [hit for hit in listed if hit.shutdown and hit.shutdown != ours]
    if entry.get("retired") or not differing:
        return
    chosen = next((hit for hit in differing if hit.shutdown_source), differing[0])
    doubt = _doubt(entry.get("uncorroborated"), chosen.shutdown_source, stated)
    new = {"shutdown": chosen.shutdown}
    names, source = ", ".join(hit.list for hit in differing), chosen.shutdown_source or ""
    yield Difference("shutdown", entry["id"], ours or "none", str(chosen.shutdown), names, source, new, doubt)


def _replacement(
    entry: Entry, listed: Sequence[Listed], entries: Mapping[str, Entry], day: date
) -> Iterator[Difference]:
    stated = {hit.list: hit.replacement for hit in listed if hit.replacement}
    ours = entry.get("replacement")
    differing = [hit for hit in listed if hit.replacement and hit.replacement != ours]
    # Which of the living models takes a model's place is for the catalogue to say.
    if not differing or (ours is not None and ours in entries and not _has_ended(entries[ours], day)):
        return
    chosen = next((hit for hit in differing if hit.shutdown_source), differing[0])
    theirs, source = str(chosen.replacement), chosen.shutdown_source or ""
    doubt = _doubt(entry.get("uncorroborated"), source, stated)
    if not doubt and (theirs not in entries or _has_ended(entries[theirs], day)):
        doubt = f"{theirs} is not in the catalogue" if theirs not in entries else f"{theirs} itself has ended"
    names = ", ".join(hit.list for hit in differing)
    new = {"replacement": theirs}
    yield Difference("replacement", entry["id"], ours or "none", theirs, names, source, new, doubt)


def _gone(entry: Entry, listed: Sequence[Listed], lists: Sequence[PriceList], day: date) -> Iterator[Difference]:
    own = next((one for one in lists if one.own == key(entry)), None)
    if own and not listed and not _has_ended(entry, day):
        source = own.entries[0].source if own.entries else None
        doubt = _doubt(entry.get("uncorroborated"), source, {})
        new = {"retired": True}
        yield Difference("gone", entry["id"], "there", "in no list", own.name, source or "", new, doubt)


def _new(models: Sequence[Entry], lists: Sequence[PriceList], day: date) -> Iterator[Difference]:
    known = {(key(entry), entry["id"]) for entry in models}
    drawn = {(hit.provider, hit.id): hit for one in lists for hit in one.entries if hit.draws}
    bases = {(provider, _base(provider, model)) for provider, model in known}
    taken = {catalogue.file_name(entry["name"]).casefold() for entry in models}
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
        price, doubt, _ = _composed(template["provider"], listed, day, text=False)
        entry = _entry(template, model, taken, price, listed)
        taken.add(catalogue.file_name(entry["name"]).casefold())
        own = next((one for one in lists if one.own == provider), None)
        if own and not own.find(provider, model):
            doubt = f"{own.name} lacks it"
        elif not own and len(listed) == 1:
            doubt = f"only {listed[0].list} has it"
        source = next((hit.source for hit in listed if hit.source), None)
        doubt = doubt or _doubt("", source, {}) or _fault(entry)
        names = ", ".join(hit.list for hit in listed)
        yield Difference(
            "new", model, "none", _price_text(price) if price else "there", names, source or "", entry, doubt
        )


def _base(provider: str, model: str) -> str:
    """The id without the day of a snapshot; on Bedrock without geography and version."""
    if provider == "bedrock":
        return re.sub(r"(-v\d+)?(:\d+)?$", "", _GEOGRAPHY.sub("", model))
    return _SNAPSHOT.sub("", model)


def _entry(template: Entry, model: str, taken: set[str], price: Entry, listed: Sequence[Listed]) -> dict[str, Any]:
    words = re.split(r"[-_/]", model)
    name = " ".join(_WORDS.get(word, word[:1].upper() + word[1:]) for word in words)
    if catalogue.file_name(name).casefold() in taken:
        name = f"{name} ({template['provider']})"
    # How a server is reached is the same for all its models.
    reached = {part: template[part] for part in ("region", "baseUrl", "keyName", "dialect", "path") if part in template}
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
