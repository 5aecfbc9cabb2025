"""Names in a request: of the members of its body, of the parameters of its query string, and of models."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pixelprompt.errors import InvalidParameter

# How much of an unknown name is shown.
_LONGEST_SHOWN = 80


def check_names(given: Iterable[str], known: Sequence[str], kind: str = "member") -> None:
    """Reject what a request names that nobody reads: a typo would otherwise start and charge something else.

    Raises
    ------
    InvalidParameter : ``parameter`` is the first unknown name, ``nearest`` the known one that it resembles, or None
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    nearest = _nearest_name(unknown, known)
    hint = f"The nearest accepted name is `{nearest}`." if nearest else f"Accepted: {', '.join(known) or 'none'}."
    shown = unknown[:_LONGEST_SHOWN]
    raise InvalidParameter(f"Unknown {kind} `{shown}`. {hint}", parameter=shown, nearest=nearest)


def _nearest_name(name: str, known: Sequence[str]) -> str | None:
    # Imported here because a cold start does not need it.
    from difflib import get_close_matches

    plain = {re.sub("[^a-z]", "", word.lower()): word for word in known}
    found = get_close_matches(re.sub("[^a-z]", "", name[:_LONGEST_SHOWN].lower()), plain, n=1)
    return plain[found[0]] if found else None


def read_names(body: Mapping[str, Any], what: str) -> list[str] | None:
    """The body's ``models``, a list of ``what``; None where it has none.

    Raises
    ------
    InvalidParameter : no list of texts, or an empty one
    """
    names = body.get("models")
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidParameter(f"models must be a list of {what}.", parameter="models")
    return names
