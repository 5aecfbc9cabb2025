"""The cases that every protocol meets or can't meet: the rows of the contract table.

A column (``tests.contract.columns``) says what its protocol does otherwise.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from pixelprompt.models.model import Model
from pixelprompt.models.parameters import IMAGES
from pixelprompt.models.provider import PROVIDERS


class Outcome(Struct, frozen=True):
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


class Case(Struct, frozen=True):
    """A row of the table.

    Attributes
    ----------
    fault, options : what the simulator plays
    request : fields of the ``ImageRequest``
    seconds : until the deadline
    server : ``simulator``, ``dripping`` or ``closed`` (nothing listens)
    says : part of the provider's own sentence; callers see it unless it is about the account
    images_by : ``url`` or ``base64`` where the images must come that way
    references : the reference images: ``few``, ``most`` (that the model accepts), ``too many``, ``gif``, or ``damaged``
    rare : why a protocol can't meet the case, unless its column names it
    """

    name: str
    outcome: Outcome
    fault: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 20.0
    server: str = "simulator"
    says: str = ""
    images_by: str | None = None
    references: str | None = None
    rare: str | None = None


class Column(Struct, frozen=True):
    """A protocol's column of the table.

    Attributes
    ----------
    model : the model that is asked; it supports reference images where the protocol sends them
    unknown : one that the provider doesn't have
    other : outcomes by case, where they differ from the usual one
    absent : cases that can't occur, by the reason
    rare : rare cases that do occur
    images_by : a model's parameters with which images come by ``url`` or in ``base64``, where it must be asked for
    has_request_id : whether the provider names its requests
    """

    model: Model
    unknown: Model
    other: Mapping[str, Outcome] = field(default_factory=dict)
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rare: tuple[str, ...] = ()
    images_by: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    has_request_id: bool = True

    @property
    def sends_references(self) -> bool:
        """Whether the protocol sends reference images, by the provider's row."""
        return IMAGES in PROVIDERS[self.model.provider].parameters

    def outcome(self, case: Case) -> Outcome:
        """The outcome of a case."""
        return self.other.get(case.name, case.outcome)

    def why_absent(self, case: Case) -> str | None:
        """Why a case can't occur; None where it can."""
        if case.references and not self.sends_references:
            return "it sends no reference images"
        if case.rare and case.name not in self.rare:
            return case.rare
        return next((reason for reason, names in self.absent.items() if case.name in names), None)


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
NO_CREDIT = Outcome("quota_exhausted")
DENIED = Outcome("bad_credentials")
INVALID = Outcome("invalid_request")

