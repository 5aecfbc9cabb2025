"""An entry of the model catalogue: its fields, their types, and what a type can't say."""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.parameters import (
    MAX_IMAGES,
    AspectRatio,
    Background,
    OutputFormat,
    ProviderModeration,
    Quality,
    Resolution,
)
from pixelprompt.models.price import ImagePrice, TokenPrice
from pixelprompt.models.provider import PROVIDERS, url_host
from pixelprompt.models.sizes import FixedSizes, PixelLimits, PixelSizes
from pixelprompt.settings import LOOPBACK_HOSTS
from pixelprompt.storage.keys import file_name
from pixelprompt.validation import about, allowed, wrong_member

# A call must end well before its Lambda does (240 s), or its image could not be stored.
MAX_CALL = 200
# Characters of a model's name: keys, with at most 1024 bytes, and file names have it.
MAX_NAME = 100
# Of an image in pixels.
_MAX_SIDE = 16384
# What each request says for itself.
_CALLERS = frozenset({"model", "n", "prompt"})

Bound = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
Side = Annotated[int, Meta(ge=1, le=_MAX_SIDE)]
Area = Annotated[int, Meta(ge=1, le=_MAX_SIDE**2)]


class Range(Struct, forbid_unknown_fields=True):
    """The values of a parameter from ``min`` to ``max``."""

    min: Bound
    max: Bound

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError("min is larger than max")


