"""Width and height in pixels for providers that take no aspect ratio."""

import math
import re


def ratio(aspect_ratio: str | None) -> float:
    """Width divided by height of an aspect ratio such as ``16:9``; a square where there is none."""
    if aspect_ratio is None:
        return 1.0
    width, height = aspect_ratio.split(":")
    return float(width) / float(height)


def side(resolution: str | None) -> int:
    """Side of the square picture of a resolution (``512``, ``1K`` …) in pixels; 1024 where there is none."""
    match = re.fullmatch(r"(\d+)(K?)", resolution or "1K")
    if not match:
        raise ValueError(f"There is no resolution {resolution!r}; write 512, 1K, 2K or 4K.")
    return int(match[1]) * (1024 if match[2] else 1)


def pixels(
    aspect_ratio: str | None,
    resolution: str | None,
    *,
    step: int,
    shortest: int,
    longest: int,
    least: int = 0,
    most: int,
) -> tuple[int, int]:
    """Width and height of this shape with as many pixels as the square of the resolution, as far as the limits allow.

    Parameters
    ----------
    step : what both sides are multiples of
    shortest, longest : limits of a side, multiples of ``step``
    least, most : limits of the area in pixels
    """
    shape = ratio(aspect_ratio)
    area = min(max(side(resolution) ** 2, least), most)
    width, height = math.sqrt(area * shape), math.sqrt(area / shape)
    # Shrink or grow both sides alike, so that the shape is kept.
    scale = min(1.0, longest / max(width, height))
    scale = max(scale, shortest / min(width, height))
    candidates = [
        (wide, high)
        for wide in _near(width * scale, step, shortest, longest)
        for high in _near(height * scale, step, shortest, longest)
        if least <= wide * high <= most
    ]
    if not candidates:
        raise ValueError(f"No picture of {aspect_ratio} and {resolution} fits the limits of the model.")
    # The truest shape; of the equally true ones, the nearest area.
    return min(
        candidates,
        key=lambda size: (round(abs(math.log(size[0] / size[1] / shape)), 3), abs(size[0] * size[1] - area)),
    )


def openai_pixels(aspect_ratio: str | None, resolution: str | None) -> tuple[int, int]:
    """Width and height for OpenAI's models since gpt-image-2.

    Their sides are multiples of 16 up to 3840, their areas from 1024 × 640 to 3840 × 2160 pixels.
    """
    return pixels(aspect_ratio, resolution, step=16, shortest=16, longest=3840, least=1024 * 640, most=3840 * 2160)


def _near(length: float, step: int, shortest: int, longest: int) -> list[int]:
    below = math.floor(length / step) * step
    return sorted({min(max(below + offset * step, shortest), longest) for offset in (-1, 0, 1, 2)})
