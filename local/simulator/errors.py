"""Errors that providers send in the wild: what each says, to be put in its own envelope."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple


class Words(NamedTuple):
    """What an error says; `kind` is OpenAI's type or Google's status where it does not follow from the rest."""

    status: int
    message: str
    code: str | None = None
    kind: str | None = None

    @property
    def name(self) -> str:
        """The code, or else the name of the HTTP status."""
        return self.code or _STATUS_NAMES.get(self.status) or HTTPStatus(self.status).phrase.lower().replace(" ", "_")


class Page(NamedTuple):
    """A whole answer that is the same at every provider."""

    status: int
    body: str
    content_type: str = "application/json"


_STATUS_NAMES = {429: "rate_limit_exceeded", 499: "client_closed_request"}
_FOUR = ("stability", "bfl", "recraft", "compatible")
_FIVE = ("openai", *_FOUR)
_SIX = ("gemini", *_FIVE)
_SEVEN = ("bedrock", *_SIX)
_TEAM_LIMIT = (
    "Your team has either used all available credits or reached its monthly spending limit. To continue making API "
    "requests, please purchase more credits or raise your spending limit."
)
_PREPAYMENT = (
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project "
    "and billing."
)
_BLOCKED = (
    "Your resource has been temporarily blocked because we detected behavior that may violate our content policy."
)
_DATA_POLICY = (
    "No endpoints found matching your data policy (Paid model training). Configure: "
    "https://openrouter.ai/settings/privacy"
)
_NOT_FOUND_PAGE = (
    "<html><head><title>404</title></head><body><h1>Not Found</h1><p>The requested URL was not found on this server. "
    "Try another model of our site.</p></body></html>"
)
_UNTYPED = (
    '{"error": {"message": "You exceeded your current quota, please check your plan and billing details.", '
    '"type": "insufficient_quota", "param": null, "code": null}}'
)
_VALIDATION_LIST = (
    '{"detail": [{"type": "greater_than_equal", "loc": ["body", "width"], '
    '"msg": "Input should be greater than or equal to 64", "input": 1}]}'
)
_VALIDATION_ISSUES = (
    '{"success": false, "error": {"name": "ZodError", "issues": [{"code": "invalid_value", "path": ["size"], '
    '"message": "Invalid option: expected one of \\"1024x1024\\""}]}}'
)


def _same(protocols: tuple[str, ...], answer: Words | Page, **others: Words) -> dict[str, Words | Page]:
    """One answer for all of these protocols, but for those that have another."""
    return {**dict.fromkeys(protocols, answer), **others}


# What each protocol answers to a fault, by the fault and the protocol; one that is not named cannot have the fault.
ERRORS: dict[str, dict[str, Words | Page]] = {
    "no_credit_429": _same(
        _FOUR,
        Words(429, "Your account balance is insufficient."),
        openai=Words(
            429,
            "Your account is not active, please check your billing details on our website.",
            "billing_not_active",
            "billing_not_active",
        ),
        gemini=Words(429, _PREPAYMENT),
        compatible=Words(429, _TEAM_LIMIT, "rate_limit"),
    ),
    "no_credit_untyped": _same(("openai", "compatible"), Page(429, _UNTYPED)),
    "no_credit_403": _same(_SIX, Words(403, "The account has reached its monthly spending limit.")),
    "no_credit_412": _same(_SIX, Words(412, "Account suspended: your balance is insufficient, please recharge.")),
    "region_unsupported": _same(
        _FOUR,
        Words(403, "This service is not available in your region."),
        openai=Words(
            403,
            "Country, region, or territory not supported",
            "unsupported_country_region_territory",
            "request_forbidden",
        ),
        gemini=Words(400, "User location is not supported for the API use.", kind="FAILED_PRECONDITION"),
    ),
    "account_blocked": _same(_SIX, Words(403, _BLOCKED)),
    "refused_legal": _same(_SEVEN, Words(451, "Unavailable for legal reasons: the prompt cannot be processed.")),
    "refused_words": _same(_FIVE, Words(400, "Input data may contain inappropriate content.", "DataInspectionFailed")),
    "refused_after_work": _same(
        _FIVE,
        Words(
            400,
            "The request failed because the output image may contain sensitive information.",
            "OutputImageSensitiveContentDetected",
        ),
    ),
    "cancelled": _same(_SEVEN, Words(499, "The operation was cancelled.")),
    "timed_out": _same(_SEVEN, Words(400, "The request timed out.")),
    "wrong_path": _same(
        ("recraft",),
        Words(404, "Not found"),
        openai=Words(404, "Invalid URL (POST /v1/images/generations)"),
        compatible=Words(404, "Not Found"),
    ),
    "not_found_page": _same(_SEVEN, Page(404, _NOT_FOUND_PAGE, "text/html")),
    "data_policy": _same(("compatible",), Words(404, _DATA_POLICY)),
    "validation_list": _same(_FIVE, Page(422, _VALIDATION_LIST)),
    "validation_issues": _same(_FIVE, Page(400, _VALIDATION_ISSUES)),
}


def errors_of(protocol: str) -> frozenset[str]:
    """The faults of the table that this protocol can have."""
    return frozenset(fault for fault, answers in ERRORS.items() if protocol in answers)
