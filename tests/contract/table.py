"""What every adapter does in every case: cases down, protocols across.

A cell holds the outcome; a protocol in which a case cannot occur has the reason instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixelprompt.providers.base import Model

PROTOCOLS = ("openai", "gemini", "bedrock", "stability", "bfl", "recraft", "compatible")

MODELS = {
    "openai": Model("GPT Image 2", "openai", "gpt-image-2", parameters={"size": "1024x1024", "quality": "low"}),
    "gemini": Model("Nano Banana 2.1", "gemini", "gemini-nano-banana-2.1", parameters={"aspect_ratio": "1:1"}),
    "bedrock": Model("Stable Image Core", "bedrock", "stability.stable-image-core-v1:1", region="us-west-2"),
    "stability": Model("Stable Image Ultra", "stability", "stable-image-ultra"),
    "bfl": Model("FLUX.2 pro", "bfl", "flux-2-pro", parameters={"disable_pup": True}),
    "recraft": Model("Recraft V4.1", "recraft", "recraftv4_1"),
    "compatible": Model("Plain Diffusion", "compatible", "plain-diffusion"),
}
# The model as the wire names it, where that is not its id.
ON_THE_WIRE = {"stability": "ultra"}
# Below the simulator's own address.
PATHS = {
    "openai": "/openai/v1",
    "gemini": "/gemini",
    "bedrock": "/bedrock",
    "stability": "/stability",
    "bfl": "/bfl",
    "recraft": "/recraft/v1",
    "compatible": "/compatible/v1",
}


@dataclass(frozen=True)
class Outcome:
    """What a call ends with.

    Attributes
    ----------
    code : an error's code; None for images
    safe_to_repeat : whether the caller may send it again
    retry_after : seconds
    images : how many there are
    requests : how many orders for an image reached the provider
    """

    code: str | None = None
    retryable: bool = False
    billable: str = "no"
    safe_to_repeat: bool = False
    retry_after: float | None = None
    images: int = 0
    requests: int = 1


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes
    ----------
    fault : what the simulator plays, and with which options
    outcome : of every protocol but those in ``other``
    absent : reason by protocol that cannot meet the case
    seconds : until the deadline
    says : what the error's message says among other things
    server : ``simulator``, ``dripping`` or ``closed`` (nobody listens)
    parameters : of the model, by protocol, beyond its own
    """

    name: str
    outcome: Outcome
    fault: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Outcome] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 20.0
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    server: str = "simulator"
    says: str = ""

    def of(self, protocol: str) -> Outcome:
        """The cell of a protocol."""
        return self.other.get(protocol, self.outcome)


def _absent(reason: str, *protocols: str) -> dict[str, str]:
    return dict.fromkeys(protocols, reason)


IMAGE = Outcome(images=1)
REFUSED = Outcome("refused")
WITHHELD = Outcome("refused", billable="unknown")
THROTTLED = Outcome("rate_limited", retryable=True, safe_to_repeat=True)
NO_IMAGE = Outcome("no_image", retryable=True, billable="unknown")
# The order is fulfilled, and charged, when its image turns out to be unusable.
PAID_NO_IMAGE = Outcome("no_image", retryable=True, billable="yes")
UNKNOWN = Outcome("unknown_outcome", retryable=True, billable="unknown")
UNAVAILABLE = Outcome("provider_unavailable", retryable=True, safe_to_repeat=True)
UNSENT = Outcome("provider_unavailable", retryable=True, safe_to_repeat=True, requests=0)
# The order stands, and may be asked for again: the caller ends it at its own deadline.
STILL_WAITING = Outcome("waiting")

INSIDE = "the image comes inside the answer: there is no address to follow"
BY_ADDRESS: dict[str, dict[str, Any]] = {
    "recraft": {"response_format": "url"},
    "compatible": {"response_format": "url"},
}

CASES = (
    Case("success", IMAGE),
    Case(
        "two images",
        Outcome(images=2),
        request={"n": 2},
        absent=_absent("one image per call", "gemini", "bedrock", "stability", "bfl"),
    ),
    Case("image by address", IMAGE, parameters=BY_ADDRESS, absent=_absent(INSIDE, *PROTOCOLS[:4])),
    Case("prompt refused", REFUSED, "refused"),
    Case(
        "image withheld",
        WITHHELD,
        "refused_output",
        # A plain server answers HTTP 400 at either stage, and does not say at which.
        other={"compatible": REFUSED},
        absent=_absent("the provider refuses prompts only", "recraft"),
    ),
    Case(
        "throttled, with a delay",
        Outcome("rate_limited", retryable=True, safe_to_repeat=True, retry_after=7),
        "throttled",
        {"retry_after": 7},
        # Who exceeds the limit is locked out for a minute, whatever the header says.
        other={"stability": Outcome("rate_limited", retryable=True, safe_to_repeat=True, retry_after=60)},
        absent=_absent("its 429 never says when to come again", "recraft"),
    ),
    Case(
        "throttled",
        THROTTLED,
        "throttled",
        other={"stability": Outcome("rate_limited", retryable=True, safe_to_repeat=True, retry_after=60)},
    ),
    Case(
        "no credit",
        Outcome("quota_exhausted"),
        "quota_exhausted",
        # What lacks is a payment method, of the operator's own account.
        other={"bedrock": Outcome("quota_exhausted", retryable=True)},
    ),
    Case("bad key", Outcome("bad_credentials"), "bad_key"),
    Case("retired", Outcome("model_retired"), "retired"),
    Case("bad parameter", Outcome("invalid_request"), "bad_parameter"),
    Case(
        "provider broken (500)",
        Outcome("provider_unavailable", retryable=True, billable="unknown"),
        "server_error",
    ),
    Case("unavailable (503)", UNAVAILABLE, "unavailable"),
    Case("slow", UNKNOWN, "slow", {"seconds": 60}, seconds=0.8, other={"bfl": STILL_WAITING}),
    Case("answer drips", UNKNOWN, seconds=0.8, server="dripping"),
    Case("dropped before the answer", UNKNOWN, "dropped"),
    Case("reset while sending", UNKNOWN, "dropped_before"),
    Case("cannot be reached", UNSENT, server="closed"),
    Case("too late to begin", UNSENT, seconds=-1),
    Case("no image", NO_IMAGE, "no_image", other={"bfl": PAID_NO_IMAGE}),
    Case(
        "words instead",
        NO_IMAGE,
        "text_only",
        absent=_absent("its answers hold no text", "bedrock", "stability", "bfl", "recraft"),
    ),
    Case("wrong MIME type", IMAGE, "wrong_mime"),
    Case("not an image", NO_IMAGE, "not_an_image", other={"bfl": PAID_NO_IMAGE}),
    Case("oversized", NO_IMAGE, "oversized", says="too large", other={"bfl": PAID_NO_IMAGE}),
    Case(
        "redirect to a private address",
        NO_IMAGE,
        "redirect_private",
        says="not allowed",
        parameters=BY_ADDRESS,
        other={"bfl": PAID_NO_IMAGE},
        absent=_absent(INSIDE, *PROTOCOLS[:4]),
    ),
    Case("bad JSON", NO_IMAGE, "bad_json"),
)