class WholeRange(Range):
    """The whole numbers from ``min`` to ``max``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.min.is_integer() and self.max.is_integer()):
            raise ValueError("min and max are whole numbers")


class Images(Struct, rename="camel", forbid_unknown_fields=True):
    """Number of images that a request may ask for, and whether one call makes several."""

    max: Annotated[int, Meta(ge=1, le=10)] = MAX_IMAGES
    per_call: bool = False


class Sides(Struct, forbid_unknown_fields=True):
    """Length of a side in pixels."""

    min: Side
    max: Side


class ReferenceImages(Struct, forbid_unknown_fields=True):
    """Reference images that a request may have: how many, their types, sides and area in pixels, and size in bytes.

    ``shape`` is ``reference`` where the image that is made has the shape of the first one, whatever is asked for, and
    ``single`` where it has that only if there is one. ``member`` is the member of the request that holds them, for
    protocols whose models differ.
    """

    max: Annotated[int, Meta(ge=1, le=16)]
    formats: Annotated[list[OutputFormat], Meta(min_length=1)] | UnsetType = UNSET
    side: Sides | UnsetType = UNSET
    pixels: Area | UnsetType = UNSET
    bytes: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    shape: Literal["reference", "single"] | UnsetType = UNSET
    member: Annotated[str, Meta(pattern="^[a-z_]{1,40}$")] | UnsetType = UNSET


class Supports(Struct, rename="camel", forbid_unknown_fields=True):
    """Parameters of a request that a model supports."""

    aspect_ratio: Annotated[list[AspectRatio], Meta(min_length=1)] | UnsetType = UNSET
    resolution: Annotated[list[Resolution], Meta(min_length=1)] | UnsetType = UNSET
    quality: Annotated[list[Quality], Meta(min_length=1)] | UnsetType = UNSET
    output_format: Annotated[list[OutputFormat], Meta(min_length=1)] | UnsetType = UNSET
    background: Annotated[list[Background], Meta(min_length=1)] | UnsetType = UNSET
    provider_moderation: Annotated[list[ProviderModeration], Meta(min_length=1)] | UnsetType = UNSET
    seed: WholeRange | UnsetType = UNSET
    steps: WholeRange | UnsetType = UNSET
    guidance: Range | UnsetType = UNSET
    output_compression: WholeRange | UnsetType = UNSET
    n: Images | UnsetType = UNSET
    images: ReferenceImages | UnsetType = UNSET
    strength: Range | UnsetType = UNSET
    negative_prompt: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.negative_prompt is False:
            raise ValueError("negativePrompt is true, or missing")


class Areas(Struct, forbid_unknown_fields=True):
    """Area of an image in pixels."""

    min: Area | UnsetType = UNSET
    max: Area | UnsetType = UNSET


class Pixels(Struct, rename="camel", forbid_unknown_fields=True):
    """The sizes that a model accepts, where it accepts all within limits."""

    multiple_of: Side
    side: Sides
    area: Areas | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.side.min % self.multiple_of or self.side.max % self.multiple_of or not self.limits().has_any():
            raise ValueError("both ends of side are multiples, and there is a size within the limits")

    def limits(self) -> PixelLimits:
        """The limits as adapters use them."""
        area = self.area or Areas()
        return PixelLimits(
            multiple_of=self.multiple_of,
            shortest=self.side.min,
            longest=self.side.max,
            smallest=area.min or 0,
            largest=area.max or None,
        )


class Entry(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """An entry of the catalogue, or of an overlay once it is merged."""

    name: Annotated[
        str,
        about(
            "Display name.",
            f"a string of at most {MAX_NAME} characters with at least one letter or digit",
            pattern=r"\S",
        ),
    ]
    provider: Annotated[
        str, about("Wire protocol and account.", f"one of {', '.join(sorted(PROVIDERS))}", pattern=r"\S")
    ]
    id: Annotated[str, about("The provider's own name of the model.", "a string that isn't blank", pattern=r"\S")]
    enabled: Annotated[bool, Meta(description="False hides the model.")] = True
    default: Annotated[bool, Meta(description="Whether a job without `models` asks it.")] = True
    time_limit: Annotated[float, Meta(ge=1, le=MAX_CALL, description="Seconds that one call may take.")] = 60.0
    parameters: Annotated[
        dict[str, Any],
        about(
            "The provider's own parameters, sent as they are with every request.",
            f"a JSON object of finite numbers, without {', '.join(sorted(_CALLERS))}",
        ),
    ] = {}
    supports: Annotated[
        Supports | UnsetType,
        about(
            "What the model supports of the parameters of a request.",
            "an object of parameters with lists of values, ranges {min, max}, or true",
        ),
    ] = UNSET
    pixels: Annotated[
        Annotated[list[Annotated[str, Meta(pattern="^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]], Meta(min_length=1)]
        | Pixels
        | UnsetType,
        about(
            "The sizes that the model accepts, for protocols that send a width and a height.",
            'a list of sizes such as "1024x1536", or {multipleOf, side: {min, max}, area: {min, max}} in pixels, where '
            "both ends of side are multiples",
        ),
    ] = UNSET
    price: Annotated[
        ImagePrice | TokenPrice | UnsetType,
        about(
            "What an image or a token costs, in US dollars.",
            "an object with date, source and unit; in dollars, reference, for the unit image amount, byResolution and "
            "byQuality, for the unit token inputText, inputImage, outputText, outputImage, estimate, byResolution and "
            "qualityFactors (1 to 1000)",
        ),
    ] = UNSET
    region: (
        Annotated[str, about("AWS Region that serves it.", "an AWS region", pattern=r"^[a-z]+(-[a-z]+)+-[0-9]+$")]
        | UnsetType
    ) = UNSET
    base_url: (
        Annotated[
            str,
            about(
                "URL of the server to call.",
                "an https URL without user and password, or http on loopback",
                pattern=r"\S",
            ),
        ]
        | UnsetType
    ) = UNSET
    # With one slash at the start and no backslash, no parser can take it for a host.
    path: (
        Annotated[
            str,
            about(
                "Path below the URL, where it isn't the protocol's usual one.",
                "a path such as /images/generations",
                pattern=r"^/(?:[!-.0-\[\]-~][!-\[\]-~]*)?$",
            ),
        ]
        | UnsetType
    ) = UNSET
    dialect: (
        Annotated[str, about("Dialect of a server of `compatible`.", f"one of {', '.join(DIALECTS)}", pattern=r"\S")]
        | UnsetType
    ) = UNSET
    api_key_name: (
        Annotated[
            str,
            about(
                "Name of the API key, where it isn't the provider's usual one.",
                "the name of a key in the secret",
                pattern=r"\S",
            ),
        ]
        | UnsetType
    ) = UNSET
    released: date | UnsetType = UNSET
    shutdown: date | UnsetType = UNSET
    retired: Annotated[bool, Meta(description="Whether it is gone though the provider never said a day.")] = False
    uncorroborated: (
        Annotated[
            str,
            about(
                "Which part of the entry rests on a single source.",
                "a sentence that says which part rests on a single source",
                pattern=r"\S",
            ),
        ]
        | UnsetType
    ) = UNSET
    replacement: (
        Annotated[str, about("ID of the model to use instead.", "the id of a model", pattern=r"\S")] | UnsetType
    ) = UNSET


FIELDS = Entry.__struct_encode_fields__


def read_entry(entry: Mapping[str, Any]) -> Entry:
    """An entry, checked.

    Raises
    ------
    EntryError : the first field that is wrong
    """
    try:
        read = convert(entry, Entry)
    except ValidationError as error:
        raise EntryError(wrong_member(error)) from None
    except (RecursionError, UnicodeEncodeError):
        # Nested too deeply, or with an unpaired surrogate.
        raise EntryError(next(name for name, value in entry.items() if not _is_json(value))) from None
    for name, check in _CHECKS.items():
        value = entry.get(name)
        if value is not None and not check(value):
            raise EntryError(name)
    return read


class EntryError(ValueError):
    """A field of an entry is wrong; ``field`` names it, and the message says what it must be."""

    def __init__(self, field: str) -> None:
        super().__init__(allowed(Entry, field))
        self.field = field


def pixel_sizes(pixels: list[str] | Pixels) -> PixelSizes:
    """The sizes that an entry's ``pixels`` allows."""
    if isinstance(pixels, Pixels):
        return pixels.limits()
    return FixedSizes([(int(width), int(height)) for width, _, height in (size.partition("x") for size in pixels)])


def _is_json(value: Any) -> bool:
    try:
        return bool(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError, RecursionError):
        return False


def _is_server(url: str) -> bool:
    if url_host(url) is None:
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK_HOSTS


def _fits(pixels: list[str] | Mapping[str, Any]) -> bool:
    return isinstance(pixels, Mapping) or all(max(map(int, size.split("x"))) <= _MAX_SIDE for size in pixels)


# What no type says of a field.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "name": lambda name: bool(file_name(name)) and len(name) <= MAX_NAME,
    "provider": PROVIDERS.__contains__,
    "parameters": lambda parameters: parameters.keys().isdisjoint(_CALLERS) and _is_json(parameters),
    "pixels": _fits,
    "baseUrl": _is_server,
    "path": lambda path: "\n" not in path,
    "region": lambda region: "\n" not in region,
    "dialect": DIALECTS.__contains__,
    "apiKeyName": str.isidentifier,
}
