"""Input and output of commands on a terminal of any encoding and any ability.

`local.prepare` runs this under whatever `python3` there is, hence the old-fashioned syntax.
"""

import codecs
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN = {
    "✓": "ok", "✗": "x", "→": "->", "…": "...", "·": "-", "•": "*", "–": "-", "—": "-", "×": "x", "≤": "<=",
    "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
_ERRORS = "pixelprompt.plain"
# Terminals that know no escape sequences.
_DUMB = ("", "dumb", "unknown")


def prepare() -> None:
    """Have the standard streams accept every character: what their encoding lacks is printed in plain ASCII.

    What is printed on a stream that the caller has closed goes nowhere, and a width of 0 counts as unknown.
    """
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name, "").strip() == "0":
            del os.environ[name]
    codecs.register_error(_ERRORS, _plain)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _ERRORS), (sys.stderr, _ERRORS)):
        # A stream may be missing, or a stand-in.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def safe(value: Any) -> Any:
    """A JSON value from a deployment or its logs whose strings cannot steer a terminal, however hostile they are."""
    from pixelprompt.redaction import visible

    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {safe(name): safe(inner) for name, inner in value.items()}
    return [safe(inner) for inner in value] if isinstance(value, list) else value


def shown(text: str, encoding: str) -> str:
    """The text as a terminal of this encoding shows it: what is laid out in columns must be as wide as it looks."""
    codecs.register_error(_ERRORS, _plain)
    return str(safe(text)).encode(encoding, _ERRORS).decode(encoding, "surrogateescape")


def typed(text: str) -> str:
    """An argument or environment variable as it was meant: UTF-8, whatever the locale says, else the locale's encoding.

    Raises
    ------
    ValueError : it is text in neither
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        # Raises where the locale could not decode it either.
        text.encode("utf-8")
        return text


def console(**options: Any) -> "Console":
    """The console on the standard output, by `options` of rich.

    It has no styles where NO_COLOR is set; on a dumb terminal it is not interactive, and has none either.
    """
    from rich.console import Console

    if os.environ.get("TERM", "").lower() in _DUMB:
        options.update(color_system=None, force_interactive=False)
    elif os.environ.get("NO_COLOR"):
        # rich itself would keep bold and dim.
        options.update(color_system=None)
    return Console(**options)


def _plain(error: UnicodeError) -> "tuple[str | bytes, int]":
    """Handle the first character that cannot be encoded, as `codecs.register_error` describes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, end = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":
        # A byte of a file name that the locale could not decode goes out as it came in.
        return bytes([ord(character) - 0xDC00]), end
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode("ascii"), end
