"""Error responses: what a provider says in one, and which of our codes that is.

An adapter looks for its provider's own codes first. What is left has a meaning in HTTP, or is said in words that many
providers and the gateways in front of them use.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx2

from pixelprompt.providers.base import ProviderError, clean
from pixelprompt.providers.transport import excerpt, json_object, retry_after
from pixelprompt.providers.wire.members import member, text

# Members that hold a sentence, or something that does; the first one that says anything is believed.
_SPEAKING = ("message", "msg", "error", "errors", "issues", "detail", "details", "title", "description")
# Members that hold a constant for programs.
_CODES = ("code", "type", "status", "name", "reason")
_PLACES = ("loc", "path")
_DEEPEST = 6
_MOST_PROBLEMS = 10
_TEXT_SOURCE = 16_000

_NO_CREDIT = re.compile(
    r"insufficient.{0,3}(user.)?(quota|credits?|balance|funds|units)"
    r"|(not.enough|no.remaining|no.available|out.of|ran.out.of|exhausted|used.(up|all)|exceeded)[^.:]{0,30}(credits|balance)"
    r"|(credits?|balance)\W[^.:]{0,30}(depleted|exhausted|used.up|insufficient|too.low|negative)"
    r"|(quota|balance).is.(not.enough|insufficient)|credit.limit.(exceeded|reached)|no.credits?.left"
    r"|spend(ing)?.?(limit|cap)|billing.hard.limit|billing.?not.?active|account.is.not.active"
    r"|budget.{0,12}exceeded|exceeded.{0,3}budget|payment.required|overdue|arrear|余额不足|额度不足|欠费",
    re.IGNORECASE,
)
# Google says the same of a limit per minute, and then when to come again.
_NO_QUOTA = re.compile(r"exceeded.your.current.quota", re.IGNORECASE)
_FOR_A_WHILE = re.compile(r"retry.(in|after)|per.?(second|minute)|rate.?limit", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(resource|account|organi[sz]ation|subscription|workspace|team|project|api.key)\b.{0,30}"
    r"\b(is|was|(has|have).been).{0,14}(blocked|suspended|disabled|deactivated|banned|restricted)"
    r"|temporarily.blocked|unsupported.country"
    r"|\b(country|countries|region|territory|location)\b.{0,30}\bnot.(supported|available|allowed)"
    r"|not.(supported|available|allowed).in.your.(country|region|location)"
    r"|data.policy|allowed.providers|guardrail.restriction",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content.?polic|content.?filter|content.?moderat|(?<!['\"`])\bmoderat(ion|ed)\b(?!['\"`])|moderation.blocked"
    r"|safety.(system|filter|polic|check)|nsfw|sensitive.?(content|information|word)|data.?inspection"
    r"|inappropriate.content|prohibited.content|responsible.?ai|polic(y|ies).violation|violat.{0,60}polic"
    r"|\bflagged\b|敏感|违规",
    re.IGNORECASE,
)
_ABOUT_A_PARAMETER = re.compile(r"(unknown|invalid|unsupported).?(parameter|value|type)|extra.forbidden", re.IGNORECASE)
_OF_THE_OUTPUT = re.compile(r"output|generated", re.IGNORECASE)
_UNFINISHED = re.compile(
    r"\bcancel(l?ed|ation)\b|timed.out|deadline.exceeded|client.closed"
    r"|(request|upstream|gateway|operation|server|read).time.?out|time.?out.(error|expired|exceeded|reached)",
    re.IGNORECASE,
)
_RETIRED = re.compile(
    r"model.?not.?found|(no such|unknown|invalid).model|no endpoints found for"
    r"|\b(model|deployment)\b.{0,120}(does not exist|doesn't exist|not found|not available|no longer"
    r"|deprecated|decommissioned|retired|shut.?down)",
    re.IGNORECASE | re.DOTALL,
)
_MODEL = re.compile(r"\bmodels?\b|model_|\bdeployment|no endpoints found for", re.IGNORECASE)
_NO_ROUTE = re.compile(
    r"invalid.url|page not found|no.(such.)?route|cannot (post|get) |unknown.?(path|route|operation)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ErrorResponse:
    """An error response, read.

    Attributes
    ----------
    status : HTTP status
    message : what the provider says, in one line without the key; empty where it says nothing
    signs : its codes and its message, to search in
    document : the JSON object it is; None for a page or a text
    retry_after : seconds that the provider asks to wait
    """

    status: int
    message: str = ""
    signs: str = ""
    document: dict[str, Any] | None = None
    retry_after: float | None = None

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether a code or the message matches."""
        return pattern.search(self.signs) is not None


