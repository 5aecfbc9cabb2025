"""Where a catalogue and lists differ, and what counts as sure."""

from datetime import date
from typing import Any

import pytest

from local.catalogue.corroboration import Difference
from local.catalogue.differences import changed, compare, settled
from local.catalogue.price_lists import Listed, PriceList
from pixelprompt.models import catalogue

DAY = date(2026, 11, 27)
HERE, THERE = "https://prices.example/a", "https://prices.example/b"
IMAGE = {"unit": "image", "amount": 0.04, "date": "2026-01-01", "source": "https://prices.example/old"}
TOKEN = {**IMAGE, "unit": "token", "outputImage": 3e-05, "inputText": 5e-06, "estimate": 0.03}
del TOKEN["amount"]
XAI = {
    "name": "Grok", "provider": "compatible", "id": "grok", "baseUrl": "https://api.x.ai/v1",
    "apiKeyName": "XAI_API_KEY",
    "dialect": "xai", "parameters": {"response_format": "b64_json"}, "supports": {"resolution": ["1K", "2K"]},
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


def refreshed(price: dict[str, Any], stated: dict[str, float]) -> Any:
    """The price of a model after a list has stated others."""
    content = models(entry(price=price))
    (result,) = changed(content, [only(content, hit(prices=stated))])["models"]
    return result["price"]


def test_a_price_that_differs_gets_a_day_and_a_source() -> None:
    content = models(entry(price=IMAGE, supports={"seed": {"min": 0, "max": 1}}))
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
    assert refreshed(price, stated) == {**price, **new, "date": "2026-11-27", "source": HERE}


@pytest.mark.parametrize(
    ("price", "stated"),
    [(IMAGE, {"image": 0.0403}), (IMAGE, {"image": 0.04, "outputText": 1}), (TOKEN, {"inputText": 5.04e-06})],
)
def test_a_hundredth_and_what_one_side_lacks_is_no_difference(price: dict[str, Any], stated: dict[str, float]) -> None:
    assert not compare(models(entry(price=price)), [hit(prices=stated)], DAY)


@pytest.mark.parametrize(
    ("lists", "fields", "doubt"),
    [
        ([hit(prices={"image": 0.05}, source=None)], {}, "it names no source"),
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


BY_QUALITY = {"byQuality": {"low": 0.04, "high": None}}


@pytest.mark.parametrize(
    ("price", "stated", "new"),
    [
        ({**IMAGE, **BY_QUALITY}, {"image": 0.05}, {"amount": 0.05, "byQuality": {"low": 0.05, "high": None}}),
        (
            {**IMAGE, "byResolution": {"512": 0.04, "2K": 0.06}},
            {"image": 0.05, "2K": 0.06},
            {"amount": 0.05, "byResolution": {"512": 0.05, "2K": 0.06}},
        ),
        ({**TOKEN, "byResolution": {"1K": 0.03}}, {"image": 0.05}, {"estimate": 0.05, "byResolution": {"1K": 0.05}}),
        (IMAGE, {"image": 0.05, "2K": 0.05}, {"amount": 0.05}),
    ],
)  # fmt: skip
def test_where_the_old_price_stands_in_a_table_it_changes_as_well(
    price: dict[str, Any], stated: dict[str, float], new: dict[str, Any]
) -> None:
    assert refreshed(price, stated) == {**price, **new, "date": "2026-11-27", "source": HERE}


@pytest.mark.parametrize(
    ("price", "stated"),
    [
        ({**IMAGE, "byResolution": {"2K": 0.06}}, {"image": 0.05}),
        ({**IMAGE, "byResolution": {"2K": 0.06, "4K": 0.1}}, {"image": 0.05, "2K": 0.06}),
        ({**IMAGE, "byQuality": {"low": 0.01}}, {"image": 0.05}),
        (TOKEN, {"outputImage": 4e-05}),
        ({**TOKEN, "byResolution": {"4K": 0.1}}, {"outputImage": 4e-05, "image": 0.04}),
    ],
)
def test_a_price_whose_tables_would_keep_old_ones_is_not_sure(price: dict[str, Any], stated: dict[str, float]) -> None:
    content = models(entry(price=price))
    difference = only(content, hit(prices=stated), hit(prices=stated, name="two"))
    assert difference.doubt == "its tables must be looked at"
    assert changed(content, [difference]) == content


ODD = "it changes by more than a factor of 3"


@pytest.mark.parametrize(
    ("lists", "doubt"),
    [
        ([hit(prices={"image": 0.1201})], ODD),
        ([hit(prices={"image": 0.0133})], ODD),
        ([hit(prices={"image": 0.1199})], ""),
        ([hit(prices={"image": 4.0}), hit(prices={"image": 4.0}, name="two")], ""),
        ([own("bfl", "flux-a", prices={"image": 4.0})], ""),
    ],
)
def test_an_odd_price_needs_two_lists_or_its_providers_own(lists: list[PriceList], doubt: str) -> None:
    assert only(models(entry(price=IMAGE)), *lists).doubt == doubt


@pytest.mark.parametrize(
    ("lists", "doubt"),
    [
        ([hit(shutdown="2026-11-26")], "2026-11-26 is in the past"),
        ([hit(shutdown="1970-01-01")], "1970-01-01 is in the past"),
        ([hit(shutdown="2026-11-27")], ""),
        ([hit(shutdown="2026-11-26"), hit(shutdown="2026-11-26", name="two")], ""),
        ([own("bfl", "flux-a", shutdown="2026-11-26", shutdown_source=HERE)], ""),
    ],
)
def test_an_end_in_the_past_needs_two_lists_or_its_providers_own(lists: list[PriceList], doubt: str) -> None:
    assert only(models(entry()), *lists).doubt == doubt


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"price": IMAGE, "uncorroborated": "A guess."}, {"prices": {"image": 0.05}}),
        ({"price": {**IMAGE, "uncorroborated": "A guess."}}, {"prices": {"image": 0.05}}),
        ({"uncorroborated": "A guess."}, {"prices": {"image": 0.05}}),
        ({"uncorroborated": "A guess."}, {"shutdown": "2026-12-24"}),
        ({"uncorroborated": "A guess."}, {"replacement": "flux-b"}),
    ],
)
def test_two_lists_or_the_providers_own_override_the_mark(fields: dict[str, Any], facts: dict[str, Any]) -> None:
    content = models(entry(**fields), entry("flux-b", price=IMAGE))
    both = [hit(**facts), hit(**facts, name="two")]
    alone = own("bfl", "flux-a", "flux-b", shutdown_source=HERE, **facts)
    for lists, doubt in ((both, ""), ([alone], ""), (both[:1], "known: A guess.")):
        found = [one for one in compare(content, lists, DAY) if one.model == "flux-a"]
        assert [one.doubt for one in found] == [doubt]


