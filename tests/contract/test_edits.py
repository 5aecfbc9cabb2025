"""Requests with reference images, as each provider gets them and as its images show them."""

import io
import json
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt.models.model import Generated, Model, ProviderError
from tests.contract.calls import PROMPT, ask, images, orders
from tests.contract.cases import CASES, Case
from tests.contract.references import digest, encoded, pictures
from tests.contract.table import COLUMNS, MODELS, PATHS

OPENAI, GEMINI = MODELS["openai"], MODELS["gemini"]
EDITING = [name for name, column in COLUMNS.items() if column.sends_references]


@pytest.mark.parametrize(
    ("case", "protocol"),
    [
        pytest.param(case, protocol, id=f"{case.name}-{protocol}")
        for case in CASES
        for protocol in EDITING
        if case.fault and not case.references and not COLUMNS[protocol].why_absent(case)
    ],
)
def test_a_fault_of_a_generation_is_one_of_an_edit(simulator: Simulator, case: Case, protocol: str) -> None:
    column = COLUMNS[protocol]
    own = column.images_by.get(case.images_by or "", {})
    model = replace(column.model, parameters={**column.model.parameters, **own})
    simulator.set_fault(model.id, str(case.fault), **case.options)
    answer = ask(model, simulator.url + PATHS[protocol], seconds=case.seconds, references=pictures(1))
    expected = column.outcome(case)
    if expected.code is None:
        assert isinstance(answer, Generated), answer
        return
    assert isinstance(answer, ProviderError), answer
    assert (answer.code, answer.billable, answer.safe_to_repeat, answer.retry_after) == (
        expected.code,
        expected.billable,
        expected.safe_to_repeat,
        expected.retry_after,
    )


@pytest.mark.parametrize("protocol", EDITING)
def test_a_refused_image_is_no_fault_of_a_request_without_one(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "refused_image")
    assert images(simulator, MODELS[protocol]).images


@pytest.mark.parametrize("protocol", EDITING)
def test_the_image_shows_its_references(simulator: Simulator, protocol: str) -> None:
    blue = encoded("jpeg", (1024, 1024))
    (plain,), (edited,) = (images(simulator, MODELS[protocol], references=given).images for given in ((), (blue,)))
    corners = [Picture.open(io.BytesIO(image.data)).convert("RGB").getpixel((120, 110)) for image in (plain, edited)]
    assert corners[0] != corners[1] == pytest.approx((0, 0, 255), abs=12)


OPTIONS: dict[str, Any] = {
    "n": 2, "aspect_ratio": "16:9", "quality": "low", "output_format": "webp", "output_compression": 60,
    "background": "opaque", "moderation": "low",
}  # fmt: skip


def test_openai_gets_the_fields_of_a_generation_and_the_files(simulator: Simulator) -> None:
    model = replace(OPENAI, parameters={"complexity": "low"}, id="gpt-image-2.6-flare")
    given = (encoded("png"), encoded("jpeg"))
    images(simulator, model, **OPTIONS)
    made = images(simulator, model, references=given, **OPTIONS)
    generation, edit = orders(simulator)
    assert (generation.path, edit.path) == ("/openai/v1/images/generations", "/openai/v1/images/edits")
    files = edit.body.pop("image[]")
    assert edit.body == {name: str(value) for name, value in generation.body.items()}
    assert files == [
        {
            "fileName": f"reference-{number}.{extension}",
            "mimeType": image.mime_type,
            "bytes": len(image.data),
            "sha256": digest(image),
        }
        for number, (image, extension) in enumerate(zip(given, ("png", "jpg"), strict=True), 1)
    ]
    assert [image.mime_type for image in made.images] == ["image/webp"] * 2
    # Read once for both images.
    assert made.usage and made.usage["inputImageTokens"] == 2 * 10 * 8


def test_openai_gets_a_single_file_under_its_own_name(simulator: Simulator) -> None:
    images(simulator, OPENAI, references=pictures(1))
    (order,) = orders(simulator)
    assert [entry["fileName"] for entry in order.body["image"]] == ["reference-1.jpg"] and "image[]" not in order.body


def test_gemini_gets_the_references_before_the_prompt(simulator: Simulator) -> None:
    given = pictures(3)
    images(simulator, GEMINI, aspect_ratio="16:9", resolution="2K")
    made = images(simulator, GEMINI, aspect_ratio="16:9", resolution="2K", references=given)
    generation, edit = orders(simulator)
    assert edit.path == generation.path
    assert edit.body["generationConfig"] == generation.body["generationConfig"]
    (content,) = edit.body["contents"]
    *files, words = content["parts"]
    assert words == {"text": PROMPT}
    # Google accepts both forms of a name; the SDK writes this one as Python does.
    assert [(file["inlineData"]["mime_type"], file["inlineData"]["data"]["sha256"]) for file in files] == [
        (image.mime_type, digest(image)) for image in given
    ]
    assert made.usage and made.usage["inputImageTokens"] == 3 * 1120 and made.usage["inputTextTokens"] < 20


STABILITY, BEDROCK, RECRAFT = MODELS["stability"], MODELS["bedrock"], MODELS["recraft"]
SD3 = replace(STABILITY, id="sd3.5-large", path=None)
PHOTO = encoded("jpeg")
FILE = [{"fileName": "reference-1.jpg", "mimeType": "image/jpeg", "bytes": len(PHOTO.data), "sha256": digest(PHOTO)}]


