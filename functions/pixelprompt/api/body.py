"""The body of a request, read strictly."""

import base64
import binascii
import json
import re
from typing import Any

from pixelprompt.api.routes import Event
from pixelprompt.errors import InvalidJson, PayloadTooLarge

BODY_LIMIT = 64 * 1024
# Of a body with data URLs in `images`; outside of these the other limit holds. An invocation of a Lambda is given at
# most 6 MB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html), and base64 takes a third more.
IMAGES_BODY_LIMIT = 4_500_000
# In a body that is not read yet; some encoders escape each slash.
_DATA_URL = rb'"data:image/[a-z]{1,10};base64,(?:[A-Za-z0-9+/=]|\\/)*"'
# No valid request is nested deeper than three levels; the receiver can write and compare every value read here.
DEPTH_LIMIT = 32
# Of a whole number, with its sign; Python reads no more.
DIGIT_LIMIT = 4300


def raw_body(event: Event) -> bytes:
    """The bytes that the caller has sent.

    Raises
    ------
    InvalidJson : the body claims to be base64 and is not
    """
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidJson("The body is not valid base64.") from None


def read_json(body: bytes, *, may_have_images: bool = False) -> dict[str, Any]:
    """A body as a JSON object.

    ``may_have_images`` is whether its ``images`` may hold data URLs, which count against a limit of their own.

    Raises
    ------
    PayloadTooLarge, InvalidJson
    """
    is_large = len(body) > BODY_LIMIT
    if is_large and not may_have_images:
        raise PayloadTooLarge(f"The body has {len(body)} bytes; the limit is {BODY_LIMIT}.", limit=BODY_LIMIT)
    if len(body) > IMAGES_BODY_LIMIT:
        raise PayloadTooLarge(
            f"The body has {len(body)} bytes; the limit is {IMAGES_BODY_LIMIT}.", limit=IMAGES_BODY_LIMIT
        )
    if is_large:
        # Before anything is parsed: what is not one long string may cost a hundred times its size.
        _check_outside(len(body) - sum(len(found) for found in re.findall(_DATA_URL, body)))
    value = _parsed(body)
    if is_large:
        _check_outside(len(json.dumps(_without_images(value), ensure_ascii=False).encode()))
    return value


def _check_outside(size: int) -> None:
    if size > BODY_LIMIT:
        raise PayloadTooLarge(
            f"The body has {size} bytes outside the data URLs in `images`; the limit is {BODY_LIMIT}.",
            limit=BODY_LIMIT,
        )


def _without_images(value: dict[str, Any]) -> dict[str, Any]:
    """The body without the data URLs in its ``images``."""
    images = value.get("images")
    if not isinstance(images, list):
        return value
    rest = [
        {name: part for name, part in image.items() if name != "data" or not isinstance(part, str)}
        if isinstance(image, dict)
        else image
        for image in images
    ]
    return {**value, "images": rest}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        # A byte-order mark is no part of the text (RFC 8259, section 8.1).
        value = json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_no_constant,
            parse_float=_number,
            parse_int=_whole_number,
            object_pairs_hook=_no_duplicates,
        )
        if _is_deeper(value, DEPTH_LIMIT):
            raise _NotStrict("The body is nested too deeply.")
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise InvalidJson("The body is not valid UTF-8.") from None
    except UnicodeEncodeError:
        raise InvalidJson("The body has an unpaired surrogate, which is invalid.") from None
    except RecursionError:
        raise InvalidJson("The body is nested too deeply.") from None
    except _NotStrict as error:
        raise InvalidJson(str(error)) from None
    except ValueError:
        raise InvalidJson("The body must be a JSON object.") from None
    if not isinstance(value, dict):
        raise InvalidJson("The body must be a JSON object.")
    return value


class _NotStrict(ValueError):
    """The text is JSON to Python, but not to the standard, or it is ambiguous."""


def _number(text: str) -> float:
    """A number with a fraction or an exponent; whole where its value is, as JSON has one type of numbers."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _whole_number(text: str) -> int:
    if len(text) > DIGIT_LIMIT:
        raise _NotStrict(f"The body contains a number of more than {DIGIT_LIMIT} digits.")
    return int(text)


def _no_constant(name: str) -> None:
    raise _NotStrict(f"{name} is not valid JSON.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _NotStrict("The body contains a duplicate key.")
    return value


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether a JSON value has objects and arrays inside each other on more than ``limit`` levels."""
    level = [value]
    for _ in range(limit + 1):
        level = [entry for entry in level if isinstance(entry, dict | list)]
        if not level:
            return False
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return True
