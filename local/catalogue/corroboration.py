"""Differences between the catalogue and the lists, and the rules that make one sure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

Entry = Mapping[str, Any]
# Why a price is not corroborated of which no list has any part.
UNLISTED = "no list has it"


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


def doubt(
    stated: Mapping[str, str], source: str | None, *, own: Collection[str], mark: object = None, odd: str = ""
) -> str:
    """Why a value is not sure; empty where it is.

    Parameters
    ----------
    stated : what each list says, as a text
    source : where the lists have it from
    own : the names of the providers' own lists
    mark : what the catalogue says is not sure
    odd : what is odd about the value; as the mark, it does not count where two lists or the provider's own have it
    """
    if len(set(stated.values())) > 1:
        return "the lists disagree: " + ", ".join(f"{name} has {value}" for name, value in stated.items())
    if not source:
        return "it names no source"
    if len(stated) > 1 or set(stated) & set(own):
        return ""
    return f"known: {mark}" if mark else odd


def key(entry: Entry) -> str:
    """Whose model a catalogue entry is, in the words of the lists."""
    return f"compatible/{entry.get('dialect', 'openai')}" if entry["provider"] == "compatible" else entry["provider"]


def has_ended(entry: Entry, day: date) -> bool:
    """Whether jobs no longer use a model of the catalogue."""
    return bool(entry.get("retired")) or str(entry.get("shutdown", "9999-12-31")) <= day.isoformat()
