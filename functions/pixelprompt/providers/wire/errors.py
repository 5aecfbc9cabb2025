"""Error responses: what a provider says in one, and which of our codes that is.

An adapter looks for its provider's own codes first. What is left has a meaning in HTTP, or is said in words that many
providers and the gateways in front of them use.
"""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from pixelprompt.providers.base import ProviderError
from pixelprompt.providers.transport import excerpt, parse_json, retry_after
from pixelprompt.providers.wire.members import member, members, text

# Members that hold a sentence, or something that does; the first one that says anything is believed.
_SPEAKING = (
    "message", "msg", "error", "errors", "fieldErrors", "issues", "detail", "details", "title", "description",
    "error_msg", "error_message", "errorMessage", "error_description", "Message", "base_resp", "status_msg",
)  # fmt: skip
# Members that hold each parameter's problem under its name.
_BY_PARAMETER = ("errors", "fieldErrors")
# Members that hold a constant for programs.
_CODES = ("code", "type", "status", "name", "reason")
_PLACES = ("loc", "path")
_DEEPEST = 6
_MOST_PROBLEMS = 10
_LONGEST = 2000
_TEXT_SOURCE = 16_000
_DENIAL = "The provider doesn't allow this account to use the model; the operator can find its reason in the log."
# The provider, or a proxy in front of it, stopped waiting.
_CUT_SHORT = frozenset({408, 444, 460, 499})


def _words(*patterns: str) -> str:
    return "|".join(patterns)


def _found(pattern: str, words: str) -> bool:
    # Compiled when the first error comes, and not on a cold start; ``re`` keeps it.
    return re.search(pattern, words, re.IGNORECASE) is not None


