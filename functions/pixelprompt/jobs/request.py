"""The request that starts a job."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn

from msgspec import Meta, Struct

from pixelprompt.errors import InvalidParameter
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.jobs.references import MAX_REFERENCES, ReferenceImage
from pixelprompt.jobs.schema import Skipped
from pixelprompt.limits.caller import CallerIp
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import IMAGES, Parameters, Receipt
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.prompt import PROMPT_LIMIT
from pixelprompt.validation import about

Body = Mapping[str, Any]
Prompt = Annotated[
    str,
    Meta(
        description="What to draw. Counted without the white space around it; no control characters.",
        examples=["a red fox in the snow"],
        extra_json_schema={"minLength": 1, "maxLength": PROMPT_LIMIT, "pattern": r"\S"},
    ),
]


class GenerateRequest(Parameters, frozen=True, kw_only=True):
    """The body of ``POST /generate``."""

    prompt: Prompt
    models: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        Meta(
            description="Names or IDs of models, see `GET /models`; without it, the default models.",
            examples=[["GPT Image 2", "flux-3-pro"]],
        ),
    ] = None
    strict: Annotated[
        bool | None, Meta(description="Refuse parameters that a model doesn't support as given.", examples=[True])
    ] = None
    dry_run: Annotated[
        bool | None, Meta(description="Only estimate the cost; nothing is started or counted.", examples=[True])
    ] = None
    images: Annotated[
        Annotated[
            list[Annotated[ReferenceImage, Meta(extra_json_schema={"minProperties": 1, "maxProperties": 1})]],
            Meta(min_length=1, max_length=MAX_REFERENCES),
        ]
        | None,
        about(
            "Reference images: what the prompt is to change, or to follow. Without `models`, only models that support "
            "them are asked.",
            f"a list of 1 to {MAX_REFERENCES} objects, each with one of imageKey, uploadId, url, and data",
            examples=[[{"url": "https://example.com/fox.png"}]],
        ),
    ] = None
    on_unsupported: Annotated[
        Literal["error", "skip"] | None,
        Meta(
            description="What becomes of a request that names a model without support for reference images: `error` "
            "(the default), or `skip` to leave the model out.",
            examples=["skip"],
        ),
    ] = None
    ip: CallerIp = None


def read_models(wanted: Sequence[str] | None, registry: ModelRegistry) -> list[Model] | None:
    """The models with these names or IDs, each once, in the registry's order; None where the caller names none.

    Raises
    ------
    InvalidParameter : an unknown name, or a model that was shut down
    """
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
    raise InvalidParameter(f"Unknown model {name[:80]!r}. Available: {known}.", parameter="models")


_NO_REFERENCES = "It doesn't support reference images."


def split_supporting(models: Sequence[Model], *, skip: bool) -> tuple[list[Model], list[Skipped]]:
    """The models that support reference images, and those that are left out because they don't.

    Raises
    ------
    InvalidParameter : one doesn't and is not to be skipped, or none does
    """
    able = [model for model in models if IMAGES in model.supports]
    unable = [model.name for model in models if IMAGES not in model.supports]
    if unable and not (skip and able):
        which = "The model doesn't" if len(models) == 1 else f"{len(unable)} of {len(models)} models don't"
        cure = 'Leave them out, or send `"onUnsupported": "skip"`.' if able else "See `images` in GET /models."
        raise InvalidParameter(
            f"{which} support reference images: {', '.join(unable)}. {cure}",
            parameter=IMAGES,
            unsupported=[{"model": name, "parameter": IMAGES, "reason": _NO_REFERENCES} for name in unable],
        )
    return able, [{"model": name, "reason": _NO_REFERENCES} for name in unable]


class Plan(Struct, frozen=True):
    """Plan of a request: prompt, parameters, and the models, each with the receipt of its parameters.

    Attributes
    ----------
    references : each as the request has it, with one of ``imageKey``, ``uploadId``, ``url``, ``data``
    skipped : the models of the request that are left out
    caller : who sends the request
    """

    prompt: str
    parameters: Mapping[str, Any]
    models: tuple[tuple[Model, Receipt], ...]
    ip: str
    references: tuple[Mapping[str, str], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    caller: Identity = ANYBODY

    @property
    def negative_prompt(self) -> str:
        """Content that the images must not show; empty if the request has none."""
        return str(self.parameters.get("negativePrompt") or "")

    @property
    def text(self) -> str:
        """All text that a model may get."""
        return f"{self.prompt}\n{self.negative_prompt}"

    def check(self) -> None:
        """Refuse a plan in which a model does not support a parameter's value.

        Raises
        ------
        InvalidParameter : lists every parameter that a model doesn't support as given
        """
        unsupported = [entry for model, given in self.models for entry in given.unsupported(model.name)]
        if unsupported:
            models = len({entry["model"] for entry in unsupported})
            which = "The model" if len(self.models) == 1 else f"{models} of {len(self.models)} models"
            raise InvalidParameter(
                f"{which} cannot use every parameter as given; see `unsupported`.",
                unsupported=unsupported,
                # Its former name.
                misfits=unsupported,
            )
