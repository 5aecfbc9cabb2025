"""The tables of docs/explanation/cost.md, of costs and of memory, are what their counts come to."""

import itertools
import json

import pytest

from benchmarks import memory
from benchmarks.cost import BLOCK, JOBS, PRICES, STATES_OF_ITEM, table
from infra.memory import MEMORY
from infra.settings import Settings
from local.paths import ROOT
from pixelprompt.models.cost import estimate, total
from pixelprompt.models.registry import ModelRegistry

TEXT = (ROOT / "docs" / "explanation" / "cost.md").read_text(encoding="utf-8")


def test_the_table_follows_from_the_counts() -> None:
    found = BLOCK.search(TEXT)
    assert found
    counts = json.loads(found["counts"])
    assert counts["models"] == 9
    assert found["table"] == table(counts)
    transitions = f"| {counts['transitions'] * PRICES['transition'] * JOBS:.2f} |"
    assert transitions in found["table"]


def test_the_readme_tells_what_the_default_models_cost() -> None:
    readme, limits = (
        " ".join((ROOT / path).read_text(encoding="utf-8").split())
        for path in ("README.md", "docs/reference/limits.md")
    )
    default = Settings()
    models = ModelRegistry.load().defaults(lambda model: True)
    cost = total(estimate(model, {}) for model in models)
    assert cost["amount"] is not None
    assert all(model.name.removesuffix(" (Bedrock)") in readme for model in models)
    assert f"one image of each costs about ${cost['amount']:.2f} at list prices" in readme
    jobs = 24 * default.global_limit
    assert f"at most {default.global_limit} × 24 = {jobs} jobs a day" in limits
    assert f"The nine default models cost about ${cost['amount']:.2f} a job" in limits
    assert cost["unknown"] == 0
    assert f"costs about ${round(jobs * cost['amount'], -1):.0f}" in limits


def test_an_item_has_as_many_states_as_are_charged() -> None:
    definition = json.loads((ROOT / "statemachine" / "generate_images.asl.json").read_text())
    states = definition["States"]["Generate images"]["ItemProcessor"]["States"]
    path = ["Generate image", "Is it done?", "Done"]
    assert len(path) == STATES_OF_ITEM
    for name, following in itertools.pairwise(path):
        state = states[name]
        nexts = {state.get("Next"), *(choice["Next"] for choice in state.get("Choices", [])), state.get("Default")}
        assert following in nexts


def measured() -> dict[str, float]:
    """The counts of the table of memory."""
    found = memory.BLOCK.search(TEXT)
    assert found
    counts: dict[str, float] = json.loads(found["counts"])
    assert found["table"] == memory.table(counts)
    return counts


# Nobody waits for the sweep, and the other two are not measured.
@pytest.mark.parametrize("name", sorted(MEMORY.keys() - {"sweep", "authorize", "usage"}))
def test_memory_is_the_smallest_size_that_is_quick_and_large_enough(name: str) -> None:
    assert MEMORY[name] == memory.smallest(measured(), name)


def test_a_share_of_a_processor_takes_longer_and_more_than_one_is_of_no_use() -> None:
    assert memory.seconds(0.1, 1769) == pytest.approx(0.1)
    assert memory.seconds(0.1, 512) == pytest.approx(0.3455, rel=1e-3)
    assert memory.seconds(0.1, 3538) == pytest.approx(0.1)


def test_what_waits_costs_by_its_memory_and_what_computes_does_not() -> None:
    computing = {"status requests": 0, "status warm": 100.0}
    assert memory.dollars(computing, "status", 512) == pytest.approx(memory.dollars(computing, "status", 1024))
    waiting = {"generate requests": 0, "generate warm": 0.0}
    small, large = (memory.dollars(waiting, "generate", size) for size in (512, 1024))
    assert small == pytest.approx(1000 * (12 * 0.5 * 0.0000133334 + 0.2e-6))
    assert large == pytest.approx(1000 * (12 * 0.0000133334 + 0.2e-6))