# What is said in codes, and what in sentences, where an innocent parameter may have the same name.
_NO_CREDIT_CODE = _words(
    r"insufficient.?(user.?)?(quota|credits?|balance|funds|units)", r"billing.?(hard.?limit|not.?active|disabled)",
    r"spend.?(ing)?.?limit", r"(account.?)?overdue", r"arrear", r"budget.?exceeded", r"credit.?limit", r"freetieronly",
    r"exceeded.?current.?quota", r"pre.?consume.?token.?quota", r"payment.?required",
)  # fmt: skip
_NO_CREDIT = _words(
    r"insufficient (user )?(quota|credits?|balance|funds|units\b(?! of))",
    r"(not enough|no enough|no remaining|no available|out of|ran out of|exhausted|used up|used all)"
    r" (\w+ ){0,2}(credits?|balance)\b",
    r"exceeded[^.:;]{0,30}\bcredits\b", r"(need|require)s? more credits", r"(any|no) credits? (left|yet|or)\b",
    r"\b(credits?|(?<!white )balance)\b[^.:;]{0,30}"
    r"(depleted|exhausted|used up|insufficient|too low|negative|not enough)",
    r"(quota|balance) is (not enough|insufficient)", r"(quota|free trial)[^.:;]{0,30}used up", r"monthly (quota|limit)",
    r"credit limit (exceeded|reached)", r"key limit exceeded", r"out of call volume quota", r"top up your",
    r"spend(ing)? (limit|cap)", r"billing hard limit", r"billing (is |has )?(not |been )?(active|disabled)",
    r"account is not active", r"budget[^.:;]{0,12}exceeded", r"exceeded [^.:;]{0,12}budget", r"payment required",
    r"(payment|account|bill|invoice)\w*[^.:;]{0,10}overdue", r"overdue (payment|balance)", r"in arrears",
    r"free tier quota[^.:;]{0,20}exhausted", r"requires billing", r"balance is below", r"add credits to continue",
    r"余额不足|额度不足|额度已用尽|欠费",
)  # fmt: skip
# Google says the same of a limit per minute, and then when to come again.
_NO_QUOTA = _words(r"exceeded your current quota")
_FOR_A_WHILE = _words(r"retry (in|after)", r"per.?(second|minute)", r"rate[ -]limit", r"concurren")
_BAD_KEY_CODE = _words(r"(invalid|incorrect).?api.?key", r"api.?key.?invalid", r"authentication.?error")
_BAD_KEY = _words(r"(incorrect|invalid|wrong) api.?key", r"api.?key (is )?(not valid|invalid|incorrect)")
_DENIED = _words(
    r"\b(resource|account|organi[sz]ation|subscription|workspace|team|project|api key)\b( \S+)?"
    r" (is|was|has been|have been) (\w+ )?(blocked|suspended|disabled|deactivated|banned)",
    r"temporarily blocked", r"unsupported.country", r"not activated|ModelNotOpen",
    r"(?<!['\"`])\b(country|countries|region|territory|location)s?\b( is| are)? not (yet )?"
    r"(supported|available|allowed)",
    r"not (supported|available|allowed) in your (country|region|location)",
    r"data policy", r"allowed providers", r"guardrail restriction",
)  # fmt: skip
_REFUSED_CODE = _words(
    r"content.?(policy|filter|moderation)", r"moderation.?(blocked|failed|error)", r"sensitive.?content", r"nsfw",
    r"data.?inspection", r"responsible.?ai", r"safety.?(violation|system|filter|block)", r"policy.?violation",
    r"prompt.?is.?not.?allowed", r"ip.?infringement",
)  # fmt: skip
_REFUSED = _words(
    r"(violat\w*|against|breach\w*)[^.:;]{0,60}\b(polic|guideline|terms|standard|content rules)",
    r"\b(reject|block|flag|den[iy]|refus|declin|filter|stopp|fail)\w*\b[^.:;]{0,60}"
    r"\b(moderation|safety|content (filter|polic|check)|nsfw|polic(y|ies)\b)",
    r"\b(moderation|safety (system|filter|checker)|content filters?)\b[^.:;]{0,40}"
    r"\b(reject|block|flag|den[iy]|refus|declin|trigger|detect)",
    r"\b(sensitive|inappropriate|prohibited|disallowed|unsafe|harmful|explicit|nsfw|forbidden|banned)"
    r" (content|information|words?|material|images?|prompts?)\b",
    r"\b(is|was|were|been|prompt|image|content|request) flagged\b", r"\bmoderated\b", r"infring",
    r"not safe for work", r"敏感|违规",
)  # fmt: skip
_ABOUT_A_PARAMETER = _words(
    r"(unknown|invalid|unsupported|unrecogni[sz]ed).?(parameter|value|type|key|request argument)", r"extra.forbidden"
)
_OF_THE_OUTPUT = _words(r"output", r"generated")
_UNFINISHED_CODE = _words(r"cancell?ed", r"time.?out", r"deadline.?exceeded")
_UNFINISHED = _words(
    r"\bcancell?ed\b", r"timed out", r"deadline exceeded", r"client closed",
    r"\b(request|upstream|gateway|operation|server|read) time.?out\b(?! (must|should|is|of|between|value|param))",
    r"time.?out (error|expired|exceeded|reached)",
)  # fmt: skip
_BROKEN_CODE = _words(r"server.?error", r"internal.?error", r"overloaded", r"unavailable")
_BROKEN = _words(
    r"overloaded", r"at the moment", r"temporar", r"try again (later|in)", r"(is|currently) loading", r"scaling up",
    r"no healthy", r"out of memory", r"connection (reset|refused|error)", r"internal (server )?error",
    r"(server|upstream)( \w+)? (had|has) an error", r"upstream( \w+)? (failed|error)", r"could not load",
)  # fmt: skip
_RETIRED = _words(
    r"model.?not.?(found|available|supported)\b", r"(no such|unknown|invalid) model\b", r"model disabled",
    r"not a valid model", r"no endpoints found for", r"deployment.?not.?found",
    r"\b(model|deployment)( \S*[^\s:,;]){0,2} (does not exist|doesn't exist|(is |was )?not found|is not available"
    r"|is no longer|(has|have) been (deprecated|retired|removed|shut ?down)|(is|was) (deprecated|retired|removed)"
    r"|(is |was )?(decommissioned|shut ?down))",
)  # fmt: skip
_MODEL = _words(r"\bmodels?\b", r"model_", r"\bdeployment", r"no endpoints found for")
_NO_ROUTE = _words(
    r"invalid.url", r"page not found", r"no.(such.)?route", r"cannot (post|get) ", r"unknown.?(path|route|operation)"
)
# The beginning of an object, in JSON or as Python shows it, and what it says.
_STRUCTURE = re.compile(r"[\[({]{0,3}\{\s{0,9}['\"]\w{1,40}['\"]\s{0,9}:.*", re.DOTALL)
_INNER = re.compile(r"['\"](?:message|msg|detail|error)['\"]\s*:\s*(['\"])(.{3,300}?)\1", re.DOTALL)
# Python ends a stack trace with the error, Java begins with it.
_PYTHON_TRACE = "Traceback (most recent call last)"
_JAVA_TRACE = "\n\tat "


