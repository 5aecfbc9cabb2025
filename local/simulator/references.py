"""Reference images in a request: their type and size by their bytes, and what the request log keeps of them."""

from __future__ import annotations

import binascii
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image
from werkzeug.datastructures import FileStorage

# What providers accept, by Pillow's names.
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
FORMATS = tuple(TYPES)
# The functions have the same limit, on which the simulators do not depend.
MAX_PIXELS = 64_000_000
_DATA_URL = re.compile(r"data:(image/[a-z]+);base64,(.*)", re.DOTALL)
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
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
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


def data_url(text: str) -> tuple[str, bytes] | None:
    """The MIME type and the bytes in a data URL of an image in base64; None where it isn't one."""
    match = _DATA_URL.fullmatch(text)
    try:
        return (match[1], binascii.a2b_base64(match[2], strict_mode=True)) if match else None
    except ValueError:
        return None


def logged_form(fields: Mapping[str, str], files: Sequence[tuple[str, FileStorage]]) -> dict[str, Any]:
    """A multipart form as the request log keeps it: by the names of its parts, without the bytes of files."""
    log: dict[str, Any] = {**fields}
    for name, file in files:
        about = {"fileName": file.filename, "mimeType": file.mimetype, **shown(file.read())}
        file.seek(0)
        log.setdefault(name, [])
        if isinstance(log[name], list):
            log[name].append(about)
    return log


def logged_json(value: Any) -> Any:
    """A JSON value as the request log keeps it: without the bytes in data URLs."""
    if isinstance(value, list):
        return [*map(logged_json, value)]
    if isinstance(value, dict):
        return {name: logged_json(entry) for name, entry in value.items()}
    found = data_url(value) if isinstance(value, str) else None
    return value if found is None else {"mimeType": found[0], **shown(found[1])}