def read_error(response: httpx2.Response, key: str | None) -> ErrorResponse:
    """Read an error response, whatever its body is; ``key`` is hidden wherever the provider repeats it."""
    pause = retry_after(response.headers)
    document = json_object(response)
    if document is not None:
        return read_document(document, key, status=response.status_code, retry_after=pause)
    body = _text(response)
    is_page = body.lstrip().startswith("<")
    return ErrorResponse(response.status_code, excerpt(body, key), "" if is_page else body[:1000], None, pause)


def read_document(
    document: dict[str, Any], key: str | None, *, status: int = 200, retry_after: float | None = None
) -> ErrorResponse:
    """Read the JSON object of an error response."""
    said = sentence(document)
    inner = document.get("error")
    envelopes = [document, inner] if isinstance(inner, dict) else [document]
    # A gateway's own sentence only says that the provider behind it failed.
    upstream = sentence(text(member(envelopes[-1], "metadata"), "raw"))
    said = f"{said}: {upstream}" if said and upstream else said or upstream
    codes = [str(envelope[name]) for envelope in envelopes for name in _CODES if _is_code(envelope.get(name))]
    return ErrorResponse(
        status, clean(said.replace(key, "[hidden]") if key else said), " ".join([*codes, said]), document, retry_after
    )


def sentence(value: Any, depth: int = 0) -> str:
    """Return what an error's JSON value says in words, with the place of each problem; empty where it says nothing.

    A value may be a sentence, a list of problems as FastAPI and Zod write them, an object around either, or a text
    that holds one of these as JSON.
    """
    if depth > _DEEPEST:
        return ""
    if isinstance(value, str):
        inner = _embedded(value)
        return value.strip() if inner is None else sentence(inner, depth + 1)
    if isinstance(value, list):
        listed = [sentence(item, depth + 1) for item in value[:_MOST_PROBLEMS]]
        return " ".join(said if said[-1] in ".!?" else f"{said}." for said in listed if said)
    if not isinstance(value, dict):
        return ""
    said = next((said for name in _SPEAKING if (said := sentence(value.get(name), depth + 1))), "")
    place = next((place for name in _PLACES if (place := _place(value.get(name)))), "")
    if said:
        return f"{place}: {said}" if place and depth else said
    # Some write each parameter's problems under its name.
    problems = {name: sentence(listed, depth + 1) for name, listed in value.items() if isinstance(listed, list)}
    return " ".join(f"{name}: {said}" for name, said in problems.items() if said) if depth else ""


def status_error(error: ErrorResponse, *, names_model: bool = False) -> ProviderError:
    """Return the error that an error response means.

    Parameters
    ----------
    names_model : the request's path names the model, so the provider's own 404 is about it
    """
    status, said = error.status, error.message or None
    if failure := spoken_error(error):
        return failure
    if status == 401:
        # The provider may quote part of the key in its message, so it is not passed on.
        return ProviderError("bad_credentials")
    if status == 403:
        return denied(error)
    if status == 429:
        return ProviderError("rate_limited", safe_to_repeat=True, retry_after=error.retry_after)
    if status in (408, 499) or (400 <= status < 500 and error.says(_UNFINISHED)):
        return ProviderError("unknown_outcome", said and f"The provider didn't finish (HTTP {status}): {said}")
    if status in (404, 410):
        return _not_found(error, names_model=names_model)
    if status == 400 and error.says(_RETIRED):
        return _retired(said)
    if status >= 500:
        return server_error(status, error.retry_after, said)
    if error.document is None:
        said = f"The provider responded with HTTP {status}{f': {said}' if said else '.'}"
    return ProviderError("invalid_request", said)


