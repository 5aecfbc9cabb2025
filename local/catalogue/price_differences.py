"""Where the catalogue's prices and those of the lists differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isclose
from statistics import median
from typing import Any

from local.catalogue.corroboration import UNLISTED, Difference, Entry, doubt
from local.catalogue.price_lists import Listed

_TOLERANCE = 0.01
# A price that changes by more than this may have lost a digit in a list.
_FACTOR = 3
# How far a first price may be from the usual one.
_FIRST_FACTOR = 20
_TOKENS = ("inputText", "inputImage", "outputText", "outputImage")
_TABLES = ("byResolution", "byQuality")
_ELSEWHERE = "from another source"


def typical(entries: Iterable[Entry]) -> dict[str, float]:
    """The median of a catalogue's prices, by their names in the lists."""
    prices = [entry["price"] for entry in entries if entry.get("price")]
    medians = {
        name: median(known)
        for name in (*_TOKENS, "amount")
        if (known := [price[name] for price in prices if price.get(name)])
    }
    amount = medians.pop("amount", None)
    return medians if amount is None else {**medians, "image": amount, "2K": amount}


def compare(
    entry: Entry,
    listed: Sequence[Listed],
    day: date,
    own: Collection[str],
    usual: Mapping[str, float],
    *,
    text: bool,
) -> Iterator[Difference]:
    """Differences between lists and the catalogue in the price of a model.

    Parameters
    ----------
    listed : what each list says about the model
    own : the names of the providers' own lists
    usual : what prices usually are, as of `typical`
    text : whether it is a text model
    """
    price = entry.get("price")
    if price is None:
        yield from _first(entry, listed, day, own, usual, text=text)
        return
    members = _members(price)
    mark = price.get("uncorroborated") or entry.get("uncorroborated")
    sure: dict[str, list[Listed]] = {}
    known: set[str] = set()
    confirmed = False
    for member, ours in members.items():
        said = [hit for hit in listed if member in hit.prices]
        # An image in 2K costs what any image costs, unless a table says otherwise.
        confirmed = confirmed or bool(said)
        differing = [hit for hit in said if not _same(ours, hit.prices[member])]
        if not differing:
            known |= {member} if said else set()
            continue
        chosen = next((hit for hit in differing if hit.source), differing[0])
        value = chosen.prices[member]
        stated = {hit.list: _shown(member, _agreed(hit.prices[member], value)) for hit in said}
        why = doubt(stated, chosen.source, own=own, mark=mark, odd=_odd(member, ours, value, usual))
        if why:
            names = ", ".join(hit.list for hit in differing)
            shown = _shown(member, ours), _shown(member, value)
            yield Difference("price", entry["id"], *shown, names, chosen.source or "", doubt=why)
        else:
            sure[member] = [hit for hit in differing if hit.source]
    if sure:
        source = _source_of_most(sure.values())
        having = {member: found for member, hits in sure.items() if (found := _of(source, hits))}
        values = {member: hits[0].prices[member] for member, hits in having.items()}
        known |= set(values)
        for member, hits in sure.items():
            if member not in values:
                yield _elsewhere(entry["id"], member, members[member], hits)
        ours_shown = ", ".join(_shown(member, members[member]) for member in values)
        theirs = ", ".join(_shown(member, value) for member, value in values.items())
        new = {"price": _with(price, values, day, source)}
        why = "" if _explained(price, values, known) else "its tables must be looked at"
        yield Difference("price", entry["id"], ours_shown, theirs, _names(values, having), source, new, why)
    elif not confirmed:
        yield Difference("price", entry["id"], price_text(price), "", "none", price["source"], doubt=UNLISTED)


def _odd(member: str, ours: float | None, theirs: float, usual: Mapping[str, float]) -> str:
    if not ours:
        return _odd_first(member, theirs, usual)
    is_usual = ours / _FACTOR <= theirs <= ours * _FACTOR
    return "" if is_usual else f"it changes by more than a factor of {_FACTOR}"


def _odd_first(member: str, theirs: float, usual: Mapping[str, float]) -> str:
    """Why a first price that one list alone has is not plausible; empty where it is."""
    if member not in usual:
        return f"one list alone has {_shown(member, theirs)}, and the catalogue no such price"
    is_usual = usual[member] / _FIRST_FACTOR <= theirs <= usual[member] * _FIRST_FACTOR
    far = f"more than a factor of {_FIRST_FACTOR} from the catalogue's median"
    return "" if is_usual else f"one list alone has {_shown(member, theirs)}, {far}"


def _source_of_most(found: Iterable[Sequence[Listed]]) -> str:
    """The source that most values are from; the first of them."""
    counts = Counter(source for hits in found for source in dict.fromkeys(str(hit.source) for hit in hits))
    return counts.most_common(1)[0][0]


