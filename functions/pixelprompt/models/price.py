"""The price of a catalogue entry: its fields and their types, in US dollars."""

from datetime import date
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from pixelprompt.models.parameters import Quality, Resolution

Text = Annotated[str, Meta(pattern=r"\S")]
Amount = Annotated[float, Meta(ge=0, le=1000)]
Factor = Annotated[float, Meta(ge=1, le=1000)]


class Price(Struct, forbid_unknown_fields=True, kw_only=True):
    """The day when a price was read, and the URL where; ``reference`` is what one reference image adds to a call."""

    date: date
    source: Text
    reference: Amount | UnsetType = UNSET
    uncorroborated: Text | UnsetType = UNSET


class ImagePrice(Price, rename="camel", kw_only=True, tag_field="unit", tag="image"):
    """A price by the image."""

    amount: Amount
    by_resolution: dict[Resolution, Amount | None] = {}
    by_quality: dict[Quality, Amount | None] = {}
    by_megapixel: bool = False


class TokenPrice(Price, rename="camel", kw_only=True, tag_field="unit", tag="token"):
    """A price by the token, and what an image is estimated at."""

    input_text: Amount | UnsetType = UNSET
    input_image: Amount | UnsetType = UNSET
    output_text: Amount | UnsetType = UNSET
    output_image: Amount | UnsetType = UNSET
    estimate: Amount | UnsetType = UNSET
    by_resolution: dict[Resolution, Amount | None] | UnsetType = UNSET
    quality_factors: dict[Quality, Factor | None] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.quality_factors is not UNSET:
            if self.output_image is UNSET:
                raise ValueError("qualityFactors needs outputImage")
        elif self.by_resolution is not UNSET and self.estimate is UNSET:
            raise ValueError("byResolution needs estimate")
