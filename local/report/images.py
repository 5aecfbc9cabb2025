"""Open untrusted images: the size is checked before a pixel is decoded, and any damage is one error."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from pixelprompt.storage.image_format import MAX_PIXELS, image_format

# Pillow knows dozens of formats, some with decoders that hardly anybody uses. Only those that are stored are tried.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

# Pillow warns above this many pixels and raises above twice as many; here, both are errors.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


class ImageError(ValueError):
    """An image cannot be shown; the message says why."""


class ImageTooLarge(ImageError):
    """An image has more pixels than are decoded."""


def load(data: bytes) -> Image.Image:
    """Return the decoded image in these bytes; of an animation, the first frame.

    Raises
    ------
    ImageTooLarge : it has more than ``MAX_PIXELS`` pixels, by any of its headers
    ImageError : it isn't an image of a known format, or is damaged
    """
    found = image_format(data)
    if found is None:
        raise ImageError("not an image, or cut off")
    if found.problem:
        raise ImageTooLarge("image too large to show" if found.width and found.height else "image without pixels")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ImageTooLarge("image too large to show")
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge("image too large to show") from error
    except ImageError:
        raise
    # A damaged file raises whatever the decoder of its format comes across.
    except Exception as error:
        raise ImageError(f"damaged image ({error})") from error
    return image
