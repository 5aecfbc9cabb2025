"""The scenes a simulated model may draw, each from a palette and a source of randomness."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from PIL import Image, ImageColor, ImageDraw

Color = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# The palettes form a circle: neighbors go together, and the models use six of them from where the prompt's words begin.
PALETTES = """
0d0221 3a0ca3 f72585 4cc9f0 fef3ff
17153b 433d8b 8f8bd8 f4c95d faf6ff
13315c 35679a d98e5f f0c9a0 fbf3e8
0b1d3a 28527a 6aa9d8 ff8a5b f4fafd
04293a 0a5a75 2a9d8f ffd166 fdf6e3
12372a 2e8b6f 9ad0b0 ff6f61 fdf7ee
10241b 245c3f 7fb069 e6c229 fff8dc
3b1f2b 8c3b3b d9784f f2c078 fff3dc
240a0a 8f1d14 e8571f ffc145 fff1d0
2b0f2f 7a1f5c d4477d f7b267 ffe9d6
1d1a3a 5b2a6e e05a6d ffb26b fff0c9
""".strip().splitlines()
MOODS = {
    9: ["night", "city", "neon", "moon", "stars", "space", "robot", "dark", "dream"],
    1: ["sea", "ocean", "water", "lake", "river", "rain", "ice", "snow", "winter", "fog", "sky", "blue"],
    4: ["forest", "tree", "trees", "garden", "green", "spring", "jungle", "frog", "mountain"],
    6: ["fire", "sun", "sunset", "desert", "autumn", "red", "coffee", "bread", "gold", "cat"],
}


class Palette(NamedTuple):
    """Five colors from dark to light; `accent` stands out against the others."""

    deep: Color
    middle: Color
    light: Color
    accent: Color
    pale: Color


def palette_for(model_number: int, prompt: str, prompt_number: int) -> Palette:
    """Choose the colors by the prompt's words, and among those that suit them by the model's number."""
    words = {word.strip(",.!?") for word in prompt.lower().split()}
    start = next((place for place, mood in MOODS.items() if words.intersection(mood)), prompt_number)
    text = PALETTES[(start + model_number % 6) % len(PALETTES)]
    return Palette(*(ImageColor.getrgb(f"#{code}")[:3] for code in text.split()))


def mix(first: Color, second: Color, share: float) -> Color:
    """Return the first color with this share, 0 to 1, of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """The canvas of a scene, with the palette and the randomness to draw from."""

    def __init__(self, size: tuple[int, int], palette: Palette, rng: random.Random) -> None:
        self.width, self.height = size
        self.palette, self.rng, self.unit = palette, rng, math.sqrt(self.width * self.height)
        self.image = Image.new("RGB", size, palette.deep)
        self.draw = ImageDraw.Draw(self.image)

    def gradient(self, *colors: Color) -> None:
        """Fill the canvas with these colors, blended from top to bottom."""
        column = Image.new("RGB", (1, len(colors)))
        column.putdata(colors)
        self.image.paste(column.resize(self.image.size, Image.Resampling.BICUBIC))

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float = 0.8) -> None:
        """Add light around a point, fading out at the radius."""
        # Pillow's gradient gets to 181 in the middle of an edge, and is lighter only in the corners.
        mask = Image.radial_gradient("L").point(lambda value: round(max(0, 1 - value / 181) ** 2 * 255 * strength))
        side, left, top = max(2, round(radius * 2)), round(x - radius), round(y - radius)
        self.image.paste(color, (left, top, left + side, top + side), mask.resize((side, side)))

    def sun(self, low: float, high: float, color: Color) -> None:
        """Draw a glowing disc between two shares of the height."""
        radius = self.unit * self.rng.uniform(0.06, 0.11)
        x, y = self.width * self.rng.uniform(0.2, 0.8), self.height * self.rng.uniform(low, high)
        self.glow(x, y, radius * 4.5, color)
        self.draw.circle((x, y), radius, mix(color, WHITE, 0.4))

    def ridge(self, base: float, height: float, waves: int, color: Color) -> list[tuple[float, float]]:
        """Fill everything below a random line of hills or waves around `base`; return its points from left to right."""
        sines = [
            (height / n**1.15, n * self.rng.uniform(0.55, 1.1) * math.tau / self.width, self.rng.uniform(0, math.tau))
            for n in range(1, waves + 1)
        ]
        xs = range(-8, self.width + 17, 8)
        line = [(float(x), base + sum(size * math.sin(rate * x + shift) for size, rate, shift in sines)) for x in xs]
        self.draw.polygon([(-8, self.height), *line, (self.width + 16, self.height)], fill=color)
        return line


