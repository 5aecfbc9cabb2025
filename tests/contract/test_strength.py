"""Models that start from one reference image: its shape is that of the result, and a strength is required."""

import json

import pytest
from msgspec.structs import replace

from local.simulator import Simulator
from pixelprompt.models.model import Model
from tests.contract.calls import PROMPT, ask, images, orders
from tests.contract.references import digest, encoded, pictures
from tests.contract.table import MODELS, PATHS

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
