"""An image of a caller as the providers get it: small, upright, in sRGB, with nothing but its pixels.

Pillow keeps a pixel in 1 to 4 bytes, so it is the decoded image that needs memory. It exists once, as it was decoded:
it is scaled in strips, and only a strip is ever converted. Colors are converted in the small image.
"""

import contextlib
import math
import warnings
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from PIL import Image as Pillow
from PIL import ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pixelprompt.errors import PixelPromptError
from pixelprompt.models.model import Image
from pixelprompt.storage.image_format import MAX_PIXELS as MAX_JPEG_PIXELS
from pixelprompt.storage.image_format import ImageFormat, image_format

# Of what is accepted; a JPEG is decoded at a half, a quarter, or an eighth of its size, so it may be larger.
MAX_PIXELS = 24_000_000
# Of what the providers get: pixels, and bytes.
PIXELS = 4 * 1024**2
BYTES = 4 * 1024**2

# What may be in memory for a JPEG whose pixels come in several scans: decoders keep its coefficients, of 2 bytes each.
_MAX_COEFFICIENTS = 240 * 10**6
# Encoders make about ten; each takes time, however few bytes it has.
_MAX_SCANS = 100
# The longest side that libjpeg writes.
_MAX_SIDE = 65_500
_QUALITIES = (92, 85, 75, 65, 50)
# How often an image is made smaller until its bytes fit; each time has at most two thirds of the pixels of the last.
_SHRINKS = 12
# Source pixels of a strip.
_STRIP = 2_000_000
# Pixels around one that count for it when an image is scaled with Lanczos' filter, in pixels of the result.
_REACH = 3

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# The tag of EXIF that says how to hold the camera, and what makes the image upright (EXIF 2.32, 4.6.4).
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
# By the color space of a profile, the mode of the images that it is for.
_PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


class _WebPFile(WebPImageFile):
    def load_prepare(self) -> None:
        # The decoder has made the frame, and keeps two more of its size for an animation.
        self._decoder = None
        super().load_prepare()


# By type, its decoder: no other is asked, whatever the bytes may be beside it.
_DECODERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    # Also of the photographs of phones that are several JPEGs in one file (MPO): the first is meant.
    "image/jpeg": JpegImageFile,
    "image/webp": _WebPFile,
}


class UnusableImage(PixelPromptError):
    """An image cannot be a reference; the message is one sentence about it that says why.

    Parameters
    ----------
    passing : whether it may work when it is tried again
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def normalize(data: bytes) -> Image:
    """The image in these bytes, as the providers get it: a PNG if a pixel is transparent, else a JPEG.

    It has at most ``PIXELS`` pixels and ``BYTES`` bytes, and no metadata. Of an animation it is the first frame.

    Raises
    ------
    UnusableImage : it isn't a PNG, JPEG, or WebP image, has too many pixels, or cannot be decoded
    """
    data, found = _checked(data)
    try:
        # Pillow warns of what is odd in a file: what can be decoded is used.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _encoded(_small(data, found))
    except UnusableImage:
        raise
    except MemoryError:
        raise UnusableImage("It needs too much memory to decode.") from None
    except Exception as error:
        # Decoders raise a dozen kinds for what is broken.
        raise UnusableImage("It is damaged or cut off.") from error


def _checked(data: bytes) -> tuple[bytes, ImageFormat]:
    """The bytes of the image, and its format and size by its header; nothing is decoded."""
    if not data:
        raise UnusableImage("It is empty.")
    found = image_format(data)
    if found is None and data.startswith(_MAGIC[1]):
        # Some phones append a film.
        image = data[: data.rfind(b"\xff\xd9") + 2]
        found = image_format(image)
        data = image if found else data
    if found is None and (data.startswith(_MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")):
        raise UnusableImage("It is damaged or cut off.")
    if found is None or found.mime_type not in _DECODERS:
        raise UnusableImage("It isn't a PNG, JPEG, or WebP image.")
    if not found.width or not found.height:
        raise UnusableImage("It has no pixels.")
    _check_pixels(found, found.width * found.height)
    if found.mime_type == "image/jpeg":
        _check_scans(data, found.width * found.height)
    return data, found


def _check_pixels(found: ImageFormat, pixels: int) -> None:
    limit = MAX_JPEG_PIXELS if found.mime_type == "image/jpeg" else MAX_PIXELS
    if pixels > limit:
        raise UnusableImage(
            f"It is too large: {found.width} × {found.height} pixels; the limit is "
            f"{MAX_PIXELS // 10**6} megapixels, and {MAX_JPEG_PIXELS // 10**6} for a JPEG."
        )


def _check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG of several scans whose coefficients fill the memory, or that has more scans than is sensible."""
    position, sampling, is_progressive = 2, [(1, 1)], False
    while True:
        while data[position] == 0xFF:
            position += 1
        marker, length = data[position], int.from_bytes(data[position + 1 : position + 3], "big")
        if marker == 0xDA:
            break
        # The frame header, in which each component has three bytes: its name, how it is sampled, its table.
        if marker >= 0xC0 and marker not in (0xC4, 0xC8, 0xCC) and marker < 0xD0:
            factors = data[position + 10 : position + 1 + length : 3]
            sampling = [(max(1, factor >> 4), max(1, factor & 15)) for factor in factors]
            is_progressive = marker not in (0xC0, 0xC1)
        position += 1 + length
    if not is_progressive and data[position + 3] == len(sampling):
        return
    most = max(across for across, _ in sampling) * max(down for _, down in sampling)
    coefficients = pixels * sum(across * down for across, down in sampling) / most
    if 2 * coefficients > _MAX_COEFFICIENTS:
        raise UnusableImage("It is too large for a progressive JPEG; send a smaller one, or a baseline JPEG.")
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise UnusableImage("It is a JPEG of too many scans; save it anew.")


