"""The body of a request against the type that a protocol declares for it, and what is wrong with each member."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

# msgspec says what is wrong, and where, only in its message. The kinds are named as in `msgspec.Meta`.
_MESSAGE = re.compile(
    r"(?:Object contains unknown field `(?P<unknown>.*?)`"
    r"|Object missing required field `(?P<missing>.*?)`"
    r"|Invalid enum value (?P<enum>.*?)"
    r"|Expected `(?P<expected>[^`]*?)(?: \| null)?`"
    r"(?: of length >= (?P<min_length>\d+)| of length <= (?P<max_length>\d+)| >= (?P<ge>\S+)| <= (?P<le>\S+)"
    r"| that's a multiple of (?P<multiple_of>\S+)| matching regex (?P<pattern>.*?)|, got `(?P<type>\w+)`))"
    r"(?: - at `\$\.?(?P<path>[^`]*)`)?",
    re.DOTALL,
)
_KINDS = ("unknown", "missing", "enum", "min_length", "max_length", "ge", "le", "multiple_of", "pattern", "type")
_WORDS = {
    "unknown": "unknown parameter",
    "missing": "is required",
    "enum": "must be one of: {choices}",
    "min_length": "must have a length of at least {detail}",
    "max_length": "must have a length of at most {detail}",
    "ge": "must be at least {detail}",
    "le": "must be at most {detail}",
    "multiple_of": "must be a multiple of {detail}",
    "pattern": "unsupported value",
    "type": "must be {expected}",
}
_TYPES = {"int": "an integer", "float": "a number", "str": "a string", "bool": "a boolean", "array": "a list"}


class Problem(NamedTuple):
    """The error in one member of a body.

    Attributes
    ----------
    path : of the member, such as ``controls.artistic_level``
    kind : one of ``unknown``, ``missing``, ``type``, ``enum``, or the constraint of ``msgspec.Meta``
    detail : the limit of a constraint, the type that came, or the choice that is not there
    expected : the type, in msgspec's word
    choices : those of a member of the body itself
    value : of the member of the body that this is or is in
    """

    path: str
    kind: str
    detail: str
    expected: str
    choices: tuple[str, ...] = ()
    value: Any = None

    @property
    def reason(self) -> str:
        """Plain words, for a provider whose own are not known."""
        choices, expected = ", ".join(self.choices), _TYPES.get(self.expected, self.expected)
        return _WORDS[self.kind].format(choices=choices, detail=self.detail, expected=expected)


class InvalidBody(ValueError):
    """A body that is not of its type; `problems` has at least one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{problems[0].path}: {problems[0].reason}")
        self.problems = problems


class Named(msgspec.Struct):
    """The parts of a request that are checked before all others."""

    model: Annotated[str, msgspec.Meta(min_length=1)]


def read_body(body: Any, kind: type[T], *, strict: bool = True) -> T:
    """Convert a body, a JSON object or the fields of a form (then not `strict`), to its type.

    Raises
    ------
    InvalidBody
        If it does not have that type.
    """
    try:
        return msgspec.convert(body, kind, strict=strict)
    except msgspec.ValidationError:
        raise InvalidBody([*_problems(body, kind, strict)]) from None


def _problems(body: Any, kind: type[msgspec.Struct], strict: bool) -> Iterator[Problem]:
    """Every wrong member: msgspec itself stops at the first."""
    if not isinstance(body, Mapping):
        yield Problem("", "type", "another value", "object", value=body)
        return
    types = _types(kind)
    for name, value in body.items():
        if name in types:
            try:
                msgspec.convert(value, types[name], strict=strict)
            except msgspec.ValidationError as error:
                yield _problem(name, str(error), _choices(types[name]), value)
        elif kind.__struct_config__.forbid_unknown_fields:
            yield Problem(name, "unknown", name, "", value=value)
    for field in msgspec.structs.fields(kind):
        if field.required and field.encode_name not in body:
            yield Problem(field.encode_name, "missing", field.encode_name, "", value=dict(body))


def _problem(name: str, message: str, choices: tuple[str, ...], value: Any) -> Problem:
    match = _MESSAGE.fullmatch(message)
    if match is None:
        # "Number out of range": one that no float can hold.
        return Problem(name, "le", str(sys.float_info.max), "float", choices, value)
    found = next(kind for kind in _KINDS if match[kind] is not None)
    steps = [match["path"] or "", match[found] if found in ("unknown", "missing") else ""]
    path = ".".join([name, *filter(None, steps)]).replace(".[", "[")
    return Problem(path, found, match[found], match["expected"] or "", choices, value)


@cache
def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(kind)}


def _choices(declared: Any) -> tuple[str, ...]:
    """The choices of a `Literal`, in the order of its declaration."""
    if get_origin(declared) is Literal:
        return get_args(declared)
    return next(filter(None, map(_choices, get_args(declared))), ())
