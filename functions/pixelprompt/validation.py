"""Validation of what comes from outside: names of members and parameters, and JSON values against declared types."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from pixelprompt.errors import InvalidParameter

T = TypeVar("T", bound=msgspec.Struct)

# How much of an unknown name is shown.
_MAX_SHOWN = 80
# The path is last; values of the caller may stand before it.
_MEMBER = re.compile(r" - at (?:`key` in )?`\$\.(\w+)[^`]*`$")
_MISSING = re.compile(r"^Object missing required field `(\w+)`$")


def check_names(given: Iterable[str], known: Sequence[str], kind: str = "member") -> None:
    """Reject a name that isn't known: a typo would otherwise start and charge something else.

    Raises
    ------
    InvalidParameter : ``parameter`` is the first unknown name, ``nearest`` the known one that it resembles, or None
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    nearest = _nearest_name(unknown, known)
    hint = f"The nearest accepted name is `{nearest}`." if nearest else f"Accepted: {', '.join(known) or 'none'}."
    shown = unknown[:_MAX_SHOWN]
    raise InvalidParameter(f"Unknown {kind} `{shown}`. {hint}", parameter=shown, nearest=nearest)


def _nearest_name(name: str, known: Sequence[str]) -> str | None:
    # Imported here because a cold start does not need it.
    from difflib import get_close_matches

    plain = {re.sub("[^a-z]", "", word.lower()): word for word in known}
    found = get_close_matches(re.sub("[^a-z]", "", name[:_MAX_SHOWN].lower()), plain, n=1)
    return plain[found[0]] if found else None


def about(description: str, words: str, **limits: Any) -> msgspec.Meta:
    """The description of a value, and the words for what it may be, where its type alone does not say it well."""
    return msgspec.Meta(description=description, extra_json_schema={"x-allowed": words}, **limits)


def read_body(body: Mapping[str, Any], kind: type[T]) -> T:
    """Convert the body of a request, a JSON object, to the type declared for it.

    Raises
    ------
    InvalidParameter : an unknown, missing, or wrong member, which ``parameter`` names
    """
    check_names(body, kind.__struct_encode_fields__)
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        name = wrong_member(error)
        raise InvalidParameter(f"`{name}` must be {allowed(kind, name)}.", parameter=name) from None


def wrong_member(error: msgspec.ValidationError) -> str:
    """The member of an object that isn't valid, or that is missing; empty where the value isn't an object.

    msgspec says it only in its message: ``Expected `int`, got `str` - at `$.steps```.
    """
    text = str(error)
    match = _MEMBER.search(text) or _MISSING.search(text)
    return match[1] if match else ""


def allowed(kind: type[msgspec.Struct], name: str) -> str:
    """Words for what the member of a type may be, such as ``a whole number from 1 to 150``."""
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name]
    field = kind.__struct_fields__[kind.__struct_encode_fields__.index(name)]
    return _words(schema, get_type_hints(kind, include_extras=True)[field])


def words(declared: Any) -> str:
    """Words for what a value of a declared type may be, such as ``true or false``."""
    return _words(msgspec.json.schema(declared), declared)


def _words(schema: Mapping[str, Any], declared: Any) -> str:
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    # A number that stays whole where it is given whole is declared as both.
    choice = choices[-1]
    if "x-allowed" in schema or "x-allowed" in choice:
        return str(schema.get("x-allowed") or choice["x-allowed"])
    if choice.get("format") == "date":
        return "a day such as 2026-11-23"
    if "enum" in choice:
        # In the order of the declaration, which the schema does not keep.
        return f"one of {', '.join(map(str, _literals(declared)))}"
    if choice["type"] == "array":
        return f"a{' non-empty' if choice.get('minItems') else ''} list of {choice['items']['type']}s"
    plain = {"boolean": "true or false", "string": "a string", "integer": "a whole number", "number": "a number"}
    kind = plain.get(choice["type"], "an object")
    return f"{kind} from {_plain(choice['minimum'])} to {_plain(choice['maximum'])}" if "maximum" in choice else kind


def _literals(declared: Any) -> tuple[Any, ...]:
    if get_origin(declared) is Literal:
        return get_args(declared)
    return next(filter(None, map(_literals, get_args(declared))), ())


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
