"""The compositions a simulated model may draw, each from a palette and a source of chance."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Palette(NamedTuple):
    """Five colours from dark to light; `accent` stands out against all."""

    deep: Colour
    middle: Colour
    light: Colour
    accent: Colour
    pale: Colour

    @classmethod
    def of(cls, text: str) -> Palette:
        """Five colours as hexadecimal digits, separated by blanks."""
        deep, middle, light, accent, pale = (
            (int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)) for code in text.split()
        )
        return cls(deep, middle, light, accent, pale)


PALETTES = tuple(
    Palette.of(text)
    for text in (
        "1d1a3a 5b2a6e e05a6d ffb26b fff0c9",
        "04293a 0a5a75 2a9d8f ffd166 fdf6e3",
        "10241b 245c3f 7fb069 e6c229 fff8dc",
        "3b1f2b 8c3b3b d9784f f2c078 fff3dc",
        "0b1d3a 28527a 6aa9d8 ff8a5b f4fafd",
        "0d0221 3a0ca3 f72585 4cc9f0 fef3ff",
        "2b0f2f 7a1f5c d4477d f7b267 ffe9d6",
        "22301c 5d6d3a a3b265 d96c47 f7f3e3",
        "1b2a41 3f6c8f 89b6c4 f2545b f9f4ef",
        "240a0a 8f1d14 e8571f ffc145 fff1d0",
        "0f2f3a 1f7a7a 66c2a5 fc8d62 fff4e6",
        "17153b 433d8b 8f8bd8 f4c95d faf6ff",
        "12372a 2e8b6f 9ad0b0 ff6f61 fdf7ee",
        "2a1a4a 6b4c9a b79ad6 f6c945 fbf5ea",
        "20262e 4a5a6a 93a8b8 c6f135 f5f8f2",
        "13315c 35679a d98e5f f0c9a0 fbf3e8",
    )
)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with this share, 0 to 1, of the second."""
    t = min(1.0, max(0.0, share))
    red, green, blue = (round(a + (b - a) * t) for a, b in zip(first, second, strict=True))
    return red, green, blue


def along(colours: Sequence[Colour], position: float) -> Colour:
    """The colour at a position, 0 to 1, of an even gradient."""
    place = min(0.9999, max(0.0, position)) * (len(colours) - 1)
    return mix(colours[int(place)], colours[int(place) + 1], place % 1)


@lru_cache(maxsize=1)
def _spot() -> Image.Image:
    """A soft round spot, white in the middle and black from its rim on."""
    # Pillow's gradient reaches white in the corners: 181 is its value at the middle of an edge.
    return Image.radial_gradient("L").point(lambda value: max(0, 255 - round(value * 255 / 181)))


class Canvas:
    """What a scene is drawn on: its image, and the model's palette and chance."""

    def __init__(self, size: tuple[int, int], palette: Palette, chance: random.Random) -> None:
        self.width, self.height = size
        self.unit = math.sqrt(self.width * self.height)
        self.palette = palette
        self.chance = chance
        self.image = Image.new("RGB", size, palette.deep)
        self.draw = ImageDraw.Draw(self.image)

    def gradient(self, colours: Sequence[Colour], *, slant: bool = False) -> None:
        """Fill the canvas from top to bottom, or from one corner to the other."""
        if slant:
            steps = 24
            small = Image.new("RGB", (steps, steps))
            small.putdata([along(colours, (x + y) / (2 * steps - 2)) for y in range(steps) for x in range(steps)])
        else:
            small = Image.new("RGB", (1, 96))
            small.putdata([along(colours, y / 95) for y in range(96)])
        self.image.paste(small.resize(self.image.size, Image.Resampling.BICUBIC))

    def glow(self, centre: Point, radius: float, colour: Colour, strength: float = 1.0, squash: float = 1.0) -> None:
        """Light around a point, fading out at the radius."""
        side, tall = max(2, round(radius * 2)), max(2, round(radius * 2 * squash))
        mask = _spot().point(lambda value: round((value / 255) ** 2 * 255 * strength))
        left, top = round(centre[0] - side / 2), round(centre[1] - tall / 2)
        self.image.paste(
            colour, (left, top, left + side, top + tall), mask.resize((side, tall), Image.Resampling.BILINEAR)
        )

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        x, y = centre
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def ridge(self, base: float, height: float, detail: int, step: int = 6) -> list[Point]:
        """A line of hills from the left edge to the right: heights around `base`, in pixels."""
        chance = self.chance
        waves = [
            (height / (n**1.15), n * chance.uniform(0.55, 1.1) * math.tau / self.width, chance.uniform(0, math.tau))
            for n in range(1, detail + 1)
        ]
        points = []
        for x in range(-step, self.width + 2 * step, step):
            points.append((float(x), base + sum(size * math.sin(rate * x + shift) for size, rate, shift in waves)))
        return points

    def fill_below(self, line: Sequence[Point], colour: Colour) -> None:
        """Fill everything under a line that runs from left to right."""
        self.draw.polygon([*line, (line[-1][0], self.height + 2), (line[0][0], self.height + 2)], fill=colour)


