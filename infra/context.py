"""Values of the CDK context: converted to the types that settings declare, or refused in one sentence."""

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

import msgspec

from pixelprompt.validation import words

Check = Callable[[Any], Any]
"""Returns the value as it is meant, or raises ValueError."""

# What the CDK itself keeps in the context under names without its usual ":" or "/".
_CDK_CONTEXT = ("stages", "acknowledged-issue-numbers", "cli-telemetry")


class SettingsError(ValueError):
    """A setting is wrong; the message is one sentence with its name, its value and what is allowed."""


def single_values(context: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a CDK context, without what the CDK itself keeps there."""
    return {name: value for name, value in context.items() if not re.search("[:/]", name) and name not in _CDK_CONTEXT}


def read_values(chosen: Mapping[str, Any], kind: type[msgspec.Struct], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Read context values, by the names of the fields of `kind` that hold them: ``ipLimit`` is ``ip_limit``.

    Raises
    ------
    SettingsError : a name is unknown, or its value isn't allowed
    """
    values: dict[str, Any] = {}
    fields = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    for name, value in chosen.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            raise SettingsError(
                f"Unknown setting {name} ({json.dumps(value)}); "
                + (f"did you mean {close[0]}?" if close else f"available: {', '.join(fields)}.")
            )
        declared = _types(kind)[fields[name]]
        try:
            read = _convert(value, declared)
            values[fields[name]] = checks[name](read) if name in checks else read
        except (ValueError, msgspec.ValidationError):
            raise SettingsError(f"{name} is {json.dumps(value)}; it must be {words(declared)}.") from None
    return values


@cache
def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _convert(value: Any, declared: Any) -> Any:
    """A value as the declared type has it.

    Raises
    ------
    msgspec.ValidationError
    """
    try:
        return msgspec.convert(value, declared)
    except msgspec.ValidationError:
        # On the command line every value is a string, and in JSON a version such as 3.13 may be a number.
        if isinstance(value, str):
            return msgspec.convert(_from_json(value), declared)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return msgspec.convert(str(value), declared)
        raise


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # JSON writes neither 05 nor .5.
        if re.fullmatch("[0-9]{1,9}", text, re.ASCII):
            return int(text)
        return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+", text, re.ASCII) else None
