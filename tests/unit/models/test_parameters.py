"""Parameters, receipts and costs."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.simulator.protocols import compatible, gemini, stability
from pixelprompt.models import cost
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import ASPECT_RATIOS, RESOLUTIONS, as_made, image_request, receipt
from pixelprompt.models.registry import ModelRegistry

TAKES = {
    "aspectRatio": ["1:1", "16:9", "9:16"],
    "resolution": ["1K", "4K"],
    "n": {"max": 2, "perCall": True},
    "seed": {"min": 0, "max": 4294967294},
    "steps": {"min": 1, "max": 50},
    "quality": ["low", "high"],
    "outputFormat": ["webp", "png"],
    "negativePrompt": True,
}


@pytest.mark.parametrize(
    ("name", "value", "used"),
    [
        ("aspectRatio", "16:9", "16:9"),
        ("aspectRatio", "21:9", "16:9"),
        ("aspectRatio", "4:5", "1:1"),
        ("aspectRatio", "2:3", "9:16"),
        ("resolution", "2K", "1K"),
        ("resolution", "512", "1K"),
        ("n", 4, 2),
        ("n", 1, 1),
        ("seed", 4294967295, 0),
        ("seed", 7, 7),
        ("steps", 150, 50),
        ("outputFormat", "jpeg", "webp"),
        ("negativePrompt", "blurry", "blurry"),
    ],
)
def test_a_value_is_applied_or_the_nearest_is_used(name: str, value: Any, used: Any) -> None:
    result = receipt({name: value}, TAKES)
    if used == value:
        assert (result.applied, result.adjusted, result.ignored) == ({name: value}, {}, {})
    else:
        assert (result.applied, result.ignored) == ({}, {})
        assert result.adjusted == {name: {"requested": value, "used": used}}
    assert result.used() == {name: used}


def test_what_a_model_does_not_know_is_ignored_with_the_reason() -> None:
    result = receipt({"guidance": 7, "control": 1}, TAKES)
    assert set(result.ignored) == {"guidance", "control"}
    assert result.used() == {}
    assert [entry["parameter"] for entry in result.unsupported("A")] == ["guidance", "control"]


def test_several_images_need_no_word_of_the_model() -> None:
    assert receipt({"n": 4}, {}).applied == {"n": 4}


@pytest.mark.parametrize(
    ("wanted", "supports", "used"),
    [
        ("xhigh", ["low", "medium", "high"], "high"),
        ("max", ["low", "medium", "high"], "high"),
        ("high", ["low", "medium"], "medium"),
        ("low", ["medium", "high"], "medium"),
        ("medium", ["low", "high"], "low"),
        ("medium", ["high", "low"], "low"),
    ],
)
def test_a_quality_has_its_neighbor(wanted: str, supports: list[str], used: str) -> None:
    assert receipt({"quality": wanted}, {"quality": supports}).used() == {"quality": used}


FORMATS = {
    "outputFormat": ["png", "jpeg", "webp"],
    "outputCompression": {"min": 0, "max": 100},
    "background": ["transparent", "opaque"],
}


@pytest.mark.parametrize(
    ("given_", "ignored"),
    [
        ({"outputCompression": 50}, {"outputCompression"}),
        ({"outputCompression": 50, "outputFormat": "png"}, {"outputCompression"}),
        ({"outputCompression": 50, "outputFormat": "jpeg"}, set()),
        ({"background": "transparent", "outputFormat": "jpeg"}, {"background"}),
        ({"background": "opaque", "outputFormat": "jpeg"}, set()),
        ({"background": "transparent", "outputFormat": "webp", "outputCompression": 0}, set()),
        ({"background": "transparent"}, set()),
    ],
)
def test_what_does_not_go_with_the_format_is_ignored(given_: dict[str, Any], ignored: set[str]) -> None:
    result = receipt(given_, FORMATS)
    assert set(result.ignored) == ignored
    assert set(result.applied) == set(given_) - ignored
    assert all(reason.endswith(".") for reason in result.ignored.values())


EDITOR = {
    "aspectRatio": ["1:1", "16:9"],
    "resolution": ["1K", "2K"],
    "seed": True,
    "images": {"max": 1, "shape": "reference"},
    "strength": {"min": 0.2, "max": 1},
}
SHAPE = "With reference images, the shape follows the first one."
SIZE = "With reference images, the size follows the first one."


@pytest.mark.parametrize(
    ("given_", "used", "ignored"),
    [
        ({"aspectRatio": "16:9", "images": 1}, {"images": 1}, {"aspectRatio": SHAPE}),
        # The nearest shape is no more possible than the one that was asked for.
        (
            {"aspectRatio": "21:9", "resolution": "1K", "images": 3, "seed": 5},
            {"images": 1, "seed": 5},
            {"aspectRatio": SHAPE, "resolution": SIZE},
        ),
        ({"images": 1, "strength": 0}, {"images": 1, "strength": 0.2}, {}),
        ({"aspectRatio": "16:9", "resolution": "2K"}, {"aspectRatio": "16:9", "resolution": "2K"}, {}),
    ],
)
def test_the_shape_of_a_reference_replaces_the_one_asked_for(
    given_: dict[str, Any], used: dict[str, Any], ignored: dict[str, str]
) -> None:
    result = receipt(given_, EDITOR)
    assert (result.used(), result.ignored) == (used, ignored)
    made = as_made(result, [(300, 900, "png")])
    assert made.ignored == ignored and ("aspectRatio" in made.adjusted) is ("aspectRatio" in used)


def test_a_single_reference_has_its_own_shape_at_some_models() -> None:
    shy = {"aspectRatio": ["1:1"], "resolution": ["2K"], "images": {"max": 3, "shape": "single"}}
    one = receipt({"aspectRatio": "1:1", "resolution": "2K", "images": 1}, shy)
    assert one.used() == {"resolution": "2K", "images": 1}
    assert one.ignored == {"aspectRatio": "With one reference image, the shape follows it."}
    assert receipt({"aspectRatio": "1:1", "images": 2}, shy).ignored == {}


def test_a_shape_is_kept_by_a_model_that_can_make_it_of_a_reference() -> None:
    free = {**EDITOR, "images": {"max": 1}}
    given_ = {"aspectRatio": "16:9", "resolution": "2K", "images": 1}
    assert receipt(given_, free).applied == given_
    # What a model doesn't support at all has the usual reason.
    plain = {"images": EDITOR["images"]}
    assert receipt(given_, plain).ignored["aspectRatio"] == "This model doesn't support `aspectRatio`."


SHAPED = {
    "aspectRatio": ["1:1", "16:9", "21:9"],
    "resolution": ["1K", "2K"],
    "outputFormat": ["png", "webp"],
    "background": ["transparent", "opaque"],
}


@pytest.mark.parametrize(
    ("given_", "image", "adjusted"),
    [
        ({"aspectRatio": "16:9"}, (1344, 768, "png"), {}),
        ({"aspectRatio": "16:9"}, (1024, 1024, "png"), {"aspectRatio": ("16:9", "1024x1024")}),
        ({"aspectRatio": "16:9", "resolution": "2K"}, (1344, 768, "png"), {"resolution": ("2K", "1344x768")}),
        ({"resolution": "1K"}, (1536, 672, "png"), {}),
        ({"resolution": "4K"}, (2048, 2048, "png"), {"resolution": ("4K", "2K")}),
        ({"resolution": "4K"}, (1024, 1024, "png"), {"resolution": ("4K", "1024x1024")}),
        ({"aspectRatio": "9:21"}, (1024, 1024, "png"), {"aspectRatio": ("9:21", "1:1")}),
        ({"outputFormat": "webp"}, (8, 8, "webp"), {}),
        ({"outputFormat": "webp"}, (8, 8, "png"), {"outputFormat": ("webp", "png")}),
        ({"background": "transparent"}, (8, 8, "jpeg"), {"background": ("transparent", "opaque")}),
        ({"background": "transparent"}, (8, 8, "png"), {}),
        ({"seed": 5}, (8, 8, "png"), {}),
        ({}, (8, 8, "png"), {}),
    ],
)
def test_what_the_image_contradicts_is_adjusted(
    given_: dict[str, Any], image: tuple[int, int, str], adjusted: dict[str, tuple[str, str]]
) -> None:
    result = as_made(receipt(given_, SHAPED), [image, image])
    assert result.adjusted == {name: {"requested": asked, "used": used} for name, (asked, used) in adjusted.items()}
    assert set(result.applied) == set(given_) - set(adjusted) - {"seed"}


def test_one_image_of_another_shape_is_enough() -> None:
    result = as_made(receipt({"aspectRatio": "1:1"}, SHAPED), [(1024, 1024, "png"), (1024, 768, "png")])
    assert result.adjusted == {"aspectRatio": {"requested": "1:1", "used": "1024x768"}}


@pytest.mark.parametrize(
    "sizes",
    [gemini.RATIOS, gemini.LONG_RATIOS, stability.RATIOS, compatible.RATIOS],
    ids=["gemini", "gemini-long", "stability", "compatible"],
)
def test_the_sizes_that_providers_round_to_fit_their_ratio(sizes: dict[str, tuple[int, int]]) -> None:
    for shape, (width, height) in sizes.items():
        result = as_made(receipt({"aspectRatio": shape}, {"aspectRatio": [shape]}), [(width, height, "png")])
        assert result.applied == {"aspectRatio": shape}, (width, height)


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "aspectRatio": st.sampled_from(ASPECT_RATIOS),
        "resolution": st.sampled_from(RESOLUTIONS),
        "n": st.integers(1, 4),
        "seed": st.integers(0, 2**32 - 1),
        "steps": st.integers(1, 150),
        "guidance": st.floats(0, 30),
        "quality": st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
        "outputFormat": st.sampled_from(["png", "jpeg", "webp"]),
        "outputCompression": st.integers(0, 100),
        "background": st.sampled_from(["transparent", "opaque"]),
        "providerModeration": st.sampled_from(["auto", "low"]),
        "images": st.integers(1, 8),
        "strength": st.floats(0, 1),
    },
)


@given(PARAMETERS, st.sampled_from(ModelRegistry.load().get_all_models()))
def test_every_parameter_has_exactly_one_fate_and_the_used_value_fits(given_: dict[str, Any], model: Model) -> None:
    result = receipt(given_, model.supports)
    fates = [*result.applied, *result.adjusted, *result.ignored]
    assert sorted(fates) == sorted(given_)
    again = receipt(result.used(), model.supports)
    assert again.applied == result.used()
    request = image_request("a fox", result.used(), model)
    assert request.n == 1 or model.supports["n"]["perCall"]


def model_of(model_id: str) -> Model:
    model = ModelRegistry.load().find(model_id)
    assert model and model.price
    return model


def priced(price: Mapping[str, Any], **parameters: Any) -> Model:
    return Model("A", "openai", "a", price=price, parameters=parameters)


class TestCost:
    PRICE = priced({"unit": "image", "amount": 0.04, "byResolution": {"4K": 0.1, "2K": None}})
    TOKENS = priced({"unit": "token", "inputText": 5e-6, "outputImage": 3e-5, "estimate": 0.03})

    def test_an_image_has_its_price(self) -> None:
        assert cost.estimate(self.PRICE, {"n": 3})["amount"] == pytest.approx(0.12)
        assert cost.estimate(self.PRICE, {"resolution": "4K"})["amount"] == 0.1

    def test_unknown_is_never_zero(self) -> None:
        assert cost.estimate(None, {}) == cost.UNKNOWN
        assert cost.estimate(self.PRICE, {"resolution": "2K"}) == cost.UNKNOWN
        assert cost.computed(self.TOKENS, 1, {}, None) == cost.UNKNOWN
        assert cost.UNKNOWN["amount"] is None

    def test_a_quality_that_the_table_lacks_has_no_price(self) -> None:
        table = {"low": 0.006, "high": 0.05, "xhigh": None}
        price = priced({"unit": "image", "amount": 0.03, "byQuality": table, "byResolution": {"2K": 0.06}})
        assert cost.estimate(price, {"quality": "high"})["amount"] == 0.05
        assert cost.estimate(price, {})["amount"] == 0.03
        for quality in ("xhigh", "max"):
            for more in ({}, {"resolution": "2K"}):
                assert cost.estimate(price, {"quality": quality, **more}) == cost.UNKNOWN

    @pytest.mark.parametrize(
        ("model", "quality", "size", "dollars"),
        [
            ("gpt-image-2", "low", (1024, 1024), 0.006),
            ("gpt-image-2", "medium", (1024, 1024), 0.053),
            ("gpt-image-2", "high", (1024, 1024), 0.211),
            ("gpt-image-2", "low", (2048, 2048), 0.012),
            ("gpt-image-2", "medium", (2048, 2048), 0.107),
            ("gpt-image-2", "high", (2048, 2048), 0.428),
            ("gpt-image-2", "medium", (3840, 2160), 0.101),
            ("gpt-image-2", "high", (3840, 2160), 0.401),
            ("gpt-image-2.5-flare", "low", (1024, 1024), 0.006),
            ("gpt-image-2.5-flare", "medium", (1024, 1024), 0.013),
            ("gpt-image-2.5-flare", "high", (1024, 1024), 0.053),
            ("gpt-image-2.5-flare", "xhigh", (1024, 1024), 0.094),
            ("gpt-image-2.5-flare", "max", (1024, 1024), 0.211),
            ("gpt-image-2.5-sunburst", "high", (1024, 1536), 0.041),
            ("gpt-image-2.5-sunburst", "high", (1920, 1080), 0.040),
            ("gpt-image-2.5-sunburst", "high", (2560, 1440), 0.055),
            ("gpt-image-2.5-sunburst", "high", (3840, 2160), 0.100),
            ("gpt-image-2.6-flare", "high", (1024, 1024), 0.053),
        ],
    )
    def test_an_openai_image_costs_what_the_sellers_tables_say(
        self, model: str, quality: str, size: tuple[int, int], dollars: float
    ) -> None:
        price = model_of(model).price or {}
        tokens = cost.image_tokens(price["qualityFactors"][quality], *size)
        assert tokens * price["outputImage"] == pytest.approx(dollars, abs=0.001)

    def test_an_estimate_follows_quality_and_size(self) -> None:
        price = model_of("gpt-image-2.5-flare")
        auto, high = cost.estimate(price, {}), cost.estimate(price, {"quality": "high"})
        assert auto == high and high["amount"] == 0.05268
        assert cost.estimate(price, {"resolution": "2K", "n": 2})["amount"] == pytest.approx(2 * 0.10704)
        # A larger picture may be cheaper: what counts is mostly its shorter side.
        wide = cost.estimate(price, {"aspectRatio": "16:9"})["amount"]
        assert wide is not None and high["amount"] is not None
        assert wide == pytest.approx(cost.image_tokens(48, 1344, 768) * 3e-5, abs=0.002) and wide < high["amount"]

    def test_what_no_table_has_is_unknown(self) -> None:
        assert cost.estimate(model_of("gpt-image-2.6-flare"), {"quality": "low"}) == cost.UNKNOWN
        assert cost.estimate(model_of("gpt-image-2"), {"quality": "max"}) == cost.UNKNOWN
        assert cost.estimate(model_of("grok-imagine-image-2.0"), {"quality": "medium"}) == cost.UNKNOWN
        assert cost.estimate(model_of("gemini-nano-banana-2.1"), {"resolution": "2K"}) == cost.UNKNOWN

    def test_every_kind_of_token_has_its_own_price(self) -> None:
        usage = {"inputTextTokens": 8, "outputTextTokens": 260, "outputImageTokens": 2240}
        price = model_of("gemini-nano-banana-2.1")
        assert cost.computed(price, 1, {}, usage)["amount"] == pytest.approx(8 * 1.5e-6 + 260 * 7.5e-6 + 2240 * 3e-5)

    @pytest.mark.parametrize(
        "usage", [{"outputImageTokens": 0}, {"outputImageTokens": 1000, "inputImageTokens": 5}, {"inputTextTokens": 9}]
    )
    def test_tokens_without_a_price_or_an_image_make_no_sum(self, usage: dict[str, int]) -> None:
        assert cost.computed(self.TOKENS, 1, {}, usage) == cost.UNKNOWN

    def test_what_a_model_is_always_sent_counts(self) -> None:
        gpt, flux = (model_of(name).price or {} for name in ("gpt-image-2", "flux-3-image"))
        assert cost.estimate(priced(gpt, quality="low"), {})["amount"] == pytest.approx(0.00588)
        assert cost.estimate(priced(gpt, quality="auto"), {}) == cost.estimate(priced(gpt), {"quality": "high"})
        assert cost.estimate(priced(gpt, quality="low"), {"quality": "high"})["amount"] == pytest.approx(0.21072)
        for price, size in ((gpt, {"size": "1536x1024"}), (flux, {"resolution": "4k"})):
            assert cost.estimate(priced(price, **size), {}) == cost.UNKNOWN
            assert cost.estimate(priced(price, **size), {"resolution": "1K"})["amount"]
        assert cost.estimate(priced({"unit": "image", "amount": 0.04}, width=512), {})["amount"] == 0.04
        assert cost.estimate(priced(gpt, size="1536x1024"), {"aspectRatio": "1:1"})["amount"] == pytest.approx(0.21072)
        assert cost.estimate(priced(flux, resolution="4k"), {"aspectRatio": "1:1"}) == cost.UNKNOWN
        for odd in (["high"], {"a": 1}, 5, None):
            assert cost.estimate(priced(gpt, quality=odd), {}) == cost.UNKNOWN

    def test_less_than_a_millionth_is_more_than_nothing(self) -> None:
        assert cost.estimate(priced({"unit": "image", "amount": 1e-9}), {})["amount"] == 1e-9

    def test_no_default_quality_is_without_an_estimate(self) -> None:
        for model in ModelRegistry.load().get_all_models():
            for quality in model.supports.get("quality", []):
                found = cost.estimate(model, {"quality": quality})["amount"]
                assert found is None or found > 0

    def test_tokens_are_multiplied(self) -> None:
        usage = {"inputTextTokens": 20, "outputImageTokens": 1000}
        assert cost.computed(self.TOKENS, 1, {}, usage)["amount"] == pytest.approx(0.0301)

    def test_a_sum_says_what_it_leaves_out(self) -> None:
        costs = [cost.reported(0.03), cost.UNKNOWN, cost.estimate(self.PRICE, {})]
        assert cost.total(costs) == {"amount": 0.07, "currency": "USD", "known": 2, "unknown": 1}
        assert cost.total([cost.UNKNOWN])["amount"] is None