def hills(canvas: Canvas) -> None:
    """Hills with pines at sunset, paler with distance."""
    p, rng, h, unit = canvas.palette, canvas.rng, canvas.height, canvas.unit
    canvas.gradient(mix(p.deep, p.middle, 0.5), p.middle, p.light, p.accent, p.pale, p.pale)
    canvas.sun(0.3, 0.44, p.pale)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        color = mix(mix(p.accent, p.light, 0.6), p.deep, 0.12 + 0.88 * share)
        line = canvas.ridge(h * (0.5 + 0.36 * share), h * (0.04 + 0.03 * share), 5, color)
        for x, y in line[:: rng.randint(3, 6)] if share > 0.5 else ():
            tall = unit * rng.uniform(0.02, 0.06) * share
            for tier in (0.0, 0.3, 0.6):
                top, half = y - tall * (1 - tier), tall * (0.12 + 0.25 * tier)
                canvas.draw.polygon([(x, top), (x - half, top + tall / 2), (x + half, top + tall / 2)], fill=color)


def sea(canvas: Canvas) -> None:
    """Waves with bright crests under a low sun, and sails."""
    p, rng, w, h, unit = canvas.palette, canvas.rng, canvas.width, canvas.height, canvas.unit
    canvas.gradient(mix(p.light, p.pale, 0.4), p.pale, mix(p.pale, p.accent, 0.5), p.accent)
    canvas.sun(0.14, 0.26, p.accent)
    for band in range(12):
        share = band / 11
        base, color = (
            h * (0.36 + 0.66 * share),
            mix(mix(p.light, p.pale, 0.3), mix(p.middle, p.deep, share), share**0.7),
        )
        if band in (1, 3):
            x, y, tall = w * rng.uniform(0.15, 0.85), base + unit * 0.03, unit * (0.13 + 0.02 * band)
            canvas.draw.polygon([(x, y - tall), (x, y), (x + tall * 0.5, y)], fill=WHITE)
            canvas.draw.polygon([(x - tall * 0.06, y - tall * 0.8), (x - tall * 0.06, y), (x - tall * 0.4, y)], p.pale)
        line = canvas.ridge(base, h * (0.012 + 0.025 * share), 3, color)
        canvas.draw.line(line, fill=mix(color, p.pale, 0.5 - 0.3 * share), width=max(1, round(unit / 330)))


def city(canvas: Canvas) -> None:
    """A skyline with lit windows under the moon."""
    p, rng, w, h, unit = canvas.palette, canvas.rng, canvas.width, canvas.height, canvas.unit
    canvas.gradient(mix(p.deep, BLACK, 0.3), p.deep, p.middle, p.light, p.accent)
    canvas.sun(0.14, 0.3, p.pale)
    pane = unit * 0.009
    for share in (0.0, 0.5, 1.0):
        body, x = mix(mix(p.middle, p.light, 0.5), mix(p.deep, BLACK, 0.4), 0.2 + 0.8 * share), -unit * 0.02
        while x < w:
            wide, top = unit * rng.uniform(0.06, 0.13), h * (rng.uniform(0.32, 0.6) + 0.16 * share)
            roof = (x + wide / 2, top - wide * rng.choice((0, 0.5)))
            canvas.draw.polygon([(x, h), (x, top), roof, (x + wide, top), (x + wide, h)], fill=body)
            rows, columns = range(int((h - top) / pane / 3) if share else 0), range(int(wide / pane / 2.5))
            for row, column in product(rows, columns):
                if rng.random() < 0.4:
                    left, upper = x + pane * (0.8 + 2.5 * column), top + pane * (1.5 + 3 * row)
                    lit = mix(body, mix(p.accent, p.pale, rng.random()), 0.4 + 0.6 * share)
                    canvas.draw.rectangle((left, upper, left + pane, upper + pane * 1.4), fill=lit)
            x += wide * rng.uniform(0.85, 1.2)


