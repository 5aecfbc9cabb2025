"""The fields of a catalogue entry, and the values that each may have."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.parameters import (
    ASPECT_RATIOS,
    BACKGROUNDS,
    FORMATS,
    MOST_IMAGES,
    PROVIDER_MODERATION,
    QUALITIES,
    RESOLUTIONS,
)
from pixelprompt.models.provider import PROVIDERS, url_host
from pixelprompt.models.sizes import FixedSizes, PixelLimits, PixelSizes, Size
from pixelprompt.storage.keys import file_name

# A call must end well before its Lambda does (240 s), or its image could not be stored.
LONGEST_CALL = 200
# Characters of a model's name: keys, with at most 1024 bytes, and file names have it.
MAX_NAME = 100
LISTS = {
    "aspectRatio": ASPECT_RATIOS,
    "resolution": RESOLUTIONS,
    "quality": QUALITIES,
    "outputFormat": FORMATS,
    "background": BACKGROUNDS,
    "providerModeration": PROVIDER_MODERATION,
}
# Of an image in US dollars; no factor of a quality is larger either.
_HIGHEST_PRICE = 1000
# Of an image in pixels.
_LARGEST_SIDE = 16384
# What a price may hold beside amounts, the amounts of each unit, and its tables with their keys.
_PRICE_TEXTS = {"unit", "date", "source", "uncorroborated"}
_PRICE_AMOUNTS = {
    "image": {"amount"},
    "token": {"inputText", "inputImage", "outputText", "outputImage", "estimate"},
}
_PRICE_TABLES = {
    "image": {"byResolution": RESOLUTIONS, "byQuality": QUALITIES},
    "token": {"byResolution": RESOLUTIONS, "qualityFactors": QUALITIES},
}
# What each request says for itself.
_CALLERS = frozenset({"model", "n", "prompt"})
_RANGES = ("seed", "steps", "guidance", "outputCompression")


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _name(value: Any) -> bool:
    return bool(file_name(value)) and len(value) <= MAX_NAME


def _parameters(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys().isdisjoint(_CALLERS) and _is_json(value)


def _is_json(value: Any) -> bool:
    return bool(json.dumps(value, allow_nan=False))


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _day(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _server(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if url_host(value) is None:
        return False
    parts = urlsplit(value)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")


def _path(value: Any) -> bool:
    # With one slash at the start and no backslash, no parser can take it for a host.
    return isinstance(value, str) and re.fullmatch(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?", value) is not None


def _takes(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_takes_one(name, allowed) for name, allowed in value.items())


def _takes_one(name: str, allowed: Any) -> bool:
    if name in LISTS:
        return isinstance(allowed, list) and bool(allowed) and all(choice in LISTS[name] for choice in allowed)
    if name in _RANGES:
        bounds = isinstance(allowed, Mapping) and set(allowed) == {"min", "max"} and all(map(_amount, allowed.values()))
        return bool(bounds and allowed["min"] <= allowed["max"])
    if name == "n":
        known = isinstance(allowed, Mapping) and set(allowed) <= {"max", "perCall"}
        most = allowed.get("max", MOST_IMAGES)
        return known and type(most) is int and 1 <= most <= 10 and _flag(allowed.get("perCall", False))
    return name == "negativePrompt" and allowed is True


def pixel_sizes(value: Any) -> PixelSizes:
    """The sizes that an entry's ``pixels`` allows.

    Raises
    ------
    ValueError, TypeError, AttributeError, KeyError : they are none
    """
    if isinstance(value, list):
        return FixedSizes([_size(text) for text in value])
    return _pixel_limits(value)


def _pixel_limits(value: Mapping[str, Any]) -> PixelLimits:
    area = value.get("area", {})
    return PixelLimits(
        multiple_of=value["multipleOf"],
        shortest=value["side"]["min"],
        longest=value["side"]["max"],
        smallest=area.get("min", 0),
        largest=area.get("max"),
    )


def _size(text: str) -> Size:
    if not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise ValueError(f"{text!r} is not a size such as 1024x1536")
    width, height = map(int, text.split("x"))
    if max(width, height) > _LARGEST_SIDE:
        raise ValueError(f"{text!r} has a side of more than {_LARGEST_SIDE} pixels")
    return width, height


def _pixels(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and bool(pixel_sizes(value))
    if set(value) - {"area"} != {"multipleOf", "side"} or set(value["side"]) != {"min", "max"}:
        return False
    step, shortest, longest = value["multipleOf"], value["side"]["min"], value["side"]["max"]
    area = {"min": 1, "max": _LARGEST_SIDE**2, **value.get("area", {})}
    numbers = (step, shortest, longest, *area.values())
    return (
        all(type(number) is int for number in numbers)
        and 0 < step <= shortest <= longest <= _LARGEST_SIDE
        and shortest % step == longest % step == 0
        and set(area) == {"min", "max"}
        and 0 < area["min"] <= area["max"]
        and _pixel_limits(value).has_any()
    )


def _price(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.get("unit") not in _PRICE_AMOUNTS:
        return False
    known, tables = _PRICE_AMOUNTS[value["unit"]], _PRICE_TABLES[value["unit"]]
    amounts = {name: value[name] for name in value.keys() - _PRICE_TEXTS - tables.keys()}
    if value["unit"] == "image":
        needed = {"amount"}
    elif "qualityFactors" in value:
        needed = {"outputImage"}
    else:
        needed = {"estimate"} if "byResolution" in value else set()
    return (
        _day(value.get("date"))
        and is_text(value.get("source"))
        and is_text(value.get("uncorroborated", "nothing"))
        and needed <= amounts.keys() <= known
        and all(map(_price_amount, amounts.values()))
        and all(_price_table(name, value[name], tables[name]) for name in tables if name in value)
    )


def _price_table(name: str, table: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    listed = [amount for amount in table.values() if amount is not None]
    within = name != "qualityFactors" or all(factor >= 1 for factor in listed)
    return set(table) <= set(keys) and all(map(_price_amount, listed)) and within


def _price_amount(value: Any) -> bool:
    return _amount(value) and value <= _HIGHEST_PRICE


_PRICE_ALLOWED = (
    "an object with date, source and unit; in dollars, for the unit image amount, byResolution and byQuality, for the "
    "unit token inputText, inputImage, outputText, outputImage, estimate, byResolution and qualityFactors (1 to 1000)"
)
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_name, f"a text of at most {MAX_NAME} characters with at least one letter or digit"),
    "provider": (lambda value: value in PROVIDERS, f"one of {', '.join(sorted(PROVIDERS))}"),
    "id": (is_text, "a text"),
    "enabled": (_flag, "true or false"),
    "default": (_flag, "true or false"),
    "timeLimit": (lambda value: _amount(value) and 1 <= value <= LONGEST_CALL, f"1 to {LONGEST_CALL} seconds"),
    "parameters": (_parameters, f"a JSON object of finite numbers, without {', '.join(sorted(_CALLERS))}"),
    "takes": (_takes, "an object of parameters with lists of values, ranges {min, max}, or true"),
    "pixels": (
        _pixels,
        'a list of sizes such as "1024x1536", or {multipleOf, side: {min, max}, area: {min, max}} in pixels, where '
        "both ends of side are multiples",
    ),
    "price": (_price, _PRICE_ALLOWED),
    "region": (lambda value: re.fullmatch(r"[a-z]+(-[a-z]+)+-[0-9]+", value) is not None, "an AWS region"),
    "baseUrl": (_server, "an https URL without user and password, or http on loopback"),
    "path": (_path, "a path such as /images/generations"),
    "dialect": (lambda value: value in DIALECTS, f"one of {', '.join(DIALECTS)}"),
    "keyName": (lambda value: isinstance(value, str) and value.isidentifier(), "the name of a key in the secret"),
    "released": (_day, "a day such as 2026-11-23"),
    "shutdown": (_day, "a day such as 2026-11-23"),
    "retired": (_flag, "true or false"),
    "uncorroborated": (is_text, "a sentence that says which part rests on a single source"),
    "replacement": (is_text, "the id of a model"),
}
