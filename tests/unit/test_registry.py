"""The catalogue of models."""

import json
from pathlib import Path
from typing import Any

import pytest

from pixelprompt.errors import ConfigurationError
from pixelprompt.registry import ModelRegistry

ENTRY = {"name": "A", "provider": "openai", "id": "a"}


def load(tmp_path: Path, catalogue: Any, **options: Any) -> ModelRegistry:
    path = tmp_path / "models.json"
    path.write_text(catalogue if isinstance(catalogue, str) else json.dumps(catalogue))
    return ModelRegistry.load(path, **options)


def test_the_catalogue_has_nine_models_and_a_text_model() -> None:
    registry = ModelRegistry.load()
    models = registry.get_all_models()
    assert len(models) >= 9
    assert len({model.name for model in models}) == len(models)
    assert registry.get_prompt_model() is not None
    assert registry.get_model_by_index(1) == models[0]
    assert registry.get_model_by_index(len(models)) == models[-1]
    assert registry.get_model_by_index(0) is None
    assert registry.get_model_by_index(len(models) + 1) is None
    assert registry.find(models[2].id) == registry.find(models[2].name.upper()) == models[2]
    assert registry.find("no-such-model") is None


def test_only_models_of_configured_providers_are_offered() -> None:
    registry = ModelRegistry.load()
    assert {model.provider for model in registry.configured(["gemini"])} == {"gemini"}
    assert registry.configured([]) == []


def test_the_text_model_is_counted_from_1() -> None:
    first, second = (ModelRegistry.load(prompt_model=index).get_prompt_model() for index in (1, 2))
    assert first is not None and second is not None and first != second
    with pytest.raises(ConfigurationError, match="promptModelIndex is 9"):
        ModelRegistry.load(prompt_model=9)


@pytest.mark.parametrize(
    ("catalogue", "complaint"),
    [
        ("not json", "cannot be read"),
        ([], "no list 'models'"),
        ({"models": [], "textModels": 5}, "no list 'textModels'"),
        ({"models": ["x"], "textModels": []}, "must be an object"),
        ({"models": [{"name": "A", "provider": "openai"}], "textModels": []}, "needs 'id'"),
        ({"models": [{**ENTRY, "provider": "acme"}], "textModels": []}, "provider='acme'; known are gemini, openai"),
        ({"models": [{**ENTRY, "timeLimit": 900}], "textModels": []}, "timeLimit=900"),
        ({"models": [{**ENTRY, "timelimit": 9}], "textModels": []}, "unknown or of the wrong type"),
        ({"models": [ENTRY, {**ENTRY, "name": " A "}], "textModels": []}, "same name in keys"),
        ({"models": [{**ENTRY, "name": "///"}], "textModels": []}, "at least one letter"),
    ],
)
def test_a_wrong_catalogue_says_what_is_wrong(tmp_path: Path, catalogue: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(tmp_path, catalogue)


def test_a_disabled_model_is_not_offered(tmp_path: Path) -> None:
    entries = [ENTRY, {**ENTRY, "name": "B", "enabled": False}]
    assert [m.name for m in load(tmp_path, {"models": entries, "textModels": []}).get_all_models()] == ["A"]
