"""Where a catalogue and lists differ, and what counts as sure."""

from datetime import date
from typing import Any

import pytest

from local.model_differences import Difference, changed, compare
from local.price_lists import Listed, PriceList
from pixelprompt import catalogue

DAY = date(2026, 11, 27)
HERE, THERE = "https://prices.example/a", "https://prices.example/b"
IMAGE = {"unit": "image", "amount": 0.04, "date": "2026-01-01", "source": "https://prices.example/old"}
TOKEN = {**IMAGE, "unit": "token", "outputImage": 3e-05, "inputText": 5e-06, "estimate": 0.03}
del TOKEN["amount"]
XAI = {
    "name": "Grok", "provider": "compatible", "id": "grok", "baseUrl": "https://api.x.ai/v1", "keyName": "XAI_API_KEY",
    "dialect": "xai", "parameters": {"response_format": "b64_json"}, "takes": {"resolution": ["1K", "2K"]},
}  # fmt: skip


def entry(id: str = "flux-a", provider: str = "bfl", **fields: Any) -> dict[str, Any]:
    return {"name": id, "provider": provider, "id": id, **fields}


def models(*entries: dict[str, Any], texts: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"schemaVersion": 1, "models": list(entries), "textModels": list(texts)}


def hit(id: str = "flux-a", provider: str = "bfl", name: str = "one", **facts: Any) -> PriceList:
    """A list of one model, with a source unless it is said otherwise."""
    facts = {"source": HERE, "shutdown_source": THERE, **facts}
    return PriceList(name, "1", [Listed(name, provider, id, **facts)])


def own(provider: str, *ids: str, **facts: Any) -> PriceList:
    name = "its own list"
    return PriceList(
        name, "", [Listed(name, provider, id, draws=True, source=HERE, **facts) for id in ids], own=provider
    )


def only(content: dict[str, Any], *lists: PriceList) -> Difference:
    (difference,) = compare(content, lists, DAY)
    return difference


def test_a_price_that_differs_gets_a_day_and_a_source() -> None:
    content = models(entry(price=IMAGE, takes={"seed": {"min": 0, "max": 1}}))
    difference = only(content, hit(prices={"image": 0.05}))
    assert (difference.kind, difference.ours, difference.theirs) == ("price", "image $0.04", "image $0.05")
    assert (difference.source, difference.doubt) == (HERE, "")
    (result,) = changed(content, [difference])["models"]
    assert list(result) == list(content["models"][0])
    assert result["price"] == {**IMAGE, "amount": 0.05, "date": "2026-11-27", "source": HERE}


@pytest.mark.parametrize(
    ("price", "stated", "new"),
    [
        (TOKEN, {"outputImage": 4e-05, "outputText": 9e-06, "image": 0.03}, {"outputImage": 4e-05}),
        (TOKEN, {"image": 0.05}, {"estimate": 0.05}),
        (IMAGE, {"image": 0.04, "2K": 0.06}, {"byResolution": {"2K": 0.06}}),
        (
            {**IMAGE, "byResolution": {"2K": None, "4K": 1}},
            {"2K": 0.06, "image": 0.04},
            {"byResolution": {"2K": 0.06, "4K": 1}},
        ),
    ],
)
def test_members_are_compared_one_by_one(price: dict[str, Any], stated: dict[str, float], new: dict[str, Any]) -> None:
    content = models(entry(price=price))
    difference = only(content, hit(prices=stated))
    (result,) = changed(content, [difference])["models"]
    assert result["price"] == {**price, **new, "date": "2026-11-27", "source": HERE}


@pytest.mark.parametrize(
    ("price", "stated"),
    [(IMAGE, {"image": 0.0403}), (IMAGE, {"image": 0.04, "outputText": 1}), (TOKEN, {"inputText": 5.04e-06})],
)
def test_a_hundredth_and_what_one_side_lacks_is_no_difference(price: dict[str, Any], stated: dict[str, float]) -> None:
    assert not compare(models(entry(price=price)), [hit(prices=stated)], DAY)


