"""Checks reference images against what a model accepts of them (``supports["images"]`` of the catalogue)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pixelprompt.models.model import Image, ProviderError
from pixelprompt.models.parameters import IMAGES

# How much of the image may change, 0 to 1, where a provider requires it and neither request nor catalogue say it.
DEFAULT_STRENGTH = 0.7
_NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "gif": "GIF"}


def check_references(references: Sequence[Image], supports: Mapping[str, Any]) -> None:
    """Refuse reference images that a model doesn't accept; ``supports`` is the model's.

    Raises
    ------
    ProviderError : ``invalid_request``, about the first image that doesn't fit, counted from 1
    """
    if not references:
        return
    accepted = supports.get(IMAGES)
    if accepted is None:
        raise _refused("This model doesn't support reference images; send the request without `images`.")
    if len(references) > accepted["max"]:
        raise _refused(f"The request has {len(references)} reference images; this model accepts {accepted['max']}.")
    for number, image in enumerate(references, 1):
        if problem := _problem(image, accepted):
            raise _refused(f"Reference image {number} {problem}.")


def _problem(image: Image, accepted: Mapping[str, Any]) -> str | None:
    """Why a model doesn't accept an image, as the rest of a sentence; None where it does."""
    kind = image.mime_type.removeprefix("image/")
    formats, side = accepted.get("formats", [kind]), accepted.get("side")
    if kind not in formats:
        return f"is a {_NAMES.get(kind, kind)}; this model accepts {', '.join(formats)}"
    size = f"is {image.width} × {image.height} pixels"
    if side and not all(side["min"] <= length <= side["max"] for length in (image.width, image.height)):
        return f"{size}; this model accepts sides of {side['min']} to {side['max']} pixels"
    if image.width * image.height > accepted.get("pixels", image.width * image.height):
        return f"{size}; this model accepts at most {accepted['pixels']:,} pixels in total"
    if len(image.data) > accepted.get("bytes", len(image.data)):
        return f"has {len(image.data):,} bytes; this model accepts at most {accepted['bytes']:,}"
    return None


def _refused(message: str) -> ProviderError:
    return ProviderError("invalid_request", message, billable="no")
