"""The available models. The catalogue is data: ``models.json`` beside this module, and an operator's overlay."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue
from pixelprompt.models.model import Model
from pixelprompt.models.provider import KeyHosts

CATALOGUE = Path(__file__).with_name("models.json")
WARNING_DAYS = 60


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


class ModelRegistry:
    """The models of a deployment, in the catalogue's order.

    Parameters
    ----------
    models, text_models : image models and text models
    prompt_model : which text model enhances prompts: its place counted from 1, its name or its id
    day : gives the present day; from its shutdown on, a model is retired
    key_hosts : which hosts each key may go to
    """

    def __init__(
        self,
        models: Sequence[Model],
        text_models: Sequence[Model] = (),
        *,
        prompt_model: int | str = 1,
        day: Callable[[], date] = today,
        key_hosts: KeyHosts | None = None,
    ) -> None:
        self.key_hosts = key_hosts or KeyHosts()
        self._models = tuple(models)
        self._text_models = tuple(text_models)
        self._prompt_model = prompt_model
        self._day = day

    @classmethod
    def load(
        cls,
        path: Path = CATALOGUE,
        *,
        prompt_model: int | str = 1,
        overlay: Any = None,
        day: Callable[[], date] = today,
        key_hosts: Mapping[str, Iterable[str]] | None = None,
    ) -> "ModelRegistry":
        """The registry from a catalogue file and an overlay (a parsed JSON object).

        Parameters
        ----------
        key_hosts : hosts by the names of keys that may go there, beside the providers' own and those of the file

        Raises
        ------
        ConfigurationError : the catalogue or the overlay is wrong; the message says which entry and what is allowed
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"The model catalogue {path.name} cannot be read: {error}.") from error
        sections = catalogue.parse(content)
        # Before the overlay: its entries must not allow themselves anything.
        allowed = KeyHosts(catalogue.key_hosts(content), key_hosts or {})
        if overlay is not None:
            sections = catalogue.parse(catalogue.overlay(content, overlay))
        catalogue.check_keys(sections, allowed)
        registry = cls(
            sections["models"], sections["textModels"], prompt_model=prompt_model, day=day, key_hosts=allowed
        )
        if sections["textModels"] and registry.get_prompt_model() is None:
            names = ", ".join(model.name for model in sections["textModels"])
            raise ConfigurationError(
                f"promptModelIndex is {prompt_model}; it must be 1 to {len(sections['textModels'])}, or one of {names}."
            )
        return registry

    def get_all_models(self) -> tuple[Model, ...]:
        """Every image model that is not retired."""
        return tuple(model for model in self._models if not model.has_ended(self._day()))

    def find(self, name_or_id: str) -> Model | None:
        """The image model of this display name or provider's id, or None; case does not matter."""
        return _named(self.get_all_models(), name_or_id)

    def find_retired(self, name_or_id: str) -> Model | None:
        """The retired image model of this name or id, or None."""
        return _named([model for model in self._models if model.has_ended(self._day())], name_or_id)

    def get_prompt_model(self) -> Model | None:
        """The text model that enhances prompts, or None where there is none."""
        wanted = self._prompt_model
        if isinstance(wanted, int) or wanted.isdecimal():
            index = int(wanted)
            return self._text_models[index - 1] if 1 <= index <= len(self._text_models) else None
        return _named(self._text_models, wanted)

    def get_text_models(self) -> tuple[Model, ...]:
        """Every text model."""
        return self._text_models

    def defaults(self, usable: Callable[[Model], bool]) -> list[Model]:
        """The image models of a job that names none: those marked as default that can be called."""
        return [model for model in self.get_all_models() if model.default and usable(model)]

    def warning(self, model: Model) -> str | None:
        """A sentence where the model will be shut down within 60 days."""
        if not model.shutdown or date.fromisoformat(model.shutdown) - self._day() > timedelta(days=WARNING_DAYS):
            return None
        instead = f"; use {model.replacement} instead" if model.replacement else ""
        return f"{model.name} will be shut down on {model.shutdown}{instead}."


def _named(models: Iterable[Model], name_or_id: str) -> Model | None:
    wanted = name_or_id.casefold()
    return next((model for model in models if wanted in (model.name.casefold(), model.id.casefold())), None)
