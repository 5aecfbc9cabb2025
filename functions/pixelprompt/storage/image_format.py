"""Format and size of an image, read from its bytes without decoding: labels and single headers don't count.

A small file can claim a size whose pixels fill the memory of the program that opens it, and it can claim several:
decoders differ in which one they follow. So every size in a file is read, and the size of the image is the largest of
them. A file whose structure leaves room for two readings isn't an image.

Formats: PNG (W3C PNG third edition, with APNG), JPEG (ITU-T T.81, annex B), WebP (RFC 9649), GIF (GIF89a).
"""

import re
import struct
from collections.abc import Iterator

from msgspec import Struct

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
# Of a larger image no pixel is stored, decoded, or shown; the largest that models make have 17 million.
MAX_PIXELS = 64_000_000

# More chunks, segments, or blocks than an image of 32 MiB has: a walk over them is short, whatever the file holds.
_MAX_CHUNKS = 100_000
_MAX_SEGMENTS = 10_000
_MAX_BLOCKS = 300_000

# Start-of-frame markers carry the size; C4, C8 and CC in their range are tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
# What may stand before the first scan: tables, application data, comments. Each has a length. Of every other marker,
# such as a restart or a hierarchical header, decoders disagree on what to skip.
_JPEG_SEGMENTS = _JPEG_FRAMES | {0xC4, 0xCC, _JPEG_SCAN, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}
_JPEG_FILL = re.compile(b"\xff+")

_Size = tuple[int, int]


class ImageFormat(Struct, frozen=True):
    """Type and size of an image; width and height in pixels."""

    mime_type: str
    width: int
    height: int

    @property
    def problem(self) -> str | None:
        """Why an image of this size is neither stored nor opened, as the rest of "an image …"; None where it may be."""
        size = f"{self.width} × {self.height} pixels"
        if not self.width or not self.height:
            return f"without pixels ({size})"
        if self.width * self.height > MAX_PIXELS:
            return f"that is too large: {size}; the limit is {MAX_PIXELS // 10**6} megapixels"
        return None


