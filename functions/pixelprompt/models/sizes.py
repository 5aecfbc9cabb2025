"""Width and height in pixels for providers that do not accept an aspect ratio."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

Size = tuple[int, int]


def ratio(aspect_ratio: str | None) -> float:
    """Width divided by height of an aspect ratio such as ``16:9``; a square where there is none."""
    if aspect_ratio is None:
        return 1.0
    width, height = aspect_ratio.split(":")
    return float(width) / float(height)


def side(resolution: str | None) -> int:
    """Side of the square image of a resolution (``512``, ``1K`` …) in pixels; 1024 where there is none."""
    match = re.fullmatch(r"(\d+)(K?)", resolution or "1K")
    if not match:
        raise ValueError(f"Unknown resolution {resolution!r}; use 512, 1K, 2K, or 4K.")
    return int(match[1]) * (1024 if match[2] else 1)


class PixelLimits(Struct, frozen=True):
    """The sizes that a model accepts: all within these limits, of which there must be one.

    Attributes
    ----------
    multiple_of : what width and height must be multiples of, in pixels
    shortest, longest : of a side, in pixels
    smallest, largest : of the area, in pixels; by default that of the shortest and of the longest sides
    """

    multiple_of: int
    shortest: int
    longest: int
    smallest: int = 0
    largest: int | None = None

    def nearest(self, aspect_ratio: str | None, resolution: str | None) -> Size:
        """Width and height of this shape with as many pixels as the square of the resolution, as far as possible."""
        shape = ratio(aspect_ratio)
        area = min(max(side(resolution) ** 2, self.smallest), self._largest)
        width, height = math.sqrt(area * shape), math.sqrt(area / shape)
        # Shrink or grow both sides alike, so that the shape is kept.
        scale = min(1.0, self.longest / max(width, height))
        scale = max(scale, self.shortest / min(width, height))
        candidates = [(wide, high) for wide in self._near(width * scale) for high in self._near(height * scale)]
        allowed = [size for size in candidates if self.smallest <= math.prod(size) <= self._largest]
        return _nearest(allowed or self._all(shape), shape, area)

    def has_any(self) -> bool:
        """Whether any size is within the limits."""
        return any(True for _ in self._all(1.0))

    @property
    def _largest(self) -> int:
        return self.longest**2 if self.largest is None else self.largest

    def _all(self, shape: float) -> Iterator[Size]:
        """One size within the limits for each width that has one: that of the nearest shape."""
        for width in range(self.shortest, self.longest + 1, self.multiple_of):
            lowest = max(self.shortest, math.ceil(self.smallest / width / self.multiple_of) * self.multiple_of)
            highest = min(self.longest, self._largest // width // self.multiple_of * self.multiple_of)
            if lowest <= highest:
                yield width, min(max(round(width / shape / self.multiple_of) * self.multiple_of, lowest), highest)

    def _near(self, length: float) -> list[int]:
        below = math.floor(length / self.multiple_of) * self.multiple_of
        return sorted(
            {min(max(below + offset * self.multiple_of, self.shortest), self.longest) for offset in (-1, 0, 1, 2)}
        )


class FixedSizes(Struct, frozen=True):
    """The sizes that a model accepts: these, each a width and a height in pixels."""

    sizes: Sequence[Size]

    def nearest(self, aspect_ratio: str | None, resolution: str | None) -> Size:
        """The size of the nearest shape and, of several with that shape, of the nearest area."""
        return _nearest(self.sizes, ratio(aspect_ratio), side(resolution) ** 2)


def _nearest(sizes: Iterable[Size], shape: float, area: float) -> Size:
    """The size of the truest shape; of the equally true ones, that of the nearest area."""
    return min(
        sizes,
        key=lambda size: (round(abs(math.log(size[0] / size[1] / shape)), 3), abs(math.prod(size) - area)),
    )


PixelSizes = PixelLimits | FixedSizes

# Of OpenAI's models since gpt-image-2: https://platform.openai.com/docs/guides/image-generation
OPENAI_SIZES = PixelLimits(multiple_of=16, shortest=16, longest=3840, smallest=1024 * 640, largest=3840 * 2160)