@dataclass(frozen=True)
class ErrorResponse:
    """An error response, read.

    Attributes
    ----------
    status : HTTP status
    message : what the provider says, in one line without the key; empty where it says nothing
    codes : its constants for programs, to search in
    words : its sentences without the places of problems, to search in
    document : the JSON object it is; None for a page or a text
    retry_after : seconds that the provider asks to wait
    """

    status: int
    message: str = ""
    codes: str = ""
    words: str = ""
    document: dict[str, Any] | None = None
    retry_after: float | None = None

    def says(self, words: str, codes: str | None = None) -> bool:
        """Whether a sentence matches the first pattern, or a code the second one (without it, the first)."""
        return _found(words, self.words) or _found(codes or words, self.codes)


def read_error(response: httpx2.Response, key: str | None) -> ErrorResponse:
    """Read an error response, whatever its body is; ``key`` is hidden wherever the provider repeats it."""
    pause = retry_after(response.headers)
    body = _text(response)
    try:
        value = parse_json(response.content) if body else None
    except ValueError:
        value = None
    # Google's OpenAI-compatible server puts its error into a list.
    document = value[0] if isinstance(value, list) and value else value
    if isinstance(document, dict):
        return read_document(document, key, status=response.status_code, retry_after=pause)
    if value is not None:
        body = value if isinstance(value, str) else ""
    is_page = body.lstrip().startswith("<")
    said = excerpt(_plain(body), key)
    return ErrorResponse(response.status_code, said, "", "" if is_page else said, None, pause)


def read_document(
    document: dict[str, Any], key: str | None, *, status: int = 200, retry_after: float | None = None
) -> ErrorResponse:
    """Read the JSON object of an error response."""
    inner = document.get("error")
    envelopes = [document, inner] if isinstance(inner, dict) else [document]
    # A gateway's own sentence only says that the provider behind it failed.
    upstream = text(member(envelopes[-1], "metadata"), "raw")
    said, words = (
        ": ".join(filter(None, (sentence(document, places=places), sentence(upstream, places=places))))
        for places in (True, False)
    )
    problems = [p for envelope in envelopes for name in ("detail", "issues", "errors") for p in members(envelope, name)]
    codes = [
        str(found[name])
        for found in [*envelopes, *problems[:_MOST_PROBLEMS]]
        for name in _CODES
        if _is_code(found.get(name))
    ]
    return ErrorResponse(status, excerpt(said, key), " ".join(codes), words, document, retry_after)


def sentence(value: Any, depth: int = 0, *, places: bool = True) -> str:
    """Return what an error's JSON value says in words, of at most 2000 characters; empty where it says nothing.

    A value may be a sentence, a list of problems as FastAPI and Zod write them, an object around either, or a string
    that holds one of these as JSON. With ``places``, each problem begins with its place.
    """
    if depth > _DEEPEST:
        return ""
    if isinstance(value, str):
        inner = _embedded(value)
        return _plain(value) if inner is None else sentence(inner, depth + 1, places=places)
    if isinstance(value, list):
        return _joined(sentence(item, depth + 1, places=places) for item in value[:_MOST_PROBLEMS])
    if not isinstance(value, dict):
        return ""
    for name in _SPEAKING:
        inner = value.get(name)
        if inner is not None and (said := sentence(inner, depth + 1, places=places)):
            break
        if name in _BY_PARAMETER and isinstance(inner, dict) and (said := _by_parameter(inner, depth, places=places)):
            break
    else:
        return ""
    place = next((place for name in _PLACES if (place := _place(value.get(name)))), "")
    return f"{place}: {said}"[:_LONGEST] if place and places and depth else said


def _by_parameter(problems: dict[str, Any], depth: int, *, places: bool) -> str:
    listed = itertools.islice(problems.items(), _MOST_PROBLEMS)
    found = ((name, sentence(problem, depth + 1, places=places)) for name, problem in listed)
    return _joined(f"{name}: {said}" if places else said for name, said in found if said)