def still_life(canvas: Canvas) -> None:
    """A vase of flowers and some fruit on a table."""
    p, rng, w, h, unit = canvas.palette, canvas.rng, canvas.width, canvas.height, canvas.unit
    canvas.gradient(mix(p.pale, p.light, 0.5), p.pale, mix(p.pale, p.accent, 0.4))
    x, table = w * rng.uniform(0.38, 0.62), h * 0.68
    canvas.glow(x, h * 0.35, unit * 0.5, WHITE)
    canvas.draw.rectangle((0, table, w, h), fill=mix(p.middle, p.deep, 0.4))
    foot, neck = table + unit * 0.05, table - unit * 0.2
    for _ in range(rng.randint(9, 13)):
        tip = (x + unit * rng.uniform(-0.27, 0.27), neck - unit * rng.uniform(0.06, 0.34))
        canvas.draw.line([(x, neck), tip], fill=mix(p.deep, p.light, 0.3), width=max(1, round(unit * 0.006)))
        size, petal = unit * rng.uniform(0.025, 0.042), rng.choice((p.accent, p.light, p.middle))
        for turn in range(8):
            angle = turn * math.tau / 8
            canvas.draw.circle((tip[0] + size * math.cos(angle), tip[1] + size * math.sin(angle)), size * 0.55, petal)
        canvas.draw.circle(tip, size * 0.6, mix(p.pale, p.accent, 0.3))
    canvas.draw.ellipse((x - unit * 0.12, neck + unit * 0.03, x + unit * 0.12, foot), fill=p.middle)
    canvas.draw.rectangle((x - unit * 0.045, neck, x + unit * 0.045, neck + unit * 0.09), fill=p.middle)
    canvas.glow(x - unit * 0.04, neck + unit * 0.11, unit * 0.08, p.pale, 0.6)
    for side in (-1, 1, 1):
        radius, place = unit * rng.uniform(0.045, 0.075), x + side * unit * rng.uniform(0.18, 0.34)
        canvas.draw.ellipse((place - radius, foot - radius * 0.1, place + radius * 1.6, foot + radius * 0.3), p.deep)
        canvas.draw.circle((place, foot - radius * 0.8), radius, rng.choice((p.accent, p.light)))
        canvas.glow(place - radius * 0.3, foot - radius * 1.1, radius * 0.6, WHITE, 0.7)


def rings(canvas: Canvas) -> None:
    """Broken rings around a glowing center."""
    p, rng, w, h, unit = canvas.palette, canvas.rng, canvas.width, canvas.height, canvas.unit
    canvas.gradient(mix(p.deep, BLACK, 0.4), mix(p.deep, p.middle, 0.4), mix(p.deep, BLACK, 0.4))
    x, y, radius = w * rng.uniform(0.36, 0.64), h * rng.uniform(0.32, 0.48), unit * 0.09
    canvas.glow(x, y, unit * 0.7, p.light)
    while radius < max(w, h):
        box, width, start = (x - radius, y - radius, x + radius, y + radius), unit * rng.uniform(0.01, 0.035), 0.0
        while start < 320:
            end, color = start + rng.uniform(30, 150), mix(rng.choice(p[1:]), p.deep, min(0.6, radius / unit * 0.7))
            canvas.draw.arc(box, start + radius, end + radius, fill=color, width=round(width))
            start = end + rng.uniform(15, 60)
        radius += width + unit * rng.uniform(0.012, 0.026)
    canvas.glow(x, y, unit * 0.14, WHITE, 1)
    canvas.draw.circle((x, y), unit * 0.045, mix(p.pale, WHITE, 0.5))


SCENES: tuple[Callable[[Canvas], None], ...] = (hills, sea, city, still_life, rings)
