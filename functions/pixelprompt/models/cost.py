"""Costs of images, as far as they are known. An unknown cost is never 0.

A price of the catalogue has a ``unit``, in US dollars:

- ``image``: ``amount`` for one, and ``byResolution`` or ``byQuality`` where that differs; with ``byMegapixel``, one
  costs at most as much for each megapixel that has begun, of its own or of the reference images it is made from
- ``token``: ``inputText``, ``inputImage``, ``outputText``, ``outputImage`` for one token; for the estimate of an image
  ``estimate`` and ``byResolution``, or ``qualityFactors`` for models whose tokens follow from quality and size
- with either: ``reference``, what one reference image adds to a call of the provider
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from pixelprompt.models.model import Model
from pixelprompt.models.parameters import IMAGES
from pixelprompt.models.sizes import OPENAI_SIZES

CURRENCY = "USD"
Amount = Annotated[
    Annotated[float, Meta(ge=0)] | None, Meta(description="US dollars; null where it is unknown.", examples=[0.053])
]
Currency = Annotated[str, Meta(description="ISO 4217.", examples=["USD"])]


class Cost(TypedDict):
    """The cost of a model's images."""

    amount: Amount
    currency: Currency
    basis: Annotated[
        Literal["computed", "reported", "unknown"],
        Meta(
            description="Whether it is computed from the catalogue's price, or reported by the provider.",
            examples=["computed"],
        ),
    ]


class TotalCost(TypedDict):
    """The cost of a job."""

    amount: Amount
    currency: Currency
    known: Annotated[int, Meta(ge=0, description="Number of costs that the amount contains.", examples=[8])]
    unknown: Annotated[int, Meta(ge=0, description="Number of costs that are unknown.", examples=[1])]


UNKNOWN: Cost = {"amount": None, "currency": CURRENCY, "basis": "unknown"}

_TOKEN_KINDS = {
    "inputTextTokens": "inputText",
    "inputImageTokens": "inputImage",
    "outputTextTokens": "outputText",
    "outputImageTokens": "outputImage",
}
# A model that chooses the quality itself may choose this one.
_AUTO_QUALITY = "high"
# Tokens of text at most: that we or a provider add to the prompt, and that a model writes beside an image.
_MORE_INPUT, _MOST_THOUGHTS = 500, 2000
# A prepared reference image has no more, and an image made from it may have as many.
_MEGAPIXELS = 4
# The parts of a price that depend on the size, and the parameters of a model's own that set it.
_BY_SIZE = frozenset({"byResolution", "qualityFactors"})
_SIZES = frozenset({"size", "image_size", "width", "height", "aspect_ratio", "resolution"})


def reported(amount: float) -> Cost:
    """Cost that the provider reports."""
    return _known(amount, "reported")


def _computed(amount: float) -> Cost:
    return _known(amount, "computed")


def _known(amount: float, basis: Literal["computed", "reported"]) -> Cost:
    # What is less than a millionth is still more than nothing.
    return {"amount": round(amount, 6) or amount, "currency": CURRENCY, "basis": basis}


def micros(amount: float) -> int:
    """US dollars as millionths, rounded up: what is less than a millionth is still more than nothing."""
    return int((Decimal(str(amount)) * 1_000_000).to_integral_value(rounding="ROUND_CEILING"))


def dollars(amount: int) -> float:
    """Millionths as US dollars."""
    return amount / 1_000_000


def estimate(model: Model | None, used: Mapping[str, Any]) -> Cost:
    """Estimate a model's images by the catalogue's price; ``used`` are the caller's parameters that it gets."""
    if not model or not model.price:
        return UNKNOWN
    amount, references = _one_image(model, model.price, used), _references(model, model.price, used)
    return UNKNOWN if amount is None or references is None else _computed(amount * used.get("n", 1) + references)


def most(model: Model | None, used: Mapping[str, Any], prompt: str, unknown: float | None) -> float | None:
    """The most that a model's images may cost, in US dollars; None where no price and no ceiling says it.

    Parameters
    ----------
    used : the caller's parameters that the model gets
    prompt : all of the caller's text that the model gets
    unknown : ceiling for an image whose price is unknown
    """
    images = used.get("n", 1)
    price = model.price if model else None
    amount = _one_image(model, price, used) if model and price else None
    references = _references(model, price, used) if model and price else None
    if not price or amount is None or references is None:
        return None if unknown is None else unknown * images
    if price.get("byMegapixel"):
        amount *= _MEGAPIXELS if used.get(IMAGES) else _megapixels(model, used)
    if used.get(IMAGES):
        references *= _MEGAPIXELS
    if price["unit"] == "token":
        amount += _text(price, prompt, _MOST_THOUGHTS)
    most_of_all: float = amount * images + references
    return most_of_all


