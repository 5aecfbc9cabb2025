"""An image for a model, a prompt, and a seed: always the same one for the same three and a size."""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from threading import BoundedSemaphore
from typing import Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.ImageFont import FreeTypeFont

from local.simulator.scenes import BLACK, SCENES, WHITE, Canvas, Palette, mix, palette_for

ImageFormat = Literal["png", "jpeg", "webp"]
WATERMARK = "simulated"
MAX_SEED = 4_294_967_294
# A scene is drawn larger than asked for and scaled down, which smooths its edges; large images are scaled up.
OVERSAMPLING = 1.5
MAX_SCENE_PIXELS = 2_400_000
# Chosen so that the models offered together differ in scene and palette.
STYLE_SALT = 57013
# Longer prompts fit no panel.
MAX_LETTERS = 2500

_pens = BoundedSemaphore(os.cpu_count() or 2)


def seed_for(model: str, prompt: str) -> int:
    """Return the seed of a request that names none, 1 to MAX_SEED."""
    return _number("seed", model, prompt) % MAX_SEED + 1


def palette_of(model: str, prompt: str) -> Palette:
    """Return the colors of a model's images of this prompt."""
    return palette_for(_number("palette", STYLE_SALT, model), prompt, _number(prompt))


def draw(
    model: str,
    prompt: str,
    seed: int,
    size: tuple[int, int],
    *,
    transparent: bool = False,
    references: Sequence[Image.Image] = (),
) -> Image.Image:
    """Draw the image of this size in pixels, with the references small in a row.

    It is RGBA where it is transparent, else RGB.
    """
    with _pens:
        palette = palette_of(model, prompt)
        scale = min(OVERSAMPLING, math.sqrt(MAX_SCENE_PIXELS / (size[0] * size[1])))
        width, height = (max(8, round(side * scale)) for side in size)
        canvas = Canvas((width, height), palette, random.Random(_number("image", model, prompt, seed)))
        SCENES[_number("scene", STYLE_SALT, model) % len(SCENES)](canvas)
        image = canvas.image.resize(size, Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.HAMMING)
        _write(image, model, prompt, palette)
        _show(image, references)
        if transparent:
            image.putalpha(_rounded(size, min(size) // 6, 255))
        return image


def encode(image: Image.Image, image_format: ImageFormat, quality: int = 90, *, lossless: bool = False) -> bytes:
    """Encode the image; `quality`, 0 to 100, counts for JPEG and lossy WebP, `lossless` for WebP."""
    buffer = io.BytesIO()
    if image_format == "png":
        image.save(buffer, "PNG", compress_level=2)
    elif image_format == "jpeg":
        image.convert("RGB").save(buffer, "JPEG", quality=max(1, min(95, quality)))
    else:
        image.save(buffer, "WEBP", quality=0 if lossless else quality, lossless=lossless, method=0)
    return buffer.getvalue()


def _number(*parts: object) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


def _write(image: Image.Image, model: str, prompt: str, palette: Palette) -> None:
    """Write the model's name and the prompt on a panel at the bottom, and the watermark in the upper right corner."""
    unit = min(math.sqrt(image.width * image.height), 2 * min(image.size))
    margin = max(2, round(unit * 0.04))
    room = max(1, image.width - 4 * margin)
    printable = "".join(letter if letter.isprintable() else " " for letter in prompt[:MAX_LETTERS])
    name_font = _font(max(7, unit * 0.021))
    for share in (0.047, 0.034, 0.024):
        font = _font(max(8, unit * share))
        most = max(1, int(image.height * 0.36 / (font.size * 1.28)))
        lines = _wrapped(printable.encode("utf-8", "replace").decode(), font, room)
        if len(lines) <= most:
            break
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + " …"]
    pen = ImageDraw.Draw(image)
    widest = max([name_font.getlength(model), *(font.getlength(line) for line in lines)])
    height = round(margin * 1.2 + name_font.size * 1.5 + font.size * 1.28 * len(lines))
    top = image.height - margin - height
    _panel(image, (margin, top), (round(min(widest, room)) + 2 * margin, height), mix(palette.deep, BLACK, 0.5))
    y = top + margin * 0.5
    pen.text((2 * margin, y), model, mix(palette.accent, WHITE, 0.45), name_font)
    y += name_font.size * 1.5
    for number, line in enumerate(lines):
        pen.text((2 * margin, y + number * font.size * 1.28), line, WHITE, font)
    size = (round(name_font.getlength(WATERMARK) + name_font.size * 1.5), round(name_font.size * 1.85))
    left = image.width - margin - size[0]
    _panel(image, (left, margin), size, BLACK)
    pen.text((left + size[0] / 2, margin + size[1] / 2), WATERMARK, WHITE, name_font, anchor="mm")


def _show(image: Image.Image, references: Sequence[Image.Image]) -> None:
    """Paste the references in a row from the upper left corner, each in a white frame."""
    unit = min(math.sqrt(image.width * image.height), 2 * min(image.size))
    margin, frame = max(2, round(unit * 0.04)), max(1, round(unit * 0.006))
    # The watermark is beside the row.
    room = image.width * 0.75 - margin
    side = max(1, round(min(unit * 0.22, room / max(1, len(references)) - 3 * frame)))
    left = margin
    for reference in references:
        small = ImageOps.contain(reference, (side, side)).convert("RGBA")
        image.paste(WHITE, (left, margin, left + small.width + 2 * frame, margin + small.height + 2 * frame))
        image.paste(small, (left + frame, margin + frame), small)
        left += small.width + 3 * frame


@lru_cache(maxsize=64)
def _font(size: float) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    # Without FreeType, Pillow has only a bitmap font of one size, which no wheel of Pillow's is.
    assert isinstance(font, FreeTypeFont)
    return font


def _wrapped(text: str, font: FreeTypeFont, room: float) -> list[str]:
    """Break the text into lines at most this wide, as far as letters of ordinary width go."""
    columns = max(1, int(room / font.getlength("n")))
    while True:
        lines = textwrap.wrap(text, columns)
        widest = max(map(font.getlength, lines), default=0)
        if widest <= room or columns == 1:
            return lines
        columns = max(1, min(columns - 1, int(columns * room / widest)))


def _panel(image: Image.Image, place: tuple[int, int], size: tuple[int, int], color: tuple[int, int, int]) -> None:
    image.paste(color, (*place, place[0] + size[0], place[1] + size[1]), _rounded(size, min(size) // 4, 205))


def _rounded(size: tuple[int, int], radius: int, strength: int) -> Image.Image:
    """Return a mask of this strength with round corners, drawn twice as large so that they get smooth."""
    mask = Image.new("L", (size[0] * 2, size[1] * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 2, fill=strength)
    return mask.reduce(2)
