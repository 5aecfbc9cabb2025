"""The catalogue as it is shipped: every provider takes what the catalogue says of its models."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import asdict, replace
from PIL import Image

from local.simulator import Simulator
from pixelprompt.models import catalogue, cost
from pixelprompt.models.model import Generated, ImageRequest, Model, ProviderError
from pixelprompt.models.parameters import IMAGES, image_request
from pixelprompt.models.references import check_references
from pixelprompt.models.registry import CATALOGUE
from tests.contract.calls import PROMPT, ask_simulator, orders
from tests.contract.references import encoded, pictures
from tests.today import TODAY

MODELS = catalogue.parse(json.loads(CATALOGUE.read_text(encoding="utf-8")))["models"]
LIVE = [
    model for model in MODELS if not model.retired and (model.shutdown is None or model.shutdown > TODAY.isoformat())
]
RETIRED = [model for model in MODELS if model not in LIVE]


def values(model: Model) -> Iterator[dict[str, Any]]:
    """One parameter at a time: every listed value, and both ends of every range."""
    yield {}
    for name, allowed in model.supports.items():
        if name == "n":
            yield {"n": allowed.get("max", 1)}
        elif name == IMAGES:
            yield from ({name: count} for count in (1, allowed["max"]))
        elif name == "strength":
            yield from ({name: allowed[end], IMAGES: 1} for end in ("min", "max"))
        elif allowed is True:
            yield {name: "blur"}
        elif isinstance(allowed, list):
            yield from ({name: value} for value in allowed)
        else:
            yield from ({name: allowed[end]} for end in ("min", "max"))
    if {"aspectRatio", "resolution"} <= set(model.supports):
        for resolution in model.supports["resolution"]:
            yield from ({"aspectRatio": ratio, "resolution": resolution} for ratio in model.supports["aspectRatio"])


@pytest.mark.parametrize("model", LIVE, ids=lambda model: model.name)
def test_the_provider_takes_what_the_catalogue_says(
    simulator: Simulator, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Accepted, but not drawn: that is quicker. Some simulators draw all the same, and send nothing.
    simulator.set_fault(model.id, "no_image")
    monkeypatch.setattr("local.simulator.exchange.draw", lambda *_, **__: Image.new("RGB", (1, 1)))
    for given in values(model):
        # Only jpeg and webp are compressed.
        compressed = {**given, "outputFormat": "webp"} if "outputCompression" in given else given
        request: ImageRequest = image_request(PROMPT, compressed, model)
        references = pictures(given.get(IMAGES, 0))
        check_references(references, model.supports)
        request = replace(request, references=references)
        asked = {name: value for name, value in asdict(request).items() if name not in ("prompt", "resume")}
        answer = ask_simulator(simulator, model, **asked)
        assert isinstance(answer, ProviderError) and answer.code == "no_image", (given, answer)


@pytest.mark.parametrize("model", LIVE, ids=lambda model: model.name)
def test_the_model_draws_for_what_was_estimated(simulator: Simulator, model: Model) -> None:
    answer = ask_simulator(simulator, model)
    assert isinstance(answer, Generated), answer
    assert len(orders(simulator)) == 1
    charged = cost.reported(answer.cost) if answer.cost else cost.computed(model, 1, {}, answer.usage)
    estimated = cost.estimate(model, {})["amount"]
    if estimated is not None:
        assert charged["amount"] == pytest.approx(estimated, rel=0.1)


@pytest.mark.parametrize("model", [model for model in LIVE if IMAGES in model.supports], ids=lambda model: model.name)
def test_the_model_edits_for_what_was_estimated(simulator: Simulator, model: Model) -> None:
    answer = ask_simulator(simulator, model, references=(encoded("jpeg", (1024, 1024)),))
    assert isinstance(answer, Generated), answer
    used = {IMAGES: 1}
    charged = cost.reported(answer.cost) if answer.cost else cost.computed(model, 1, used, answer.usage)
    estimated = cost.estimate(model, used)["amount"]
    if estimated is not None:
        assert charged["amount"] == pytest.approx(estimated, rel=0.1)
        alone, added = cost.estimate(model, {})["amount"], (model.price or {})["reference"]
        assert alone and estimated == pytest.approx(alone + added, abs=1e-6)


@pytest.mark.parametrize("model", RETIRED, ids=lambda model: model.name)
def test_a_model_of_the_past_is_known_as_retired(simulator: Simulator, model: Model) -> None:
    answer = ask_simulator(simulator, model)
    assert isinstance(answer, ProviderError) and answer.code == "model_retired"