def hills(canvas: Canvas) -> None:
    """Hills at sunset, paler with distance."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([mix(p.deep, p.middle, 0.45), p.middle, p.light, p.accent, p.pale])
    sun = (w * chance.uniform(0.25, 0.75), h * chance.uniform(0.34, 0.46))
    radius = canvas.unit * chance.uniform(0.07, 0.11)
    canvas.glow(sun, radius * 5, p.pale, 0.75)
    canvas.disc(sun, radius, mix(p.pale, (255, 255, 255), 0.5))
    for _ in range(chance.randint(4, 8)):
        x, y, size = w * chance.random(), h * chance.uniform(0.12, 0.35), canvas.unit * chance.uniform(0.010, 0.018)
        for side in (-1, 1):
            box = (x + side * size - size, y - size * 0.5, x + side * size + size, y + size)
            canvas.draw.arc(
                box, 200 if side < 0 else 190, 350 if side < 0 else 340, fill=p.deep, width=max(2, round(size / 5))
            )
    layers = 6
    for layer in range(layers):
        share = layer / (layers - 1)
        line = canvas.ridge(h * (0.50 + 0.37 * share), h * (0.045 + 0.03 * share), 5)
        colour = mix(mix(p.accent, p.light, 0.6), p.deep, 0.12 + 0.88 * share**0.8)
        canvas.fill_below(line, colour)
        if layer >= layers - 2:
            for x, y in line[:: chance.randint(4, 7)]:
                tall = canvas.unit * chance.uniform(0.02, 0.055) * (0.6 + share * 0.6)
                for tier in range(3):
                    top = y - tall + tier * tall * 0.26
                    half = tall * (0.10 + 0.08 * tier)
                    canvas.draw.polygon(
                        [(x, top), (x - half, top + tall * 0.42), (x + half, top + tall * 0.42)], fill=colour
                    )


def skyline(canvas: Canvas) -> None:
    """A city by night, mirrored in water."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([p.deep, mix(p.deep, p.middle, 0.7), p.middle, p.light, mix(p.accent, p.light, 0.3), p.deep])
    moon = (w * chance.uniform(0.2, 0.8), h * chance.uniform(0.18, 0.34))
    radius = canvas.unit * chance.uniform(0.08, 0.13)
    canvas.glow(moon, radius * 3.2, p.accent, 0.6)
    canvas.disc(moon, radius, p.pale)
    shore = round(h * 0.72)
    for layer in range(3):
        share = layer / 2
        body = mix(mix(p.middle, p.light, 0.45), mix(p.deep, (0, 0, 0), 0.35), 0.25 + 0.75 * share)
        x = -canvas.unit * 0.02
        while x < w:
            wide = canvas.unit * chance.uniform(0.045, 0.11)
            tall = h * chance.uniform(0.16, 0.46) * (1.12 - 0.36 * share)
            top = shore - tall
            canvas.draw.rectangle((x, top, x + wide, shore), fill=body)
            crown = chance.random()
            if crown < 0.22:
                canvas.draw.polygon([(x, top), (x + wide / 2, top - wide * 0.5), (x + wide, top)], fill=body)
            elif crown < 0.4:
                middle = x + wide / 2
                thick = max(2.0, wide * 0.04)
                canvas.draw.rectangle((middle - thick, top - wide * 0.8, middle + thick, top), fill=body)
            elif crown < 0.6:
                canvas.draw.rectangle((x + wide * 0.2, top - wide * 0.25, x + wide * 0.8, top), fill=body)
            if layer:
                pane = canvas.unit * 0.0075
                for row in range(int(tall / (pane * 3.2))):
                    for column in range(int((wide - pane) / (pane * 2.4))):
                        if chance.random() < 0.38:
                            left, upper = x + pane * (1 + 2.4 * column), top + pane * (1.5 + 3.2 * row)
                            lit = mix(p.accent, p.pale, chance.random()) if chance.random() < 0.8 else p.light
                            canvas.draw.rectangle(
                                (left, upper, left + pane, upper + pane * 1.5), fill=mix(body, lit, 0.5 + share / 2)
                            )
            x += wide * chance.uniform(0.82, 1.15)
    above = canvas.image.crop((0, max(0, shore - (h - shore)), w, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    above = above.reduce(4).filter(ImageFilter.BoxBlur((3, 0.6))).resize((w, h - shore), Image.Resampling.BICUBIC)
    water = Image.new("RGB", above.size, mix(p.deep, p.middle, 0.4))
    canvas.image.paste(Image.blend(above, water, 0.42), (0, shore))
    for _ in range(70):
        y = shore + (h - shore) * chance.random() ** 1.4
        x, long = w * chance.random(), canvas.unit * chance.uniform(0.02, 0.12) * (0.4 + (y - shore) / (h - shore))
        canvas.draw.line(
            (x, y, x + long, y),
            fill=mix(p.middle, p.accent, chance.uniform(0.1, 0.6)),
            width=max(1, round(canvas.unit / 700)),
        )


def rings(canvas: Canvas) -> None:
    """Concentric arcs around a glowing middle."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([mix(p.deep, (0, 0, 0), 0.3), mix(p.deep, p.middle, 0.5), p.deep], slant=True)
    centre = (w * chance.uniform(0.36, 0.64), h * chance.uniform(0.32, 0.48))
    canvas.glow(centre, canvas.unit * 0.62, p.light, 0.7)
    colours = [p.light, p.accent, p.pale, p.middle, mix(p.light, p.accent, 0.5)]
    radius, thick = canvas.unit * 0.07, canvas.unit * 0.02
    while radius < max(w, h) * 0.95:
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        start, fade = chance.uniform(0, 360), min(0.6, radius / max(w, h) * 0.75)
        for _ in range(chance.randint(1, 3)):
            sweep = chance.uniform(50, 190)
            colour = mix(chance.choice(colours), p.deep, fade)
            canvas.draw.arc(box, start, start + sweep, fill=colour, width=round(thick))
            for angle in (start, start + sweep):
                x = centre[0] + (radius - thick / 2) * math.cos(math.radians(angle))
                y = centre[1] + (radius - thick / 2) * math.sin(math.radians(angle))
                canvas.disc((x, y), thick / 2, colour)
            start += sweep + chance.uniform(20, 60)
        if chance.random() < 0.5:
            angle, far = chance.uniform(0, math.tau), radius + thick * 0.9
            spot = (centre[0] + far * math.cos(angle), centre[1] + far * math.sin(angle))
            canvas.disc(spot, thick * 0.42, mix(p.pale, p.accent, chance.random()))
        thick = canvas.unit * chance.uniform(0.010, 0.034)
        radius += thick + canvas.unit * chance.uniform(0.012, 0.026)
    canvas.glow(centre, canvas.unit * 0.13, p.pale, 0.9)
    canvas.disc(centre, canvas.unit * 0.042, mix(p.pale, (255, 255, 255), 0.4))


def facets(canvas: Canvas) -> None:
    """Low-poly triangles over a lit landscape of colour."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    guide = Canvas((64, max(8, round(64 * h / w))), p, chance)
    guide.gradient([p.middle, p.light, p.accent, p.light, p.middle, p.deep], slant=chance.random() < 0.5)
    spot = (guide.width * chance.uniform(0.2, 0.8), guide.height * chance.uniform(0.15, 0.5))
    guide.glow(spot, guide.unit * 0.6, p.pale, 0.95)
    guide.glow((guide.width * chance.random(), guide.height * chance.uniform(0.5, 0.9)), guide.unit * 0.5, p.deep, 0.7)
    cell = canvas.unit / 11
    columns, rows = math.ceil(w / cell) + 2, math.ceil(h / cell) + 2
    nodes = [
        [
            ((column - 0.5 + chance.uniform(-0.38, 0.38)) * cell, (row - 0.5 + chance.uniform(-0.38, 0.38)) * cell)
            for column in range(columns + 1)
        ]
        for row in range(rows + 1)
    ]
    for row in range(rows):
        for column in range(columns):
            a, b = nodes[row][column], nodes[row][column + 1]
            c, d = nodes[row + 1][column], nodes[row + 1][column + 1]
            halves = ((a, b, d), (a, d, c)) if chance.random() < 0.5 else ((a, b, c), (b, d, c))
            for corners in halves:
                x = sum(corner[0] for corner in corners) / 3 / w * guide.width
                y = sum(corner[1] for corner in corners) / 3 / h * guide.height
                place = (min(guide.width - 1, max(0, int(x))), min(guide.height - 1, max(0, int(y))))
                pixel = guide.image.getpixel(place)
                base = pixel[:3] if isinstance(pixel, tuple) else p.middle
                shade = chance.uniform(-0.24, 0.24)
                lit = mix((int(base[0]), int(base[1]), int(base[2])), p.pale if shade > 0 else p.deep, abs(shade))
                canvas.draw.polygon(corners, fill=lit, outline=lit)


def waves(canvas: Canvas) -> None:
    """Flowing bands with bright crests."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([p.pale, mix(p.pale, p.accent, 0.5), p.light])
    sun = (w * chance.uniform(0.25, 0.75), h * chance.uniform(0.14, 0.24))
    canvas.glow(sun, canvas.unit * 0.4, mix(p.pale, (255, 255, 255), 0.6), 0.8)
    canvas.disc(sun, canvas.unit * chance.uniform(0.07, 0.12), p.accent)
    count = 15
    rate, drift = chance.uniform(1.1, 2.0) * math.tau / w, chance.uniform(0.35, 0.8)
    crest = max(2, round(canvas.unit / 330))
    for band in range(count):
        share = band / (count - 1)
        base, size = h * (0.27 + 0.76 * share), h * (0.028 + 0.04 * share)
        line = []
        for x in range(-8, w + 16, 8):
            swell = math.sin(rate * x + band * drift) + 0.35 * math.sin(rate * 2.3 * x - band * 1.3)
            line.append((float(x), base + size * swell))
        colour = along([mix(p.light, p.pale, 0.35), p.light, p.middle, p.deep], share)
        canvas.fill_below(line, colour)
        canvas.draw.line(line, fill=mix(colour, p.pale, 0.55 - 0.25 * share), width=crest, joint="curve")
        if band % 3 == 1:
            lower = [(x, y + size * 0.6) for x, y in line]
            canvas.draw.line(lower, fill=mix(colour, p.pale, 0.22), width=max(1, crest // 2))


def mosaic(canvas: Canvas) -> None:
    """Tiles laid in circles around a sun."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.image.paste(mix(p.deep, (0, 0, 0), 0.3), (0, 0, w, h))
    cx, cy = w * chance.uniform(0.3, 0.7), h * chance.uniform(0.3, 0.46)
    cell = canvas.unit / 27
    disc, petals, turn = canvas.unit * chance.uniform(0.12, 0.17), chance.randint(7, 12), chance.uniform(0, 1)
    horizon = h * chance.uniform(0.60, 0.72)
    outermost = math.hypot(max(cx, w - cx), max(cy, h - cy)) + cell
    near = cell * 0.15
    while near < outermost:
        far = near + cell * chance.uniform(0.85, 1.1)
        middle = (near + far) / 2
        count = max(5, round(math.tau * middle / (cell * 1.15)))
        shift = chance.random()
        for number in range(count):
            begin = (number + shift + chance.uniform(-0.08, 0.08)) / count * math.tau
            end = begin + math.tau / count
            angle = (begin + end) / 2
            x, y = cx + middle * math.cos(angle), cy + middle * math.sin(angle)
            if not (-cell < x < w + cell and -cell < y < h + cell):
                continue
            if y > horizon + math.sin(x / w * math.tau * 1.5) * cell:
                colour = along(
                    [mix(p.light, p.pale, 0.2), p.middle, mix(p.middle, p.deep, 0.7)], (y - horizon) / (h - horizon)
                )
                if abs(x - cx) < disc * 0.9 and chance.random() < 0.45:
                    colour = mix(colour, p.accent, 0.7)
            elif middle < disc:
                colour = mix(p.pale, p.accent, middle / disc * 0.8)
            elif middle < disc * (1.7 + 0.5 * math.cos(petals * (angle + turn))):
                colour = mix(p.accent, p.light, 0.25)
            else:
                colour = along([mix(p.light, p.pale, 0.55), p.light, p.middle], (middle - disc) / (canvas.unit * 0.75))
            colour = mix(colour, p.pale if chance.random() < 0.5 else p.deep, chance.uniform(0, 0.18))
            gap = cell * 0.055
            inner, outer, slit = near + gap, far - gap, gap / middle
            corners = [
                (cx + radius * math.cos(corner), cy + radius * math.sin(corner))
                for radius, corner in (
                    (inner, begin + slit),
                    (outer, begin + slit),
                    (outer, end - slit),
                    (inner, end - slit),
                )
            ]
            canvas.draw.polygon(corners, fill=colour)
            canvas.draw.line(corners[1:3], fill=mix(colour, p.pale, 0.35), width=max(1, round(cell / 16)))
        near = far


def strokes(canvas: Canvas) -> None:
    """Broad brush strokes that follow a current."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([mix(p.light, p.pale, 0.35), p.light, mix(p.middle, p.light, 0.4)])
    twist, shift = chance.uniform(0.8, 1.7), chance.uniform(0, math.tau)
    count = 105
    for number in range(count):
        share = number / count
        x, y = w * chance.uniform(-0.15, 0.98), h * chance.uniform(-0.05, 1.05)
        thick = canvas.unit * (0.085 - 0.062 * share) * chance.uniform(0.8, 1.2)
        tone = along([p.pale, p.accent, p.light, p.middle, p.deep], y / h + chance.uniform(-0.28, 0.28))
        path: list[tuple[float, float, float]] = []
        for _ in range(chance.randint(10, 15)):
            angle = math.sin(x / w * twist * 2.2 + shift) * 0.9 + math.cos(y / h * twist * 3 - shift) * 0.8
            path.append((x, y, angle))
            x, y = x + math.cos(angle) * canvas.unit * 0.034, y + math.sin(angle) * canvas.unit * 0.034
        bristles = 8
        hair = thick / bristles * 1.5
        for bristle in range(bristles):
            offset = (bristle / (bristles - 1) - 0.5) * thick
            end = len(path) - chance.randint(0, 2)
            line = [(px - math.sin(a) * offset, py + math.cos(a) * offset) for px, py, a in path[:end]]
            colour = mix(tone, p.pale if chance.random() < 0.55 else p.deep, chance.uniform(0, 0.2))
            canvas.draw.line(line, fill=colour, width=max(1, round(hair)))
            for tip in (line[0], line[-1]):
                canvas.disc(tip, hair / 2, colour)


def planet(canvas: Canvas) -> None:
    """A ringed planet in a nebula full of stars."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    night = mix(p.deep, (0, 0, 0), 0.55)
    canvas.gradient([night, mix(night, p.deep, 0.8), night], slant=True)
    for colour in (p.middle, p.light, p.middle, p.accent, p.light):
        spot = (w * chance.random(), h * chance.random())
        canvas.glow(
            spot, canvas.unit * chance.uniform(0.25, 0.55), colour, chance.uniform(0.3, 0.6), chance.uniform(0.5, 1.0)
        )
    for _ in range(420):
        size = canvas.unit * 0.0006 * (1 + 3.2 * chance.random() ** 5)
        canvas.disc((w * chance.random(), h * chance.random()), size, mix(p.pale, p.light, chance.random() * 0.8))
    for _ in range(7):
        x, y, size = w * chance.random(), h * chance.random() * 0.7, canvas.unit * chance.uniform(0.012, 0.026)
        canvas.glow((x, y), size * 1.4, p.pale, 0.7)
        for dx, dy in ((size, size * 0.09), (size * 0.09, size)):
            canvas.draw.polygon([(x - dx, y), (x, y - dy), (x + dx, y), (x, y + dy)], fill=p.pale)
    centre, radius = (
        (w * chance.uniform(0.36, 0.64), h * chance.uniform(0.33, 0.46)),
        canvas.unit * chance.uniform(0.16, 0.21),
    )
    canvas.glow(centre, radius * 2.1, p.light, 0.55)
    side = round(radius * 2)
    ball = Image.new("RGB", (side, side), p.middle)
    pen = ImageDraw.Draw(ball)
    y = 0.0
    while y < side:
        tall = side * chance.uniform(0.05, 0.14)
        pen.rectangle((0, y, side, y + tall), fill=along([p.middle, p.light, p.accent, p.pale], chance.random()))
        y += tall
    ball = ball.filter(ImageFilter.BoxBlur(side / 90))
    light = (
        _spot()
        .resize((side * 2, side * 2), Image.Resampling.BILINEAR)
        .crop((round(side * 0.72), round(side * 0.72), round(side * 0.72) + side, round(side * 0.72) + side))
    )
    ball = Image.composite(
        ball, Image.new("RGB", ball.size, night), light.point(lambda value: min(255, round(value * 1.45)))
    )
    mask = Image.new("L", ball.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
    tilt, flat = chance.uniform(0.22, 0.34), radius * 2.1
    bands = [(flat * share, mix(p.accent, p.pale, chance.random())) for share in (0.72, 0.79, 0.84, 0.93, 0.98)]

    def half_ring(start: int, end: int) -> None:
        for far, colour in bands:
            box = (centre[0] - far, centre[1] - far * tilt, centre[0] + far, centre[1] + far * tilt)
            canvas.draw.arc(box, start, end, fill=colour, width=max(2, round(radius * 0.035)))

    half_ring(180, 360)
    canvas.image.paste(ball, (round(centre[0] - radius), round(centre[1] - radius)), mask)
    half_ring(0, 180)


def garden(canvas: Canvas) -> None:
    """Stems, leaves and flowers on paper."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([p.pale, mix(p.pale, p.accent, 0.16), mix(p.pale, p.light, 0.3)])
    canvas.glow((w * chance.uniform(0.3, 0.7), h * 0.3), canvas.unit * 0.55, (255, 255, 255), 0.6)
    canvas.disc(
        (w * chance.uniform(0.3, 0.7), h * chance.uniform(0.24, 0.36)), canvas.unit * 0.2, mix(p.pale, p.accent, 0.45)
    )

    def leaf(x: float, y: float, angle: float, long: float, colour: Colour) -> None:
        edge = []
        for side in (1, -1):
            for step in range(9) if side == 1 else range(8, -1, -1):
                t = step / 8
                wide = side * long * 0.24 * math.sin(math.pi * t**0.85)
                edge.append(
                    (
                        x + math.cos(angle) * long * t - math.sin(angle) * wide,
                        y + math.sin(angle) * long * t + math.cos(angle) * wide,
                    )
                )
        canvas.draw.polygon(edge, fill=colour)
        tip = (x + math.cos(angle) * long * 0.92, y + math.sin(angle) * long * 0.92)
        canvas.draw.line((x, y, *tip), fill=mix(colour, p.pale, 0.35), width=max(1, round(canvas.unit / 500)))

    stems = round(8 + 5 * w / canvas.unit)
    for number in range(stems):
        near = number / stems
        x, y = w * (0.02 + 0.96 * chance.random()), h * 1.02
        green = mix(mix(p.light, p.pale, 0.45), mix(p.middle, p.deep, 0.45), near)
        heading = -math.pi / 2 + chance.uniform(-0.3, 0.3)
        bend, reach = chance.uniform(-0.05, 0.05), h * chance.uniform(0.42, 0.86)
        steps = 22
        path = [(x, y)]
        for step in range(steps):
            x, y = x + math.cos(heading) * reach / steps, y + math.sin(heading) * reach / steps
            heading += bend + chance.uniform(-0.02, 0.02)
            path.append((x, y))
            if step > 2 and step % 2 == 0 and step < steps - 2:
                long = canvas.unit * (0.10 - 0.055 * step / steps) * chance.uniform(0.85, 1.2)
                side = 1 if step % 4 == 0 else -1
                leaf(x, y, heading + side * chance.uniform(0.6, 0.95), long, mix(green, p.pale, chance.uniform(0, 0.2)))
        canvas.draw.line(path, fill=green, width=max(2, round(canvas.unit / 190)), joint="curve")
        if chance.random() < 0.75:
            petals, size = chance.randint(6, 9), canvas.unit * chance.uniform(0.045, 0.075)
            bloom = mix(p.accent, chance.choice([p.light, p.pale, p.middle]), chance.uniform(0, 0.45))
            turn = chance.uniform(0, 1)
            for petal in range(petals):
                tone = mix(bloom, p.deep, 0.12 * (petal % 2))
                leaf(x, y, turn + petal * math.tau / petals, size, tone)
            canvas.disc((x, y), size * 0.22, mix(p.deep, p.accent, 0.25))
        else:
            leaf(x, y, heading, canvas.unit * 0.06, green)


def layers(canvas: Canvas) -> None:
    """Cut paper in layers, each throwing a shadow on the next."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.gradient([p.pale, mix(p.pale, p.accent, 0.5), p.accent], slant=True)
    centre = (w * chance.uniform(0.4, 0.6), h * chance.uniform(0.34, 0.46))
    canvas.glow(centre, canvas.unit * 0.45, (255, 255, 255), 0.7)
    canvas.disc((centre[0], centre[1]), canvas.unit * 0.075, mix(p.accent, p.light, 0.55))
    colours = [
        mix(p.accent, p.light, 0.5),
        p.light,
        mix(p.light, p.middle, 0.5),
        p.middle,
        mix(p.middle, p.deep, 0.5),
        p.deep,
    ]
    shrink = 5
    small = (max(1, w // shrink), max(1, h // shrink))
    # The frame begins level with the openings' first point, so that the cut between them runs inside the sheet.
    right, level = w + 4.0, centre[1]
    frame = [(right, level), (right, h + 4.0), (-4.0, h + 4.0), (-4.0, -4.0), (right, -4.0), (right, level)]
    far, drop = canvas.unit / 150, canvas.unit / 80
    shifts = [chance.uniform(0, math.tau) for _ in range(4)]
    for index, colour in enumerate(colours):
        share = index / (len(colours) - 1)
        edge = []
        for step in range(120):
            angle = step / 120 * math.tau
            wave = sum(
                size * math.sin(rate * angle + shift + index * 0.55)
                for rate, size, shift in zip((2, 3, 5, 7), (0.16, 0.12, 0.07, 0.035), shifts, strict=True)
            )
            reach = (0.20 + 0.44 * share) * (1 + wave)
            edge.append(
                (centre[0] + math.cos(angle) * reach * w * 0.95, centre[1] + math.sin(angle) * reach * h * 0.95)
            )
        shadow = Image.new("L", small, 130)
        moved = [((x + far) / shrink, (y + drop) / shrink) for x, y in edge]
        ImageDraw.Draw(shadow).polygon(moved, fill=0)
        shadow = shadow.filter(ImageFilter.GaussianBlur(canvas.unit / 70 / shrink)).resize(
            (w, h), Image.Resampling.BILINEAR
        )
        canvas.image.paste(mix(p.deep, (0, 0, 0), 0.5), (0, 0, w, h), shadow)
        # The sheet around the opening: its outline goes round the frame, then round the opening.
        canvas.draw.polygon([*frame, *edge, edge[0], frame[0]], fill=colour)


def shapes(canvas: Canvas) -> None:
    """A grid of quarter circles, discs and stripes."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    canvas.image.paste(p.pale, (0, 0, w, h))
    across = max(3, round(5 * w / canvas.unit))
    cell = w / across
    colours = [p.deep, p.middle, p.light, p.accent, mix(p.accent, p.pale, 0.55), mix(p.light, p.pale, 0.5)]
    for row in range(math.ceil(h / cell)):
        for column in range(across):
            x, y = column * cell, row * cell
            ground, first, second = chance.sample(colours, 3)
            canvas.draw.rectangle((x, y, x + cell, y + cell), fill=ground)
            kind, turn = chance.randrange(6), chance.randrange(4)
            corner = (x + cell * (turn in (1, 2)), y + cell * (turn in (2, 3)))
            begin = turn * 90
            if kind == 0:
                for far, colour in ((cell, first), (cell * 0.66, second), (cell * 0.33, ground)):
                    box = (corner[0] - far, corner[1] - far, corner[0] + far, corner[1] + far)
                    canvas.draw.pieslice(box, begin, begin + 90, fill=colour)
            elif kind == 1:
                canvas.disc((x + cell / 2, y + cell / 2), cell * 0.40, first)
                canvas.disc((x + cell / 2, y + cell / 2), cell * 0.17, second)
            elif kind == 2:
                for stripe in range(0, 6, 2):
                    if turn % 2:
                        canvas.draw.rectangle(
                            (x, y + stripe * cell / 6, x + cell, y + (stripe + 1) * cell / 6), fill=first
                        )
                    else:
                        canvas.draw.rectangle(
                            (x + stripe * cell / 6, y, x + (stripe + 1) * cell / 6, y + cell), fill=first
                        )
            elif kind == 3:
                box = (corner[0] - cell, corner[1] - cell, corner[0] + cell, corner[1] + cell)
                canvas.draw.pieslice(box, begin, begin + 90, fill=first)
                canvas.disc(
                    (x + cell * (0.25 + 0.5 * (turn in (0, 3))), y + cell * (0.25 + 0.5 * (turn in (0, 1)))),
                    cell * 0.11,
                    second,
                )
            elif kind == 4:
                ends = [(x, y), (x + cell, y), (x + cell, y + cell), (x, y + cell)]
                canvas.draw.polygon([ends[turn], ends[(turn + 1) % 4], ends[(turn + 2) % 4]], fill=first)
            else:
                for half in (0, 1):
                    top = y + cell * half / 2 - cell / 4
                    box = (x, top - cell / 4, x + cell, top + cell * 3 / 4)
                    canvas.draw.pieslice(box, 0, 180, fill=(first, second)[half])


def aurora(canvas: Canvas) -> None:
    """Northern lights over mountains."""
    p, chance, w, h = canvas.palette, canvas.chance, canvas.width, canvas.height
    night = mix(p.deep, (0, 0, 0), 0.45)
    canvas.gradient([night, p.deep, mix(p.deep, p.middle, 0.8), p.middle])
    for _ in range(240):
        size = canvas.unit * 0.0006 * (1 + 2.4 * chance.random() ** 5)
        canvas.disc(
            (w * chance.random(), h * 0.7 * chance.random()), size, mix(p.pale, p.middle, chance.random() * 0.7)
        )
    fine = (200, max(25, round(200 * h / w)))
    for curtain, colour in enumerate((p.light, p.accent, mix(p.light, p.pale, 0.35), mix(p.accent, p.light, 0.5))):
        veil = Image.new("L", fine, 0)
        pen = ImageDraw.Draw(veil)
        base, size = fine[1] * chance.uniform(0.34, 0.56), fine[1] * chance.uniform(0.05, 0.11)
        rate, shift = chance.uniform(0.7, 1.5) * math.tau / fine[0], chance.uniform(0, math.tau)
        for column in range(fine[0]):
            foot = base + size * (math.sin(rate * column + shift) + 0.4 * math.sin(rate * 3.1 * column + shift * 2))
            tall = fine[1] * (0.20 + 0.14 * math.sin(rate * 2.2 * column + curtain) + chance.uniform(0, 0.12))
            bright = 125 + 70 * math.sin(rate * 5.3 * column + shift) + chance.uniform(-30, 40)
            for piece in range(12):
                upper = foot - tall * (piece + 1) / 12
                pen.line(
                    (column, upper, column, foot - tall * piece / 12),
                    fill=max(0, round(bright * (1 - piece / 12) ** 1.5)),
                )
        veil = veil.filter(ImageFilter.GaussianBlur(1.1)).resize((w, h), Image.Resampling.BICUBIC)
        canvas.image.paste(colour, (0, 0, w, h), veil)
    for layer in range(3):
        share = layer / 2
        line = []
        x, y, rise = -20.0, h * (0.66 + 0.1 * share), 1
        low, high = h * (0.56 + 0.15 * share), h * (0.74 + 0.10 * share)
        while x < w + canvas.unit * 0.15:
            line.append((x, y))
            long = canvas.unit * chance.uniform(0.03, 0.1)
            x, y = x + long, min(high, max(low, y + rise * long * chance.uniform(0.4, 1.0)))
            rise = -rise if chance.random() < 0.75 else rise
        canvas.fill_below(line, mix(mix(p.middle, p.deep, 0.35), mix(night, (0, 0, 0), 0.4), share))
        if layer == 0:
            for first, peak, last in zip(line, line[1:], line[2:], strict=False):
                if peak[1] < first[1] and peak[1] < last[1]:
                    left = (peak[0] + (first[0] - peak[0]) * 0.35, peak[1] + (first[1] - peak[1]) * 0.35)
                    right = (peak[0] + (last[0] - peak[0]) * 0.35, peak[1] + (last[1] - peak[1]) * 0.35)
                    middle = (peak[0], peak[1] + (max(left[1], right[1]) - peak[1]) * 0.6)
                    canvas.draw.polygon([left, peak, right, middle], fill=mix(p.pale, p.middle, 0.35))


Scene = Callable[[Canvas], None]
SCENES: tuple[Scene, ...] = (
    hills,
    skyline,
    rings,
    facets,
    waves,
    mosaic,
    strokes,
    planet,
    garden,
    layers,
    shapes,
    aurora,
)
