"""What every adapter does in every case: cases down, protocols across.

A cell holds the outcome; a protocol in which a case cannot occur has the reason instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixelprompt.models.model import Model
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.sizes import PixelLimits

PROTOCOLS = ("openai", "gemini", "bedrock", "stability", "bfl", "recraft", "compatible")

MODELS = {
    "openai": Model("GPT Image 2", "openai", "gpt-image-2", parameters={"size": "1024x1024", "quality": "low"}),
    "gemini": Model("Nano Banana 2.1", "gemini", "gemini-nano-banana-2.1", parameters={"aspect_ratio": "1:1"}),
    "bedrock": Model("Stable Image Core", "bedrock", "stability.stable-image-core-v1:1", region="us-west-2"),
    "stability": Model("Stable Image Ultra", "stability", "ultra", path="/v2beta/stable-image/generate/ultra"),
    "bfl": Model(
        "FLUX.2 pro",
        "bfl",
        "flux-2-pro",
        parameters={"disable_pup": True},
        pixels=PixelLimits(multiple_of=16, shortest=64, longest=4096, largest=2048 * 2048),
    ),
    "recraft": Model("Recraft V4.1", "recraft", "recraftv4_1"),
    "compatible": Model("Plain Diffusion", "compatible", "plain-diffusion"),
}
# Below the simulator's own address.
PATHS = {name: provider.simulator_path for name, provider in PROVIDERS.items()}


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
    says : what the provider says among other things; callers see it unless it is about the account
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


OTHERS = tuple(protocol for protocol in PROTOCOLS if protocol != "gemini")
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

NO_CREDIT = Outcome("quota_exhausted")
KEPT_OUT = Outcome("bad_credentials")
INVALID = Outcome("invalid_request")

INSIDE = "the image comes inside the answer: there is no address to follow"
BY_URL_ONLY = "the image is always behind a URL"
OF_GEMINI = "only Gemini's answers have such parts"
OF_AN_API_KEY = "AWS says it in words of its own; see tests/contract/test_bedrock.py"
NO_OTHER_WORDS = "a refusal is a reason in an answer with HTTP 200, of a closed list"
NO_LISTS = "its validation errors are sentences"
BY_ADDRESS: dict[str, dict[str, Any]] = {
    "recraft": {"response_format": "url"},
    "compatible": {"response_format": "url"},
}
AS_BASE64: dict[str, dict[str, Any]] = {"compatible": {"response_format": "b64_json"}}
NOT_BY_URL = _absent(BY_URL_ONLY, "bfl")

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
    # A paid image is kept.
    Case("base64 as data URL", IMAGE, "base64_data_url", parameters=AS_BASE64, absent=NOT_BY_URL),
    Case("base64 in lines", IMAGE, "base64_lines", parameters=AS_BASE64, absent=NOT_BY_URL),
    Case("base64 unpadded", IMAGE, "base64_unpadded", parameters=AS_BASE64, absent=NOT_BY_URL),
    Case("base64 URL-safe", IMAGE, "base64_urlsafe", parameters=AS_BASE64, absent=NOT_BY_URL),
    Case("data URL for a URL", IMAGE, "data_url", parameters=BY_ADDRESS, absent=_absent(INSIDE, *PROTOCOLS[:4])),
    Case("relative URL", IMAGE, "relative_url", parameters=BY_ADDRESS, absent=_absent(INSIDE, *PROTOCOLS[:4])),
    Case("URL of localhost", IMAGE, "localhost_url", parameters=BY_ADDRESS, absent=_absent(INSIDE, *PROTOCOLS[:4])),
    Case("URL of another port", IMAGE, "other_port_url", parameters=BY_ADDRESS, absent=_absent(INSIDE, *PROTOCOLS[:4])),
    Case("created (201)", IMAGE, "created"),
    Case("image in a thought", IMAGE, "thought_only", absent=_absent(OF_GEMINI, *OTHERS)),
    Case("block without reason", IMAGE, "unspecified_block", absent=_absent(OF_GEMINI, *OTHERS)),
    Case("SVG", NO_IMAGE, "svg", says="SVG", other={"bfl": PAID_NO_IMAGE}),
    Case(
        "polling URL without ID",
        IMAGE,
        "polling_without_id",
        absent=_absent("nothing is polled", *(protocol for protocol in PROTOCOLS if protocol != "bfl")),
    ),
    Case("little time left", IMAGE, seconds=5.0),
    # No credit is not "slow down".
    Case("no credit (429)", NO_CREDIT, "no_credit_429", absent=_absent(OF_AN_API_KEY, "bedrock")),
    Case("no credit (403)", NO_CREDIT, "no_credit_403", absent=_absent(OF_AN_API_KEY, "bedrock")),
    Case("no credit (412)", NO_CREDIT, "no_credit_412", absent=_absent(OF_AN_API_KEY, "bedrock")),
    Case(
        "no credit, no code",
        NO_CREDIT,
        "no_credit_untyped",
        absent=_absent("its errors have no type beside the code", "gemini", "bedrock", "stability", "bfl", "recraft"),
    ),
    Case(
        "no free tier",
        NO_CREDIT,
        "free_tier_zero",
        absent=_absent("only Google has limits of 0 for accounts that do not pay", *OTHERS),
    ),
    Case(
        "region not supported",
        KEPT_OUT,
        "region_unsupported",
        says="not ",
        absent=_absent(OF_AN_API_KEY, "bedrock"),
    ),
    Case("account blocked", KEPT_OUT, "account_blocked", says="blocked", absent=_absent(OF_AN_API_KEY, "bedrock")),
    # The right cause.
    Case("refused by law (451)", REFUSED, "refused_legal"),
    Case("refused in other words", REFUSED, "refused_words", absent=_absent(NO_OTHER_WORDS, "gemini", "bedrock")),
    Case("refused after work", WITHHELD, "refused_after_work", absent=_absent(NO_OTHER_WORDS, "gemini", "bedrock")),
    Case("cancelled (499)", UNKNOWN, "cancelled"),
    Case("timed out (400)", UNKNOWN, "timed_out"),
    Case(
        "wrong path",
        INVALID,
        "wrong_path",
        says="URL",
        absent=_absent("the path names the model, so a 404 is about it", "gemini", "bedrock", "stability", "bfl"),
    ),
    Case("page instead (404)", INVALID, "not_found_page", says="Not Found"),
    Case(
        "data policy (404)",
        KEPT_OUT,
        "data_policy",
        says="data policy",
        absent=_absent("only gateways choose among providers", *(p for p in PROTOCOLS if p != "compatible")),
    ),
    Case(
        "problems in a list",
        INVALID,
        "validation_list",
        says="width: Input should be",
        absent=_absent(NO_LISTS, "gemini", "bedrock"),
    ),
    Case(
        "problems as issues",
        INVALID,
        "validation_issues",
        says="size: Invalid option",
        absent=_absent(NO_LISTS, "gemini", "bedrock"),
    ),
)
