"""Reference images in a request: their type and size by their bytes, and what the request log keeps of them."""

from __future__ import annotations

import hashlib
import io
from typing import Any, NamedTuple

from PIL import Image

from local.simulator.exchange import MAX_PIXELS

# What providers accept, by Pillow's names.
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# Longest side of what is kept of an image, in pixels: enough to be seen in the image that is made.
THUMBNAIL = 512


class Reference(NamedTuple):
    """A reference image; its type and size in pixels are those of its bytes."""

    mime_type: str
    size: tuple[int, int]
    thumbnail: Image.Image


def read_reference(data: bytes) -> Reference | None:
    """The image in these bytes, decoded; None where they aren't a PNG, JPEG, or WebP image that may be opened."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(TYPES)) as image:
            size = image.size
            if size[0] * size[1] > MAX_PIXELS:
                return None
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            return Reference(TYPES[image.format or ""], size, image.convert("RGBA"))
    # A damaged file raises whatever the reader of its format comes across.
    except Exception:
        return None


def shown(data: bytes) -> dict[str, Any]:
    """What the request log keeps of a file: its length in bytes, and its SHA-256 in hexadecimal."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
