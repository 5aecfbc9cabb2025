"""Google Gemini (Developer API): images and text through the ``google-genai`` SDK, which does not retry unless asked.

Facts: https://ai.google.dev/gemini-api/docs/image-generation and https://ai.google.dev/api/generate-content
A refusal comes with HTTP 200: as a block reason of the prompt or a finish reason of the candidate.
"""

import re
from typing import Any

import httpx2
from google import genai
from google.genai import types

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.providers.wire.error_response import ErrorResponse, read_error
from pixelprompt.providers.wire.errors import denied, imageless, is_out_of_credit, status_error
from pixelprompt.providers.wire.image_bytes import decode_image
from pixelprompt.providers.wire.members import member, members, text, whole
from pixelprompt.providers.wire.text import ANSWER_TOKENS, cut_off
from pixelprompt.providers.wire.transport import (
    excerpt,
    exchange,
    json_object,
    time_left,
    trusted_authorities,
    unreadable,
)

# The server refuses to be given less (seconds); our own deadline holds all the same.
_LEAST_DEADLINE = 10.0
_REFUSED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")
_NOT_HERE = re.compile(r"location|country|region", re.IGNORECASE)
_UNPAID = re.compile(r"billing|credit|quota|free tier|spending", re.IGNORECASE)
_NO_FREE_TIER = r"limit:\s*0\b"


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """One image, an edit of the reference images where there are some.

    The Developer API has no ``n``, seed, steps, guidance, quality or format for its image models.
    """
    shape = dict(model.parameters)
    if request.aspect_ratio:
        shape["aspect_ratio"] = request.aspect_ratio
    if request.resolution:
        shape["image_size"] = request.resolution
    # Models of one size know no image size; for the others 1K is what they do anyway.
    if shape.get("image_size") == "1K":
        del shape["image_size"]
    try:
        image_config = types.ImageConfig(**shape) if shape else None
    except ValueError:
        raise _unsendable() from None
    config = types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=image_config)
    parts = [types.Part.from_bytes(data=image.data, mime_type=image.mime_type) for image in request.references]
    parts.append(types.Part.from_text(text=request.prompt))
    response = _ask(types.UserContent(parts), config, model, credentials, deadline)
    return _read(response, credentials.key, "the prompt or a reference image" if request.references else "this prompt")


def complete(prompt: str, model: Model, credentials: Credentials, deadline: float, *, instruction: str = "") -> str:
    """The text model's answer to one message, of at most ``ANSWER_TOKENS`` unless the model's parameters say more."""
    instructed = {"system_instruction": instruction} if instruction else {}
    try:
        config = types.GenerateContentConfig(**{"max_output_tokens": ANSWER_TOKENS, **model.parameters, **instructed})
    except ValueError:
        raise _unsendable() from None
    response = _ask(prompt, config, model, credentials, deadline)
    if _finish_reason(response) == "MAX_TOKENS":
        raise cut_off("max_output_tokens", config.max_output_tokens)
    words = "".join(_texts(response))
    if not words:
        raise _refusal(response) or ProviderError("no_image", "The text model gave no text.")
    return words


def _ask(
    contents: str | types.UserContent,
    config: types.GenerateContentConfig,
    model: Model,
    credentials: Credentials,
    deadline: float,
) -> dict[str, Any]:
    """The response's JSON object; parsed by the SDK, an image takes five times its size in memory.

    Raises
    ------
    ProviderError
    """
    config.should_return_http_response = True
    # They could name another server, which would get the key.
    config.http_options = None
    responses: list[httpx2.Response] = []
    try:
        with exchange(deadline, responses=responses) as http:
            options = types.HttpOptions(
                base_url=credentials.base_url,
                api_version="v1beta",
                timeout=round(max(_LEAST_DEADLINE, time_left(deadline)) * 1000),
                httpx_client=http,
                # Or the SDK would read the authorities twice for each client, for connections that it does not make.
                client_args={"verify": trusted_authorities()},
                async_client_args={"verify": trusted_authorities(), "ssl": trusted_authorities()},
            )
            client = genai.Client(api_key=credentials.key, http_options=options)
            client.models.generate_content(model=model.id, contents=contents, config=config)
    except ValueError:
        # The SDK sees an empty response, so what it refuses is the request.
        raise _unsendable() from None
    response = responses.pop()
    if not response.is_success:
        raise _status_error(read_error(response, credentials.key))
    document = json_object(response)
    if not document:
        raise unreadable()
    return document


def _unsendable() -> ProviderError:
    return ProviderError("invalid_request", "The model's parameters can't be sent to Gemini; check the catalogue.")


def _candidate(response: dict[str, Any]) -> dict[str, Any]:
    return next(iter(members(response, "candidates")), {})


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    return members(member(candidate, "content"), "parts")


def _images(response: dict[str, Any]) -> list[str]:
    """Return the images of all candidates, the best last: a thought may hold a draft, or the only image."""
    listed = [part for candidate in reversed(members(response, "candidates")) for part in _parts(candidate)]
    parts = sorted(listed, key=lambda part: not part.get("thought"))
    # Proxies that go through Google's SDK write the names as Python does.
    return [data for part in parts if (data := text(member(part, "inlineData") or member(part, "inline_data"), "data"))]


