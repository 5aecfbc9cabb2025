"""The contact sheet: all images of a job on one page, with the prompt as its title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

TILE = 420
GUTTER = 28
MARGIN = 64
CAPTION = 76
CORNER = 14

_PAPER = "#14161b"
_FRAME = "#1f232b"
_INK = "#f4f1ea"
_FAINT = "#8f96a3"
_ACCENT = "#e8b04b"
_ALARM = "#e2725b"
# Drawn at this many times their size, then reduced: Pillow does not smooth the edges of what it draws.
_SMOOTH = 4
# For prompts beyond the letters of Pillow's own typeface.
_WIDE_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "segoeui.ttf",
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Tile:
    """One model's place on the sheet.

    Attributes
    ----------
    detail : a few words below the name, such as the provider
    seconds : what the model took
    image : its image, or None without one; `error` says why
    """

    name: str
    detail: str
    seconds: float | None
    image: Image.Image | None
    error: str = ""


def columns(count: int) -> int:
    """The number of tiles in a row."""
    return {1: 1, 2: 2, 4: 2}.get(count, 3 if count <= 9 else 4)


def draw(prompt: str, tiles: Sequence[Tile], summary: str) -> Image.Image:
    """The sheet as an RGB image; `summary` is the line below the title."""
    across = columns(len(tiles))
    down = max(1, math.ceil(len(tiles) / across))
    # A single tile still leaves room for the title.
    width = max(2 * MARGIN + across * TILE + (across - 1) * GUTTER, 2 * MARGIN + 2 * TILE + GUTTER)
    left = (width - across * TILE - (across - 1) * GUTTER) // 2
    title_font, summary_font = _font(prompt, 46), _font(summary, 22)
    title = wrap(f"“{prompt}”", title_font, width - 2 * MARGIN, lines=3)
    title_height = 58 * len(title)
    top = MARGIN + title_height + 66
    sheet = Image.new("RGB", (width, top + down * (TILE + CAPTION) + (down - 1) * 12 + MARGIN - 24), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    for number, line in enumerate(title):
        canvas.text((MARGIN, MARGIN - 8 + 58 * number), line, font=title_font, fill=_INK)
    canvas.rectangle((MARGIN, MARGIN + title_height + 11, MARGIN + 44, MARGIN + title_height + 14), fill=_ACCENT)
    (line,) = wrap(summary, summary_font, width - 2 * MARGIN - 60, lines=1) or [""]
    canvas.text((MARGIN + 60, MARGIN + title_height), line, font=summary_font, fill=_FAINT)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        _draw_tile(sheet, tile, left + column * (TILE + GUTTER), top + row * (TILE + CAPTION + 12))
    return sheet


def reduce(image: Image.Image) -> Image.Image:
    """Return the image as large as a tile shows it: forty of full size would fill a laptop's memory."""
    thumbnail = image.convert("RGB")
    thumbnail.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    return thumbnail


def wrap(text: str, font: Font, width: float, lines: int) -> list[str]:
    """The text in lines no wider than `width` pixels; what does not fit into `lines` gives way to an ellipsis."""
    wrapped: list[str] = []
    rest = " ".join(text.split())
    while rest and len(wrapped) < lines:
        fitting = _fitting(rest, font, width)
        if fitting < len(rest):
            if len(wrapped) == lines - 1:
                end = _fitting(rest, font, width - font.getlength("…"))
                wrapped.append(rest[:end].rstrip() + "…")
                break
            # Break at a space, or within a word that is wider than a line.
            space = rest.rfind(" ", 0, fitting + 1)
            fitting = space if space > 0 else fitting
        wrapped.append(rest[:fitting].rstrip())
        rest = rest[fitting:].lstrip()
    return wrapped


def _fitting(text: str, font: Font, width: float) -> int:
    """The number of characters of the text that fit into the width; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _draw_tile(sheet: Image.Image, tile: Tile, x: int, y: int) -> None:
    canvas = ImageDraw.Draw(sheet)
    panel = Image.new("RGB", (TILE, TILE), _FRAME)
    if tile.image:
        thumbnail = reduce(tile.image)
        panel.paste(thumbnail, ((TILE - thumbnail.width) // 2, (TILE - thumbnail.height) // 2))
    else:
        font = _font(tile.error, 24)
        text = wrap(tile.error or "No image", font, TILE - 80, lines=8)
        pen = ImageDraw.Draw(panel)
        height = 34 * len(text)
        pen.rectangle((40, (TILE - height) // 2 - 30, 84, (TILE - height) // 2 - 27), fill=_ALARM)
        for number, line in enumerate(text):
            pen.text((40, (TILE - height) // 2 + 34 * number), line, font=font, fill=_INK)
    sheet.paste(panel, (x, y), _rounded(TILE, CORNER))

    # An image without a duration is a reference image.
    seconds = f"{tile.seconds:.1f} s" if tile.seconds is not None else "" if tile.image else "–"
    seconds_font, name_font, detail_font = _font(seconds, 22), _font(tile.name, 24), _font(tile.detail, 18)
    seconds_width = seconds_font.getlength(seconds)
    canvas.text((x + TILE - seconds_width, y + TILE + 13), seconds, font=seconds_font, fill=_ACCENT)
    (name,) = wrap(tile.name, name_font, TILE - seconds_width - 16, lines=1) or [""]
    canvas.text((x, y + TILE + 12), name, font=name_font, fill=_INK)
    (detail,) = wrap(tile.detail, detail_font, TILE, lines=1) or [""]
    canvas.text((x, y + TILE + 42), detail, font=detail_font, fill=_FAINT)


def _rounded(size: int, corner: int) -> Image.Image:
    mask = Image.new("L", (size * _SMOOTH, size * _SMOOTH), 0)
    box = (0, 0, size * _SMOOTH - 1, size * _SMOOTH - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=corner * _SMOOTH, fill=255)
    return mask.resize((size, size), Image.Resampling.LANCZOS)


def _font(text: str, size: int) -> Font:
    """Pillow's own typeface where it has all letters of the text, else the machine's font that lacks the fewest."""
    missing: dict[str, int] = {}
    for name in ("", *_WIDE_FONTS):
        if font := _load(name, size):
            missing[name] = sum(not _has(font, character) for character in set(text))
            if not missing[name]:
                break
    return _load(min(missing, key=missing.__getitem__), size) or ImageFont.load_default(size)


@cache
def _load(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None


def _has(font: Font, character: str) -> bool:
    # A font draws the same box for all that it lacks, and so for what is not a character at all.
    return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))
