"""The cost table of docs/operations.md is what its counts come to."""

import itertools
import json
from pathlib import Path

from benchmarks.cost import BLOCK, JOBS, PRICES, STATES_OF_ITEM, table

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_table_follows_from_the_counts() -> None:
    found = BLOCK.search(TEXT)
    assert found
    counts = json.loads(found["counts"])
    assert counts["models"] == 9
    assert found["table"] == table(counts)
    transitions = f"| {counts['transitions'] * PRICES['transition'] * JOBS:.2f} |"
    assert transitions in found["table"]


def test_an_item_has_as_many_states_as_are_charged() -> None:
    definition = json.loads((ROOT / "statemachine" / "generate_images.asl.json").read_text())
    states = definition["States"]["Generate images"]["ItemProcessor"]["States"]
    path = ["Generate image", "Is it done?", "Done"]
    assert len(path) == STATES_OF_ITEM
    for name, following in itertools.pairwise(path):
        state = states[name]
        nexts = {state.get("Next"), *(choice["Next"] for choice in state.get("Choices", [])), state.get("Default")}
        assert following in nexts
