"""Where the catalogue and the lists differ, and how sure that is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from local.catalogue import new_models
from local.catalogue import price_differences as model_price_differences
from local.catalogue.corroboration import Difference, Entry, doubt, has_ended, key
from local.catalogue.price_lists import Listed, PriceList
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue


def compare(models: Mapping[str, Any], lists: Sequence[PriceList], day: date) -> list[Difference]:
    """The differences between a catalogue (its JSON object) and the lists on a day."""
    found: list[Difference] = []
    own = {one.name for one in lists if one.own}
    usual = model_price_differences.typical(entry for section in catalogue.SECTIONS for entry in models[section])
    for section in catalogue.SECTIONS:
        entries = {entry["id"]: entry for entry in models[section]}
        for entry in models[section]:
            listed = [hit for one in lists if (hit := one.find(key(entry), entry["id"]))]
            if not has_ended(entry, day):
                is_text = section == "textModels"
                found += model_price_differences.compare(entry, listed, day, own, usual, text=is_text)
            found += _shutdown(entry, listed, day, own)
            found += _replacement(entry, listed, entries, day, own)
            # Whether a text model is still there is for `make doctor` to say.
            if section == "models":
                found += _gone(entry, listed, lists, day)
    return found + list(new_models.compare(models["models"], lists, day, own, usual))


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


def settled(models: Mapping[str, Any], differences: Sequence[Difference]) -> list[Difference]:
    """The differences, where those that the catalogue would be wrong with are no longer corroborated."""
    kept: list[Difference] = []
    result: list[Difference] = []
    for difference in differences:
        if not difference.doubt:
            try:
                catalogue.parse(changed(models, [*kept, difference]))
                kept.append(difference)
            except ConfigurationError as error:
                difference = replace(difference, doubt=f"the catalogue would be wrong: {error}")
        result.append(difference)
    return result


def _shutdown(entry: Entry, listed: Sequence[Listed], day: date, own: Collection[str]) -> Iterator[Difference]:
    stated = {hit.list: hit.shutdown for hit in listed if hit.shutdown}
    ours = entry.get("shutdown")
    differing = [hit for hit in listed if hit.shutdown and hit.shutdown != ours]
    if entry.get("retired") or not differing:
        return
    chosen = next((hit for hit in differing if hit.shutdown_source), differing[0])
    odd = f"{chosen.shutdown} is in the past" if str(chosen.shutdown) < day.isoformat() else ""
    why = doubt(stated, chosen.shutdown_source, own=own, mark=entry.get("uncorroborated"), odd=odd)
    new = {"shutdown": chosen.shutdown}
    names, source = ", ".join(hit.list for hit in differing), chosen.shutdown_source or ""
    yield Difference("shutdown", entry["id"], ours or "none", str(chosen.shutdown), names, source, new, why)


def _replacement(
    entry: Entry, listed: Sequence[Listed], entries: Mapping[str, Entry], day: date, own: Collection[str]
) -> Iterator[Difference]:
    stated = {hit.list: hit.replacement for hit in listed if hit.replacement}
    ours = entry.get("replacement")
    differing = [hit for hit in listed if hit.replacement and hit.replacement != ours]
    # The catalogue says which of the living models replaces another.
    if not differing or (ours is not None and ours in entries and not has_ended(entries[ours], day)):
        return
    chosen = next((hit for hit in differing if hit.shutdown_source), differing[0])
    theirs, source = str(chosen.replacement), chosen.shutdown_source or ""
    why = doubt(stated, source, own=own, mark=entry.get("uncorroborated"))
    if not why and (theirs not in entries or has_ended(entries[theirs], day)):
        why = f"{theirs} is not in the catalogue" if theirs not in entries else f"{theirs} itself has ended"
    names = ", ".join(hit.list for hit in differing)
    new = {"replacement": theirs}
    yield Difference("replacement", entry["id"], ours or "none", theirs, names, source, new, why)


def _gone(entry: Entry, listed: Sequence[Listed], lists: Sequence[PriceList], day: date) -> Iterator[Difference]:
    own = next((one for one in lists if one.own == key(entry)), None)
    if own and not listed and not has_ended(entry, day):
        source = own.entries[0].source if own.entries else None
        # The account of the key may see fewer models than there are.
        why = "one account's list may be restricted"
        new = {"retired": True}
        yield Difference("gone", entry["id"], "there", "in no list", own.name, source or "", new, why)