def _of(source: str, hits: Sequence[Listed]) -> list[Listed]:
    return [hit for hit in hits if hit.source == source]


def _names(values: Mapping[str, float], having: Mapping[str, Sequence[Listed]]) -> str:
    """The lists that have exactly these values."""
    names = (hit.list for name, value in values.items() for hit in having[name] if isclose(hit.prices[name], value))
    return ", ".join(dict.fromkeys(names))


def _elsewhere(model: str, member: str, ours: float | None, hits: Sequence[Listed]) -> Difference:
    """The difference of a value that cannot be written with the others: a price has one source."""
    hits = _of(str(hits[0].source), hits)
    value = hits[0].prices[member]
    names = _names({member: value}, {member: hits})
    shown = _shown(member, ours) if ours else "none", _shown(member, value)
    return Difference("price", model, *shown, names, str(hits[0].source), doubt=_ELSEWHERE)


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
    """The comparable members of a catalogue price, by their names in the lists."""
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
    known : the members that a list has and that are not in doubt, changed or not
    """
    if not {"image", "outputImage"} & set(sure):
        return True
    old = price.get(_each(price))
    # The estimate of an image is tokens times the price of one.
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
    entry: Entry, listed: Sequence[Listed], day: date, own: Collection[str], usual: Mapping[str, float], *, text: bool
) -> Iterator[Difference]:
    found = composed(entry["provider"], entry["id"], listed, day, own, usual, text=text)
    if not found.price:
        return
    mark = "" if found.agreed else entry.get("uncorroborated")
    why = found.doubt or (f"known: {mark}" if mark else "")
    new, source = {"price": found.price}, found.price["source"]
    yield Difference("price", entry["id"], "none", price_text(found.price), found.lists, source, new, why)
    yield from found.others


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
    price : as the catalogue has it, from one source; empty where no list has one with a source
    doubt : why it is not sure
    lists : which lists have it
    agreed : whether two lists, or the provider's own, have all of it
    others : the values that have another source
    """

    price: Mapping[str, Any]
    doubt: str = ""
    lists: str = ""
    agreed: bool = False
    others: Sequence[Difference] = ()


def composed(
    provider: str,
    model: str,
    listed: Sequence[Listed],
    day: date,
    own: Collection[str],
    usual: Mapping[str, float],
    *,
    text: bool,
) -> Composed:
    """A price for a model that has none."""
    first: dict[str, float] = {}
    why = ""
    useful = ("inputText", "outputText") if text else (*_TOKENS, "image", "2K")
    for hit in listed:
        for name in useful:
            value = hit.prices.get(name)
            if value is not None and not _same(first.setdefault(name, value), value):
                why = f"the lists disagree: {_shown(name, first[name])}, {hit.list} has {_shown(name, value)}"
    sources = dict.fromkeys(hit.source for hit in listed if hit.source)
    found = {source: _values(provider, useful, _of(source, listed), text=text) for source in sources}
    # The first of those with most of a price.
    source = max(found, key=lambda source: len(found[source]), default="")
    values = found.get(source)
    if not values:
        return Composed({})
    price: dict[str, Any] = {"unit": "token", **values}
    if "image" in values:
        price = {"unit": "image", "amount": values["image"]}
        if "2K" in values:
            price["byResolution"] = {"2K": values["2K"]}
    price |= {"date": day.isoformat(), "source": source}
    having = {name: [hit for hit in listed if name in hit.prices] for name in useful}
    alone = [name for name in values if len(having[name]) == 1 and having[name][0].list not in own]
    why = why or next(filter(None, (_odd_first(name, values[name], usual) for name in alone)), "")
    others = [
        _elsewhere(model, name, None, hits)
        for name in (("image", "2K") if "image" in values else _TOKENS)
        if name not in values and (hits := [hit for hit in having.get(name, []) if hit.source])
    ]
    names = _names(values, {name: _of(source, hits) for name, hits in having.items()})
    return Composed(price, why, names, not why and not alone, others)


def _values(provider: str, useful: Sequence[str], listed: Sequence[Listed], *, text: bool) -> dict[str, float]:
    """The members of a price, by the names in the lists; empty where they do not make one."""
    values: dict[str, float] = {}
    for hit in listed:
        values = {**{name: hit.prices[name] for name in useful if name in hit.prices}, **values}
    if "image" in values and provider != "openai":
        return {name: values[name] for name in ("image", "2K") if name in values}
    if "outputImage" in values or (text and len(values) == len(useful)):
        return {name: values[name] for name in _TOKENS if name in values}
    return {}
