"""Public price lists, in the form that a catalogue is compared with.

Two price lists are published as Python packages. Their wheels are read as archives: no code of theirs ever runs.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

LITELLM, GENAI = "litellm", "genai-prices"
_MEMBERS = {LITELLM: "litellm/model_prices_and_context_window_backup.json", GENAI: "genai_prices/data.py"}
_MAX_MEMBER = 64 * 1024 * 1024
# A higher price, in dollars, is a mistake: of an image, and of a token.
_HIGHEST, _HIGHEST_TOKEN = 100.0, 0.01
_PER_IMAGE = ("image", "2K")
_MAX_ID, _MAX_ADDRESS = 120, 300

# What the lists call the providers that the catalogue has; a compatible server goes by its dialect.
_LITELLM_PROVIDERS = {
    "openai": "openai",
    "gemini": "gemini",
    "bedrock": "bedrock",
    "stability": "stability",
    "black_forest_labs": "bfl",
    "recraft": "recraft",
    "xai": "compatible/xai",
}
_GENAI_PROVIDERS = {"openai": "openai", "google": "gemini", "x-ai": "compatible/xai"}
_STABILITY_IDS = {"stable-image-core": "core", "stable-image-ultra": "ultra"}

# Members of a catalogue price; `image` and `2K` are dollars for one image.
_LITELLM_PRICES = {
    "input_cost_per_token": "inputText",
    "input_cost_per_image_token": "inputImage",
    "output_cost_per_token": "outputText",
    "output_cost_per_image_token": "outputImage",
    "output_cost_per_image": "image",
    "output_cost_per_image_1K": "image",
    "output_cost_per_image_2K": "2K",
}
_GENAI_PRICES = {
    "input_mtok": "inputText",
    "input_image_mtok": "inputImage",
    "output_mtok": "outputText",
    "output_image_mtok": "outputImage",
}


class ListsError(Exception):
    """The comparison cannot be made; the message says why, and what to do."""


@dataclass(frozen=True)
class Listed:
    """The entry of a list about one model.

    Attributes
    ----------
    list : the list's name
    provider : as in the catalogue; a compatible server is `compatible/DIALECT`
    prices : dollars by member of a catalogue price; `image` and `2K` are for one image
    shutdown, replacement : the day it ends, and the id of the model to use instead
    source, shutdown_source : where the list has its prices, and that day, from
    draws : whether it makes images from a prompt
    matches : whether the entry is about an id
    """

    list: str
    provider: str
    id: str
    prices: Mapping[str, float] = field(default_factory=dict)
    shutdown: str | None = None
    replacement: str | None = None
    source: str | None = None
    shutdown_source: str | None = None
    draws: bool = False
    matches: Callable[[str], bool] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class PriceList:
    """A list that was read.

    Attributes
    ----------
    name, version : what it is; a provider's own list has no version
    own : the provider whose own list it is
    """

    name: str
    version: str
    entries: Sequence[Listed]
    own: str | None = None

    @property
    def images(self) -> int:
        """The number of its models that make images."""
        return sum(entry.draws for entry in self.entries)

    def find(self, provider: str, model: str) -> Listed | None:
        """Its entry about the model with this id, if any."""
        for entry in self.entries:
            if entry.provider == provider and (entry.matches(model) if entry.matches else entry.id == model):
                return entry
        return None


def read(folder: Path, day: date) -> tuple[list[PriceList], list[str]]:
    """The price lists whose wheels lie in a folder, by the prices of a day; and a sentence for each that is left out.

    Raises
    ------
    ListsError : no list was found
    """
    lists: list[PriceList] = []
    left_out: list[str] = []
    for name, parse in ((LITELLM, _litellm), (GENAI, _genai)):
        wheels = sorted(folder.glob(f"{name.replace('-', '_')}-*.whl"), key=_version_key)
        if not wheels:
            left_out.append(f"{name}: wheel not found.")
            continue
        try:
            parsed = parse(_member(wheels[-1], _MEMBERS[name]), day)
            entries = [entry for entry in parsed if is_plain(entry.id)]
        except Exception as error:
            # Whatever is wrong with one list, the other counts. What the error says may be the list's own text.
            left_out.append(f"{name}: failed to read {wheels[-1].name} ({type(error).__name__}).")
            continue
        lists.append(PriceList(name, _version(wheels[-1]), entries))
    if not lists:
        cure = f"Put the wheels of {LITELLM} and {GENAI} there, or leave WHEELS out to download them."
        raise ListsError(f"No price list found in {folder}. {' '.join(left_out)} {cure}")
    return lists, left_out


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def _version_key(wheel: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", _version(wheel))]


def _member(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        if archive.getinfo(name).file_size > _MAX_MEMBER:
            raise ValueError(f"{name} is too large")
        return archive.read(name).decode("utf-8")


def _litellm(text: str, day: date) -> list[Listed]:
    entries: list[Listed] = []
    for key, facts in json.loads(text).items():
        their = facts.get("litellm_provider")
        provider, model = _LITELLM_PROVIDERS.get(their), key.removeprefix(f"{their}/")
        # Other slashes follow a size or a quality: those are not models of their own.
        if provider is None or "/" in model:
            continue
        successor = str(facts.get("successor_model") or "").removeprefix(f"{their}/")
        members = {name: facts.get(name) for name in _LITELLM_PRICES}
        entries.append(
            Listed(
                LITELLM,
                provider,
                _our_id(provider, model),
                _prices((_LITELLM_PRICES[name], value) for name, value in members.items()),
                _day(facts.get("deprecation_date")),
                _our_id(provider, successor) if is_plain(successor) else None,
                _url(facts.get("source")),
                _url(facts.get("deprecation_source")) or _url(facts.get("source")),
                facts.get("mode") == "image_generation",
            )
        )
    return entries


def _our_id(provider: str, model: str) -> str:
    return _STABILITY_IDS.get(model, model) if provider == "stability" else model


def is_plain(model: str) -> bool:
    """Whether an id can be printed as it is: lists are other people's texts."""
    return len(model) <= _MAX_ID and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", model))


