"""A question before anything that costs or deletes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


class Unconfirmed(Exception):
    """The action was not confirmed; the message says how to confirm it."""


def confirm(
    question: str, environment: Mapping[str, str], *, answer: str = "yes", ask: Callable[[str], str] | None = None
) -> None:
    """Go on only where a person types `answer`, or YES=1 confirms in advance.

    Parameters
    ----------
    ask : puts a question to a person; without it the terminal does, if there is one

    Raises
    ------
    Unconfirmed : the answer is another one, or nothing can ask for it
    """
    require_terminal(environment, ask)
    if said_yes(environment):
        return
    try:
        typed = (ask or input)(f"{question} Type {answer} to go on: ").strip()
    except EOFError:
        typed = ""
    if typed != answer:
        raise Unconfirmed("Nothing was done.")


def require_terminal(environment: Mapping[str, str], ask: Callable[[str], str] | None = None) -> None:
    """Raise `Unconfirmed` where a question could not be answered: best before the work that leads to it."""
    if not said_yes(environment) and ask is None and not sys.stdin.isatty():
        raise Unconfirmed("Nothing was done: no terminal to ask for confirmation. Set YES=1 to confirm in advance.")


def said_yes(environment: Mapping[str, str]) -> bool:
    """Whether YES=1 answers the question."""
    return environment.get("YES", "").strip().lower() in ("1", "y", "yes", "true")