def _megapixels(model: Model | None, used: Mapping[str, Any]) -> int:
    """Megapixels that have begun of an image whose size is sent in pixels; one where the model chooses the size."""
    if model is None or model.pixels is None or "aspectRatio" not in used:
        return 1
    return math.ceil(math.prod(model.pixels.nearest(used["aspectRatio"], used.get("resolution"))) / 2**20)


def most_text(model: Model, text: str, answer: int, unknown: float | None) -> float | None:
    """The most that a call of a text model may cost, in US dollars; None where no price and no ceiling says it.

    Parameters
    ----------
    text : all of the caller's text that the model gets
    answer : tokens of its answer at most
    unknown : ceiling for a call whose price is unknown
    """
    price = model.price
    if not price or price["unit"] != "token" or not {"inputText", "outputText"} <= price.keys():
        return unknown
    return _text(price, text, answer)


def _text(price: Mapping[str, Any], read: str, written: int) -> float:
    """Price of a text that is read, and of so many tokens that are written; a token has at least one byte."""
    tokens = len(read.encode()) + _MORE_INPUT
    amount: float = tokens * price.get("inputText", 0.0) + written * price.get("outputText", 0.0)
    return amount


def _references(model: Model, price: Mapping[str, Any], used: Mapping[str, Any]) -> float | None:
    """Price of the reference images: each call of the provider reads all of them."""
    count = used.get(IMAGES, 0)
    if not count:
        return 0.0
    calls = 1 if model.supports.get("n", {}).get("perCall") else used.get("n", 1)
    amount: float | None = price.get("reference")
    return None if amount is None else amount * count * calls


def _one_image(model: Model, price: Mapping[str, Any], caller: Mapping[str, Any]) -> float | None:
    """Price of one image with the model's own parameters and, on top of them, the caller's."""
    used = {**({"quality": model.parameters["quality"]} if "quality" in model.parameters else {}), **caller}
    if used.get("quality") == "auto":
        del used["quality"]
    if not isinstance(used.get("quality", ""), str):
        return None
    # An aspect ratio sets all of a size that is sent in pixels.
    is_sized = "resolution" in used or ("aspectRatio" in used and "qualityFactors" in price)
    if not is_sized and not _SIZES.isdisjoint(model.parameters) and not price.keys().isdisjoint(_BY_SIZE):
        return None
    if "qualityFactors" in price:
        factor = price["qualityFactors"].get(used.get("quality", _AUTO_QUALITY))
        size = (model.pixels or OPENAI_SIZES).nearest(used.get("aspectRatio"), used.get("resolution"))
        tokens = 0 if factor is None else image_tokens(factor, *size)
        return tokens * price["outputImage"] if tokens else None
    amount: float | None = price.get("estimate") if price["unit"] == "token" else price["amount"]
    if "byQuality" in price and "quality" in used:
        # One that the table lacks is not as cheap as the usual one.
        amount = price["byQuality"].get(used["quality"])
    return None if amount is None else price.get("byResolution", {}).get(used.get("resolution"), amount)


def image_tokens(factor: float, width: int, height: int) -> int:
    """Output tokens of one image by OpenAI; they follow from the quality's factor and the size in pixels.

    The formula was published in OpenAI's developer community by a third party. It matches the tables of two resellers.
    """
    short = round(factor * min(width, height) / max(width, height))
    return math.ceil(factor * short * (2_000_000 + width * height) / 4_000_000)


def computed(model: Model | None, images: int, used: Mapping[str, Any], usage: Mapping[str, int] | None) -> Cost:
    """Compute the cost of images: from the tokens that the provider counted, otherwise from the price of one."""
    if not images:
        return _computed(0.0)
    price = model.price if model else None
    if price and price["unit"] == "token":
        counted = {name: usage[kind] for kind, name in _TOKEN_KINDS.items() if usage.get(kind, 0) > 0} if usage else {}
        if "outputImage" not in counted or not counted.keys() <= price.keys():
            return UNKNOWN
        if used.get(IMAGES) and "inputImage" not in counted and price.get("inputImage") != price.get("inputText"):
            # The reference images are counted as text, or not at all.
            return UNKNOWN
        return _computed(sum(count * price[name] for name, count in counted.items()))
    return estimate(model, {**used, "n": images})


def added(cost: Cost, more: Cost | None) -> Cost:
    """The sum of two costs of one row; unknown where one of them is."""
    if more is None:
        return cost
    if cost["amount"] is None or more["amount"] is None:
        return UNKNOWN
    return {**cost, "amount": round(cost["amount"] + more["amount"], 6)}


def total(costs: Iterable[Cost]) -> TotalCost:
    """The sum of what is known; ``unknown`` counts what is not."""
    listed = list(costs)
    known = [cost["amount"] for cost in listed if cost["amount"] is not None]
    amount = round(sum(known), 6) if known else None
    return {"amount": amount, "currency": CURRENCY, "known": len(known), "unknown": len(listed) - len(known)}