@pytest.mark.parametrize(
    ("lists", "fields", "doubt"),
    [
        ([hit(prices={"image": 0.05}, source=None)], {}, "no source is given"),
        (
            [hit(prices={"image": 0.05}), hit(prices={"image": 0.04}, name="two")],
            {},
            "the lists disagree: one has image $0.05, two has image $0.04",
        ),
        ([hit(prices={"image": 0.05})], {"uncorroborated": "One page only."}, "known: One page only."),
        ([hit(prices={"image": 0.05})], {"price": {**IMAGE, "uncorroborated": "A guess."}}, "known: A guess."),
        ([hit(prices={"inputText": 0.05})], {}, "no list has it"),
        ([], {}, "no list has it"),
    ],
)
def test_a_price_that_is_not_sure_stays(lists: list[PriceList], fields: dict[str, Any], doubt: str) -> None:
    content = models(entry(**{"price": IMAGE, **fields}))
    difference = only(content, *lists)
    assert difference.doubt == doubt
    assert changed(content, [difference]) == content


def test_two_lists_that_say_the_same_are_no_contradiction() -> None:
    lists = [hit(prices={"image": 0.05}, source=None), hit(prices={"image": 0.0501}, name="two", source=THERE)]
    difference = only(models(entry(price=IMAGE)), *lists)
    assert (difference.doubt, difference.source, difference.lists) == ("", THERE, "one, two")


def test_a_model_without_a_price_gets_one_of_its_kind() -> None:
    content = models(XAI, entry("gpt-x", "openai"), texts=(entry("gpt-y", "openai"),))
    tokens = {"inputText": 1e-06, "outputText": 2e-06}
    lists = [
        hit("grok", "compatible/xai", prices={"image": 0.04, "2K": 0.06}),
        hit("gpt-x", "openai", prices={**tokens, "outputImage": 3e-05}),
        hit("gpt-y", "openai", prices=tokens),
    ]
    result = changed(content, compare(content, lists, DAY))
    dated = {"date": "2026-11-27", "source": HERE}
    assert [one["price"] for one in result["models"]] == [
        {"unit": "image", "amount": 0.04, "byResolution": {"2K": 0.06}, **dated},
        {"unit": "token", **tokens, "outputImage": 3e-05, **dated},
    ]
    assert result["textModels"][0]["price"] == {"unit": "token", **tokens, **dated}
    assert not compare(content, [hit("grok", "compatible/xai", prices={"image": 0.04}, source=None)], DAY)


@pytest.mark.parametrize("fields", [{"retired": True}, {"shutdown": "2026-11-27"}])
def test_the_price_of_a_model_that_has_ended_is_nobodys_concern(fields: dict[str, Any]) -> None:
    assert not compare(models(entry(price=IMAGE, **fields)), [hit(prices={"image": 1.0}), own("bfl")], DAY)


def test_a_day_and_a_replacement() -> None:
    content = models(entry(shutdown="2026-12-01"), entry("flux-b"))
    found = compare(content, [hit(shutdown="2026-12-24", replacement="flux-b")], DAY)
    assert [(one.kind, one.ours, one.theirs, one.source, one.doubt) for one in found] == [
        ("shutdown", "2026-12-01", "2026-12-24", THERE, ""), ("replacement", "none", "flux-b", THERE, ""),
    ]  # fmt: skip
    assert changed(content, found)["models"][0] == entry(shutdown="2026-12-24", replacement="flux-b")


@pytest.mark.parametrize(
    ("lists", "fields", "doubt"),
    [
        ([hit(shutdown="2026-12-24"), hit(shutdown="2026-12-01", name="two")], {}, "the lists disagree: one has 2026"),
        ([hit(shutdown="2026-12-24", shutdown_source=None)], {}, "no source is given"),
        ([hit(shutdown="2026-12-24")], {"uncorroborated": "Two pages differ."}, "known: Two pages differ."),
        ([hit(replacement="flux-z")], {}, "flux-z is not in the catalogue"),
        ([hit(replacement="flux-old")], {}, "flux-old itself has ended"),
    ],
)
def test_an_end_that_is_not_sure_stays(lists: list[PriceList], fields: dict[str, Any], doubt: str) -> None:
    content = models(entry(**fields), entry("flux-old", retired=True))
    difference = only(content, *lists)
    assert difference.doubt.startswith(doubt)
    assert changed(content, [difference]) == content


