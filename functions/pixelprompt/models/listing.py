"""Models as callers see them."""

from collections.abc import Callable
from typing import Annotated, Any, Required, TypedDict, cast

from msgspec import Meta

from pixelprompt.models.cost import Cost, estimate
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import MAX_IMAGES
from pixelprompt.models.provider import ProviderName
from pixelprompt.models.registry import ModelRegistry


class Price(Cost, total=False):
    """The cost of one image with the model's defaults, and where and when the price was read."""

    reference: Annotated[
        float,
        Meta(
            ge=0,
            description="What a reference image adds, an estimate in US dollars; without it, that is unknown.",
            examples=[0.012],
        ),
    ]
    date: Annotated[str, Meta(description="Day when the price was read.", examples=["2026-11-23"])]
    source: Annotated[str, Meta(description="Where.", examples=["https://example.com/pricing"])]
    uncorroborated: Annotated[
        str, Meta(description="Which part of it rests on a single source.", examples=["the price in 4K"])
    ]


class ListedModel(TypedDict, total=False):
    """An image model."""

    name: Required[Annotated[str, Meta(description="Display name.", examples=["GPT Image 2"])]]
    id: Required[Annotated[str, Meta(description="The provider's own name.", examples=["gpt-image-2"])]]
    provider: Required[ProviderName]
    default: Required[Annotated[bool, Meta(description="Whether a job without `models` asks it.", examples=[True])]]
    configured: Required[Annotated[bool, Meta(description="Whether its provider's key is there.", examples=[True])]]
    parameters: Required[
        Annotated[
            dict[str, Any],
            Meta(
                description="Parameters that it supports: a list of values, a range, or true.",
                examples=[{"aspectRatio": ["1:1", "16:9"], "seed": {"min": 0, "max": 4294967295}}],
            ),
        ]
    ]
    price: Required[Price]
    timeLimit: Required[Annotated[float, Meta(description="Seconds that one call may take.", examples=[60])]]
    released: Annotated[str, Meta(description="Day of the release.", examples=["2026-10-06"])]
    shutdown: Annotated[str, Meta(description="Day of the shutdown.", examples=["2026-12-01"])]
    replacement: Annotated[str, Meta(description="ID of the model to use instead.", examples=["gpt-image-2.5"])]
    warning: Annotated[
        str,
        Meta(description="What is coming for it.", examples=["GPT Image 1.5 is shut down on 2026-12-01."]),
    ]


class ListedTextModel(TypedDict):
    """A text model, which can enhance prompts."""

    name: Annotated[str, Meta(description="Display name.", examples=["Gemini 3.8 Flash"])]
    id: Annotated[str, Meta(description="The provider's own name.", examples=["gemini-3.8-flash"])]
    provider: ProviderName
    enhances: Annotated[bool, Meta(description="Whether `POST /enhance` asks it.", examples=[True])]


class ModelList(TypedDict):
    """The models of a deployment."""

    models: Annotated[list[ListedModel], Meta(description="Image models, in the order of the catalogue.")]
    total: Annotated[int, Meta(ge=0, description="Number of image models.", examples=[38])]
    textModels: Annotated[list[ListedTextModel], Meta(description="Text models.")]


def model_list(
    registry: ModelRegistry,
    has_credentials: Callable[[Model], bool],
    may_ask: Callable[[Model], bool] = lambda model: True,
) -> ModelList:
    """The JSON of ``GET /models``: image models with parameters and prices, and text models.

    Parameters
    ----------
    has_credentials : whether a model can be called
    may_ask : whether the caller may ask it; others are not listed
    """
    allowed = filter(may_ask, registry.get_all_models())
    models = [_image_model(model, registry, has_credentials) for model in allowed]
    chosen = registry.get_prompt_model()
    texts: list[ListedTextModel] = [
        {"name": model.name, "id": model.id, "provider": model.provider, "enhances": model == chosen}
        for model in registry.get_text_models()
    ]
    return {"models": models, "total": len(models), "textModels": texts}


def _image_model(model: Model, registry: ModelRegistry, has_credentials: Callable[[Model], bool]) -> ListedModel:
    most = model.supports.get("n", {}).get("max", MAX_IMAGES)
    shown = {
        "name": model.name,
        "id": model.id,
        "provider": model.provider,
        "default": model.default,
        "configured": has_credentials(model),
        "parameters": {**model.supports, "n": {"min": 1, "max": min(MAX_IMAGES, most)}},
        "price": _price(model),
        "timeLimit": model.time_limit,
        "released": model.released,
        "shutdown": model.shutdown,
        "replacement": model.replacement,
        "warning": registry.warning(model),
    }
    return cast(ListedModel, {name: value for name, value in shown.items() if value is not None})


def _price(model: Model) -> Price:
    """Price of one image with the model's defaults, with its source and date."""
    shown = ("reference", "date", "source", "uncorroborated")
    told = {name: value for name, value in (model.price or {}).items() if name in shown}
    return cast(Price, {**estimate(model, {}), **told})
