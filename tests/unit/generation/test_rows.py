"""The fields of a row at its end, from the progress of its calls."""

from typing import Any

from pixelprompt.generation.invocation import Calls
from pixelprompt.generation.item import Item
from pixelprompt.jobs.progress import Progress
from pixelprompt.jobs.schema import Image
from pixelprompt.models.parameters import Receipt

IMAGE: Image = {"imageKey": "group-images/g/P-1.json", "binaryKey": "images/g/P-1.png"}


def item(**parameters: Any) -> Item:
    return Item("j", 0, "Painter", 1, "a fox", "", parameters)


def test_a_row_has_what_the_provider_said() -> None:
    usage, used = {"outputImageTokens": 7}, {"size": "64x64"}
    progress = Progress({0: [IMAGE]}, usage=usage, counted=[0], used=used, request_id="r-1")
    row = Calls(item(), progress).row(None, Receipt())
    assert (row["requestId"], row["usage"], row["used"]) == ("r-1", usage, used)
    assert row["images"] == [IMAGE] and "missing" not in row


def test_a_row_has_no_fields_for_what_nobody_said() -> None:
    row = Calls(item(), Progress({0: [IMAGE]})).row(None, Receipt())
    assert {"requestId", "usage", "used", "missing"}.isdisjoint(row)


def test_dollars_of_all_images_are_reported_and_those_of_some_are_not() -> None:
    both = {0: [IMAGE], 1: [IMAGE]}
    reported = Calls(item(n=2), Progress(both, costs={0: 0.02, 1: 0.03})).row(None, Receipt())["cost"]
    assert (reported["basis"], reported["amount"]) == ("reported", 0.05)
    assert Calls(item(n=2), Progress(both, costs={0: 0.02})).row(None, Receipt())["cost"]["basis"] == "unknown"


def test_fewer_images_than_were_asked_for_are_missing() -> None:
    assert Calls(item(n=3), Progress({0: [IMAGE]})).row(None, Receipt())["missing"]["images"] == 2