def _prices(members: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Those values that can be prices, by member of a catalogue price."""
    return {name: float(value) for name, value in members if _is_price(name, value)}


def _is_price(name: str, value: Any) -> bool:
    highest = _HIGHEST if name in _PER_IMAGE else _HIGHEST_TOKEN
    # A number that is none and an infinite one are not below anything.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < highest


def _day(value: Any) -> str | None:
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None


def _url(value: Any) -> str | None:
    is_address = isinstance(value, str) and len(value) <= _MAX_ADDRESS and re.fullmatch(r"https://[!-~]+", value)
    return value if is_address else None


def _genai(text: str, day: date) -> list[Listed]:
    (stated,) = (
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "providers"
    )
    return [
        _genai_entry(_GENAI_PROVIDERS[their["id"]], model, their.get("pricing_urls") or [], day)
        for their in _value(stated)
        if their["id"] in _GENAI_PROVIDERS
        for model in their.get("models") or []
    ]


def _genai_entry(provider: str, model: Mapping[str, Any], urls: Sequence[str], day: date) -> Listed:
    # Of a clause of another shape this is the place to hear, not a later comparison.
    _matches(model["match"], "")
    prices = _genai_prices(model, day)
    comments = str(model.get("price_comments") or "")
    named = re.search(r"https://[^\s)\"',;]+", comments)
    source = _url(named[0].rstrip(".") if named else next(iter(urls), None))
    return Listed(
        GENAI,
        provider,
        model["id"],
        prices,
        shutdown=_day_in(comments),
        source=source,
        shutdown_source=source,
        draws="outputImage" in prices,
        matches=partial(_matches, model["match"]),
    )


def _value(node: ast.expr | None) -> Any:
    """The value of an expression: lists and literals as they are, a call as its keyword arguments."""
    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple():
            return [_value(item) for item in node.elts]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            arguments = [_value(item) for item in node.args]
            if name == "Decimal":
                return float(arguments[0])
            if name == "date":
                return date(*arguments)
            return {"is": name, **{item.arg: _value(item.value) for item in node.keywords}}
    return None


def _genai_prices(model: Mapping[str, Any], day: date) -> dict[str, float]:
    prices = model.get("prices") or {}
    if isinstance(prices, list):
        # The last one that has begun counts; none of ours depends on the time of day.
        begun = [choice["prices"] for choice in prices if _has_begun(choice.get("constraint"), day)]
        prices = begun[-1] if begun else {}
    members = {ours: prices.get(name) for name, ours in _GENAI_PRICES.items()}
    # Per million tokens; without the noise of a division. A `Decimal` was read as a float.
    each = [(name, float(f"{value / 1e6:.12g}")) for name, value in members.items() if isinstance(value, float)]
    listed = _prices(each)
    if model["id"].startswith("gpt-image-") and "outputImage" not in listed and "outputText" in listed:
        listed["outputImage"] = listed.pop("outputText")
    return listed


def _has_begun(constraint: Any, day: date) -> bool:
    return not constraint or (constraint["is"] == "StartDateConstraint" and constraint["start_date"] <= day)


def _day_in(comments: str) -> str | None:
    """The day that a sentence such as "shut down Oct 2, 2026" names."""
    found = re.search(r"\bshut down (?:on )?([A-Z][a-z]{2})[a-z]* (\d{1,2}, \d{4})", comments)
    try:
        return datetime.strptime(f"{found[1]} {found[2]}", "%b %d, %Y").date().isoformat() if found else None
    except ValueError:
        return None


def _matches(clause: Mapping[str, Any], model: str) -> bool:
    match clause:
        case {"is": "ClauseEquals", "equals": text}:
            return bool(model.lower() == text.lower())
        case {"is": "ClauseStartsWith", "starts_with": text}:
            return model.lower().startswith(text.lower())
        case {"is": "ClauseEndsWith", "ends_with": text}:
            return model.lower().endswith(text.lower())
        case {"is": "ClauseContains", "contains": text}:
            return text.lower() in model.lower()
        case {"is": "ClauseRegex", "regex": text}:
            return bool(re.search(text, model))
        case {"is": "ClauseOr", "or_": clauses}:
            return True in [_matches(inner, model) for inner in clauses]
        case {"is": "ClauseAnd", "and_": clauses}:
            return False not in [_matches(inner, model) for inner in clauses]
    return False
