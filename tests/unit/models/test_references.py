"""Reference images against what a model accepts, and what they cost."""

from collections.abc import Mapping
from typing import Any

import pytest

from pixelprompt.models import cost
from pixelprompt.models.model import Image, Model, ProviderError
from pixelprompt.models.references import check_references
from pixelprompt.models.registry import ModelRegistry

PNG = Image(b"x" * 100, "image/png", 512, 300)
JPEG = Image(b"x" * 80, "image/jpeg", 4000, 500)


def refusal(references: list[Image], images: Mapping[str, Any] | None) -> ProviderError | None:
    try:
        check_references(references, {} if images is None else {"images": images})
    except ProviderError as error:
        return error
    return None


@pytest.mark.parametrize(
    "images",
    [
        {"max": 2},
        {"max": 16, "formats": ["jpeg", "png"], "side": {"min": 300, "max": 4000}, "pixels": 2_000_000, "bytes": 100},
    ],
)
def test_images_within_the_limits_pass(images: Mapping[str, Any]) -> None:
    assert refusal([PNG, JPEG], images) is None


def test_a_request_without_references_passes_whatever_the_model_supports() -> None:
    assert refusal([], None) is None


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (None, "This model doesn't support reference images; send the request without `images`."),
        ({"max": 1}, "The request has 2 reference images; this model accepts 1."),
        ({"max": 2, "formats": ["png", "webp"]}, "Reference image 2 is a JPEG; this model accepts png, webp."),
        ({"max": 2, "formats": ["jpeg"]}, "Reference image 1 is a PNG; this model accepts jpeg."),
        (
            {"max": 2, "side": {"min": 256, "max": 3999}},
            "Reference image 2 is 4000 × 500 pixels; this model accepts sides of 256 to 3999 pixels.",
        ),
        (
            {"max": 2, "side": {"min": 301, "max": 4000}},
            "Reference image 1 is 512 × 300 pixels; this model accepts sides of 301 to 4000 pixels.",
        ),
        (
            {"max": 2, "pixels": 1_999_999},
            "Reference image 2 is 4000 × 500 pixels; this model accepts at most 1,999,999 pixels in total.",
        ),
        ({"max": 2, "bytes": 99}, "Reference image 1 has 100 bytes; this model accepts at most 99."),
    ],
)
def test_the_first_image_that_does_not_fit_is_named(images: Mapping[str, Any] | None, sentence: str) -> None:
    error = refusal([PNG, JPEG], images)
    assert error and (str(error), error.code, error.billable) == (sentence, "invalid_request", "no")
    assert not error.safe_to_repeat


class TestCost:
    IMAGE: Mapping[str, Any] = {"unit": "image", "amount": 0.04, "reference": 0.01}
    TOKENS: Mapping[str, Any] = {
        "unit": "token", "inputText": 5e-6, "inputImage": 8e-6, "outputImage": 3e-5, "estimate": 0.03,
    }  # fmt: skip

    def test_each_call_reads_all_references(self) -> None:
        one_by_one = Model("A", "bfl", "a", price=self.IMAGE)
        at_once = Model("A", "recraft", "a", price=self.IMAGE, supports={"n": {"perCall": True}})
        used = {"n": 3, "images": 2}
        assert cost.estimate(one_by_one, used)["amount"] == pytest.approx(3 * 0.04 + 3 * 2 * 0.01)
        assert cost.estimate(at_once, used)["amount"] == pytest.approx(3 * 0.04 + 2 * 0.01)
        assert cost.estimate(at_once, {"n": 3})["amount"] == pytest.approx(0.12)
        # What is computed for two images that were made, of three.
        assert cost.computed(one_by_one, 2, used, None)["amount"] == pytest.approx(2 * 0.04 + 2 * 2 * 0.01)

    def test_without_the_price_of_a_reference_an_estimate_is_unknown(self) -> None:
        for price in ({"unit": "image", "amount": 0.04}, self.TOKENS):
            model = Model("A", "openai", "a", price=price)
            assert cost.estimate(model, {"images": 1}) == cost.UNKNOWN
            assert cost.estimate(model, {})["amount"]
        free = Model("A", "bfl", "a", price={"unit": "image", "amount": 0.04, "reference": 0})
        assert cost.estimate(free, {"images": 8})["amount"] == 0.04

    def test_image_tokens_of_the_request_have_their_own_price(self) -> None:
        model = Model("A", "openai", "a", price=self.TOKENS)
        usage = {"inputTextTokens": 10, "inputImageTokens": 1000, "outputImageTokens": 500}
        expected = 10 * 5e-6 + 1000 * 8e-6 + 500 * 3e-5
        assert cost.computed(model, 1, {"images": 1}, usage)["amount"] == pytest.approx(expected)

    def test_references_that_are_counted_as_text_have_the_price_of_text_only_where_it_is_theirs(self) -> None:
        usage = {"inputTextTokens": 1010, "outputImageTokens": 500}
        assert cost.computed(Model("A", "openai", "a", price=self.TOKENS), 1, {"images": 1}, usage) == cost.UNKNOWN
        same = Model("A", "gemini", "a", price={**self.TOKENS, "inputImage": 5e-6})
        assert cost.computed(same, 1, {"images": 1}, usage)["amount"] == pytest.approx(1010 * 5e-6 + 500 * 3e-5)

    def test_an_estimate_of_the_catalogue_has_its_references(self) -> None:
        """Where an image without references has an estimate."""
        supporting = [model for model in ModelRegistry.load().get_all_models() if "images" in model.supports]
        assert len(supporting) > 5
        for model in supporting:
            alone = cost.estimate(model, {})["amount"]
            if model.price and "reference" in model.price and alone is not None:
                added = cost.estimate(model, {"images": 2})["amount"]
                assert added == pytest.approx(alone + 2 * model.price["reference"], abs=1e-6), model.name

    @pytest.mark.parametrize("provider", ["stability", "bedrock", "recraft"])
    def test_these_providers_charge_for_the_image_that_is_made_only(self, provider: str) -> None:
        models = [model for model in ModelRegistry.load().get_all_models() if model.provider == provider]
        editors = [model for model in models if "images" in model.supports]
        assert editors
        for model in editors:
            alone = cost.estimate(model, {"n": 3})
            assert alone["amount"] and cost.estimate(model, {"n": 3, "images": 1, "strength": 0.4}) == alone
            assert cost.computed(model, 3, {"images": 1}, None) == alone
