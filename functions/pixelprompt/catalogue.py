"""The catalogue of models: what a file or an overlay may hold, and what it means.

An entry has ``name``, ``provider`` and ``id``, and may have ``default``, ``enabled``, ``timeLimit`` (s), ``parameters``
(sent as they are), ``takes`` (which of our parameters it takes), ``price``, ``region``, ``baseUrl``, ``path``,
``dialect``, ``keyName``, ``released``, ``shutdown`` (days), ``retired`` (gone, though nobody gave a day),
``replacement`` (an id) and ``uncorroborated`` (which part rests on a single source).
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pixelprompt.errors import ConfigurationError
from pixelprompt.parameters import (
    ASPECT_RATIOS,
    BACKGROUNDS,
    FORMATS,
    MOST_IMAGES,
    PROVIDER_MODERATION,
    QUALITIES,
    RESOLUTIONS,
)
from pixelprompt.providers import PROVIDERS, KeyHosts, called_host, key_name, url_host
from pixelprompt.providers.base import Model

Entry = Mapping[str, Any]

# A call must end well before its Lambda does (240 s), or its image could not be stored.
LONGEST_CALL = 200
SECTIONS = ("models", "textModels")
# Characters of a model's name: keys, with at most 1024 bytes, and file names have it.
MAX_NAME = 100

_LISTS = {
    "aspectRatio": ASPECT_RATIOS,
    "resolution": RESOLUTIONS,
    "quality": QUALITIES,
    "outputFormat": FORMATS,
    "background": BACKGROUNDS,
    "providerModeration": PROVIDER_MODERATION,
}
DIALECTS = ("openai", "xai", "openrouter", "siliconflow", "together", "azure")
# What each adapter sends, beside n.
_SENT: dict[str, set[str]] = {
    "openai": {*_LISTS, "outputCompression"},
    "gemini": {"aspectRatio", "resolution"},
    "bedrock": {"aspectRatio", "seed", "outputFormat", "negativePrompt"},
    "stability": {"aspectRatio", "seed", "outputFormat", "negativePrompt", "guidance"},
    "bfl": {"aspectRatio", "resolution", "seed", "outputFormat", "steps", "guidance"},
    "recraft": {"aspectRatio", "seed", "outputFormat", "negativePrompt"},
    "compatible": {*_LISTS, "outputCompression", "seed", "steps", "guidance", "negativePrompt"},
}
_SEVERAL_PER_CALL = frozenset({"openai", "recraft", "compatible"})
_OWN_SERVERS = frozenset({"stability", "bfl", "recraft", "compatible"})
# Of an image in US dollars; no factor of a quality is larger either.
_HIGHEST_PRICE = 1000
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


def file_name(text: str) -> str:
    """The text as it stands in keys: only letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def parse(catalogue: Any) -> dict[str, list[Model]]:
    """The models of a catalogue by section, disabled ones left out.

    Raises
    ------
    ConfigurationError : says which entry is wrong and what is allowed
    """
    if not isinstance(catalogue, Mapping) or not all(isinstance(catalogue.get(name), list) for name in SECTIONS):
        raise ConfigurationError(f"The model catalogue must be an object with the lists {' and '.join(SECTIONS)}.")
    return {section: _section(catalogue[section], section) for section in SECTIONS}


