"""What a caller sees of the models."""

from typing import Any

from pixelprompt.cost import estimate
from pixelprompt.parameters import MOST_IMAGES
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.providers.base import Model
from pixelprompt.registry import ModelRegistry


def model_list(registry: ModelRegistry, keys: ProviderKeys) -> dict[str, Any]:
    """The JSON of ``GET /models``: image models with what they take and cost, and text models."""
    models = [_image_model(model, registry, keys) for model in registry.get_all_models()]
    chosen = registry.get_prompt_model()
    texts = [
        {"name": model.name, "id": model.id, "provider": model.provider, "enhances": model == chosen}
        for model in registry.get_text_models()
    ]
    return {"models": models, "total": len(models), "textModels": texts}


def _image_model(model: Model, registry: ModelRegistry, keys: ProviderKeys) -> dict[str, Any]:
    takes = {**model.takes, "n": {"min": 1, "max": min(MOST_IMAGES, model.takes.get("n", {}).get("max", MOST_IMAGES))}}
    shown = {
        "name": model.name,
        "id": model.id,
        "provider": model.provider,
        "default": model.default,
        "configured": keys.credentials(model) is not None,
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