def image_format(data: bytes) -> ImageFormat | None:
    """Return the format of these bytes, or None if they aren't an image of a known type or are cut off.

    Its size may be unsafe to open: see ``ImageFormat.problem``.
    """
    try:
        if not _is_whole(data):
            return None
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ImageFormat("image/png", *_largest(_png_sizes(data)))
        if data.startswith(b"\xff\xd8\xff"):
            return ImageFormat("image/jpeg", *_jpeg_size(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return ImageFormat("image/webp", *_largest(_webp_sizes(data)))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return ImageFormat("image/gif", *_largest(_gif_sizes(data)))
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


def _largest(sizes: Iterator[_Size]) -> _Size:
    """Return the smallest size that covers all of these."""
    width = height = 0
    for across, down in sizes:
        width, height = max(width, across), max(height, down)
    return width, height


def _png_sizes(data: bytes) -> Iterator[_Size]:
    """Yield the size of the image and of each frame of an animated PNG, with its offset."""
    position = 8
    for number in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        # Decoders disagree on which of two headers counts.
        if (kind == b"IHDR") != (number == 0) or (number == 0 and length != 13):
            raise ValueError("a PNG has one header, at its beginning")
        if kind == b"IEND":
            return
        if kind == b"IHDR":
            yield struct.unpack_from(">II", data, position + 8)
        elif kind == b"fcTL":
            if length != 26:
                raise ValueError("a frame's header of another length")
            width, height, x, y = struct.unpack_from(">IIII", data, position + 12)
            yield x + width, y + height
        position += 12 + length
    raise ValueError("too many chunks")


def _jpeg_size(data: bytes) -> _Size:
    """Return the size in the one frame header, which stands before the first scan."""
    position, size = 2, None
    for _ in range(_MAX_SEGMENTS):
        # A marker may be preceded by any number of FF fill bytes.
        fill = _JPEG_FILL.match(data, position)
        if not fill:
            raise ValueError("no marker where a JPEG segment begins")
        position = fill.end()
        marker = data[position]
        if marker not in _JPEG_SEGMENTS:
            raise ValueError("a marker that has no place before the first scan")
        (length,) = struct.unpack_from(">H", data, position + 1)
        if marker == _JPEG_SCAN and size:
            return size
        if marker in _JPEG_FRAMES:
            # Decoders disagree on which of two frame headers counts.
            if size:
                raise ValueError("a JPEG has one frame header")
            height, width = struct.unpack_from(">HH", data, position + 4)
            size = width, height
        if length < 2 or marker == _JPEG_SCAN:
            raise ValueError("no length of a segment, or a scan without a frame")
        position += 1 + length
    raise ValueError("too many segments")


def _webp_sizes(data: bytes) -> Iterator[_Size]:
    """Yield the size of the canvas, of each frame with its offset, and of each image in it."""
    if data[12:16] not in (b"VP8X", b"VP8L", b"VP8 "):
        raise ValueError("unknown kind of WebP")
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    return _webp_chunks(data, 12, end, iter(range(_MAX_CHUNKS)))


def _webp_chunks(
    data: bytes, position: int, end: int, budget: Iterator[int], *, in_frame: bool = False
) -> Iterator[_Size]:
    for _ in budget:
        if position + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        position = start + length + length % 2
        if kind == b"VP8X":
            yield 1 + _whole(data, start + 4, 3), 1 + _whole(data, start + 7, 3)
        elif kind == b"ANMF" and not in_frame:
            x, y = 2 * _whole(data, start, 3), 2 * _whole(data, start + 3, 3)
            yield x + 1 + _whole(data, start + 6, 3), y + 1 + _whole(data, start + 9, 3)
            # The image's chunks are inside, behind the frame's header of 16 bytes.
            yield from _webp_chunks(data, start + 16, min(position, end), budget, in_frame=True)
        elif kind == b"VP8L":
            if data[start] != 0x2F:
                raise ValueError("no lossless WebP")
            (bits,) = struct.unpack_from("<I", data, start + 1)
            yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 ":
            if data[start + 3 : start + 6] != b"\x9d\x01\x2a":
                raise ValueError("no key frame of VP8")
            width, height = struct.unpack_from("<HH", data, start + 6)
            yield width & 0x3FFF, height & 0x3FFF
    else:
        raise ValueError("too many chunks")


def _whole(data: bytes, start: int, size: int) -> int:
    """Return the little-endian number at a place, all of whose bytes are there."""
    if start + size > len(data):
        raise ValueError("cut off")
    return int.from_bytes(data[start : start + size], "little")


def _gif_sizes(data: bytes) -> Iterator[_Size]:
    """Yield the size of the screen and of each frame with its offset: decoders enlarge the screen to hold a frame."""
    yield struct.unpack_from("<HH", data, 6)
    position = 13 + _color_table(data[10])
    budget = iter(range(_MAX_BLOCKS))
    for _ in budget:
        kind = data[position]
        if kind == 0x3B:
            return
        if kind == 0x2C:
            x, y, width, height = struct.unpack_from("<HHHH", data, position + 1)
            yield x + width, y + height
            # Behind the descriptor: its colors, and the first size of a code.
            position = _behind_blocks(data, position + 10 + _color_table(data[position + 9]) + 1, budget)
        elif kind == 0x21:
            _check_extension(data, position + 1)
            position = _behind_blocks(data, position + 2, budget)
        elif kind == 0:
            # Some encoders end the data of a frame twice.
            position += 1
        else:
            raise ValueError("unknown kind of GIF block")
    raise ValueError("too many blocks")


def _check_extension(data: bytes, position: int) -> None:
    """Refuse an extension without its data: decoders disagree on where it ends, and so on which frames there are."""
    label, first = data[position], data[position + 1]
    behind = position + 2 + first
    is_loop = label == 0xFF and data[position + 2 : behind] in (b"NETSCAPE2.0", b"ANIMEXTS1.0")
    if label != 0xFE and (not first or (is_loop and not data[behind])):
        raise ValueError("an extension without data")


def _behind_blocks(data: bytes, position: int, budget: Iterator[int]) -> int:
    """Return where the data of a frame or an extension ends, which comes in blocks of up to 255 bytes."""
    for _ in budget:
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise ValueError("too many blocks")


def _color_table(flags: int) -> int:
    """Return the bytes of the color table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
