"""Which prices of lists are plausible, and where a price is said to be from."""

from typing import Any

import pytest

from local.catalogue.differences import changed, compare
from local.catalogue.price_lists import PriceList
from tests.unit.local.catalogue.test_differences import (
    DAY,
    HERE,
    IMAGE,
    THERE,
    TOKEN,
    XAI,
    entry,
    hit,
    models,
    only,
    own,
)


def test_two_lists_that_say_the_same_are_no_contradiction() -> None:
    lists = [hit(prices={"image": 0.05}, source=None), hit(prices={"image": 0.0501}, name="two", source=THERE)]
    difference = only(models(entry(price=IMAGE)), *lists)
    assert (difference.doubt, difference.source, difference.lists) == ("", THERE, "two")


def test_a_model_without_a_price_gets_one_of_its_kind() -> None:
    texts = (entry("gpt-y", "openai"),)
    content = models(XAI, entry("gpt-x", "openai"), entry(price=IMAGE), entry("flux-b"), texts=texts)
    content["models"][3]["price"] = {**TOKEN, "outputText": 1e-05}
    tokens = {"inputText": 1e-06, "outputText": 2e-06}
    lists = [
        hit("grok", "compatible/xai", prices={"image": 0.04, "2K": 0.06}),
        hit("gpt-x", "openai", prices={**tokens, "outputImage": 3e-05}),
        hit("gpt-y", "openai", prices=tokens),
    ]
    result = changed(content, compare(content, lists, DAY))
    dated = {"date": "2026-11-27", "source": HERE}
    assert [one["price"] for one in result["models"][:2]] == [
        {"unit": "image", "amount": 0.04, "byResolution": {"2K": 0.06}, **dated},
        {"unit": "token", **tokens, "outputImage": 3e-05, **dated},
    ]
    assert result["textModels"][0]["price"] == {"unit": "token", **tokens, **dated}
    without_source = [hit("grok", "compatible/xai", prices={"image": 0.04}, source=None)]
    assert {one.model for one in compare(content, without_source, DAY)} == {"flux-a", "flux-b"}


FAR = "more than a factor of 20 from the catalogue's median"
NONE = "one list alone has image $0.04, and the catalogue no such price"
DEAR = {"image": 0.81}


@pytest.mark.parametrize(
    ("median", "lists", "doubt"),
    [
        (0.04, [hit(prices=DEAR)], f"one list alone has image $0.81, {FAR}"),
        (0.04, [hit(prices={"image": 0.0019})], f"one list alone has image $0.0019, {FAR}"),
        (0.04, [hit(prices={"image": 0.04, "2K": 0.81})], f"one list alone has 2K $0.81, {FAR}"),
        (0.04, [hit(prices={"image": 0.79, "2K": 0.79})], ""),
        (0.04, [hit(prices={"image": 0.0021})], ""),
        (0.04, [hit(prices=DEAR), hit(prices=DEAR, name="two", source=None)], ""),
        (0.04, [own("bfl", "flux-a", prices=DEAR)], ""),
        (0.04, [hit(prices=DEAR), hit(prices={"image": 0.9}, name="two")], "the lists disagree: image $0.81, two has"),
        (None, [hit(prices={"image": 0.04})], NONE),
    ],
)
def test_a_first_price_of_one_list_alone_is_near_those_of_the_catalogue(
    median: float | None, lists: list[PriceList], doubt: str
) -> None:
    prices = [0.001, median, 9.0] if median else []
    others = [entry(f"flux-{number}", price={**IMAGE, "amount": price}) for number, price in enumerate(prices)]
    content = models(entry(), *others)
    (found,) = [one for one in compare(content, lists, DAY) if one.model == "flux-a"]
    assert found.doubt.startswith(doubt) and bool(found.doubt) == bool(doubt)


def test_each_member_of_a_first_price_is_compared_with_its_own_median() -> None:
    content = models(entry("gpt-x", "openai"), entry(price=TOKEN))
    for tokens, doubt in (
        ({"inputText": 5e-06, "outputImage": 5e-04}, ""),
        ({"inputText": 5e-06, "outputImage": 7e-04}, f"one list alone has outputImage $700/M, {FAR}"),
        ({"inputText": 2e-04, "outputImage": 3e-05}, f"one list alone has inputText $200/M, {FAR}"),
    ):
        (found,) = [one for one in compare(content, [hit("gpt-x", "openai", prices=tokens)], DAY) if one.ours == "none"]
        assert found.doubt == doubt


def test_the_price_of_a_new_model_is_near_those_of_the_catalogue() -> None:
    content = models(entry(price=IMAGE))
    for alone, doubt in ((DEAR, f"one list alone has image $0.81, {FAR}"), ({"image": 0.08}, "")):
        lists = [hit("flux-9", prices=alone, draws=True), hit("flux-9", name="two", source=THERE)]
        (found,) = [one for one in compare(content, lists, DAY) if one.kind == "new"]
        assert (found.doubt, found.lists, found.source) == (doubt, "one", HERE)


def test_a_first_value_in_a_price_is_near_those_of_the_catalogue() -> None:
    content = models(entry(price={**IMAGE, "byResolution": {"2K": None}}))
    assert only(content, hit(prices={"image": 0.04, "2K": 0.81})).doubt == f"one list alone has 2K $0.81, {FAR}"


@pytest.mark.parametrize(
    ("price", "first", "second"),
    [
        (IMAGE, {"image": 0.05}, {"2K": 0.06}),
        (TOKEN, {"inputText": 6e-06}, {"image": 0.05}),
        # The one that has more of the price.
        (TOKEN, {"inputText": 6e-06, "image": 0.05, "outputImage": 4e-05}, {"inputText": 6e-06}),
    ],
)
def test_a_price_is_written_from_one_source_and_the_rest_with_the_next_run(
    price: dict[str, Any], first: dict[str, float], second: dict[str, float]
) -> None:
    lists = [hit(prices=first, source=THERE), hit(prices=second, name="two")]
    content = models(entry(price=price))
    found = compare(content, lists, DAY)
    assert compare(content, lists[::-1], DAY)[-1].changes == found[-1].changes
    is_split = len(first) == 1
    elsewhere = [("from another source", "two", HERE)] if is_split else []
    assert [(one.doubt, one.lists, one.source) for one in found] == [*elsewhere, ("", "one", THERE)]
    (once,) = changed(content, found)["models"]
    assert once["price"]["source"] == THERE
    found = compare(models(once), lists, DAY)
    assert [(one.doubt, one.lists, one.source) for one in found] == ([("", "two", HERE)] if is_split else [])


def test_a_first_price_is_of_one_source() -> None:
    content = models(entry("gpt-x", "openai"), entry(price={**TOKEN, "outputText": 1e-05}))
    lists = [
        hit("gpt-x", "openai", prices={"inputText": 5e-06, "outputText": 1e-05}),
        hit("gpt-x", "openai", name="two", prices={"inputText": 5e-06, "outputImage": 3e-05}, source=THERE),
    ]
    found = [one for one in compare(content, lists, DAY) if one.model == "gpt-x"]
    assert [(one.theirs, one.lists, one.source, one.doubt) for one in found] == [
        ("inputText $5/M, outputImage $30/M", "two", THERE, ""),
        ("outputText $10/M", "one", HERE, "from another source"),
    ]
    lists[0] = hit("gpt-x", "openai", prices={"outputImage": 3e-05, "inputText": 5.01e-06}, source=THERE)
    found = [one for one in compare(content, lists, DAY) if one.model == "gpt-x"]
    assert [(one.lists, one.source) for one in found] == [("one, two", THERE)]
