"""Reads images from the bytes or the base64 of a response."""

import binascii
from typing import Any
from urllib.parse import unquote

from pixelprompt.models.model import Generated, Image, ProviderError
from pixelprompt.providers.wire.transport import unreadable
from pixelprompt.storage.image_format import image_format, is_svg

# The longest beginning of a data URL, such as ``data:image/png;charset=utf-8;base64,``.
_MAX_HEAD = 100
_FROM_URL_SAFE = str.maketrans("-_", "+/")


def bare_image(body: bytes, request_id: str | None) -> Generated:
    """Return the result of a successful response whose body isn't JSON: it may be the image itself.

    Raises
    ------
    ProviderError : it isn't one that is stored
    """
    try:
        return Generated((read_image(body),), request_id)
    except ProviderError:
        raise unreadable() from None


def decode_image(encoded: str, **about: Any) -> Image:
    """Return the image in a base64 text or a data URL; ``about`` are further fields of ``Image``.

    Raises
    ------
    ProviderError : it isn't base64, or not an image that is stored
    """
    data = decode_base64(encoded)
    if data is None:
        raise ProviderError("no_image", "The provider's image is not valid base64.", billable="unknown")
    return read_image(data, **about)


def decode_base64(encoded: str) -> bytes | None:
    """Return the bytes of a base64 text, or None if it isn't one.

    A data URL is accepted (RFC 2397), and base64 that is URL-safe, unpadded, or broken into lines (RFC 4648, RFC 2045).
    """
    head, comma, rest = encoded[:_MAX_HEAD].partition(",")
    if comma:
        encoded = rest + encoded[_MAX_HEAD:]
        if "%" in encoded:
            encoded = unquote(encoded)
        # Some leave the scheme out.
        if "base64" not in head.lower():
            return encoded.encode() if head.lstrip()[:5].lower() == "data:" else None
    data = _decode(encoded)
    return _decode(_standard(encoded)) if data is None else data


def _decode(encoded: str) -> bytes | None:
    try:
        # Unlike ``base64.b64decode``, this makes no copy of the text first.
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return None


def _standard(encoded: str) -> str:
    bare = "".join(encoded.translate(_FROM_URL_SAFE).split()).strip("\ufeff\0").rstrip("=")
    return bare + "=" * (-len(bare) % 4)


def read_image(data: bytes, **about: Any) -> Image:
    """Return the image in these bytes; what the provider called it doesn't count.

    Raises
    ------
    ProviderError : they aren't an image, or one of more pixels than are stored
    """
    found = image_format(data)
    if found is None:
        kind = "an SVG image, which isn't stored" if is_svg(data) else "data that isn't an image"
        raise ProviderError("no_image", f"The provider returned {kind}.", billable="unknown")
    if found.problem:
        # The same request would make an image of the same size.
        message = f"The provider returned an image {found.problem}."
        raise ProviderError("no_image", message, billable="unknown", retryable=False)
    return Image(data, found.mime_type, found.width, found.height, **about)
