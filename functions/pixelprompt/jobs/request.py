"""The request in the body of ``POST /generate``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pixelprompt.errors import InvalidParameter
from pixelprompt.member_names import read_names
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import NAMES, Receipt
from pixelprompt.models.registry import ModelRegistry

# What the body of ``POST /generate`` may hold.
MEMBERS = ("prompt", *NAMES, "models", "strict", "dryRun", "ip")
Body = Mapping[str, Any]


def read_models(body: Body, registry: ModelRegistry) -> list[Model] | None:
    """The models that the body names, each once, in the registry's order; None where it names none.

    Raises
    ------
    InvalidParameter : no list of names, an unknown name, or a model that was shut down
    """
    wanted = read_names(body, "model names or ids")
    if wanted is None:
        return None
    found = [registry.find(name) or _no_such_model(name, registry) for name in wanted]
    return [model for model in registry.get_all_models() if model in found]


def _no_such_model(name: str, registry: ModelRegistry) -> NoReturn:
    retired = registry.find_retired(name)
    if retired:
        on = f" on {retired.shutdown}" if retired.shutdown else ""
        instead = f" Use {retired.replacement} instead." if retired.replacement else ""
        raise InvalidParameter(
            f"{retired.name} ({retired.id}) was shut down{on}.{instead}",
            parameter="models",
            shutdown=retired.shutdown,
            replacement=retired.replacement,
        )
    known = ", ".join(model.name for model in registry.get_all_models())
    raise InvalidParameter(f"There is no model {name[:80]!r}. There are: {known}.", parameter="models")


def read_flag(body: Body, name: str) -> bool:
    """A member that is true or false; false where it is missing.

    Raises
    ------
    InvalidParameter : anything else
    """
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name} must be true or false.", parameter=name)
    return value


@dataclass(frozen=True)
class Plan:
    """What a request asks for: a prompt, parameters, and each model with what becomes of the parameters."""

    prompt: str
    parameters: Mapping[str, Any]
    models: tuple[tuple[Model, Receipt], ...]
    ip: str

    @property
    def negative_prompt(self) -> str:
        """What the images shall not show; empty where the caller does not say."""
        return str(self.parameters.get("negativePrompt") or "")

    def check(self) -> None:
        """Refuse a plan in which a model does not take a parameter as it was given.

        Raises
        ------
        InvalidParameter : lists every misfit
        """
        misfits = [misfit for model, given in self.models for misfit in given.misfits(model.name)]
        if misfits:
            models = len({misfit["model"] for misfit in misfits})
            raise InvalidParameter(
                f"{models} of {len(self.models)} models do not take every parameter as it is given; see misfits.",
                misfits=misfits,
            )
