"""Requests with reference images, as each provider gets them and as its images show them."""

import io
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image as Picture

from local.simulator import Simulator
from tests.contract.calls import PROMPT, ask, images, orders
from tests.contract.cases import CASES, Case
from tests.contract.references import digest, encoded, pictures
from tests.contract.table import COLUMNS, MODELS, PATHS
from tests.contract.test_contract import summary

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
    assert summary(answer) == replace(expected, requests=0)


@pytest.mark.parametrize("protocol", EDITING)
def test_a_refused_image_is_no_fault_of_a_request_without_one(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "refused_image")
    assert images(simulator, MODELS[protocol]).images


@pytest.mark.parametrize("protocol", EDITING)
def test_the_image_shows_its_references(simulator: Simulator, protocol: str) -> None:
    # Of a size that an image has as well which gets its size from the reference.
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
