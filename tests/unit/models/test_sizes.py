"""Width and height from an aspect ratio and a resolution."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelprompt.models.parameters import ASPECT_RATIOS, RESOLUTIONS
from pixelprompt.models.sizes import OPENAI_SIZES, FixedSizes, PixelLimits, ratio, side

FLUX_2 = PixelLimits(multiple_of=16, shortest=64, longest=4096, largest=2048 * 2048)
FLUX_1 = PixelLimits(multiple_of=32, shortest=256, longest=1440)


# FLUX.1 has no side five times as long as the other.
SHAPES = [
    pytest.param(shape, limits, id=f"{shape}-{name}")
    for name, limits in (("flux-2", FLUX_2), ("flux-1", FLUX_1), ("gpt-image-2", OPENAI_SIZES))
    for shape in ASPECT_RATIOS
    if max(ratio(shape), 1 / ratio(shape)) < 5 or limits is not FLUX_1
]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize(("shape", "limits"), SHAPES)
def test_a_size_keeps_the_shape_and_the_limits(shape: str, resolution: str, limits: PixelLimits) -> None:
    width, height = limits.nearest(shape, resolution)
    assert width % limits.multiple_of == height % limits.multiple_of == 0
    assert limits.shortest <= min(width, height) and max(width, height) <= limits.longest
    assert limits.smallest <= width * height <= (limits.largest or limits.longest**2)
    assert math.isclose(width / height, ratio(shape), rel_tol=0.04)


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from(RESOLUTIONS),
    st.sampled_from([FLUX_2, FLUX_1, OPENAI_SIZES]),
)
def test_any_shape_within_one_to_three_has_a_size(wide: int, high: int, resolution: str, limits: PixelLimits) -> None:
    if not 1 / 3 <= wide / high <= 3:
        return
    width, height = limits.nearest(f"{wide}:{high}", resolution)
    assert width % limits.multiple_of == height % limits.multiple_of == 0
    assert limits.smallest <= width * height <= (limits.largest or limits.longest**2)
    assert math.isclose(width / height, wide / high, rel_tol=0.05)


@pytest.mark.parametrize(
    ("shape", "resolution", "size"),
    [
        (None, None, (1024, 1024)),
        ("1:1", "2K", (2048, 2048)),
        ("3:2", "1K", (1248, 832)),
        ("16:9", "4K", (3840, 2160)),
        ("1:1", "4K", (2880, 2880)),
        ("1:1", "512", (816, 816)),
    ],
)
def test_sizes_of_gpt_image_2(shape: str | None, resolution: str | None, size: tuple[int, int]) -> None:
    assert OPENAI_SIZES.nearest(shape, resolution) == size


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("shape", [shape for shape in ASPECT_RATIOS if 1 / 3 <= ratio(shape) <= 3])
def test_a_size_for_openai_is_one_that_openai_takes(shape: str, resolution: str) -> None:
    width, height = OPENAI_SIZES.nearest(shape, resolution)
    assert width % 16 == height % 16 == 0 and max(width, height) <= 3840
    assert 655_360 <= width * height <= 8_294_400
    assert math.isclose(width / height, ratio(shape), rel_tol=0.04)


def test_a_shape_and_its_reverse_have_the_same_sides() -> None:
    for shape in ASPECT_RATIOS:
        width, height = shape.split(":")
        assert OPENAI_SIZES.nearest(shape, "1K") == OPENAI_SIZES.nearest(f"{height}:{width}", "1K")[::-1]


def test_resolutions_are_sides_of_squares() -> None:
    assert [side(resolution) for resolution in RESOLUTIONS] == [512, 1024, 2048, 4096]
    with pytest.raises(ValueError, match="Unknown resolution"):
        side("huge")


def test_a_shape_beyond_the_limits_becomes_the_nearest_within() -> None:
    assert FLUX_1.nearest("40:1", "1K") == (1440, 256)


@pytest.mark.parametrize(
    ("limits", "shape", "size"),
    [
        (PixelLimits(multiple_of=16, shortest=16, longest=1024, smallest=1_000_000), "8:1", (1024, 992)),
        (PixelLimits(multiple_of=64, shortest=768, longest=1536, largest=1024 * 1024), "2:1", (1344, 768)),
        (PixelLimits(multiple_of=64, shortest=64, longest=1024, smallest=655_360), "21:9", (1024, 640)),
        (PixelLimits(multiple_of=64, shortest=64, longest=1024, smallest=655_360), "9:21", (640, 1024)),
    ],
)
def test_where_no_size_of_the_shape_has_an_area_within_the_limits_the_nearest_shape_is_chosen(
    limits: PixelLimits, shape: str, size: tuple[int, int]
) -> None:
    assert limits.nearest(shape, "1K") == size


@given(
    step=st.integers(1, 64),
    least=st.integers(1, 20),
    more=st.integers(0, 40),
    area=st.tuples(st.integers(1), st.integers(1)),
    shape=st.sampled_from(ASPECT_RATIOS),
    resolution=st.sampled_from(RESOLUTIONS),
)
def test_a_size_is_within_any_limits_that_have_one(
    step: int, least: int, more: int, area: tuple[int, int], shape: str, resolution: str
) -> None:
    shortest, longest = step * least, step * (least + more)
    smallest, largest = sorted(number % (2 * longest**2) + 1 for number in area)
    limits = PixelLimits(step, shortest, longest, smallest, largest)
    sides = range(shortest, longest + 1, step)
    assert limits.has_any() == any(smallest <= wide * high <= largest for wide in sides for high in sides)
    if limits.has_any():
        width, height = limits.nearest(shape, resolution)
        assert {width, height} <= {*sides} and smallest <= width * height <= largest


@pytest.mark.parametrize(
    ("shape", "resolution", "size"),
    [
        (None, None, (1024, 1024)),
        ("5:4", None, (1536, 1024)),
        ("16:9", "4K", (1536, 1024)),
        ("3:4", "1K", (1024, 1536)),
        ("1:8", None, (1024, 1536)),
        ("1:1", "2K", (2048, 2048)),
        ("1:1", "512", (1024, 1024)),
    ],
)
def test_of_fixed_sizes_the_nearest_shape_is_chosen_and_of_that_the_nearest_area(
    shape: str | None, resolution: str | None, size: tuple[int, int]
) -> None:
    fixed = FixedSizes([(1024, 1024), (1536, 1024), (1024, 1536), (2048, 2048)])
    assert fixed.nearest(shape, resolution) == size


def test_openais_limits_are_those_of_its_guide() -> None:
    """At most 3840 a side, between 655,360 and 8,294,400 pixels, in steps of 16."""
    assert PixelLimits(multiple_of=16, shortest=16, longest=3840, smallest=655_360, largest=8_294_400) == OPENAI_SIZES