def overlay(catalogue: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """A catalogue with changes on top: an entry replaces the one of the same name, or is added at the end.

    Raises
    ------
    ConfigurationError : the changes are no catalogue
    """
    if not isinstance(changes, Mapping) or not set(changes) <= {*SECTIONS, "schemaVersion"}:
        raise ConfigurationError(f"An overlay must be an object with the lists {' or '.join(SECTIONS)}.")
    result = dict(catalogue)
    for section in SECTIONS:
        entries = changes.get(section, [])
        if not isinstance(entries, list) or not all(_is_named(entry) for entry in entries):
            raise ConfigurationError(f"{section} of the overlay must be a list of objects, each with a name.")
        changed = {entry["name"]: entry for entry in entries}
        if len(changed) < len(entries):
            raise ConfigurationError(f"{section} of the overlay names a model twice.")
        kept = [{**entry, **changed.pop(entry["name"], {})} for entry in catalogue[section]]
        result[section] = [*kept, *changed.values()]
    return result


def key_hosts(catalogue: Mapping[str, Any]) -> dict[str, set[str]]:
    """The hosts by the names of keys that the entries of a valid catalogue name, disabled ones included."""
    found: dict[str, set[str]] = {}
    for entry in (entry for section in SECTIONS for entry in catalogue[section] if "keyName" in entry):
        if host := called_host(entry["provider"], entry.get("baseUrl")):
            found.setdefault(entry["keyName"], set()).add(host)
    return found


def check_keys(sections: Mapping[str, Sequence[Model]], allowed: KeyHosts) -> None:
    """Refuse models that would send a key to a host that is not the key's.

    A model of ``compatible`` without a ``keyName`` passes: it is called without a key where the key may not go.

    Raises
    ------
    ConfigurationError : says which model, key and host, and how to allow it
    """
    for section, models in sections.items():
        for model in models:
            name, host = key_name(model), called_host(model.provider, model.base_url)
            needs_key = model.key_name is not None or PROVIDERS[model.provider].key_required
            if name is None or host is None or not needs_key or allowed.sent_key(model):
                continue
            hosts = ", ".join(allowed.of(name)) or "none"
            raise ConfigurationError(
                f"{section} ({model.name}) would send the key {name} to {host}; the hosts of {name}: {hosts}. "
                f"If {host} may have the key, deploy with the setting keyHosts={json.dumps({name: [host]})}. "
                "Otherwise correct provider, baseUrl, or keyName."
            )


def _is_named(entry: Any) -> bool:
    return isinstance(entry, Mapping) and _text(entry.get("name"))


def _section(entries: Sequence[Any], section: str) -> list[Model]:
    models: list[Model] = []
    seen: dict[str, Model] = {}
    for number, entry in enumerate(entries):
        where = f"{section}[{number}]"
        model = _model(entry, where)
        for name in (file_name(model.name).casefold(), model.id.casefold()):
            other = seen.setdefault(name, model)
            if other is not model:
                raise ConfigurationError(
                    f"{where} {model.name!r} ({model.id}) has the same name in keys, or the same id, as {other.name!r} "
                    f"({other.id}); rename it, or change that entry under its own name."
                )
        if entry.get("enabled", True):
            models.append(model)
    return models


def _model(entry: Any, where: str) -> Model:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} in the model catalogue must be an object.")
    for name in ("name", "provider", "id"):
        if not _text(entry.get(name)):
            raise ConfigurationError(f"{where} in the model catalogue needs {name!r}, a text.")
    where = f"{where} ({entry['name']})"
    for name, value in entry.items():
        check, allowed = _FIELDS.get(name, (None, ""))
        if check is None:
            raise ConfigurationError(f"{where} has {name!r}, which is unknown; known are {', '.join(_FIELDS)}.")
        if not _passes(check, value):
            raise ConfigurationError(f"{where} has {name}={_shown(value)}; it must be {allowed}.")
    _check_provider(entry, where)
    if entry.get("enabled", True) and not entry.get("retired"):
        _check_svg(entry, where)
    return Model(
        name=entry["name"],
        provider=entry["provider"],
        id=entry["id"],
        time_limit=float(entry.get("timeLimit", 60)),
        parameters=entry.get("parameters", {}),
        takes=entry.get("takes", {}),
        price=entry.get("price"),
        region=entry.get("region"),
        base_url=entry.get("baseUrl"),
        path=entry.get("path"),
        dialect=entry.get("dialect"),
        key_name=entry.get("keyName"),
        released=entry.get("released"),
        shutdown=entry.get("shutdown"),
        replacement=entry.get("replacement"),
        retired=entry.get("retired", False),
        default=entry.get("default", True),
    )


