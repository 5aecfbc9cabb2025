"""Bodies against their types, with every problem by its member."""

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from local.simulator.bodies import InvalidBody, read_body


class Inner(Struct, forbid_unknown_fields=True):
    """A nested member."""

    level: Annotated[int, Meta(ge=0, le=5)] = 0


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """A body with one member of each kind."""

    prompt: Annotated[str, Meta(min_length=1, max_length=8, pattern=r"\S")]
    n: Annotated[int, Meta(ge=1, le=4)] | None = None
    width: Annotated[int, Meta(multiple_of=16)] = 1024
    guidance: Annotated[float, Meta(le=10)] = 5.0
    format: Literal["png", "jpeg"] | None = None
    inner: Inner | None = None
    entries: list[Inner] = []


def problems(body: Any, *, strict: bool = True) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidBody) as caught:
        read_body(body, Body, strict=strict)
    return [(problem.path, problem.kind, problem.detail) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"n": 5}, ("n", "le", "4")),
        ({"n": 0}, ("n", "ge", "1")),
        ({"n": 2**70}, ("n", "le", "4")),
        ({"n": 2.0}, ("n", "type", "float")),
        ({"n": True}, ("n", "type", "bool")),
        ({"n": "2"}, ("n", "type", "str")),
        ({"width": None}, ("width", "type", "null")),
        ({"width": 1000}, ("width", "multiple_of", "16")),
        ({"guidance": float("nan")}, ("guidance", "le", "10.0")),
        ({"guidance": 10**400}, ("guidance", "le", "1.7976931348623157e+308")),
        ({"format": "gif"}, ("format", "enum", "'gif'")),
        ({"format": []}, ("format", "type", "array")),
        ({"prompt": ""}, ("prompt", "min_length", "1")),
        ({"prompt": "x" * 9}, ("prompt", "max_length", "8")),
        ({"prompt": "  "}, ("prompt", "pattern", r"'\\S'")),
        ({"seed`\n - at `$.n`": 1}, ("seed`\n - at `$.n`", "unknown", "seed`\n - at `$.n`")),
        ({"inner": {"level": 6}}, ("inner.level", "le", "5")),
        ({"inner": {"depth": 6}}, ("inner.depth", "unknown", "depth")),
        ({"entries": [{}, {"level": "x"}]}, ("entries[1].level", "type", "str")),
        ({"entries": [{}, {"depth": 1}]}, ("entries[1].depth", "unknown", "depth")),
    ],
)
def test_a_wrong_member(member: Any, expected: tuple[str, str, str]) -> None:
    assert problems({"prompt": "fox", **member}) == [expected]


def test_every_problem_is_found() -> None:
    assert [path for path, _, _ in problems({"n": 0, "seed": 1, "format": "gif"})] == ["n", "seed", "format", "prompt"]


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_a_body_that_is_not_an_object(body: Any) -> None:
    assert problems(body)[0][:2] == ("", "type")


def test_null_is_absent_only_where_declared() -> None:
    assert read_body({"prompt": "fox", "n": None}, Body).n is None


def test_numbers_in_a_form_are_strings() -> None:
    assert read_body({"prompt": "1", "n": "3", "guidance": "2.5"}, Body, strict=False) == Body(
        prompt="1", n=3, guidance=2.5
    )
    assert problems({"prompt": "1", "n": "x"}, strict=False) == [("n", "type", "str")]


def test_plain_words_name_the_choices() -> None:
    with pytest.raises(InvalidBody, match=r"^format: must be one of: png, jpeg$"):
        read_body({"prompt": "fox", "format": "gif"}, Body)
