"""One set of parameters for every model, and the receipt that says what became of each.

A caller's parameter is *applied* where the model supports it as it is, *adjusted* where the model supports a nearby
value, and *ignored*, with the reason, where the model does not know it. Nothing is coerced silently.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypedDict, get_args
from unicodedata import category

from msgspec import Meta, Struct, field, to_builtins
from msgspec.structs import replace

from pixelprompt.errors import InvalidParameter
from pixelprompt.models.model import ImageRequest, Model
from pixelprompt.models.sizes import ratio, side

Values = dict[str, Any]

AspectRatio = Literal[
    "1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "21:9", "9:21", "19.5:9", "9:19.5",
    "20:9", "9:20", "4:1", "1:4", "8:1", "1:8",
]  # fmt: skip
Resolution = Literal["512", "1K", "2K", "4K"]
# From the cheapest on.
Quality = Literal["low", "medium", "high", "xhigh", "max"]
OutputFormat = Literal["png", "jpeg", "webp"]
Background = Literal["transparent", "opaque"]
ProviderModeration = Literal["auto", "low"]
ASPECT_RATIOS: tuple[str, ...] = get_args(AspectRatio)
RESOLUTIONS: tuple[str, ...] = get_args(Resolution)
QUALITIES: tuple[str, ...] = get_args(Quality)
MAX_IMAGES = 4
MAX_SEED = 2**32 - 1
NEGATIVE_PROMPT_LIMIT = 1000
# How far an image may be from what was asked for: in the logarithm of its ratio, and in doublings of its area.
_SAME_SHAPE = 0.05
_SAME_AREA = 0.75
# What an image may have from its first reference image, by the parameters that it replaces.
_OF_THE_REFERENCE = {"aspectRatio": "shape", "resolution": "size"}
# What the API, and the record of an image, show for those that were not given.
DEFAULTS: Values = {"steps": 28, "guidance": 5, "control": 1.0}


class Parameters(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The parameters of a request; None leaves a parameter to the model."""

    steps: (
        Annotated[int, Meta(ge=1, le=150, description="Denoising steps of a diffusion model.", examples=[28])] | None
    ) = None
    # Kept whole where it is given whole: the job document shows it as the caller wrote it.
    guidance: Annotated[
        Annotated[int, Meta(ge=0, le=30)] | Annotated[float, Meta(ge=0, le=30)] | None,
        Meta(description="How closely a diffusion model follows the prompt.", examples=[5]),
    ] = None
    control: Annotated[
        Annotated[int, Meta(ge=0, le=2)] | Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="Kept with the image; no present model supports it.", examples=[1.0]),
    ] = None
    aspect_ratio: Annotated[AspectRatio | None, Meta(description="Width to height.", examples=["16:9"])] = None
    resolution: Annotated[
        Resolution | None, Meta(description="Side of a square image with as many pixels.", examples=["1K"])
    ] = None
    n: Annotated[int, Meta(ge=1, le=MAX_IMAGES, description="Images per model.", examples=[1])] | None = None
    seed: (
        Annotated[int, Meta(ge=0, le=MAX_SEED, description="The same seed gives a similar image again.", examples=[42])]
        | None
    ) = None
    quality: Annotated[
        Quality | None, Meta(description="How much effort to spend, from the cheapest on.", examples=["medium"])
    ] = None
    output_format: Annotated[OutputFormat | None, Meta(description="Format of the images.", examples=["webp"])] = None
    output_compression: (
        Annotated[
            int, Meta(ge=0, le=100, description="Compression of a jpeg or webp image, in percent.", examples=[80])
        ]
        | None
    ) = None
    background: Annotated[
        Background | None,
        Meta(description="Background of the image; jpeg has no transparent one.", examples=["opaque"]),
    ] = None
    provider_moderation: Annotated[
        ProviderModeration | None, Meta(description="How strict the provider's own moderation is.", examples=["auto"])
    ] = None
    strength: Annotated[
        Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description="How much of the reference image may change: 0 keeps it, 1 replaces it. It needs `images`.",
            examples=[0.6],
        ),
    ] = None
    # Checked by `negative_prompt`, without the white space around it.
    negative_prompt: (
        Annotated[
            str,
            Meta(
                description="What the image must not show; counted without the white space around it, and without "
                "control characters.",
                examples=["text, watermark"],
                extra_json_schema={"minLength": 1, "maxLength": NEGATIVE_PROMPT_LIMIT, "pattern": r"\S"},
            ),
        ]
        | None
    ) = None

    def given(self) -> Values:
        """The parameters that the request has, by their names in JSON.

        Raises
        ------
        InvalidParameter : the negative prompt is blank, too long, or has control characters
        """
        found = {name: value for name, value in to_builtins(self).items() if name in NAMES}
        if self.negative_prompt is not None:
            found["negativePrompt"] = _negative_prompt(self.negative_prompt)
        return found


NAMES = Parameters.__struct_encode_fields__
# Number of reference images, which a job has among its parameters; the request has the images themselves.
IMAGES = "images"


