"""What an image is, read from its first bytes: providers' labels are not believed.

Formats: PNG (W3C PNG, section 5), JPEG (ITU-T T.81, annex B), WebP (RFC 9649), GIF (GIF89a).
"""

import struct
from dataclasses import dataclass

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}

# Start-of-frame markers carry the size; C4, C8 and CC in their range are tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class ImageFormat:
    """Type and size of an image; width and height in pixels."""

    mime_type: str
    width: int
    height: int


def image_format(data: bytes) -> ImageFormat | None:
    """The format of these bytes, or None where they are no image of a known type or are cut off."""
    try:
        if not _is_whole(data):
            return None
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ImageFormat("image/png", *struct.unpack(">II", data[16:24]))
        if data.startswith(b"\xff\xd8\xff"):
            return ImageFormat("image/jpeg", *_jpeg_size(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return ImageFormat("image/webp", *_webp_size(data))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return ImageFormat("image/gif", *struct.unpack("<HH", data[6:10]))
    except (struct.error, IndexError, ValueError):
        pass
    return None


def is_svg(data: bytes) -> bool:
    """Whether these bytes are an SVG document: a browser runs the scripts in one, so none is stored."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(b"<") and b"<svg" in start and b"<html" not in start


def _is_whole(data: bytes) -> bool:
    """Whether the end of an image is there, near the end of the bytes: some encoders add a few of their own."""
    if data.startswith(b"RIFF"):
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    end = {b"\x89": b"IEND", b"\xff": b"\xff\xd9", b"G": b";"}.get(data[:1])
    return end is not None and end in data[-1024:]


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ValueError("no marker where a JPEG segment begins")
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        # A marker may be preceded by any number of FF fill bytes.
        position += 1 if marker == 0xFF else 2 + int(struct.unpack(">H", data[position + 2 : position + 4])[0])


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("unknown kind of WebP")
