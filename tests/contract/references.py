"""Reference images to send."""

import hashlib
import io

from PIL import Image as Picture

from pixelprompt.models.model import Image


def encoded(kind: str, size: tuple[int, int] = (320, 256), *, number: int = 0) -> Image:
    """An image of a type such as ``png`` and of a size in pixels; each number has another color."""
    buffer = io.BytesIO()
    color = (37 * number % 256, 101 * number % 256, 255 - 11 * number % 256)
    Picture.new("RGB", size, color).save(buffer, kind)
    return Image(buffer.getvalue(), f"image/{kind}", *size)


def pictures(count: int) -> tuple[Image, ...]:
    """As many images, no two the same, JPEG and PNG by turns."""
    return tuple(encoded(("jpeg", "png")[number % 2], number=number) for number in range(count))


def gif() -> Image:
    """An image of a type that no provider edits."""
    return encoded("gif")


def damaged() -> Image:
    """Data that isn't an image, though its type says so."""
    return Image(b"\x89PNG\r\n\x1a\n" + b"x" * 100, "image/png", 320, 256)


def digest(image: Image) -> str:
    """The SHA-256 of an image's bytes."""
    return hashlib.sha256(image.data).hexdigest()
