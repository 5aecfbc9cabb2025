"""One set of parameters for every model, and the receipt that says what became of each.

A caller's parameter is *applied* where the model takes it as it is, *adjusted* where the model takes a neighbouring
value, and *ignored*, with the reason, where the model does not know it. Nothing is coerced silently.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from unicodedata import category

from pixelprompt.errors import InvalidParameter
from pixelprompt.models.model import ImageRequest, Model
from pixelprompt.models.sizes import ratio, side

Values = dict[str, Any]

ASPECT_RATIOS = (
    "1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "21:9", "9:21", "19.5:9", "9:19.5",
    "20:9", "9:20", "4:1", "1:4", "8:1", "1:8",
)  # fmt: skip
RESOLUTIONS = ("512", "1K", "2K", "4K")
# From the cheapest on.
QUALITIES = ("low", "medium", "high", "xhigh", "max")
FORMATS = ("png", "jpeg", "webp")
BACKGROUNDS = ("transparent", "opaque")
PROVIDER_MODERATION = ("auto", "low")
MOST_IMAGES = 4
LARGEST_SEED = 2**32 - 1
NEGATIVE_PROMPT_LIMIT = 1000
# How far an image may be from what was asked for: in the logarithm of its ratio, and in doublings of its area.
_SAME_SHAPE = 0.05
_SAME_AREA = 0.75
# What the API, and the record of an image, show for those that were not given.
DEFAULTS: Values = {"steps": 28, "guidance": 5, "control": 1.0}


@dataclass(frozen=True)
class _Reader:
    """How a parameter is read: ``read`` raises ValueError for what is not ``allowed``; ``schema`` is JSON Schema."""

    read: Callable[[Any], Any]
    allowed: str
    schema: Values


def is_plain_text(text: str) -> bool:
    """Whether a text has no control characters but white space; joiners, as in emoji, are fine."""
    return not any(category(character) == "Cc" and character not in "\t\n\r" for character in text)


def _number(lowest: float, highest: float, *, whole: bool = False) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, int | float) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ValueError
        if whole and value != math.floor(value):
            raise ValueError
        return int(value) if whole else value

    schema = {"type": "integer" if whole else "number", "minimum": lowest, "maximum": highest}
    return _Reader(read, f"{'a whole number' if whole else 'a number'} from {lowest} to {highest}", schema)


def _one_of(choices: tuple[str, ...]) -> _Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return _Reader(read, f"one of {', '.join(choices)}", {"type": "string", "enum": list(choices)})


def _negative_prompt(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= NEGATIVE_PROMPT_LIMIT or not is_plain_text(text):
        raise ValueError
    return text


_READERS: dict[str, _Reader] = {
    "steps": _number(1, 150, whole=True),
    "guidance": _number(0, 30),
    "control": _number(0, 2),
    "aspectRatio": _one_of(ASPECT_RATIOS),
    "resolution": _one_of(RESOLUTIONS),
    "n": _number(1, MOST_IMAGES, whole=True),
    "seed": _number(0, LARGEST_SEED, whole=True),
    "quality": _one_of(QUALITIES),
    "outputFormat": _one_of(FORMATS),
    "outputCompression": _number(0, 100, whole=True),
    "background": _one_of(BACKGROUNDS),
    "providerModeration": _one_of(PROVIDER_MODERATION),
    "negativePrompt": _Reader(
        _negative_prompt,
        f"a text of 1 to {NEGATIVE_PROMPT_LIMIT} characters without control characters",
        {"type": "string", "minLength": 1, "maxLength": NEGATIVE_PROMPT_LIMIT},
    ),
}
NAMES = tuple(_READERS)
# What each parameter may be, as JSON Schema.
SCHEMAS: Mapping[str, Values] = {name: reader.schema for name, reader in _READERS.items()}


def read_parameters(body: Mapping[str, Any]) -> Values:
    """The parameters that a request's body gives, checked; one that is missing or null is not there.

    Raises
    ------
    InvalidParameter : of the wrong type or out of range
    """
    given = {}
    for name, reader in _READERS.items():
        value = body.get(name)
        if value is not None:
            try:
                given[name] = reader.read(value)
            except (ValueError, OverflowError):
                raise InvalidParameter(f"{name} must be {reader.allowed}.", parameter=name) from None
    return given


@dataclass(frozen=True)
class Receipt:
    """What became of a caller's parameters with one model.

    Attributes
    ----------
    applied : values that are used as they were given
    adjusted : by name, ``requested`` and ``used``
    ignored : by name, the reason
    """

    applied: Values = field(default_factory=dict)
    adjusted: dict[str, Values] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Receipt | None":
        """The receipt in the row of a job that has not made its images; None where an earlier release wrote none."""
        return cls(*(row.get(part, {}) for part in ("applied", "adjusted", "ignored"))) if "applied" in row else None

    def dump(self) -> Values:
        """What a model gets, as a Map item carries it: what was requested is in the job's parameters already."""
        return {"applied": [*self.applied], "adjusted": {name: entry["used"] for name, entry in self.adjusted.items()}}

    @classmethod
    def load(cls, dumped: Mapping[str, Any], given: Mapping[str, Any]) -> "Receipt":
        """The receipt of a Map item whose job has these parameters; it does not say why others are ignored."""
        adjusted = {name: {"requested": given[name], "used": used} for name, used in dumped["adjusted"].items()}
        return cls({name: given[name] for name in dumped["applied"]}, adjusted)

    def used(self) -> Values:
        """The values that the model gets."""
        return {**self.applied, **{name: entry["used"] for name, entry in self.adjusted.items()}}

    def misfits(self, model: str) -> list[Values]:
        """What ``strict`` objects to."""
        adjusted = [
            {"model": model, "parameter": name, "reason": f"The nearest value it takes is {entry['used']}."}
            for name, entry in self.adjusted.items()
        ]
        ignored = [{"model": model, "parameter": name, "reason": why} for name, why in self.ignored.items()]
        return adjusted + ignored

    def row(self) -> Values:
        """The fields of a job's row."""
        return {"applied": self.applied, "adjusted": self.adjusted, "ignored": self.ignored}