def test_what_the_catalogue_would_be_wrong_with_is_held_back_alone() -> None:
    content = models(entry(price=IMAGE), entry("flux-b", price=IMAGE))
    wrong = Difference("shutdown", "flux-a", "none", "soon", "one", HERE, {"shutdown": "soon"})
    differences = [wrong, *compare(content, [hit("flux-b", prices={"image": 0.05})], DAY)[1:]]
    first, second = settled(content, differences)
    assert first.doubt.startswith("the catalogue would be wrong: ") and "shutdown" in first.doubt
    assert second.doubt == ""
    (one, two) = changed(content, [first, second])["models"]
    assert "shutdown" not in one and two["price"]["amount"] == 0.05


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
        ([hit(shutdown="2026-12-24", shutdown_source=None)], {}, "it names no source"),
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
    # The account of the key may be a restricted one.
    assert (difference.kind, difference.doubt) == ("gone", "one account's list may be restricted")
    assert changed(content, [difference]) == content
    retired = models(entry("gpt-x", "openai", retired=True))
    assert not compare(retired, [own("openai", "dall-e-1-preview")], DAY)
    texts = models(texts=(entry("gpt-x", "openai"),))
    assert not compare(texts, [own("openai", "dall-e-1-preview")], DAY)
    assert not compare(content, [own("openai", "gpt-x")], DAY)
    assert not compare(content, [own("openai", "dall-e-1-preview"), hit("gpt-x", "openai")], DAY)
    assert not compare(content, [hit("gpt-y", "openai")], DAY)


def test_a_new_model_is_added_at_the_end_and_is_no_default() -> None:
    content = models(XAI)
    lists = [
        hit("grok-3-image", "compatible/xai", prices={"image": 0.07}, draws=True, shutdown="2027-05-01"),
        hit("grok-3-image", "compatible/xai", name="two", prices={"image": 0.07}),
    ]
    (difference,) = compare(content, lists, DAY)
    assert (difference.kind, difference.doubt) == ("new", "")
    result = changed(content, [difference])
    reached = {name: value for name, value in XAI.items() if name not in ("name", "id", "supports")}
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
        ([hit("flux-9", draws=True, source=None), hit("flux-9", name="two", source=None)], "it names no source"),
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
