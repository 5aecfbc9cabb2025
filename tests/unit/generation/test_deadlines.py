"""Until when an invocation waits, asks, and stores."""

import pytest

from pixelprompt.generation.invocation import Deadlines
from pixelprompt.generation.item import MAX_WAIT, Item

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("seconds", "storing", "recording"),
    [(900, 30, 10), (120, 30, 10), (100, 25, 10), (80, 20, 10), (40, 10, 5)],
    ids=lambda number: str(number),
)
def test_storing_and_recording_have_their_time_after_the_provider(
    seconds: float, storing: float, recording: float
) -> None:
    deadlines = Deadlines.of(Item("j", 0, "Painter", 1, "a fox", "", {}), NOW, seconds)
    end = NOW + seconds
    assert (end - deadlines.response, end - deadlines.storage) == (storing, recording)


def test_a_model_waits_three_minutes_from_its_first_invocation() -> None:
    first = Item("j", 0, "Painter", 1, "a fox", "", {})
    assert Deadlines.of(first, NOW, 300).item == NOW + MAX_WAIT == NOW + 180
    later = Item("j", 0, "Painter", 2, "a fox", "", {}, deadline=NOW + 7)
    assert Deadlines.of(later, NOW, 300).item == NOW + 7