def spoken_error(error: ErrorResponse) -> ProviderError | None:
    """Return the error that an error response's words mean more certainly than its status, or None."""
    status, said = error.status, error.message or None
    if status >= 500:
        return None
    if status == 402 or is_out_of_credit(error):
        return ProviderError("quota_exhausted")
    if status in (401, 429):
        return None
    if error.says(_DENIED):
        return denied(error)
    if status == 451 or (error.says(_REFUSED) and not error.says(_ABOUT_A_PARAMETER)):
        # Where the provider looked at what it had made, it may charge for that.
        after_work = status == 200 or error.says(_OF_THE_OUTPUT)
        return ProviderError("refused", said, billable="unknown" if after_work else "no")
    return None


def is_out_of_credit(error: ErrorResponse) -> bool:
    """Whether the provider says that the account's credit, balance, or budget is used up."""
    return error.says(_NO_CREDIT) or (error.says(_NO_QUOTA) and not error.says(_FOR_A_WHILE))


def denied(error: ErrorResponse) -> ProviderError:
    """Return the error of an account that may not do what was asked, in the provider's words."""
    said = error.message
    message = f"The provider doesn't allow this account to do that: {said}" if said else None
    return ProviderError("bad_credentials", message)


def imageless(document: dict[str, Any], key: str | None) -> ProviderError:
    """Return why a successful response holds no image: some providers report errors with HTTP 200."""
    error = read_document(document, key)
    if failure := spoken_error(error):
        return failure
    has_error = document.get("error") or document.get("message") or document.get("detail")
    message = f"The provider returned no image: {error.message}" if has_error and error.message else None
    return ProviderError("no_image", message, billable="unknown")


def server_error(status: int, retry_after: float | None = None, said: str | None = None) -> ProviderError:
    """Return the error of a 5xx response; ``said`` is what the provider says.

    503 and 529 (overloaded) say that the work was not begun, a gateway's 504 and 524 that its result did not arrive in
    time; any other leaves open what happened.
    """
    ending = f" It says: {said}" if said else ""
    if status in (504, 524):
        return ProviderError("unknown_outcome", f"A gateway gave up on the provider (HTTP {status}).{ending}")
    idle = status in (503, 529)
    return ProviderError(
        "provider_unavailable",
        f"The provider failed with HTTP {status}.{ending}",
        billable="no" if idle else "unknown",
        safe_to_repeat=idle,
        retry_after=retry_after,
    )


def _not_found(error: ErrorResponse, *, names_model: bool) -> ProviderError:
    """Tell a model that is gone from a URL that is wrong."""
    if error.says(_NO_ROUTE) or (error.document is None and not error.signs):
        about_model = False
    else:
        about_model = error.says(_MODEL) or (names_model and error.document is not None)
    if about_model:
        return _retired(error.message or None)
    said = f": {error.message}" if error.message else "."
    return ProviderError("invalid_request", f"The provider has nothing at this URL (HTTP {error.status}){said}")


def _retired(said: str | None) -> ProviderError:
    return ProviderError("model_retired", said and f"The provider doesn't offer this model: {said}")


def _text(response: httpx2.Response) -> str:
    """Return the body of a response as text; empty where it is binary, such as an image."""
    start = response.content[:_TEXT_SOURCE]
    body = start.decode(errors="replace")
    return "" if b"\x00" in start or body.count("\ufffd") > len(body) // 10 else body


def _embedded(value: str) -> Any | None:
    """Return the JSON object or list that a string is, or None."""
    if value.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _place(value: Any) -> str:
    parts = value if isinstance(value, list) else []
    return ".".join(str(part) for part in parts if isinstance(part, str | int))


def _is_code(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) < 100
