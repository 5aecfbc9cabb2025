"""Which models there are. The catalogue is data: ``models.json`` beside this module."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelprompt.errors import ConfigurationError
from pixelprompt.providers import PROVIDERS
from pixelprompt.providers.base import Model

CATALOGUE = Path(__file__).with_name("models.json")

_REQUIRED = ("name", "provider", "id")
_OPTIONAL = {
    "timeLimit": (int, float),
    "parameters": (dict,),
    "released": (str,),
    "shutdown": (str,),
    "enabled": (bool,),
}
# A call must end well before its Lambda does (240 s), or its image could not be stored.
_LONGEST_CALL = 200


def file_name(text: str) -> str:
    """The text as it stands in keys: only letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


class ModelRegistry:
    """The models of a deployment, image models and text models apart, each list in the catalogue's order."""

    def __init__(self, models: Sequence[Model], text_models: Sequence[Model] = (), *, prompt_model: int = 1) -> None:
        self._models = tuple(models)
        self._text_models = tuple(text_models)
        self._prompt_model = prompt_model

    @classmethod
    def load(cls, path: Path = CATALOGUE, *, prompt_model: int = 1) -> "ModelRegistry":
        """The registry from a catalogue file.

        Raises
        ------
        ConfigurationError : the catalogue is wrong; the message says which entry and what is allowed
        """
        try:
            catalogue = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"The model catalogue {path.name} cannot be read: {error}.") from error
        models = _entries(catalogue, "models")
        text_models = _entries(catalogue, "textModels")
        if not 1 <= prompt_model <= max(1, len(text_models)):
            raise ConfigurationError(
                f"promptModelIndex is {prompt_model}; the catalogue has text models 1 to {len(text_models)}."
            )
        return cls(models, text_models, prompt_model=prompt_model)

    def get_all_models(self) -> tuple[Model, ...]:
        """Every image model, in the catalogue's order."""
        return self._models

    def get_model_by_index(self, index: int) -> Model | None:
        """The image model at this place, counted from 1, or None."""
        return self._models[index - 1] if 1 <= index <= len(self._models) else None

    def find(self, name_or_id: str) -> Model | None:
        """The image model of this display name or provider's id, or None; case does not matter."""
        wanted = name_or_id.casefold()
        return next((m for m in self._models if wanted in (m.name.casefold(), m.id.casefold())), None)

    def get_prompt_model(self) -> Model | None:
        """The text model that enhances prompts, or None where there is none."""
        index = self._prompt_model
        return self._text_models[index - 1] if 1 <= index <= len(self._text_models) else None

    def configured(self, providers: Iterable[str]) -> list[Model]:
        """The image models of these providers."""
        usable = set(providers)
        return [model for model in self._models if model.provider in usable]


def _entries(catalogue: Any, section: str) -> list[Model]:
    entries = catalogue.get(section) if isinstance(catalogue, dict) else None
    if not isinstance(entries, list):
        raise ConfigurationError(f"The model catalogue has no list {section!r}.")
    models = [_model(entry, f"{section}[{number}]") for number, entry in enumerate(entries)]
    names = [file_name(model.name) for model in models]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigurationError(
                f"{section}[{number}] {models[number].name!r} has the same name in keys as an earlier model ({name}); "
                "rename it."
            )
    return [model for model, entry in zip(models, entries, strict=True) if entry.get("enabled", True)]


def _model(entry: Any, where: str) -> Model:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} in the model catalogue must be an object.")
    for name in _REQUIRED:
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise ConfigurationError(f"{where} in the model catalogue needs {name!r}, a text.")
    for name, value in entry.items():
        if name not in _REQUIRED and (name not in _OPTIONAL or not isinstance(value, _OPTIONAL[name])):
            raise ConfigurationError(
                f"{where} ({entry['name']}) has {name}={value!r}, which is unknown or of the wrong type."
            )
    if entry["provider"] not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise ConfigurationError(f"{where} ({entry['name']}) has provider={entry['provider']!r}; known are {known}.")
    if not file_name(entry["name"]):
        raise ConfigurationError(f"{where} needs a name with at least one letter or digit.")
    limit = entry.get("timeLimit", 60)
    if not 1 <= limit <= _LONGEST_CALL:
        raise ConfigurationError(
            f"{where} ({entry['name']}) has timeLimit={limit}; allowed are 1 to {_LONGEST_CALL} s."
        )
    return Model(entry["name"], entry["provider"], entry["id"], float(limit), entry.get("parameters", {}))