@pytest.mark.parametrize(
    ("model", "mode"),
    [(SD3, {"mode": "image-to-image", "model": "sd3.5-large"}), (STABILITY, {})],
    ids=["sd3", "ultra"],
)
def test_stability_gets_a_file_and_a_strength_in_place_of_the_shape(
    simulator: Simulator, model: Model, mode: dict[str, str]
) -> None:
    own = replace(model, parameters={"aspect_ratio": "16:9", "style_preset": "anime"})
    options = {"aspect_ratio": "2:3", "seed": 7, "output_format": "jpeg", "negative_prompt": "blur", "strength": 0.25}
    (made,) = images(simulator, own, references=(PHOTO,), **options).images
    (order,) = orders(simulator)
    assert order.body == {
        "prompt": PROMPT, "style_preset": "anime", "seed": "7", "output_format": "jpeg", "negative_prompt": "blur",
        "strength": "0.25", "image": FILE, **mode,
    }  # fmt: skip
    assert (made.width, made.height) == (PHOTO.width, PHOTO.height)


def test_bedrock_gets_the_image_and_a_strength_in_place_of_the_shape(simulator: Simulator) -> None:
    own = replace(BEDROCK, parameters={"aspect_ratio": "16:9"})
    options = {"aspect_ratio": "2:3", "seed": 7, "output_format": "jpeg", "negative_prompt": "blur", "strength": 0}
    (made,) = images(simulator, own, references=(PHOTO,), **options).images
    (order,) = orders(simulator)
    assert order.body == {
        "prompt": PROMPT, "mode": "image-to-image", "seed": 7, "output_format": "jpeg", "negative_prompt": "blur",
        "strength": 0, "image": {"bytes": len(PHOTO.data), "sha256": digest(PHOTO)},
    }  # fmt: skip
    assert (made.width, made.height) == (PHOTO.width, PHOTO.height)


def test_recraft_gets_the_fields_of_a_generation_but_the_size_and_the_file(simulator: Simulator) -> None:
    own = {"size": "1:1", "controls": {"no_text": True}, "style": "Photorealism"}
    model = replace(RECRAFT, id="recraftv3", parameters=own)
    options = {"n": 2, "seed": 7, "output_format": "png", "negative_prompt": "blur"}
    images(simulator, model, aspect_ratio="16:9", **options)
    made = images(simulator, model, aspect_ratio="16:9", strength=1, references=(PHOTO,), **options)
    generation, edit = orders(simulator)
    assert (generation.path, edit.path) == ("/recraft/v1/images/generations", "/recraft/v1/images/imageToImage")
    assert json.loads(edit.body.pop("controls")) == generation.body.pop("controls")
    assert generation.body.pop("size") == "16:9"
    given = {name: str(value) for name, value in generation.body.items()}
    assert edit.body == {**given, "strength": "1", "image": FILE}
    assert [(image.mime_type, image.width, image.height) for image in made.images] == [("image/png", 320, 256)] * 2
    assert made.cost == pytest.approx(0.08)


@pytest.mark.parametrize("model", [SD3, STABILITY, BEDROCK, RECRAFT], ids=lambda model: model.id)
def test_a_required_strength_is_the_requests_or_the_catalogues_or_ours(simulator: Simulator, model: Model) -> None:
    images(simulator, model, references=(PHOTO,))
    own = replace(model, parameters={**model.parameters, "strength": 0.5})
    images(simulator, own, references=(PHOTO,))
    images(simulator, own, references=(PHOTO,), strength=0)
    assert [float(order.body["strength"]) for order in orders(simulator)] == [0.7, 0.5, 0]


@pytest.mark.parametrize("model", [SD3, STABILITY, BEDROCK, RECRAFT], ids=lambda model: model.id)
def test_without_a_reference_no_strength_is_sent(simulator: Simulator, model: Model) -> None:
    images(simulator, replace(model, parameters={"strength": 0.5}), strength=0.4)
    (order,) = orders(simulator)
    assert not {"strength", "mode", "image"} & {*order.body}


@pytest.mark.parametrize(
    ("fault", "given", "sentence"),
    [
        ("refused", 0, "The provider refused this prompt (Filter reason: prompt)."),
        ("refused_image", 1, "The provider refused the reference image (Filter reason: input image)."),
    ],
)
def test_bedrock_says_what_it_refuses(simulator: Simulator, fault: str, given: int, sentence: str) -> None:
    simulator.set_fault(BEDROCK.id, fault)
    assert str(ask(BEDROCK, simulator.url + PATHS["bedrock"], references=pictures(given))) == sentence


def test_bedrock_is_not_asked_to_edit_two_images() -> None:
    error = ask(BEDROCK, None, references=pictures(2))
    assert str(error) == "The request has 2 reference images; this model accepts 1."


@pytest.mark.parametrize(
    ("fault", "given", "sentence"),
    [
        ("refused", 0, "The provider refused this prompt (PROHIBITED_CONTENT)."),
        ("refused_image", 1, "The provider refused the prompt or a reference image (IMAGE_SAFETY)."),
    ],
)
def test_gemini_does_not_say_which_of_both_it_refuses(
    simulator: Simulator, fault: str, given: int, sentence: str
) -> None:
    simulator.set_fault(GEMINI.id, fault)
    assert str(ask(GEMINI, simulator.url + PATHS["gemini"], references=pictures(given))) == sentence