def receipt(given: Mapping[str, Any], takes: Mapping[str, Any]) -> Receipt:
    """What becomes of the given parameters with a model that takes these (``takes`` of the catalogue)."""
    result = Receipt()
    for name, value in given.items():
        if name == "n":
            used: Any = min(value, takes.get("n", {}).get("max", MOST_IMAGES))
        elif name not in takes:
            result.ignored[name] = f"This model takes no {name}."
            continue
        else:
            used = _nearest(name, value, takes[name])
        if used == value:
            result.applied[name] = value
        else:
            result.adjusted[name] = {"requested": value, "used": used}
    return _without_conflicts(result)


def _without_conflicts(result: Receipt) -> Receipt:
    """Ignore what does not go with the image format: providers reject the request otherwise."""
    used = result.used()
    conflicts = {}
    if "outputCompression" in used and used.get("outputFormat") not in ("jpeg", "webp"):
        conflicts["outputCompression"] = "It requires the outputFormat jpeg or webp."
    if used.get("background") == "transparent" and used.get("outputFormat") == "jpeg":
        conflicts["background"] = "A jpeg has no transparent background; use png or webp."
    for name, reason in conflicts.items():
        result.applied.pop(name, None)
        result.adjusted.pop(name, None)
        result.ignored[name] = reason
    return result


def as_made(given: Receipt, images: Iterable[tuple[int, int, str]]) -> Receipt:
    """The receipt after the fact: what an image contradicts is *adjusted*, with what it really is.

    Parameters
    ----------
    images : width and height in pixels, and format (one of ``FORMATS``, or another)
    """
    result = replace(given, applied=dict(given.applied), adjusted=dict(given.adjusted))
    promised = given.used()
    for width, height, kind in images:
        size = f"{width}x{height}"
        for name, fits, real in (
            ("aspectRatio", _has_shape(promised.get("aspectRatio"), width, height), size),
            ("resolution", _has_area(promised.get("resolution"), width, height), size),
            ("outputFormat", promised.get("outputFormat") in (None, kind), kind),
            ("background", promised.get("background") != "transparent" or kind != "jpeg", "opaque"),
        ):
            if fits or name not in promised:
                continue
            requested = given.adjusted[name]["requested"] if name in given.adjusted else result.applied.pop(name, None)
            if requested is not None:
                result.adjusted[name] = {"requested": requested, "used": real}
                del promised[name]
    return result


def _has_shape(aspect_ratio: str | None, width: int, height: int) -> bool:
    # Providers round to their own sizes: 1344x768 for 16:9, 896x1152 for 4:5.
    return aspect_ratio is None or abs(math.log(width / height / ratio(aspect_ratio))) < _SAME_SHAPE


def _has_area(resolution: str | None, width: int, height: int) -> bool:
    return resolution is None or abs(math.log2(width * height / side(resolution) ** 2)) < _SAME_AREA


def _nearest(name: str, value: Any, allowed: Any) -> Any:
    if allowed is True:
        return value
    if isinstance(allowed, Mapping):
        if name == "seed":
            # A seed has no neighbours: it is folded into the range.
            low, high = allowed["min"], allowed["max"]
            return value if low <= value <= high else low + value % (high - low + 1)
        return min(max(value, allowed["min"]), allowed["max"])
    if value in allowed:
        return value
    if name == "aspectRatio":
        return min(allowed, key=lambda choice: abs(math.log(ratio(choice) / ratio(value))))
    if name == "quality":
        # Of two neighbors, the cheaper one.
        return min(
            sorted(allowed, key=QUALITIES.index),
            key=lambda choice: abs(QUALITIES.index(choice) - QUALITIES.index(value)),
        )
    if name == "resolution":
        return min(allowed, key=lambda choice: abs(math.log2(side(choice) / side(value))))
    return allowed[0]


def seed_of_call(seed: int, call: int, model: Model) -> int:
    """The seed of one of several calls, folded into the model's range; each call has another."""
    allowed = model.takes.get("seed")
    whole = {"min": 0, "max": LARGEST_SEED}
    return int(_nearest("seed", seed + call, allowed if isinstance(allowed, Mapping) else whole))


def image_request(prompt: str, used: Mapping[str, Any], model: Model) -> ImageRequest:
    """What one call of the model's provider shall make."""
    several = bool(model.takes.get("n", {}).get("perCall"))
    return ImageRequest(
        prompt,
        steps=used.get("steps"),
        guidance=used.get("guidance"),
        aspect_ratio=used.get("aspectRatio"),
        resolution=used.get("resolution"),
        n=used.get("n", 1) if several else 1,
        seed=used.get("seed"),
        quality=used.get("quality"),
        output_format=used.get("outputFormat"),
        output_compression=used.get("outputCompression"),
        background=used.get("background"),
        moderation=used.get("providerModeration"),
        negative_prompt=used.get("negativePrompt"),
    )