def _check_provider(entry: Entry, where: str) -> None:
    """Refuse what the provider's adapter would not send."""
    provider, takes = entry["provider"], entry.get("takes", {})
    unsent = sorted(set(takes) - _SENT[provider] - {"n"})
    if unsent:
        raise ConfigurationError(f"{where} takes {', '.join(unsent)}, which the adapter of {provider} does not send.")
    if takes.get("n", {}).get("perCall") and provider not in _SEVERAL_PER_CALL:
        raise ConfigurationError(f"{where} has n.perCall, but {provider} makes one image in a call.")
    if "baseUrl" in entry and provider not in _OWN_SERVERS:
        raise ConfigurationError(f"{where} has baseUrl; only {', '.join(sorted(_OWN_SERVERS))} models may have one.")
    if "keyName" in entry and PROVIDERS[provider].key_name is None:
        raise ConfigurationError(f"{where} has keyName, but {provider} uses the AWS role instead of a key; remove it.")
    if provider == "gemini" and (moved := {"http_options", "httpOptions"} & set(entry.get("parameters", {}))):
        # With these, the SDK calls any server, with the key.
        raise ConfigurationError(f"{where} has {moved.pop()!r} in parameters, which is not allowed; remove it.")


def _check_svg(entry: Entry, where: str) -> None:
    """Reject a model whose images are certainly SVG documents: they would be paid for and not stored."""
    parameters = {name: str(value).lower() for name, value in entry.get("parameters", {}).items()}
    is_recraft = entry["provider"] == "recraft" or re.search(r"(^|[/_-])recraft", entry["id"].lower())
    draws_vectors = re.search(r"[_-](vector|svg)\b", entry["id"].lower()) or parameters.get("style", "").startswith(
        "vector_illustration"
    )
    is_svg = any(parameters.get(name) == "svg" for name in ("output_format", "image_format", "format"))
    if is_svg or (is_recraft and draws_vectors):
        raise ConfigurationError(
            f"{where} makes SVG images, which this service doesn't store. Use a raster model, such as recraftv4_1, or "
            "the output format png, jpeg, or webp."
        )


def _passes(check: Callable[[Any], bool], value: Any) -> bool:
    """Whether a value passes its check; one of an unexpected type, deep inside, does not."""
    try:
        return check(value)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return False


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "a value that is nested too deeply"


def _text(value: Any) -> bool:
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
    if name in _LISTS:
        return isinstance(allowed, list) and bool(allowed) and all(choice in _LISTS[name] for choice in allowed)
    if name in _RANGES:
        bounds = isinstance(allowed, Mapping) and set(allowed) == {"min", "max"} and all(map(_amount, allowed.values()))
        return bool(bounds and allowed["min"] <= allowed["max"])
    if name == "n":
        known = isinstance(allowed, Mapping) and set(allowed) <= {"max", "perCall"}
        most = allowed.get("max", MOST_IMAGES)
        return known and type(most) is int and 1 <= most <= 10 and _flag(allowed.get("perCall", False))
    return name == "negativePrompt" and allowed is True


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
        and _text(value.get("source"))
        and _text(value.get("uncorroborated", "nothing"))
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
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_name, f"a text of at most {MAX_NAME} characters with at least one letter or digit"),
    "provider": (lambda value: value in PROVIDERS, f"one of {', '.join(sorted(PROVIDERS))}"),
    "id": (_text, "a text"),
    "enabled": (_flag, "true or false"),
    "default": (_flag, "true or false"),
    "timeLimit": (lambda value: _amount(value) and 1 <= value <= LONGEST_CALL, f"1 to {LONGEST_CALL} seconds"),
    "parameters": (_parameters, f"a JSON object of finite numbers, without {', '.join(sorted(_CALLERS))}"),
    "takes": (_takes, "an object of parameters with lists of values, ranges {min, max}, or true"),
    "price": (_price, _PRICE_ALLOWED),
    "region": (lambda value: re.fullmatch(r"[a-z]+(-[a-z]+)+-[0-9]+", value) is not None, "an AWS region"),
    "baseUrl": (_server, "an https URL without user and password, or http on loopback"),
    "path": (_path, "a path such as /images/generations"),
    "dialect": (lambda value: value in DIALECTS, f"one of {', '.join(DIALECTS)}"),
    "keyName": (lambda value: isinstance(value, str) and value.isidentifier(), "the name of a key in the secret"),
    "released": (_day, "a day such as 2026-11-23"),
    "shutdown": (_day, "a day such as 2026-11-23"),
    "retired": (_flag, "true or false"),
    "uncorroborated": (_text, "a sentence that says which part rests on a single source"),
    "replacement": (_text, "the id of a model"),
}
