"""The most that a model's images may cost, which a budget reserves."""

from typing import Any

import pytest

from pixelprompt.models.cost import computed, estimate, most
from pixelprompt.models.model import Model
from tests.shipped import SHIPPED

IMAGE = {"unit": "image", "amount": 0.04, "byResolution": {"2K": None}}
TOKEN = {"unit": "token", "inputText": 5e-6, "outputText": 3e-5, "outputImage": 3e-5, "estimate": 0.04}


def model(price: dict[str, Any] | None, **supports: Any) -> Model:
    return Model(name="A", provider="openai", id="a", price=price, supports=supports)


def test_a_price_by_the_image_is_the_most() -> None:
    assert most(model(IMAGE), {"n": 3}, "a fox", None) == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("price", "used"), [(None, {}), (IMAGE, {"resolution": "2K"}), (IMAGE, {"images": 1})], ids=str
)
def test_what_is_unknown_costs_the_ceiling_or_cannot_be_reserved(price: Any, used: dict[str, Any]) -> None:
    assert most(model(price), {**used, "n": 2}, "a fox", 0.5) == 1.0
    assert most(model(price), {**used, "n": 2}, "a fox", None) is None
    assert most(None, {**used, "n": 2}, "a fox", 0.5) == 1.0


def test_text_that_is_read_and_written_counts_for_each_image() -> None:
    short, long = (most(model(TOKEN), {"n": 2}, "狐" * length, None) for length in (1, 1000))
    assert short and long
    # Each character may be as many tokens as it has bytes.
    assert long - short == pytest.approx(2 * 3 * 999 * 5e-6)
    thoughts = {"outputImageTokens": 2 * 1333, "outputTextTokens": 2 * 2000, "inputTextTokens": 2 * 503}
    counted = computed(model(TOKEN), 2, {}, thoughts)["amount"]
    assert counted is not None and counted <= short


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda m: m.name)
def test_the_most_is_never_less_than_the_estimate(shipped: Model) -> None:
    for used in ({}, {"n": 2}, {"resolution": "2K"}, {"quality": "high"}, {"images": 2}):
        amount = estimate(shipped, used)["amount"]
        assert most(shipped, used, "a fox", 1000.0) >= (amount or 0.0)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("shape", "amount"), [(None, 0.03), ("1:1", 0.03), ("4:3", 0.03), ("16:9", 0.06), ("9:21", 0.06)]
)
def test_an_image_of_more_than_a_megapixel_may_cost_another_one(shape: str | None, amount: float) -> None:
    """No size has both this shape and exactly a megapixel; providers count those that have begun."""
    model = next(model for model in SHIPPED if model.name == "FLUX.2 Pro")
    assert most(model, {"aspectRatio": shape} if shape else {}, "a fox", None) == pytest.approx(amount)
