"""What a caller sees of the models."""

from collections.abc import Callable
from typing import Any

from pixelprompt.models.cost import estimate
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import MAX_IMAGES
from pixelprompt.models.registry import ModelRegistry


def model_list(registry: ModelRegistry, has_credentials: Callable[[Model], bool]) -> dict[str, Any]:
    """The JSON of ``GET /models``: image models with what they take and cost, and text models.

    Parameters
    ----------
    has_credentials : whether a model can be called
    """
    models = [_image_model(model, registry, has_credentials) for model in registry.get_all_models()]
    chosen = registry.get_prompt_model()
    texts = [
        {"name": model.name, "id": model.id, "provider": model.provider, "enhances": model == chosen}
        for model in registry.get_text_models()
    ]
    return {"models": models, "total": len(models), "textModels": texts}


def _image_model(model: Model, registry: ModelRegistry, has_credentials: Callable[[Model], bool]) -> dict[str, Any]:
    takes = {**model.takes, "n": {"min": 1, "max": min(MAX_IMAGES, model.takes.get("n", {}).get("max", MAX_IMAGES))}}
    shown = {
        "name": model.name,
        "id": model.id,
        "provider": model.provider,
        "default": model.default,
        "configured": has_credentials(model),
        "parameters": takes,
        "price": _price(model),
        "timeLimit": model.time_limit,
        "released": model.released,
        "shutdown": model.shutdown,
        "replacement": model.replacement,
        "warning": registry.warning(model),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _price(model: Model) -> dict[str, Any]:
    """What one image costs with the model's defaults, and where and when the price was read."""
    told = {name: value for name, value in (model.price or {}).items() if name in ("date", "source", "uncorroborated")}
    return {**estimate(model, {}), **told}
