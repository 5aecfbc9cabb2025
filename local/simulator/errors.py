"""Errors that providers send in the wild: what each says, to be put in its own envelope."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import NamedTuple


class Words(NamedTuple):
    """The content of an error; `kind` is the envelope's type or status where it does not follow from the rest."""

    status: int
    message: str
    code: str | None = None
    kind: str | None = None

    @property
    def name(self) -> str:
        """The code, or else the name of the HTTP status."""
        return self.code or _STATUS_NAMES.get(self.status) or HTTPStatus(self.status).phrase.lower().replace(" ", "_")


class Page(NamedTuple):
    """A whole response, without a provider's envelope."""

    status: int
    body: str
    content_type: str = "application/json"


_STATUS_NAMES = {429: "rate_limit_exceeded", 499: "client_closed_request"}
_BLOCKED = (
    "Your resource has been temporarily blocked because we detected behavior that may violate our content policy."
)
_NOT_FOUND_PAGE = (
    "<html><head><title>404</title></head><body><h1>Not Found</h1><p>The requested URL was not found on this server. "
    "Try another model of our site.</p></body></html>"
)
UNTYPED_QUOTA = Page(
    429,
    '{"error": {"message": "You exceeded your current quota, please check your plan and billing details.", '
    '"type": "insufficient_quota", "param": null, "code": null}}',
)
_VALIDATION_LIST = (
    '{"detail": [{"type": "greater_than_equal", "loc": ["body", "width"], '
    '"msg": "Input should be greater than or equal to 64", "input": 1}]}'
)
_VALIDATION_ISSUES = (
    '{"success": false, "error": {"name": "ZodError", "issues": [{"code": "invalid_value", "path": ["size"], '
    '"message": "Invalid option: expected one of \\"1024x1024\\""}]}}'
)

# The faults that most protocols can have, with the usual response.
_USUAL: dict[str, Words | Page] = {
    "no_credit_429": Words(429, "Your account balance is insufficient."),
    "no_credit_403": Words(403, "The account has reached its monthly spending limit."),
    "no_credit_412": Words(412, "Account suspended: your balance is insufficient, please recharge."),
    "region_unsupported": Words(403, "This service is not available in your region."),
    "account_blocked": Words(403, _BLOCKED),
    "refused_legal": Words(451, "Unavailable for legal reasons: the prompt cannot be processed."),
    "refused_words": Words(400, "Input data may contain inappropriate content.", "DataInspectionFailed"),
    "refused_after_work": Words(
        400,
        "The request failed because the output image may contain sensitive information.",
        "OutputImageSensitiveContentDetected",
    ),
    "cancelled": Words(499, "The operation was cancelled."),
    "timed_out": Words(400, "The request timed out."),
    "not_found_page": Page(404, _NOT_FOUND_PAGE, "text/html"),
    "validation_list": Page(422, _VALIDATION_LIST),
    "validation_issues": Page(400, _VALIDATION_ISSUES),
}
# The names of all faults that are such errors; what is not usual, a protocol has only with words of its own.
ERROR_FAULTS = frozenset({*_USUAL, "no_credit_untyped", "wrong_path", "data_policy"})


def answers(without: Collection[str] = (), **own: Words | Page) -> dict[str, Words | Page]:
    """The responses of a protocol to its faults: the usual ones, and its own.

    Parameters
    ----------
    without
        The usual faults that it cannot have.
    own
        What it says in other words than usual, or has beyond the usual.
    """
    return {**{fault: usual for fault, usual in _USUAL.items() if fault not in without}, **own}
