"""The growth curves as one image, drawn with Pillow."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.figures import Curve, Samples, grouped, number, percentile

WIDTH, HEIGHT, ACROSS, MARGIN = 780, 500, 2, 24
# Drawn at this many times its size, then reduced: Pillow does not smooth the edges of what it draws.
SCALE = 2
INK, FAINT, GRID, PAPER = "#1b1f24", "#667080", "#e3e6ea", "#ffffff"
COLORS = ("#0b62c4", "#d1495b", "#2a9d5c", "#8e5bd0", "#c77800", "#16848f")
FLOOR = "#8b929c"
LEFT, RIGHT, TOP, BOTTOM = 84, 28, 96, 64

Point = tuple[float, Samples]


def draw(curves: Sequence[Curve], subtitle: str, path: Path) -> None:
    """Write the image: a panel for each curve; a point is a median, its bar the 10th to the 90th percentile."""
    down = math.ceil(len(curves) / ACROSS)
    head = 92
    size = (MARGIN + ACROSS * (WIDTH + MARGIN), head + down * (HEIGHT + MARGIN))
    sheet = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    pen = _Pen(ImageDraw.Draw(sheet))
    pen.text((MARGIN + 8, 20), "How it grows", 30)
    pen.text((MARGIN + 8, 60), subtitle, 16, FAINT)
    for place, curve in enumerate(curves):
        row, column = divmod(place, ACROSS)
        _panel(pen.at(MARGIN + column * (WIDTH + MARGIN), head + row * (HEIGHT + MARGIN)), curve)
    sheet.resize(size, Image.Resampling.LANCZOS).quantize(256).save(path, optimize=True)


class _Pen:
    """Draws in pixels of the finished image, from an origin."""

    def __init__(self, canvas: ImageDraw.ImageDraw, x: float = 0, y: float = 0) -> None:
        self._canvas = canvas
        self._x, self._y = x, y

    def at(self, x: float, y: float) -> _Pen:
        return _Pen(self._canvas, self._x + x, self._y + y)

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float = 1, dash: float = 0) -> None:
        for start, end in itertools.pairwise(points):
            length = math.dist(start, end)
            pieces = max(1, round(length / dash)) if dash else 1
            for piece in range(0, pieces, 2 if dash else 1):
                share = (piece / pieces, min(1.0, (piece + 1) / pieces))
                ends = [self._scaled(_between(start, end, part)) for part in share]
                self._canvas.line(ends, color, max(1, round(width * SCALE)))

    def dot(self, point: tuple[float, float], radius: float, color: str) -> None:
        x, y = self._scaled(point)
        self._canvas.ellipse((x - radius * SCALE, y - radius * SCALE, x + radius * SCALE, y + radius * SCALE), color)

    def text(self, point: tuple[float, float], text: str, size: float, color: str = INK, anchor: str = "la") -> None:
        font = ImageFont.load_default(size * SCALE)
        self._canvas.text(self._scaled(point), text, font=font, fill=color, anchor=anchor)

    def width(self, text: str, size: float) -> float:
        return float(ImageFont.load_default(size * SCALE).getlength(text)) / SCALE

    def _scaled(self, point: tuple[float, float]) -> tuple[float, float]:
        return (self._x + point[0]) * SCALE, (self._y + point[1]) * SCALE


def _between(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _panel(pen: _Pen, curve: Curve) -> None:
    pen.text((0 + 8, 0), curve.title, 20)
    values = sorted({x for points in curve.series.values() for x, _ in points})
    most = max(percentile(samples, 0.9) for points in curve.series.values() for _, samples in points)
    step = _step(most)
    top = step * math.ceil(most / step) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + _share(x, values, curve.logarithmic) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (
            HEIGHT - TOP - BOTTOM
        )

    for line in range(round(top / step) + 1):
        y = line * step
        pen.line([place(values[0], y), place(values[-1], y)], FAINT if line == 0 else GRID)
        pen.text((LEFT - 12, place(values[0], y)[1]), number(y), 14, FAINT, "rm")
    for x in values:
        x_pixel, y_pixel = place(x, 0)
        pen.line([(x_pixel, y_pixel), (x_pixel, y_pixel + 5)], FAINT)
        pen.text((x_pixel, y_pixel + 9), grouped(x), 14, FAINT, "ma")
    pen.text((LEFT - 12, TOP - 24), curve.y, 14, FAINT, "rm")
    pen.text((WIDTH - RIGHT, HEIGHT - 24), curve.x + (" (logarithmic)" if curve.logarithmic else ""), 14, FAINT, "rm")
    _lines(pen, curve, place)


def _lines(pen: _Pen, curve: Curve, place: object) -> None:
    assert callable(place)
    colors = iter(COLORS)
    legend_x, legend_y = float(LEFT), 34.0
    for name, points in curve.series.items():
        is_floor = name.startswith(("floor", "budget"))
        color = FLOOR if is_floor else next(colors)
        pen.line([place(x, statistics.median(samples)) for x, samples in points], color, 2, 6 if is_floor else 0)
        for x, samples in points:
            low, high = (place(x, percentile(samples, share)) for share in (0.1, 0.9))
            if high[1] < low[1] - 1:
                pen.line([low, high], color, 1.5)
                for end in (low, high):
                    pen.line([(end[0] - 4, end[1]), (end[0] + 4, end[1])], color, 1.5)
            pen.dot(place(x, statistics.median(samples)), 3 if is_floor else 4, color)
        wide = 34 + pen.width(name, 14) + 24
        if legend_x + wide > WIDTH - RIGHT + 24 and legend_x > LEFT:
            legend_x, legend_y = float(LEFT), legend_y + 20
        pen.line([(legend_x, legend_y), (legend_x + 26, legend_y)], color, 2, 6 if is_floor else 0)
        pen.text((legend_x + 34, legend_y), name, 14, INK, "lm")
        legend_x += wide


def _share(x: float, values: Sequence[float], logarithmic: bool) -> float:
    low, high = values[0], values[-1]
    if low == high:
        return 0.5
    if logarithmic:
        return (math.log(x) - math.log(low)) / (math.log(high) - math.log(low))
    return (x - low) / (high - low)


def _step(most: float) -> float:
    """A round step of which four to eight reach the most."""
    if most <= 0:
        return 1.0
    rough = most / 5
    power = 10 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough))
