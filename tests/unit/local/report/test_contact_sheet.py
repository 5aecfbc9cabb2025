"""The contact sheet, in its pixels."""

import pytest
from PIL import Image, ImageChops, ImageFont

from local.report.contact_sheet import CAPTION, GUTTER, MARGIN, TILE, Tile, columns, draw, wrap

RED, GREEN = (200, 20, 20), (20, 200, 20)


def _tile(color: tuple[int, int, int] | None = RED, size: tuple[int, int] = (64, 64), error: str = "") -> Tile:
    image = Image.new("RGB", size, color) if color else None
    return Tile("A model", "openai (simulated)", 1.5, image, error)


def _area(sheet: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """Box of all pixels of a color."""
    difference = ImageChops.difference(sheet, Image.new("RGB", sheet.size, color)).convert("L")
    return difference.point(lambda value: 255 * (value < 8)).getbbox()


@pytest.mark.parametrize(
    ("count", "across", "down"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 2, 2), (7, 3, 3), (9, 3, 3), (11, 4, 3)]
)
def test_the_grid_has_room_for_every_tile(count: int, across: int, down: int) -> None:
    assert columns(count) == across
    sheet = draw("a fox", [_tile()] * count, "summary")
    assert sheet.width >= across * TILE + (across - 1) * GUTTER + 2 * MARGIN
    one_row = draw("a fox", [_tile()], "summary")
    assert one_row.height > TILE + CAPTION
    added = sheet.height - one_row.height
    assert (down - 1) * (TILE + CAPTION) <= added < (down - 1) * (TILE + CAPTION + GUTTER) + 1


def test_pictures_stand_side_by_side_and_keep_their_shape() -> None:
    sheet = draw("a fox", [_tile(RED, (2000, 1000)), _tile(GREEN, (2000, 2000))], "summary")
    red, green = _area(sheet, RED), _area(sheet, GREEN)
    assert red
    assert green
    assert (red[2] - red[0], red[3] - red[1]) == (TILE, TILE // 2)
    assert (green[2] - green[0], green[3] - green[1]) == (TILE, TILE)
    assert green[0] - red[2] == GUTTER
    assert abs((red[1] + red[3]) - (green[1] + green[3])) <= 2


def test_a_reference_image_has_no_seconds() -> None:
    def seconds(image: Image.Image | None, error: str) -> tuple[int, int, int, int] | None:
        sheet = draw("a fox", [Tile("", "", None, image, error)], "")
        # The line above the tiles, at the left, has the same color.
        return _area(sheet.crop((MARGIN + TILE // 2, 0, *sheet.size)), (0xE8, 0xB0, 0x4B))

    assert seconds(None, "It broke.")
    assert seconds(Image.new("RGB", (64, 64), RED), "") is None


def test_the_prompt_and_the_error_are_on_the_sheet() -> None:
    assert draw("a fox", [_tile()], "s").tobytes() != draw("an owl", [_tile()], "s").tobytes()
    refused, broken = (draw("a", [_tile(None, error=error)], "s") for error in ("It was refused.", "It broke."))
    assert refused.tobytes() != broken.tobytes()


@pytest.mark.parametrize("prompt", ["word " * 200, "x" * 1000, "狐と灯台", "más, über 🦊", "", "line\nbreak\ttab"])
def test_any_prompt_fits(prompt: str) -> None:
    sheet = draw(prompt, [_tile(), _tile(None)], "summary")
    assert sheet.width == draw("a fox", [_tile(), _tile(None)], "summary").width
    assert sheet.height <= draw("a fox", [_tile(), _tile(None)], "summary").height + 2 * 58


def test_wrapping() -> None:
    font = ImageFont.load_default(20)
    text = "one prompt goes to many image models at once and each image appears as soon as it is there"
    lines = wrap(text, font, 300, lines=20)
    assert " ".join(lines) == text
    assert all(font.getlength(line) <= 300 for line in lines)
    short = wrap(text, font, 300, lines=2)
    assert len(short) == 2
    assert short[0] == lines[0]
    assert short[1].endswith("…")
    assert font.getlength(short[1]) <= 300
