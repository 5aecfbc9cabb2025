"""Limits on what a provider returns: the one gate between the adapters and everything that is stored, sent, or shown.

A hostile server harms its own row only. A value beyond its limit is dropped, or its row fails, and a log line says so.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec.structs import replace

from pixelprompt.models.model import Generated, Image, ProviderError, Waiting
from pixelprompt.observability import logger
from pixelprompt.redaction import MAX_FACT, MESSAGE_SOURCE, beginning, scrub, visible, without_ids, without_key

# US dollars of one response; the most expensive images cost less than one.
MAX_COST = 1000.0
# Tokens of one kind in one response; the largest images have some ten thousand.
MAX_TOKENS = 10_000_000
# Providers count seeds in 64 bits.
MAX_SEED = 2**64 - 1
# Seconds that a provider may ask to wait; no row waits as long.
MAX_PAUSE = 3600.0
_USUAL_PAUSE = 2.0
# Characters. A fact, such as a request ID or a size, is a word or two. A revised prompt is stored in the image's record
# only, and providers write longer ones than callers may. A text model's answer has 2000 tokens.
MAX_REVISED_PROMPT = 4000
MAX_ANSWER = 10_000
# Bytes of a resume token, as it is carried inside a JSON string within JSON.
MAX_TOKEN = 600

_Answer = TypeVar("_Answer", str, bool)


def accept(ask: Callable[[], Generated | Waiting], key: str | None, *, images: int) -> Generated | Waiting:
    """Return what an image model's adapter returns when it is asked, within the limits and without the key.

    Raises
    ------
    ProviderError : the adapter's own, likewise; or what it returned is beyond a limit
    """
    with _errors(key):
        response = ask()
    return _generated(response, key, images) if isinstance(response, Generated) else _waiting(response)


def accept_answer(ask: Callable[[], _Answer], key: str | None) -> _Answer:
    """Return what a text or moderation model's adapter returns when it is asked, likewise.

    Raises
    ------
    ProviderError
    """
    with _errors(key):
        answer = ask()
    return _written(answer, key, MAX_ANSWER) if isinstance(answer, str) else answer


@contextmanager
def _errors(key: str | None) -> Iterator[None]:
    """Let an adapter's error pass within the limits and without the key."""
    try:
        yield
    except ProviderError as error:
        _clean(error, key)
        raise


def _written(text: str, key: str | None, most: int) -> str:
    """Return what a model wrote, without the key and nothing else: its words are made of the caller's prompt."""
    return without_key(visible(beginning(text, most)), key)[:most]


def _clean(error: ProviderError, key: str | None) -> None:
    error.hide(key)
    error.cost = _number("cost", error.cost, MAX_COST)
    error.retry_after = _number("retry_after", error.retry_after, MAX_PAUSE)
    if error.said and error.said != str(error):
        # Callers don't see it: it is about the operator's account, or names it.
        logger.warning("The provider reported an error.", error_code=error.code, provider_message=error.said)


def _waiting(waiting: Waiting) -> Waiting:
    if len(waiting.resume.encode("unicode_escape")) > MAX_TOKEN:
        logger.warning("The provider's resume token is too long.", characters=len(waiting.resume))
        raise ProviderError("unknown_outcome", "The provider's resume token is too long to be stored.")
    pause = _number("pause", waiting.seconds, MAX_PAUSE)
    return Waiting(_USUAL_PAUSE if pause is None else pause, waiting.resume)


def _generated(generated: Generated, key: str | None, images: int) -> Generated:
    if len(generated.images) > images:
        logger.warning("The provider returned more images than it was asked for; they are dropped.", wanted=images)
    usage = {kind: _whole(kind, count, MAX_TOKENS) for kind, count in (generated.usage or {}).items()}
    used = {name: _fact(value, key) for name, value in (generated.used or {}).items()}
    return Generated(
        tuple(_image(image, key) for image in generated.images[:images]),
        _request_id(generated.request_id, key),
        # Without one of the counts, the others would make too low a cost.
        None if None in usage.values() else {kind: count for kind, count in usage.items() if count is not None} or None,
        _number("cost", generated.cost, MAX_COST),
        {name: value for name, value in used.items() if value} or None,
    )


def _image(image: Image, key: str | None) -> Image:
    revised = _written(image.revised_prompt or "", key, MAX_REVISED_PROMPT)
    return replace(image, seed=_whole("seed", image.seed, MAX_SEED), revised_prompt=revised or None)


def _number(name: str, value: Any, most: float) -> float | None:
    """Return a number from 0 to ``most``; None, with a log line, for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value <= most and math.isfinite(value):
        return float(value)
    if value is not None:
        logger.warning("The provider reported an impossible number; it is ignored.", field=name)
    return None


def _whole(name: str, value: Any, most: int) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    if value is not None:
        logger.warning("The provider reported an impossible number; it is ignored.", field=name)
    return None


def _fact(value: str, key: str | None) -> str:
    return scrub(visible(beginning(value, MESSAGE_SOURCE), lines=False), key)[:MAX_FACT]


def _request_id(value: str | None, key: str | None) -> str | None:
    """Return a request ID; None for what isn't one, or names the key or the account."""
    if not value or not re.fullmatch(rf"[A-Za-z0-9._:-]{{1,{MAX_FACT}}}", value):
        return None
    # Twelve digits may be an account of AWS. Within an ID they aren't: one UUID in a hundred has as many in a row.
    is_private = re.fullmatch("[0-9]{12}", value) or without_ids(without_key(value, key)) != value
    return None if is_private else value
