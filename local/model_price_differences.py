"""Where the catalogue's prices and those of the lists differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isclose
from typing import Any

from local.corroboration import UNLISTED, Difference, Entry, doubt
from local.price_lists import Listed

_TOLERANCE = 0.01
# Prices change; by more than this, a list may have lost a digit.
_FACTOR = 3
_TOKENS = ("inputText", "inputImage", "outputText", "outputImage")
_TABLES = ("byResolution", "byQuality")


def compare(
    entry: Entry, listed: Sequence[Listed], day: date, own: Collection[str], *, text: bool
) -> Iterator[Difference]:
    """What lists say otherwise about the price of a model of the catalogue.

    Parameters
    ----------
    listed : what each list says about the model
    own : the names of the providers' own lists
    text : whether it is a text model
    """
    price = entry.get("price")
    if price is None:
        yield from _first(entry, listed, day, own, text=text)
        return
    members = _members(price)
    mark = price.get("uncorroborated") or entry.get("uncorroborated")
    sure: dict[str, float] = {}
    known: set[str] = set()
    source, who, confirmed = "", "", False
    for member, ours in members.items():
        said = [hit for hit in listed if member in hit.prices]
        # A picture in 2K costs what any picture costs, unless a table says otherwise.
        confirmed = confirmed or bool(said)
        differing = [hit for hit in said if not _same(ours, hit.prices[member])]
        if not differing:
            known |= {member} if said else set()
            continue
        chosen = next((hit for hit in differing if hit.source), differing[0])
        value = chosen.prices[member]
        stated = {hit.list: _shown(member, _agreed(hit.prices[member], value)) for hit in said}
        why = doubt(stated, chosen.source, own=own, mark=mark, odd=_odd(ours, value))
        names = ", ".join(hit.list for hit in differing)
        if why:
            shown = _shown(member, ours), _shown(member, value)
            yield Difference("price", entry["id"], *shown, names, chosen.source or "", doubt=why)
        else:
            sure[member] = value
            known.add(member)
            source, who = source or str(chosen.source), who or names
    if sure:
        ours_shown = ", ".join(_shown(member, members[member]) for member in sure)
        theirs = ", ".join(_shown(member, value) for member, value in sure.items())
        new = {"price": _with(price, sure, day, source)}
        why = "" if _explained(price, sure, known) else "its tables must be looked at"
        yield Difference("price", entry["id"], ours_shown, theirs, who, source, new, why)
    elif not confirmed:
        yield Difference("price", entry["id"], price_text(price), "", "none", price["source"], doubt=UNLISTED)


def _odd(ours: float | None, theirs: float) -> str:
    is_usual = not ours or ours / _FACTOR <= theirs <= ours * _FACTOR
    return "" if is_usual else f"it changes by more than a factor of {_FACTOR}"


def _same(left: Any, right: float) -> bool:
    return left is not None and isclose(left, right, rel_tol=_TOLERANCE)


def _agreed(value: float, other: float) -> float:
    return other if _same(value, other) else value


def _shown(member: str, value: float | None) -> str:
    if value is None:
        return f"{member} unknown"
    return f"{member} ${value * 1e6:.6g}/M" if member in _TOKENS else f"{member} ${value:.6g}"


def _each(price: Entry) -> str:
    return "amount" if price["unit"] == "image" else "estimate"


def _members(price: Entry) -> dict[str, float | None]:
    """What can be compared: the members of a catalogue price by their names in the lists."""
    each = _each(price)
    members = {name: price[name] for name in _TOKENS if name in price}
    if each in price:
        members["image"] = price[each]
        members["2K"] = price.get("byResolution", {}).get("2K", price[each])
    return members


def _explained(price: Entry, sure: Mapping[str, float], known: Collection[str]) -> bool:
    """Whether nothing else in a price depends on what changes.

    Parameters
    ----------
    sure : the new values
    known : the members that a list has and nobody doubts, changed or not
    """
    if not {"image", "outputImage"} & set(sure):
        return True
    old = price.get(_each(price))
    # The estimate of a picture is tokens times the price of one.
    if old is not None and "image" not in known:
        return False
    return all(
        value is None or value == old or (table, name, "2K" in known) == ("byResolution", "2K", True)
        for table in _TABLES
        for name, value in price.get(table, {}).items()
    )


def _with(price: Entry, values: Mapping[str, float], day: date, source: str) -> dict[str, Any]:
    """The price with new values, also in its tables."""
    each = _each(price)
    new = {**price, **{each if name == "image" else name: value for name, value in values.items() if name != "2K"}}
    for table in _TABLES:
        if "image" in values and table in price:
            new[table] = {
                name: values["image"] if value is not None and value == price[each] else value
                for name, value in price[table].items()
            }
    if "2K" in values and ("2K" in price.get("byResolution", {}) or not _same(new[each], values["2K"])):
        new["byResolution"] = {**new.get("byResolution", {}), "2K": values["2K"]}
    return {**new, "date": day.isoformat(), "source": source}


def _first(
    entry: Entry, listed: Sequence[Listed], day: date, own: Collection[str], *, text: bool
) -> Iterator[Difference]:
    found = composed(entry["provider"], listed, day, own, text=text)
    if not found.price:
        return
    mark = "" if found.agreed else entry.get("uncorroborated")
    why = found.doubt or (f"known: {mark}" if mark else "")
    price = found.price
    yield Difference(
        "price", entry["id"], "none", price_text(price), found.lists, price["source"], {"price": price}, why
    )


def price_text(price: Entry) -> str:
    """A price for a person."""
    members = _members(price)
    if "2K" not in price.get("byResolution", {}):
        members.pop("2K", None)
    return ", ".join(_shown(member, value) for member, value in members.items())


@dataclass(frozen=True)
class Composed:
    """A price made of what lists say.

    Attributes
    ----------
    price : as the catalogue has it; empty where no list has one with a source
    doubt : why it is not sure
    lists : which lists have it
    agreed : whether two lists, or the provider's own, have all of it
    """

    price: Mapping[str, Any]
    doubt: str = ""
    lists: str = ""
    agreed: bool = False


def composed(provider: str, listed: Sequence[Listed], day: date, own: Collection[str], *, text: bool) -> Composed:
    """A price for a model that has none."""
    values: dict[str, float] = {}
    why = ""
    useful = ("inputText", "outputText") if text else (*_TOKENS, "image", "2K")
    priced = [hit for hit in listed if hit.source and any(name in hit.prices for name in useful)]
    for hit in priced:
        for name in useful:
            value = hit.prices.get(name)
            if value is not None and not _same(values.setdefault(name, value), value):
                why = f"the lists disagree: {_shown(name, values[name])}, {hit.list} has {_shown(name, value)}"
    if "image" in values and provider != "openai":
        price: dict[str, Any] = {"unit": "image", "amount": values["image"]}
        used = ["image"]
        if "2K" in values:
            price["byResolution"] = {"2K": values["2K"]}
            used.append("2K")
    elif "outputImage" in values or (text and len(values) == len(useful)):
        used = [name for name in _TOKENS if name in values]
        price = {"unit": "token", **{name: values[name] for name in used}}
    else:
        return Composed({})
    price |= {"date": day.isoformat(), "source": priced[0].source}
    having = [[hit for hit in priced if name in hit.prices] for name in used]
    agreed = not why and all(len(hits) > 1 or hits[0].list in own for hits in having)
    return Composed(price, why, ", ".join(hit.list for hit in priced), agreed)