CASES = (
    Case("success", IMAGE),
    Case("two images", Outcome(images=2), request={"n": 2}),
    Case("image by address", IMAGE, images_by="url"),
    Case("prompt refused", REFUSED, "refused"),
    Case("image withheld", WITHHELD, "refused_output"),
    Case(
        "throttled, with a delay",
        Outcome("rate_limited", retryable=True, safe_to_repeat=True, retry_after=7),
        "throttled",
        {"retry_after": 7},
    ),
    Case("throttled", THROTTLED, "throttled"),
    Case("no credit", NO_CREDIT, "quota_exhausted"),
    Case("bad key", DENIED, "bad_key"),
    Case("retired", Outcome("model_retired"), "retired"),
    Case("bad parameter", INVALID, "bad_parameter"),
    Case(
        "provider broken (500)",
        Outcome("provider_unavailable", retryable=True, billable="unknown"),
        "server_error",
    ),
    Case("unavailable (503)", UNAVAILABLE, "unavailable"),
    Case("slow", UNKNOWN, "slow", {"seconds": 60}, seconds=0.8),
    Case("answer drips", UNKNOWN, seconds=0.8, server="dripping"),
    Case("dropped before the answer", UNKNOWN, "dropped"),
    Case("reset while sending", UNKNOWN, "dropped_before"),
    Case("cannot be reached", UNSENT, server="closed"),
    Case("too late to begin", UNSENT, seconds=-1),
    Case("no image", NO_IMAGE, "no_image"),
    Case("words instead", NO_IMAGE, "text_only", rare="its answers hold no text"),
    Case("wrong MIME type", IMAGE, "wrong_mime"),
    Case("not an image", NO_IMAGE, "not_an_image"),
    Case("oversized", NO_IMAGE, "oversized", says="too large"),
    Case("redirect to a private address", NO_IMAGE, "redirect_private", says="not allowed", images_by="url"),
    Case("bad JSON", NO_IMAGE, "bad_json"),
    # A paid image is kept.
    Case("base64 as data URL", IMAGE, "base64_data_url", images_by="base64"),
    Case("base64 in lines", IMAGE, "base64_lines", images_by="base64"),
    Case("base64 unpadded", IMAGE, "base64_unpadded", images_by="base64"),
    Case("base64 URL-safe", IMAGE, "base64_urlsafe", images_by="base64"),
    Case("data URL for a URL", IMAGE, "data_url", images_by="url"),
    Case("relative URL", IMAGE, "relative_url", images_by="url"),
    Case("URL of localhost", IMAGE, "localhost_url", images_by="url"),
    Case("URL of another port", IMAGE, "other_port_url", images_by="url"),
    Case("created (201)", IMAGE, "created"),
    Case("image in a thought", IMAGE, "thought_only", rare="only Gemini's answers have such parts"),
    Case("block without reason", IMAGE, "unspecified_block", rare="only Gemini's answers have such parts"),
    Case("SVG", NO_IMAGE, "svg", says="SVG"),
    Case("polling URL without ID", IMAGE, "polling_without_id", rare="nothing is polled"),
    Case("little time left", IMAGE, seconds=5.0),
    # No credit is not "slow down".
    Case("no credit (429)", NO_CREDIT, "no_credit_429"),
    Case("no credit (403)", NO_CREDIT, "no_credit_403"),
    Case("no credit (412)", NO_CREDIT, "no_credit_412"),
    Case("no credit, no code", NO_CREDIT, "no_credit_untyped", rare="its errors have no type beside the code"),
    Case(
        "no free tier",
        NO_CREDIT,
        "free_tier_zero",
        rare="only Google has limits of 0 for accounts that do not pay",
    ),
    Case("region not supported", DENIED, "region_unsupported", says="not "),
    Case("account blocked", DENIED, "account_blocked", says="blocked"),
    # The right cause.
    Case("refused by law (451)", REFUSED, "refused_legal"),
    Case("refused in other words", REFUSED, "refused_words"),
    Case("refused after work", WITHHELD, "refused_after_work"),
    Case("cancelled (499)", UNKNOWN, "cancelled"),
    Case("timed out (400)", UNKNOWN, "timed_out"),
    Case("wrong path", INVALID, "wrong_path", says="URL", rare="the path names the model, so a 404 is about it"),
    Case("page instead (404)", INVALID, "not_found_page", says="Not Found"),
    Case("data policy (404)", DENIED, "data_policy", says="data policy", rare="only gateways choose among providers"),
    Case("problems in a list", INVALID, "validation_list", says="width: Input should be"),
    Case("problems as issues", INVALID, "validation_issues", says="size: Invalid option"),
    # Edits: the request has reference images.
    Case("edit", IMAGE, references="few"),
    Case("edit of the most references", IMAGE, references="most"),
    Case("edit of too many references", INVALID, references="too many"),
    Case("edit of a wrong type", INVALID, references="gif"),
    Case("edit of a damaged image", INVALID, references="damaged"),
    Case("edit refused", REFUSED, "refused_image", references="few"),
    Case("edit withheld", WITHHELD, "refused_output", references="few"),
    Case("edit throttled", THROTTLED, "throttled", references="few"),
    Case("edit unavailable (503)", UNAVAILABLE, "unavailable", references="few"),
    Case("edit dropped", UNKNOWN, "dropped", references="few"),
    Case("edit reset while sending", UNKNOWN, "dropped_before", references="few"),
    Case("edit without image", NO_IMAGE, "no_image", references="few"),
)

# The reasons of several columns, with the cases that they are about.
NO_URL = {
    "the image comes inside the answer: there is no address to follow": tuple(
        case.name for case in CASES if case.images_by == "url"
    )
}
ONE_PER_CALL = {"one image per call": ("two images",)}
NO_VALIDATION_LISTS = {"its validation errors are sentences": ("problems in a list", "problems as issues")}
REFUSES_IN_REASONS = {
    "a refusal is a reason in an answer with HTTP 200, of a closed list": (
        "refused in other words",
        "refused after work",
    )
}