def _joined(sentences: Iterable[str]) -> str:
    return " ".join(said if said[-1] in ".!?" else f"{said}." for said in sentences if said)[:_LONGEST]


def _plain(said: str) -> str:
    """Return a sentence without what only programs understand: objects inside it, and stack traces."""
    said = said[:_TEXT_SOURCE].partition(_JAVA_TRACE)[0].strip()
    before, trace, after = said.partition(_PYTHON_TRACE)
    if trace:
        said = f"{before.strip()} {after.splitlines()[-1] if after else ''}".strip()
    if structure := _STRUCTURE.search(said):
        inner = _INNER.search(structure[0])
        said = ": ".join(filter(None, (said[: structure.start()].strip(" -:,\n"), inner[2] if inner else "")))
    return said.strip()[:_LONGEST]


def status_error(error: ErrorResponse, *, names_model: bool = False) -> ProviderError:
    """Return the error that an error response means.

    Parameters
    ----------
    names_model : the request's path names the model, so the provider's own 404 is about it
    """
    status, said = error.status, error.message or None
    if failure := spoken_error(error):
        return failure
    if status == 401 or (status in (400, 403) and error.says(_BAD_KEY, _BAD_KEY_CODE)):
        return ProviderError("bad_credentials", said=said)
    if status == 429 or (status == 403 and _found(_FOR_A_WHILE, error.message)):
        return ProviderError("rate_limited", said=said, safe_to_repeat=True, retry_after=error.retry_after)
    if status == 403:
        return _retired(said) if error.says(_RETIRED) else denied(error)
    if status >= 500:
        return server_error(status, error.retry_after, said)
    if status in _CUT_SHORT or (status >= 400 and error.says(_UNFINISHED, _UNFINISHED_CODE)):
        return ProviderError("unknown_outcome", said and f"The provider didn't finish (HTTP {status}): {said}")
    if status == 424 or (status >= 400 and error.says(_BROKEN, _BROKEN_CODE)):
        message = f"The provider failed (HTTP {status}){f': {said}' if said else '.'}"
        return ProviderError("provider_unavailable", message, billable="unknown")
    if status in (404, 410):
        return _not_found(error, names_model=names_model)
    if status in (400, 422) and error.says(_RETIRED):
        return _retired(said)
    # A page says little without its status, and so does a single word.
    if error.document is None or (said and " " not in said):
        said = f"The provider responded with HTTP {status}{f': {said}' if said else '.'}"
    return ProviderError("invalid_request", said)


def spoken_error(error: ErrorResponse) -> ProviderError | None:
    """Return the error that an error response's words mean more certainly than its status, or None."""
    status, said = error.status, error.message or None
    if status >= 500:
        return None
    if status == 402 or is_out_of_credit(error):
        return ProviderError("quota_exhausted", said=said)
    if status in (401, 429):
        return None
    if error.says(_DENIED):
        return denied(error)
    about_parameter = error.says(_ABOUT_A_PARAMETER)
    if status == 451 or _found(_REFUSED_CODE, error.codes) or (_found(_REFUSED, error.words) and not about_parameter):
        # Where the provider looked at what it had made, it may charge for that.
        after_work = status == 200 or error.says(_OF_THE_OUTPUT)
        return ProviderError("refused", said, billable="unknown" if after_work else "no")
    return None


def is_out_of_credit(error: ErrorResponse) -> bool:
    """Whether the provider says that the account's credit, balance, or budget is used up."""
    if _found(_NO_CREDIT_CODE, error.codes):
        return True
    is_passing = error.status == 429 and _found(_FOR_A_WHILE, error.words)
    return not is_passing and (_found(_NO_CREDIT, error.words) or _found(_NO_QUOTA, error.words))


def denied(error: ErrorResponse) -> ProviderError:
    """Return the error of an account that may not do what was asked; the provider's words are for the operator."""
    return ProviderError("bad_credentials", _DENIAL, said=error.message)


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
    if error.says(_NO_ROUTE) or (error.document is None and not error.words):
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
    return ".".join(
        str(part) for part in parts[:_DEEPEST] if isinstance(part, str | int) and not isinstance(part, bool)
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) < 100
