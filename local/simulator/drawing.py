"""A picture for a model, a prompt and a seed: always the same one for the same three and a size."""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
from bisect import bisect_right
from functools import lru_cache
from threading import BoundedSemaphore
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from local.simulator.scenes import PALETTES, SCENES, Canvas, Palette, mix

ImageFormat = Literal["png", "jpeg", "webp"]
WATERMARK = "simulated"
MAX_SEED = 4_294_967_294
# A scene is drawn larger than asked for and scaled down, which smooths its edges; big pictures are scaled up.
OVERSAMPLING = 1.5
MAX_SCENE_PIXELS = 2_400_000
# Chosen so that the models offered together differ in composition and in palette.
STYLE_SALT = 15

# More of a prompt than this fits no panel.
MAX_LETTERS = 2500

_pens = BoundedSemaphore(os.cpu_count() or 2)


def seed_for(model: str, prompt: str) -> int:
    """The seed of a request that names none, 1 to MAX_SEED."""
    return _number("seed", model, prompt) % MAX_SEED + 1


def palette_of(model: str) -> Palette:
    """The colours of a model."""
    return PALETTES[_number("palette", STYLE_SALT, model) % len(PALETTES)]


def draw(model: str, prompt: str, seed: int, size: tuple[int, int], *, transparent: bool = False) -> Image.Image:
    """Draw the picture of this size in pixels; RGBA where it is transparent, else RGB."""
    with _pens:
        image = _scene(model, prompt, seed, size)
        _letter(image, model, prompt, palette_of(model))
        if transparent:
            image.putalpha(_rounded(size, round(min(size) * 0.16)))
        return image


def encode(image: Image.Image, image_format: ImageFormat, quality: int = 90, *, lossless: bool = False) -> bytes:
    """Encode the picture; `quality`, 0 to 100, counts for JPEG and lossy WebP, `lossless` for WebP."""
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


def _scene(model: str, prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = size[0] * size[1]
    scale = min(OVERSAMPLING, math.sqrt(MAX_SCENE_PIXELS / pixels))
    palette = palette_of(model)
    chance = random.Random(_number("picture", model, prompt, seed))
    canvas = Canvas((max(8, round(size[0] * scale)), max(8, round(size[1] * scale))), palette, chance)
    SCENES[_number("scene", STYLE_SALT, model) % len(SCENES)](canvas)
    return canvas.image.resize(size, Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.HAMMING)


def _letter(image: Image.Image, model: str, prompt: str, palette: Palette) -> None:
    """Set the prompt on a panel, the model's name above it, and the watermark in a corner."""
    width, height = image.size
    unit = math.sqrt(width * height)
    margin = max(2, round(min(unit * 0.045, width * 0.06, height * 0.06)))
    padding = max(2, round(margin * 0.75))
    printable = "".join(c if c.isprintable() else " " for c in prompt[:MAX_LETTERS])
    text = " ".join(printable.encode("utf-8", "replace").decode().split())
    room = width - 2 * margin - 2 * padding
    name_size = max(7, round(min(unit * 0.021, width * 0.05)))
    size = max(8, round(min(unit * 0.047, width * 0.09)))
    smallest = max(8, round(unit * 0.018))
    while True:
        font = _font(size)
        lines = _wrap(text, font, room)
        if len(lines) * size * 1.28 <= height * 0.36 or size <= smallest:
            break
        size = max(smallest, round(size * 0.88))
    fitting = max(1, int(height * 0.42 / (size * 1.28)))
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], lines[fitting - 1].rstrip(" .,;") + " …"]

    line_height = size * 1.28
    tall = round(padding * 1.7 + name_size * 1.5 + line_height * len(lines))
    widest = max([font.getlength(line) for line in lines] + [_font(name_size).getlength(model)])
    box = (margin, height - margin - tall, min(width - margin, round(margin + 2 * padding + widest)), height - margin)
    _glass(image, box, mix(palette.deep, (0, 0, 0), 0.45), 0.62)
    pen = ImageDraw.Draw(image)
    x, y = box[0] + padding, box[1] + padding * 0.8
    pen.text((x, y), model, font=_font(name_size), fill=mix(palette.accent, (255, 255, 255), 0.45))
    y += name_size * 1.5
    for line in lines:
        pen.text((x, y), line, font=font, fill=(255, 255, 255))
        y += line_height
    _stamp(image, margin, name_size)


def _stamp(image: Image.Image, margin: int, size: int) -> None:
    """The watermark, on a pill in the upper right corner."""
    font = _font(size)
    wide, tall = round(font.getlength(WATERMARK) + size * 1.5), round(size * 1.85)
    box = (max(0, image.width - margin - wide), margin, image.width - margin, margin + tall)
    if box[2] <= box[0] or box[3] > image.height:
        return
    _glass(image, box, (0, 0, 0), 0.5)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    ImageDraw.Draw(image).text(middle, WATERMARK, font=font, fill=(255, 255, 255), anchor="mm")


def _glass(image: Image.Image, box: tuple[int, int, int, int], tint: tuple[int, int, int], strength: float) -> None:
    """Darkened frosted glass with round corners."""
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), min(image.width, box[2]), min(image.height, box[3])
    if right - left < 4 or bottom - top < 4:
        return
    size = (right - left, bottom - top)
    behind = image.crop((left, top, right, bottom))
    shrink = max(1, min(8, min(size) // 8))
    small = (max(1, size[0] // shrink), max(1, size[1] // shrink))
    behind = (
        behind.resize(small, Image.Resampling.BOX)
        .filter(ImageFilter.GaussianBlur(2))
        .resize(size, Image.Resampling.BICUBIC)
    )
    radius = round(min(min(size) / 2, min(image.size) * 0.035))
    image.paste(Image.blend(behind, Image.new("RGB", size, tint), strength), (left, top), _rounded(size, radius))


@lru_cache(maxsize=64)
def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """A mask with smooth round corners."""
    mask = Image.new("L", size, 255)
    corner = Image.new("L", (radius * 4, radius * 4), 0)
    ImageDraw.Draw(corner).ellipse((0, 0, radius * 8, radius * 8), fill=255)
    corner = corner.resize((radius, radius), Image.Resampling.BOX) if radius else corner
    for turn, place in enumerate(
        ((0, 0), (0, size[1] - radius), (size[0] - radius, size[1] - radius), (size[0] - radius, 0))
    ):
        if radius:
            mask.paste(corner.rotate(90 * turn), place)
    return mask


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> list[str]:
    """Break the text into lines at most this wide; a word wider than that is broken inside."""
    lines, line = [], ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if font.getlength(candidate) <= room:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while len(keep := _fitting(line, font, room)) < len(line):
            lines.append(keep)
            line = line[len(keep) :]
    return [*lines, line] if line else lines


def _fitting(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """As much of the beginning of a word as is at most this wide, but one letter at least."""
    # Hardly a letter is narrower than a fifth of an i; where one is, the line merely breaks early.
    most = min(len(word), int(room / font.getlength("i") * 5) + 1)
    keep = bisect_right(range(1, most + 1), room, key=lambda count: font.getlength(word[:count]))
    return word[: max(1, keep)]
