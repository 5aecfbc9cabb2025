"""Interface of the adapters.

An adapter speaks one provider's wire protocol. It is a module with a function ``generate`` and, where the provider has
text models, a function ``complete``. Both raise a ``ProviderError`` if the provider does not fulfill the request.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct, field

from pixelprompt.errors import PixelPromptError
from pixelprompt.models.sizes import PixelSizes
from pixelprompt.redaction import MESSAGE_LIMIT, clean

ErrorCode = Literal[
    "refused", "rate_limited", "quota_exhausted", "bad_credentials", "model_retired", "invalid_request",
    "provider_unavailable", "timeout", "no_image", "unknown_outcome", "internal",
]  # fmt: skip

Billable = Literal["no", "yes", "unknown"]

# Sentence for a person and whether pressing "retry" may help, by code. The codes are a closed list.
_MEANING: dict[str, tuple[str, bool]] = {
    "refused": ("The provider refused this prompt.", False),
    "rate_limited": ("Rate-limited by the provider.", True),
    "quota_exhausted": ("The provider account is out of credit; the operator must add more.", False),
    "bad_credentials": (
        "The provider rejected the API key; the operator must set a valid one with `make keys`.",
        False,
    ),
    "model_retired": ("The provider no longer offers this model.", False),
    "invalid_request": ("The provider rejected these parameters.", False),
    "provider_unavailable": ("The provider is unavailable at the moment.", True),
    "timeout": ("The model did not respond in time.", True),
    "no_image": ("The provider returned no image.", True),
    "unknown_outcome": ("The connection ended before the provider responded; it may have made an image.", True),
    "internal": ("Internal error.", True),
}
ERROR_CODES = frozenset(_MEANING)


class Model(Struct, frozen=True):
    """A model as an adapter needs it.

    Attributes
    ----------
    name : display name, unique in the registry
    provider : name of the adapter
    id : the provider's own name of the model
    time_limit : seconds that one call of the provider may take
    parameters : the provider's own parameters that every request of this model carries
    supports : by the names of the parameters, what the model supports: a list of values, a range (``min``,
        ``max``), or true; ``n`` has ``max`` and ``perCall`` (whether one call makes several images)
    pixels : the sizes it accepts, for protocols that send a width and a height; None where the catalogue does not say
    price : what an image or a token costs; see ``pixelprompt.models.cost``
    region : AWS region that serves the model
    base_url : address of the server, for protocols that many servers speak
    path : path below ``base_url`` that makes images, where it is not the protocol's usual one
    dialect : how the server words a request; see ``pixelprompt.models.dialect``
    api_key_name : name of the key in the secret, where it is not the provider's usual one
    released, shutdown : days (ISO 8601)
    retired : whether it is gone though nobody gave a day
    replacement : id of the model to use instead
    default : whether a job without a list of models uses this one
    """

    name: str
    provider: str
    id: str
    time_limit: float = 60.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    supports: Mapping[str, Any] = field(default_factory=dict)
    pixels: PixelSizes | None = None
    price: Mapping[str, Any] | None = None
    region: str | None = None
    base_url: str | None = None
    path: str | None = None
    dialect: str | None = None
    api_key_name: str | None = None
    released: str | None = None
    shutdown: str | None = None
    replacement: str | None = None
    retired: bool = False
    default: bool = True

    def has_ended(self, day: date) -> bool:
        """Whether the model is gone on this day."""
        return self.retired or (self.shutdown is not None and self.shutdown <= day.isoformat())


class Credentials(Struct, frozen=True):
    """The key of a provider, and the URL of the server to call; None where AWS knows it."""

    key: str | None
    base_url: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(base_url={self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url)]


class ImageRequest(Struct, frozen=True):
    """The request of one call of a provider; a parameter that is None is left to the provider.

    Only parameters that the model supports are set.

    Attributes
    ----------
    aspect_ratio : width to height, such as ``16:9``
    resolution : ``512``, ``1K``, ``2K`` or ``4K``: the side of a square image with as many pixels
    n : number of images; above 1 only for models that make several in a call
    quality : the provider's own word for it
    output_format : ``png``, ``jpeg`` or ``webp``
    output_compression : 0 to 100, for ``jpeg`` and ``webp``
    background : ``transparent`` or ``opaque``
    moderation : how strict the provider's own moderation is, ``auto`` or ``low``
    strength : how much of the first reference image may change, 0 to 1
    references : the images to edit or to follow, PNG or JPEG, in the caller's order; no more than the model accepts
    resume : token of a request that the provider has taken already
    """

    prompt: str
    steps: int | None = None
    guidance: float | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    n: int = 1
    seed: int | None = None
    quality: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    background: str | None = None
    moderation: str | None = None
    negative_prompt: str | None = None
    strength: float | None = None
    references: "tuple[Image, ...]" = ()
    resume: str | None = None


class Image(Struct, frozen=True):
    """An image of a provider, or one that is sent to it; type and size are read from the bytes (pixels)."""

    data: bytes
    mime_type: str
    width: int
    height: int
    seed: int | None = None
    revised_prompt: str | None = None

    def __repr__(self) -> str:
        return f"Image({self.mime_type}, {self.width}x{self.height}, {len(self.data)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("mime_type", self.mime_type), ("width", self.width), ("height", self.height)]


class Generated(Struct, frozen=True):
    """The provider made images.

    Attributes
    ----------
    request_id : the provider's own name of the request
    usage : tokens by kind, where the provider counts them
    cost : US dollars, where the provider says what it charges
    used : what the provider says it used, by its own names, such as ``size`` and ``quality``
    """

    images: tuple[Image, ...]
    request_id: str | None = None
    usage: Mapping[str, int] | None = None
    cost: float | None = None
    used: Mapping[str, str] | None = None


class Waiting(Struct, frozen=True):
    """The provider is at work; ask again in ``seconds`` with the ``resume`` token."""

    seconds: float
    resume: str


class Failure(TypedDict, total=False):
    """Failure of a model."""

    error: Annotated[
        str,
        Meta(
            max_length=MESSAGE_LIMIT,
            description="One sentence for a person.",
            examples=["The provider refused this prompt."],
        ),
    ]
    errorCode: Annotated[ErrorCode, Meta(description="Constant for programs.", examples=["refused"])]
    retryable: Annotated[bool, Meta(description="Whether a retry may help.", examples=[False])]
    billable: Annotated[Billable, Meta(description="Whether the provider may charge for it.", examples=["no"])]


class ProviderError(PixelPromptError):
    """The provider did not make an image.

    Parameters
    ----------
    code : one of ``ERROR_CODES``
    message : what callers may read, in the provider's words or ours; without it the sentence of the code. About the
        account (``bad_credentials``, ``quota_exhausted``) it is always ours
    said : the provider's sentence for the operator's log, where ``message`` isn't it
    billable : ``no``, ``yes`` or ``unknown``: whether the provider may charge for it
    retryable : whether pressing "retry" may help; without it as usual for the code
    safe_to_repeat : the provider certainly did not begin, so the same request may be sent again without paying twice
    retry_after : seconds that the provider asks to wait
    cost : US dollars, where the provider says what it charges although there is no image
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str | None = None,
        *,
        said: str | None = None,
        billable: Billable | None = None,
        retryable: bool | None = None,
        safe_to_repeat: bool = False,
        retry_after: float | None = None,
        cost: float | None = None,
    ) -> None:
        sentence, usually = _MEANING[code]
        # Whole, until the key is known: half a key, or half an e-mail address, would not be recognized.
        self._message, self._said = message or "", said or message or ""
        super().__init__(clean(self._message, public=True) or sentence)
        self.said = clean(self._said)
        self.code: ErrorCode = code
        self.retryable = usually if retryable is None else retryable
        self.billable: Billable = billable or ("unknown" if code in ("unknown_outcome", "timeout") else "no")
        self.safe_to_repeat = safe_to_repeat
        self.retry_after = retry_after
        self.cost = cost

    def hide(self, key: str | None) -> None:
        """Remove a key, its parts, and its masked forms from what the provider said."""
        self.said = clean(self._said, key)
        self.args = (clean(self._message, key, public=True) or _MEANING[self.code][0],)

    def row(self) -> Failure:
        """The fields of a job's row that ended with this error."""
        return {
            "error": str(self),
            "errorCode": self.code,
            "retryable": self.retryable,
            "billable": self.billable,
        }
