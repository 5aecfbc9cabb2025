"""Maps a provider's error response to one of our codes.

An adapter looks for its provider's own codes first. What is left has a meaning in HTTP, or is said in words that many
providers and the gateways in front of them use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pixelprompt.models.model import ProviderError
from pixelprompt.providers.wire.error_response import ErrorResponse, matches, read_document

_DENIAL = "The provider doesn't allow this account to use the model; the operator can find its reason in the log."
# The provider, or a proxy in front of it, stopped waiting.
_CUT_SHORT = frozenset({408, 444, 460, 499})


def _words(*patterns: str) -> str:
    return "|".join(patterns)


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
_BAD_KEY = _words(
    r"(incorrect|invalid|wrong|expired|revoked) api.?key",
    r"api.?key( you provided)? ((is|has|was|been) ){0,2}(not valid|invalid|incorrect|expired|revoked|not found)",
    r"\bnot authenticated\b", r"\binvalid authentication\b",
)  # fmt: skip
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


def status_error(error: ErrorResponse, *, names_model: bool = False) -> ProviderError:
    """Return the error that an error response means.

    Parameters
    ----------
    names_model : the request's path names the model, so the provider's own 404 is about it
    """
    status, said = error.status, error.message or None
    if failure := spoken_error(error):
        return failure
    if is_bad_key(error):
        return ProviderError("bad_credentials", said=said)
    if status == 429 or (status == 403 and matches(_FOR_A_WHILE, error.message)):
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
    if status == 451 or matches(_REFUSED_CODE, error.codes) or (matches(_REFUSED, error.words) and not about_parameter):
        # Where the provider looked at what it had made, it may charge for that.
        after_work = status == 200 or error.says(_OF_THE_OUTPUT)
        return ProviderError("refused", said, billable="unknown" if after_work else "no")
    return None


def is_out_of_credit(error: ErrorResponse) -> bool:
    """Whether the provider says that the account's credit, balance, or budget is used up."""
    if matches(_NO_CREDIT_CODE, error.codes):
        return True
    is_passing = error.status == 429 and matches(_FOR_A_WHILE, error.words)
    return not is_passing and (matches(_NO_CREDIT, error.words) or matches(_NO_QUOTA, error.words))


def is_bad_key(error: ErrorResponse) -> bool:
    """Whether the provider doesn't accept the key, whatever the account may do."""
    return error.status == 401 or (error.status in (400, 403) and error.says(_BAD_KEY, _BAD_KEY_CODE))


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


@contextmanager
def charging(cost: float | None) -> Iterator[None]:
    """Note with a ``ProviderError`` what the provider says it charges all the same, in US dollars."""
    try:
        yield
    except ProviderError as error:
        error.cost = cost
        raise


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
