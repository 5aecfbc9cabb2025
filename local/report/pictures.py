"""Opens images that somebody else made: the size is checked before a pixel is decoded, and any damage is one error."""

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


class PictureError(ValueError):
    """An image cannot be shown; the message says why."""


class PictureTooLarge(PictureError):
    """An image has more pixels than are decoded."""


def load(data: bytes) -> Image.Image:
    """Return the decoded image in these bytes; of an animation, the first frame.

    Raises
    ------
    PictureTooLarge : it has more than ``MAX_PIXELS`` pixels, by any of its headers
    PictureError : it isn't an image of a known format, or is damaged
    """
    found = image_format(data)
    if found is None:
        raise PictureError("not an image, or cut off")
    if found.problem:
        raise PictureTooLarge("image too large to show" if found.width and found.height else "image without pixels")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureTooLarge("image too large to show")
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge("image too large to show") from error
    except PictureError:
        raise
    # A damaged file raises whatever the decoder of its format comes across.
    except Exception as error:
        raise PictureError(f"damaged image ({error})") from error
    return picture
