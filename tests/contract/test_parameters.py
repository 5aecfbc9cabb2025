"""Our parameters, as each provider is told them and as its pictures show them."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from local.simulator import Simulator
from pixelprompt.models import registry
from pixelprompt.models.catalogue import parse
from pixelprompt.models.model import Model, ProviderError
from pixelprompt.models.parameters import ASPECT_RATIOS
from pixelprompt.models.sizes import FixedSizes, ratio
from tests.canned import Answer, Canned
from tests.contract.calls import ask, ask_simulator, images, orders
from tests.contract.table import MODELS

# Also models that have ended by the day of the test: the simulators are of a fixed day.
CATALOGUE = {known.id: known for known in parse(json.loads(registry.CATALOGUE.read_text(encoding="utf-8")))["models"]}
# Of servers that draw any size.
USUAL = ASPECT_RATIOS[:13]


def shapes_of(model_id: str) -> list[str]:
    """What the catalogue says that the model takes."""
    shapes: list[str] = CATALOGUE[model_id].supports["aspectRatio"]
    return shapes


def model(provider: str, model_id: str, **fields: Any) -> Model:
    known = CATALOGUE.get(model_id, Model(model_id, provider, model_id))
    fields = {"path": known.path, "pixels": known.pixels, **fields}
    return replace(MODELS[provider], id=model_id, parameters={}, **fields)


SHAPES = [
    *(
        (known, shapes_of(known.id))
        for provider, known in MODELS.items()
        if provider not in ("stability", "compatible")
    ),
    (MODELS["stability"], shapes_of("ultra")),
    *((model("bfl", name), shapes_of(name)) for name in ("flux-pro-1.1", "flux-pro-1.1-ultra", "flux-3-image")),
    (MODELS["compatible"], USUAL),
    (model("compatible", "grok-imagine-image-2.0", dialect="xai"), shapes_of("grok-imagine-image-2.0")),
    (model("compatible", "openrouter/flux-2-pro", dialect="openrouter"), ["1:1", "16:9", "2:3", "21:9"]),
    (model("compatible", "together-flux-schnell", dialect="together"), USUAL),
    (model("compatible", "siliconflow-kolors", dialect="siliconflow"), USUAL),
    (model("compatible", "my-gpt-image", dialect="azure"), USUAL),
    (model("compatible", "MiniMax-H3-Image"), USUAL),
    (model("compatible", "google/gemini-nano-banana-2.1", dialect="openrouter"), ["1:1", "4:1", "1:8"]),
]


@pytest.mark.parametrize(("known", "shapes"), [pytest.param(*entry, id=entry[0].id) for entry in SHAPES])
def test_the_provider_takes_these_shapes(simulator: Simulator, known: Model, shapes: list[str]) -> None:
    # Accepted, but not drawn: that is quicker.
    simulator.set_fault(known.id, "no_image")
    for shape in shapes:
        answer = ask_simulator(simulator, known, aspect_ratio=shape)
        assert isinstance(answer, ProviderError) and answer.code == "no_image", (shape, answer)


@pytest.mark.parametrize(("known", "shapes"), [pytest.param(*entry, id=entry[0].id) for entry in SHAPES])
def test_the_picture_has_the_shape_that_was_asked_for(simulator: Simulator, known: Model, shapes: list[str]) -> None:
    for shape in [shape for shape in ("16:9", "2:3", "1:2") if shape in shapes]:
        (image,) = images(simulator, known, aspect_ratio=shape).images
        # What providers draw themselves is up to a tenth off the ratio that they name.
        assert image.width / image.height == pytest.approx(ratio(shape), rel=0.1), shape


@pytest.mark.parametrize(
    ("known", "resolution", "shape", "size"),
    [
        (MODELS["openai"], "1K", None, (1024, 1024)),
        (MODELS["openai"], "2K", "16:9", (2704, 1520)),
        (MODELS["openai"], "4K", "16:9", (3840, 2160)),
        (model("openai", "gpt-image-1.5"), None, "16:9", (1536, 1024)),
        (model("openai", "gpt-image-1.5"), "1K", "3:4", (1024, 1536)),
        (MODELS["gemini"], "1K", "1:1", (1024, 1024)),
        (MODELS["gemini"], "2K", "16:9", (2752, 1536)),
        (model("gemini", "gemini-3.1-flash-lite-image"), "1K", "1:1", (1024, 1024)),
        (model("gemini", "gemini-3.1-flash-image"), "512", None, (512, 512)),
        (MODELS["bfl"], "512", None, (512, 512)),
        (MODELS["bfl"], "2K", "1:1", (2048, 2048)),
        (model("bfl", "flux-pro-1.1"), None, "21:9", (1408, 608)),
        (model("bfl", "flux-3-image"), "2K", "1:1", (2048, 2048)),
        (MODELS["compatible"], "1K", "1:1", (1024, 1024)),
        (model("compatible", "grok-imagine-image-2.0", dialect="xai"), "2K", "1:1", (2048, 2048)),
        (model("compatible", "openrouter/flux-2-pro", dialect="openrouter"), "2K", "1:1", (2048, 2048)),
        (model("compatible", "my-gpt-image", dialect="azure"), "2K", "16:9", (2704, 1520)),
        (model("compatible", "my-gpt-image", dialect="azure"), "4K", "16:9", (3840, 2160)),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else str(value),
)
def test_the_picture_has_the_size_that_was_asked_for(
    simulator: Simulator, known: Model, resolution: str | None, shape: str | None, size: tuple[int, int]
) -> None:
    (image,) = images(simulator, known, resolution=resolution, aspect_ratio=shape).images
    assert (image.width, image.height) == size


@pytest.mark.parametrize(
    ("known", "sent"),
    [
        (MODELS["openai"], {"size": "512x768"}),
        (MODELS["bfl"], {"width": 512, "height": 768}),
        (MODELS["compatible"], {"size": "512x768"}),
        (model("compatible", "together-flux-schnell", dialect="together"), {"width": 512, "height": 768}),
        (model("compatible", "siliconflow-kolors", dialect="siliconflow"), {"image_size": "512x768"}),
        (model("compatible", "my-gpt-image", dialect="azure"), {"size": "512x768"}),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else "",
)
def test_a_size_is_one_that_the_catalogue_allows(known: Model, sent: dict[str, Any]) -> None:
    own = replace(known, pixels=FixedSizes([(512, 512), (512, 768)]))
    with Canned(Answer(500)) as server:
        ask(own, server.url, aspect_ratio="9:16", resolution="4K")
    (asked,) = server.asked
    assert sent.items() <= asked.json().items()


def test_a_size_of_the_request_replaces_the_one_of_the_catalogue(simulator: Simulator) -> None:
    known = replace(MODELS["gemini"], parameters={"aspect_ratio": "16:9", "image_size": "2K"})
    (wide,) = images(simulator, known).images
    assert (wide.width, wide.height) == (2752, 1536)
    (square,) = images(simulator, known, aspect_ratio="1:1", resolution="1K").images
    assert (square.width, square.height) == (1024, 1024)
    # Models of one size may reject even the name of theirs.
    assert orders(simulator)[-1].body["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1"}


@pytest.mark.parametrize(
    ("known", "formats"),
    [
        (MODELS["openai"], ["png", "jpeg", "webp"]),
        (MODELS["bedrock"], ["png", "jpeg"]),
        (MODELS["stability"], ["png", "jpeg", "webp"]),
        (model("stability", "sd3.5-large"), ["png", "jpeg"]),
        (MODELS["bfl"], ["png", "jpeg", "webp"]),
        (MODELS["recraft"], ["png", "webp"]),
        (model("compatible", "openrouter/flux-2-pro", dialect="openrouter"), ["png", "jpeg", "webp"]),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else "",
)
def test_the_picture_has_the_format_that_was_asked_for(simulator: Simulator, known: Model, formats: list[str]) -> None:
    for name in formats:
        (image,) = images(simulator, known, output_format=name).images
        assert image.mime_type == f"image/{name}"


SEEDED = [
    MODELS["bedrock"],
    MODELS["stability"],
    model("stability", "sd3.5-medium"),
    MODELS["bfl"],
    MODELS["recraft"],
    model("compatible", "openrouter/flux-2-pro", dialect="openrouter"),
]


@pytest.mark.parametrize("known", SEEDED, ids=lambda known: known.id)
def test_a_seed_makes_the_same_picture_again(simulator: Simulator, known: Model) -> None:
    (first,), (again,), (other,) = (images(simulator, known, seed=seed).images for seed in (42, 42, 43))
    assert first.data == again.data != other.data
    assert (first.seed, other.seed) == (42, 43)


@pytest.mark.parametrize("known", SEEDED[:4], ids=lambda known: known.id)
def test_the_seed_that_the_provider_chose_is_kept(simulator: Simulator, known: Model) -> None:
    (first,) = images(simulator, known).images
    assert first.seed is not None
    (again,) = images(simulator, known, seed=first.seed).images
    assert again.data == first.data


@pytest.mark.parametrize(
    ("known", "request_", "told"),
    [
        (MODELS["openai"], {"quality": "high", "n": 3}, {"quality": "high", "n": 3}),
        (MODELS["bedrock"], {"negative_prompt": "blur"}, {"negative_prompt": "blur"}),
        (MODELS["stability"], {"negative_prompt": "blur"}, {"negative_prompt": "blur"}),
        (model("stability", "sd3.5-large"), {"guidance": 4.5}, {"cfg_scale": "4.5", "model": "sd3.5-large"}),
        (model("bfl", "flux-2-flex"), {"steps": 30, "guidance": 2}, {"steps": 30, "guidance": 2}),
        (model("recraft", "recraftv3"), {"negative_prompt": "blur"}, {"negative_prompt": "blur"}),
        (MODELS["compatible"], {"quality": "high"}, {"quality": "high"}),
        (
            model("compatible", "together-flux-schnell", dialect="together"),
            {"steps": 4, "seed": 7, "negative_prompt": "blur"},
            {"steps": 4, "seed": 7, "negative_prompt": "blur"},
        ),
        (model("compatible", "localai-flux"), {"guidance": 3}, {"guidance_scale": 3}),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else "",
)
def test_a_parameter_is_named_as_the_provider_names_it(
    simulator: Simulator, known: Model, request_: dict[str, Any], told: dict[str, Any]
) -> None:
    images(simulator, known, **request_)
    (order,) = orders(simulator)
    assert {name: order.body.get(name) for name in told} == told


@pytest.mark.parametrize("known", [entry[0] for entry in SHAPES], ids=lambda known: known.id)
def test_what_nobody_asked_for_is_left_to_the_provider(simulator: Simulator, known: Model) -> None:
    images(simulator, replace(known, parameters={}))
    (order,) = orders(simulator)
    left = {"prompt", "model", "n", "response_format", "contents", "generationConfig"}
    assert set(order.body) <= left


def test_what_the_provider_used_and_counted_is_kept(simulator: Simulator) -> None:
    answer = images(simulator, MODELS["openai"])
    assert answer.used == {"size": "1024x1024", "quality": "low", "output_format": "png"}
    assert answer.usage and answer.usage["outputImageTokens"] > 0 and answer.usage["inputTextTokens"] > 0
    counted = images(simulator, MODELS["gemini"]).usage
    assert counted and counted["outputImageTokens"] == 1120 and counted["outputTextTokens"] > 0


@pytest.mark.parametrize(
    ("known", "n", "dollars"),
    [
        (MODELS["bfl"], 1, 0.03),
        (MODELS["recraft"], 2, 0.07),
        (model("compatible", "grok-imagine-image-2.0", dialect="xai"), 2, 0.08),
        (model("compatible", "openrouter/flux-2-pro", dialect="openrouter"), 1, 0.04),
        (MODELS["compatible"], 1, None),
        (MODELS["stability"], 1, None),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else "",
)
def test_what_the_provider_says_it_charges_is_kept(
    simulator: Simulator, known: Model, n: int, dollars: float | None
) -> None:
    assert images(simulator, known, n=n).cost == (None if dollars is None else pytest.approx(dollars))


@pytest.mark.parametrize("quality", ["low", "medium", "high", "xhigh", "max"])
def test_openai_is_told_what_the_catalogue_says_it_takes(simulator: Simulator, quality: str) -> None:
    flare = replace(model("openai", "gpt-image-2.5-flare"), supports=CATALOGUE["gpt-image-2.5-flare"].supports)
    made = images(
        simulator,
        flare,
        quality=quality,
        output_format="webp",
        output_compression=60,
        background="transparent",
        moderation="low",
    )
    (order,) = orders(simulator)
    wanted = {"quality": quality, "output_format": "webp", "output_compression": 60, "background": "transparent"}
    assert {**wanted, "moderation": "low"}.items() <= order.body.items()
    assert made.images[0].mime_type == "image/webp" and made.used and made.used["quality"] == quality


def test_openrouter_is_told_background_and_compression(simulator: Simulator) -> None:
    known = model("compatible", "openrouter/flux-2-pro", dialect="openrouter")
    images(simulator, known, output_format="jpeg", output_compression=0, background="opaque")
    (order,) = orders(simulator)
    assert {"output_format": "jpeg", "output_compression": 0, "background": "opaque"}.items() <= order.body.items()