def _texts(response: dict[str, Any]) -> list[str]:
    return [words for part in _parts(_candidate(response)) if not part.get("thought") and (words := text(part, "text"))]


def _read(response: dict[str, Any], key: str | None, given: str) -> Generated:
    refusal = _refusal(response, given)
    if refusal:
        raise refusal
    failure: ProviderError | None = None
    for encoded in reversed(_images(response)):
        try:
            image = decode_image(encoded)
        except ProviderError as error:
            failure = failure or error
        else:
            usage = _usage(member(response, "usageMetadata"))
            return Generated((image,), text(response, "responseId") or None, usage or None)
    raise failure or _imageless(response, key)


def _imageless(response: dict[str, Any], key: str | None) -> ProviderError:
    """The error of a response without image or refusal, in the model's words or by the provider's reason."""
    words = " ".join(_texts(response))
    if words:
        said = excerpt(words, key)
        return ProviderError("no_image", f"The model responded with text: {said}", billable="unknown")
    reason = _finish_reason(response)
    if not reason:
        return imageless(response, key)
    return ProviderError("no_image", f"The provider returned no image ({reason}).", billable="unknown")


def _refusal(response: dict[str, Any], given: str = "this prompt") -> ProviderError | None:
    """The error of a response that says it refuses ``given``, or withholds its image; else None."""
    feedback = member(response, "promptFeedback") or member(response, "prompt_feedback")
    blocked = _reason(feedback, "blockReason", "block_reason")
    if blocked and not blocked.endswith("_UNSPECIFIED"):
        return ProviderError("refused", f"The provider refused {given} ({blocked}).")
    reason = _finish_reason(response)
    if reason not in _REFUSED:
        return None
    return ProviderError("refused", f"The provider withheld the image ({reason}).", billable="unknown")


def _finish_reason(response: dict[str, Any]) -> str:
    return _reason(_candidate(response), "finishReason", "finish_reason")


def _reason(value: dict[str, Any], *names: str) -> str:
    return next((found for name in names if (found := text(value, name))), "").upper()


def _usage(usage: dict[str, Any]) -> dict[str, int]:
    """Tokens by kind: thoughts are paid as text, and the parts of both sides by their modality."""
    asked = _count(usage, "promptTokenCount")
    seen = min(asked, _of_kind(usage, "IMAGE", "promptTokensDetails"))
    written, drawn = _of_kind(usage, "TEXT"), _of_kind(usage, "IMAGE")
    answered, thought = _count(usage, "candidatesTokenCount") or written + drawn, _count(usage, "thoughtsTokenCount")
    if not drawn:
        written = min(written, answered)
        drawn = answered - written
    elif written + drawn > answered:
        # The details contradict the sum.
        written, drawn = 0, answered
    counts = {
        "inputTextTokens": asked - seen,
        "inputImageTokens": seen,
        "outputTextTokens": written + thought,
        "outputImageTokens": drawn,
    }
    return {name: count for name, count in counts.items() if count}


def _of_kind(usage: dict[str, Any], modality: str, name: str = "candidatesTokensDetails") -> int:
    details = [detail for detail in members(usage, name) if text(detail, "modality") == modality]
    return sum(_count(detail, "tokenCount") for detail in details)


def _count(value: dict[str, Any], name: str) -> int:
    return max(0, whole(value, name) or 0)


def _status_error(error: ErrorResponse) -> ProviderError:
    envelope = member(error.document, "error")
    details, said = members(envelope, "details"), error.message
    if error.status == 429:
        return _throttled(error, details)
    if error.status == 400 and text(envelope, "status") == "FAILED_PRECONDITION":
        if _NOT_HERE.search(said) and not _UNPAID.search(said):
            return denied(error)
        if not said or _UNPAID.search(said):
            return ProviderError("quota_exhausted", said=said)
    failure = status_error(error, names_model=True)
    if failure.code == "provider_unavailable":
        failure.retry_after = failure.retry_after or _retry_delay(details)
    return failure


def _throttled(error: ErrorResponse, details: list[dict[str, Any]]) -> ProviderError:
    """Tell an account without credit from one that is to slow down: Google has one status and sentence for both."""
    violations = [violation for detail in details for violation in members(detail, "violations")]
    if error.says(_NO_FREE_TIER) or any(violation.get("quotaValue") in ("0", 0) for violation in violations):
        message = "The account has no quota for this model without billing."
        return ProviderError("quota_exhausted", message, said=error.message)
    if any("PerDay" in str(violation) for violation in violations):
        message = "The day's quota at the provider is used up."
        return ProviderError("quota_exhausted", message, said=error.message)
    if is_out_of_credit(error):
        return ProviderError("quota_exhausted", said=error.message)
    pause = error.retry_after or _retry_delay(details)
    return ProviderError("rate_limited", said=error.message, safe_to_repeat=True, retry_after=pause)


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        match = _SECONDS.fullmatch(str(detail.get("retryDelay", "")))
        if match:
            return float(match[1])
    return None
