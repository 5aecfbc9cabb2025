"""A question before anything that costs or deletes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


class Unconfirmed(Exception):
    """Nobody has said yes; the message says how to."""


def confirm(
    question: str, environment: Mapping[str, str], *, answer: str = "yes", ask: Callable[[str], str] | None = None
) -> None:
    """Go on only where a person types `answer`, or YES=1 has said so beforehand.

    Parameters
    ----------
    ask : puts a question to a person; without it the terminal does, if there is one

    Raises
    ------
    Unconfirmed : the answer is another one, or there is nobody to ask
    """
    require_somebody(environment, ask)
    if said_yes(environment):
        return
    try:
        given = (ask or input)(f"{question} Type {answer} to go on: ").strip()
    except EOFError:
        given = ""
    if given != answer:
        raise Unconfirmed("Nothing is done.")


def require_somebody(environment: Mapping[str, str], ask: Callable[[str], str] | None = None) -> None:
    """Raise `Unconfirmed` where a question could not be answered: best before the work that leads to it."""
    if not said_yes(environment) and ask is None and not sys.stdin.isatty():
        raise Unconfirmed("Nothing is done: there is no terminal to ask at. YES=1 says yes beforehand.")


def said_yes(environment: Mapping[str, str]) -> bool:
    """Whether YES=1 answers the question."""
    return environment.get("YES", "").strip().lower() in ("1", "y", "yes", "true")