def _small(data: bytes, found: ImageFormat) -> Pillow.Image:
    """The first frame, upright, in sRGB, within the limit of pixels: RGBA if a pixel is transparent, else RGB."""
    with _DECODERS[found.mime_type](BytesIO(data)) as image:
        _check_pixels(found, image.width * image.height)
        size = _within(image.size, PIXELS)
        image.draft(None, size)
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        profile = image.info.get("icc_profile")
        small = _scaled(image, size)
    small = _in_srgb(small, profile)
    if small.mode == "RGBA" and small.getchannel("A").getextrema() == (255, 255):
        small = small.convert("RGB")
    if turn is not None:
        small = small.transpose(turn)
    # Encoders write what they find in it.
    small.info = {}
    return small


def _within(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """A size of the same shape with at most so many pixels."""
    width, height = size
    scale = min(1.0, math.sqrt(pixels / (width * height)), _MAX_SIDE / max(size))
    if scale == 1:
        return size
    # A side that would vanish has one pixel.
    return max(1, int(width * scale)), max(1, int(height * scale))


def _orientation(image: Pillow.Image) -> int:
    with contextlib.suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _scaled(image: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    """The image in another size, in a mode that has colors: RGB, RGBA, CMYK, or L."""
    if image.size == size:
        return _plain(image).copy()
    scale = image.height / size[1]
    margin = math.ceil(_REACH * scale) + 1
    rows = max(1, int(_STRIP / image.width / scale))
    parts = ((top, min(top + rows, size[1])) for top in range(0, size[1], rows))
    result = None
    for top, bottom in parts:
        first = max(0, int(top * scale) - margin)
        last = min(image.height, math.ceil(bottom * scale) + margin)
        strip = _plain(image.crop((0, first, image.width, last)))
        box = (0, top * scale - first, image.width, min(bottom * scale - first, strip.height))
        part = strip.resize((size[0], bottom - top), Pillow.Resampling.LANCZOS, box)
        result = result or Pillow.new(part.mode, size)
        result.paste(part, (0, top))
    assert result
    return result


def _plain(image: Pillow.Image) -> Pillow.Image:
    """The image in a mode whose values are amounts of color."""
    if image.mode in ("I", "I;16"):
        # 16 bits of gray, which a conversion would cut off at 255.
        image = image.point(lambda value: value * (1 / 256))
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGB", "RGBA", "CMYK", "L"):
        return image
    return image.convert("RGB" if image.mode == "P" else "L")


def _in_srgb(image: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """The image in RGB or RGBA, its colors converted from those of its profile if that is sound."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        # What is broken, or for other colors than the image has, is worth nothing.
        with contextlib.suppress(Exception):
            return _converted(image, ImageCms.ImageCmsProfile(BytesIO(profile)), mode)
    return image.convert(mode)


def _converted(image: Pillow.Image, profile: ImageCms.ImageCmsProfile, mode: str) -> Pillow.Image:
    wanted = _PROFILED[profile.profile.xcolor_space.strip()]
    alpha = image.getchannel("A") if mode == "RGBA" else None
    colors = image
    if alpha:
        colors = image.getchannel("R") if wanted == "L" else image.convert("RGB")
    converted = ImageCms.profileToProfile(colors, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted
    if alpha:
        converted.putalpha(alpha)
    return converted


def _encoded(image: Pillow.Image) -> Image:
    """The image within the limit of bytes: first with less quality, then with fewer pixels."""
    for _ in range(_SHRINKS):
        smallest = math.inf
        for mime_type, data in _encodings(image):
            if len(data) <= BYTES:
                return Image(data, mime_type, image.width, image.height)
            smallest = min(smallest, len(data))
        share = min(0.66, 0.9 * BYTES / smallest)
        image = image.resize(_within(image.size, int(image.width * image.height * share)), Pillow.Resampling.LANCZOS)
    raise UnusableImage("It can't be made small enough.")


def _encodings(image: Pillow.Image) -> Iterator[tuple[str, bytes]]:
    """The image as bytes, each time fewer."""
    if image.mode == "RGBA":
        # Compressing it better takes several times as long.
        yield "image/png", _saved(image, "PNG", compress_type=zlib.Z_RLE)
        yield "image/png", _saved(image, "PNG", compress_level=4)
        return
    for quality in _QUALITIES:
        yield "image/jpeg", _saved(image, "JPEG", quality=quality)


def _saved(image: Pillow.Image, name: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()