def _negative_prompt(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= NEGATIVE_PROMPT_LIMIT or not is_plain_text(text):
        raise InvalidParameter(
            f"`negativePrompt` must be a string of 1 to {NEGATIVE_PROMPT_LIMIT} characters without control characters.",
            parameter="negativePrompt",
        )
    return text


def is_plain_text(text: str) -> bool:
    """Whether a text has no control characters but white space; joiners, as in emoji, are fine."""
    return not any(category(character) == "Cc" and character not in "\t\n\r" for character in text)


class Adjustment(TypedDict):
    """A parameter that a model supports with another value."""

    requested: Annotated[Any, Meta(description="The value of the request.")]
    used: Annotated[Any, Meta(description="The value that the model got, or what the image shows.")]


class Receipt(Struct, frozen=True):
    """Receipt of a request's parameters for one model.

    Attributes
    ----------
    applied : values that are used as they were given
    adjusted : by name, ``requested`` and ``used``
    ignored : by name, the reason
    """

    applied: Values = field(default_factory=dict)
    adjusted: dict[str, Adjustment] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Receipt | None":
        """The receipt in the row of a job that has not made its images; None where an earlier release wrote none."""
        return cls(*(row.get(part, {}) for part in ("applied", "adjusted", "ignored"))) if "applied" in row else None

    def dump(self) -> Values:
        """The parameters that a model gets, for a Map item; the job's parameters have the requested values."""
        return {"applied": [*self.applied], "adjusted": {name: entry["used"] for name, entry in self.adjusted.items()}}

    @classmethod
    def load(cls, dumped: Mapping[str, Any], given: Mapping[str, Any]) -> "Receipt":
        """The receipt of a Map item whose job has these parameters; it does not say why others are ignored."""
        adjusted = {name: Adjustment(requested=given[name], used=used) for name, used in dumped["adjusted"].items()}
        return cls({name: given[name] for name in dumped["applied"]}, adjusted)

    def used(self) -> Values:
        """The values that the model gets."""
        return {**self.applied, **{name: entry["used"] for name, entry in self.adjusted.items()}}

    def unsupported(self, model: str) -> list[Values]:
        """Values that ``strict`` rejects."""
        adjusted = [
            {"model": model, "parameter": name, "reason": f"The nearest supported value is {entry['used']}."}
            for name, entry in self.adjusted.items()
        ]
        ignored = [{"model": model, "parameter": name, "reason": why} for name, why in self.ignored.items()]
        return adjusted + ignored

    def row(self) -> Values:
        """The fields of a job's row."""
        return {"applied": self.applied, "adjusted": self.adjusted, "ignored": self.ignored}


def receipt(given: Mapping[str, Any], supports: Mapping[str, Any]) -> Receipt:
    """Decide the receipt of a request's parameters for a model's ``supports``."""
    result = Receipt()
    for name, value in given.items():
        if name == "n":
            used: Any = min(value, supports.get("n", {}).get("max", MAX_IMAGES))
        elif name == IMAGES and name in supports:
            # The first ones count.
            used = min(value, supports[name]["max"])
        elif name not in supports:
            result.ignored[name] = f"This model doesn't support `{name}`."
            continue
        else:
            used = _nearest(name, value, supports[name])
        if used == value:
            result.applied[name] = value
        else:
            result.adjusted[name] = {"requested": value, "used": used}
    return _without_conflicts(result, supports)


def _without_conflicts(result: Receipt, supports: Mapping[str, Any]) -> Receipt:
    """Ignore what does not go with the image format or the reference images: providers reject the request otherwise."""
    used = result.used()
    conflicts = {}
    if "outputCompression" in used and used.get("outputFormat") not in ("jpeg", "webp"):
        conflicts["outputCompression"] = "It requires the outputFormat jpeg or webp."
    if used.get("background") == "transparent" and used.get("outputFormat") == "jpeg":
        conflicts["background"] = "A jpeg has no transparent background; use png or webp."
    kept = supports[IMAGES].get("shape") if IMAGES in used else None
    if kept == "reference":
        given = {name: what for name, what in _OF_THE_REFERENCE.items() if name in used}
        conflicts |= {name: f"With reference images, the {what} follows the first one." for name, what in given.items()}
    if kept == "single" and used[IMAGES] == 1 and "aspectRatio" in used:
        conflicts["aspectRatio"] = "With one reference image, the shape follows it."
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
            # A seed has no neighbors: it is folded into the range.
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
    allowed = model.supports.get("seed")
    whole = {"min": 0, "max": MAX_SEED}
    return int(_nearest("seed", seed + call, allowed if isinstance(allowed, Mapping) else whole))


def image_request(prompt: str, used: Mapping[str, Any], model: Model) -> ImageRequest:
    """The request of one call of the model's provider."""
    several = bool(model.supports.get("n", {}).get("perCall"))
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
        strength=used.get("strength"),
    )
