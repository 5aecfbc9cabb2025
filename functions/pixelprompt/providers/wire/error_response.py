"""Reads error responses: a provider's message, codes, and ``Retry-After``."""

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

import httpx2
from msgspec import Struct

from pixelprompt.providers.wire.members import member, members, text
from pixelprompt.providers.wire.transport import excerpt, parse_json, retry_after

# Members that hold a sentence, or something that does; the first one that says anything is believed.
_SPEAKING = (
    "message", "msg", "error", "errors", "fieldErrors", "issues", "detail", "details", "title", "description",
    "error_msg", "error_message", "errorMessage", "error_description", "Message", "base_resp", "status_msg",
)  # fmt: skip
# Members that hold each parameter's problem under its name.
_BY_PARAMETER = ("errors", "fieldErrors")
# Members that list problems, each with constants of its own.
_PROBLEMS = ("detail", "details", "issues", "errors")
# Members that hold a constant for programs.
_CODES = ("code", "type", "status", "name", "reason")
_PLACES = ("loc", "path")
_DEEPEST = 6
_MAX_PROBLEMS = 10
_LONGEST = 2000
_TEXT_SOURCE = 16_000
# The beginning of an object, in JSON or as Python shows it, and what it says.
_STRUCTURE = re.compile(r"[\[({]{0,3}\{\s{0,9}['\"]\w{1,40}['\"]\s{0,9}:.*", re.DOTALL)
_INNER = re.compile(r"['\"](?:message|msg|detail|error)['\"]\s*:\s*(['\"])(.{3,300}?)\1", re.DOTALL)
# Python ends a stack trace with the error, Java begins with it.
_PYTHON_TRACE = "Traceback (most recent call last)"
_JAVA_TRACE = "\n\tat "


class ErrorResponse(Struct, frozen=True):
    """An error response, read.

    Attributes
    ----------
    status : HTTP status
    message : what the provider says, in one line without the key; empty where it says nothing
    codes : its constants for programs, to search in
    words : its sentences without the places of problems, to search in
    document : the JSON object it is; None for a page or a text
    retry_after : seconds that the provider asks to wait
    """

    status: int
    message: str = ""
    codes: str = ""
    words: str = ""
    document: dict[str, Any] | None = None
    retry_after: float | None = None

    def says(self, words: str, codes: str | None = None) -> bool:
        """Whether a sentence matches the first pattern, or a code the second one (without it, the first)."""
        return matches(words, self.words) or matches(codes or words, self.codes)


def read_error(response: httpx2.Response, key: str | None) -> ErrorResponse:
    """Read an error response, whatever its body is; ``key`` is hidden wherever the provider repeats it."""
    pause = retry_after(response.headers)
    body = _text(response)
    try:
        value = parse_json(response.content) if body else None
    except ValueError:
        value = None
    # Google's OpenAI-compatible server puts its error into a list.
    document = value[0] if isinstance(value, list) and value else value
    if isinstance(document, dict):
        return read_document(document, key, status=response.status_code, retry_after=pause)
    if value is not None:
        body = value if isinstance(value, str) else ""
    is_page = body.lstrip().startswith("<")
    said = excerpt(_plain(body), key)
    return ErrorResponse(response.status_code, said, "", "" if is_page else said, None, pause)


def read_document(
    document: dict[str, Any], key: str | None, *, status: int = 200, retry_after: float | None = None
) -> ErrorResponse:
    """Read the JSON object of an error response."""
    inner = document.get("error")
    envelopes = [document, inner] if isinstance(inner, dict) else [document]
    # A gateway's own sentence only says that the provider behind it failed.
    upstream = text(member(envelopes[-1], "metadata"), "raw")
    said, words = (
        ": ".join(filter(None, (sentence(document, places=places), sentence(upstream, places=places))))
        for places in (True, False)
    )
    problems = [p for envelope in envelopes for name in _PROBLEMS for p in members(envelope, name)]
    codes = [
        str(found[name])
        for found in [*envelopes, *problems[:_MAX_PROBLEMS]]
        for name in _CODES
        if _is_code(found.get(name))
    ]
    return ErrorResponse(status, excerpt(said, key), " ".join(codes), words, document, retry_after)


def sentence(value: Any, depth: int = 0, *, places: bool = True) -> str:
    """Return what an error's JSON value says in words, of at most 2000 characters; empty where it says nothing.

    A value may be a sentence, a list of problems as FastAPI and Zod write them, an object around either, or a string
    that holds one of these as JSON. With ``places``, each problem begins with its place.
    """
    if depth > _DEEPEST:
        return ""
    if isinstance(value, str):
        inner = _embedded(value)
        return _plain(value) if inner is None else sentence(inner, depth + 1, places=places)
    if isinstance(value, list):
        return _joined(sentence(item, depth + 1, places=places) for item in value[:_MAX_PROBLEMS])
    if not isinstance(value, dict):
        return ""
    for name in _SPEAKING:
        inner = value.get(name)
        if inner is not None and (said := sentence(inner, depth + 1, places=places)):
            break
        if name in _BY_PARAMETER and isinstance(inner, dict) and (said := _by_parameter(inner, depth, places=places)):
            break
    else:
        return ""
    place = next((place for name in _PLACES if (place := _place(value.get(name)))), "")
    return f"{place}: {said}"[:_LONGEST] if place and places and depth else said


def _by_parameter(problems: dict[str, Any], depth: int, *, places: bool) -> str:
    listed = itertools.islice(problems.items(), _MAX_PROBLEMS)
    found = ((name, sentence(problem, depth + 1, places=places)) for name, problem in listed)
    return _joined(f"{name}: {said}" if places else said for name, said in found if said)


def _joined(sentences: Iterable[str]) -> str:
    return " ".join(said if said[-1] in ".!?" else f"{said}." for said in sentences if said)[:_LONGEST]


def _plain(said: str) -> str:
    """Return a sentence without what only programs understand: objects inside it, and stack traces."""
    said = said[:_TEXT_SOURCE].partition(_JAVA_TRACE)[0].strip()
    before, trace, after = said.partition(_PYTHON_TRACE)
    if trace:
        said = f"{before.strip()} {after.splitlines()[-1] if after else ''}".strip()
    if structure := _STRUCTURE.search(said):
        inner = _INNER.search(structure[0])
        said = ": ".join(filter(None, (said[: structure.start()].strip(" -:,\n"), inner[2] if inner else "")))
    return said.strip()[:_LONGEST]


def _text(response: httpx2.Response) -> str:
    """Return the body of a response as text; empty where it is binary, such as an image."""
    start = response.content[:_TEXT_SOURCE]
    body = start.decode(errors="replace")
    return "" if b"\x00" in start or body.count("\ufffd") > len(body) // 10 else body


def _embedded(value: str) -> Any | None:
    """Return the JSON object or list that a string is, or None."""
    if value.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _place(value: Any) -> str:
    parts = value if isinstance(value, list) else []
    return ".".join(
        str(part) for part in parts[:_DEEPEST] if isinstance(part, str | int) and not isinstance(part, bool)
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) < 100


def matches(pattern: str, words: str) -> bool:
    """Whether a regular expression is found in words, in whatever case."""
    # Compiled when the first error comes, and not on a cold start; ``re`` keeps it.
    return re.search(pattern, words, re.IGNORECASE) is not None