def test_a_model_is_gone_where_its_provider_was_asked_and_no_list_has_it() -> None:
    content = models(entry("gpt-x", "openai"))
    difference = only(content, own("openai", "dall-e-1-preview"))
    assert (difference.kind, difference.doubt) == ("gone", "")
    result = changed(content, [difference])
    assert result["models"] == [entry("gpt-x", "openai", retired=True)]
    assert not compare(result, [own("openai", "dall-e-1-preview")], DAY)
    assert not compare(content, [own("openai", "gpt-x")], DAY)
    assert not compare(content, [own("openai", "dall-e-1-preview"), hit("gpt-x", "openai")], DAY)
    assert not compare(content, [hit("gpt-y", "openai")], DAY)


def test_a_new_model_is_added_at_the_end_and_is_no_default() -> None:
    content = models(XAI)
    lists = [
        hit("grok-3-image", "compatible/xai", prices={"image": 0.07}, draws=True, shutdown="2027-05-01"),
        hit("grok-3-image", "compatible/xai", name="two"),
    ]
    (difference,) = compare(content, lists, DAY)
    assert (difference.kind, difference.doubt) == ("new", "")
    result = changed(content, [difference])
    reached = {name: value for name, value in XAI.items() if name not in ("name", "id", "takes")}
    price = {"unit": "image", "amount": 0.07, "date": "2026-11-27", "source": HERE}
    assert result["models"] == [
        XAI,
        {"name": "Grok 3 Image", "id": "grok-3-image", **reached, "default": False, "shutdown": "2027-05-01",
         "price": price},
    ]  # fmt: skip
    catalogue.parse(result)
    assert not compare(result, lists, DAY)


@pytest.mark.parametrize(
    ("lists", "doubt"),
    [
        ([hit("flux-9", draws=True)], "only one has it"),
        ([hit("flux-9", draws=True, source=None), hit("flux-9", name="two", source=None)], "no source is given"),
        ([hit("flux-9", draws=True), hit("flux-9", name="two"), own("bfl", "flux-a")], "its own list lacks it"),
        (
            [hit("flux-9", draws=True, prices={"image": 1.0}), hit("flux-9", name="two", prices={"image": 2.0})],
            "the lists disagree: image $1, two has image $2",
        ),
        ([own("bfl", "flux-a", "flux-9")], ""),
    ],
)
def test_a_new_model_needs_two_lists_or_its_providers_own(lists: list[PriceList], doubt: str) -> None:
    difference = only(models(entry()), *lists)
    assert (difference.kind, difference.model, difference.doubt) == ("new", "flux-9", doubt)


@pytest.mark.parametrize(
    ("id", "provider", "facts"),
    [
        ("flux-a-2026-04-21", "bfl", {}),
        ("flux-a-20260403", "bfl", {}),
        ("flux-9-latest", "bfl", {}),
        ("flux-9-preview", "bfl", {}),
        ("flux-9", "bfl", {"shutdown": "2026-11-27"}),
        ("flux-9", "bfl", {"replacement": "flux-a"}),
        ("us.stability.core-v1:1", "bedrock", {}),
        ("stability.core-v1:0", "bedrock", {}),
        ("flux-9", "recraft", {}),
        ("openai/flux-a", "compatible/openrouter", {}),
    ],
)
def test_what_is_no_new_model(id: str, provider: str, facts: dict[str, Any]) -> None:
    content = models(
        entry(),
        entry("stability.core-v1:1", "bedrock"),
        entry("maker/b", "compatible", dialect="openrouter", baseUrl="https://openrouter.ai/api/v1"),
    )
    assert not compare(content, [hit(id, provider, draws=True, **facts), hit(id, provider, name="two")], DAY)


def test_a_new_model_that_the_catalogue_would_refuse_is_not_sure() -> None:
    content = models(entry("recraftv3", "recraft"))
    difference = only(content, own("recraft", "recraftv3", "recraftv9_vector"))
    assert "makes SVG images" in difference.doubt


def test_a_new_model_whose_name_is_taken_gets_another() -> None:
    content = models({**entry("x"), "name": "FLUX 9"})
    (result,) = changed(content, compare(content, [own("bfl", "x", "flux-9")], DAY))["models"][1:]
    assert result["name"] == "FLUX 9 (bfl)"
