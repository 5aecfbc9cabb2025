"""Google Gemini (Developer API): images and text through the ``google-genai`` SDK, which does not retry unless asked.

Facts: https://ai.google.dev/gemini-api/docs/image-generation and https://ai.google.dev/api/generate-content
A refusal comes with HTTP 200: as a block reason of the prompt or a finish reason of the candidate.
"""

import re
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from pixelprompt.providers.base import (
    ANSWER_TOKENS,
    Credentials,
    Generated,
    ImageRequest,
    Model,
    ProviderError,
    cut_off,
    decode_image,
)
from pixelprompt.providers.transport import client as http_client
from pixelprompt.providers.transport import (
    exchange_error,
    parse_json,
    server_error,
    time_left,
    trusted_authorities,
    unreadable,
)

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


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | ProviderError:
    """One image; the Developer API has no ``n``, seed, steps, guidance, quality or format for its image models."""
    shape = dict(model.parameters)
    if request.aspect_ratio:
        shape["aspect_ratio"] = request.aspect_ratio
    if request.resolution:
        shape["image_size"] = request.resolution
    # Models of one size know no image size; for the others 1K is what they do anyway.
    if shape.get("image_size") == "1K":
        del shape["image_size"]
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(**shape) if shape else None
    )
    answer = _ask(request.prompt, config, model, credentials, deadline)
    return answer if isinstance(answer, ProviderError) else _read(answer)


def complete(prompt: str, model: Model, credentials: Credentials, deadline: float) -> str | ProviderError:
    """The text model's answer to one message, of at most ``ANSWER_TOKENS`` unless the model's parameters say more."""
    config = types.GenerateContentConfig(**{"max_output_tokens": ANSWER_TOKENS, **model.parameters})
    answer = _ask(prompt, config, model, credentials, deadline)
    if isinstance(answer, ProviderError):
        return answer
    if _finish_reason(answer) == "MAX_TOKENS":
        return cut_off("max_output_tokens", config.max_output_tokens)
    text = "".join(_texts(answer))
    return text or _refusal(answer) or ProviderError("no_image", "The text model gave no text.")


def _ask(
    prompt: str, config: types.GenerateContentConfig, model: Model, credentials: Credentials, deadline: float
) -> dict[str, Any] | ProviderError:
    """The answer's JSON object; parsed by the SDK, a picture takes five times its size in memory."""
    config.should_return_http_response = True
    bodies: list[bytes] = []
    try:
        with http_client(deadline, bodies=bodies) as http:
            options = types.HttpOptions(
                base_url=credentials.base_url,
                api_version="v1beta",
                timeout=round(time_left(deadline) * 1000),
                httpx_client=http,
                # Or the SDK would read the authorities twice for each client, for connections that it does not make.
                client_args={"verify": trusted_authorities()},
                async_client_args={"verify": trusted_authorities(), "ssl": trusted_authorities()},
            )
            client = genai.Client(api_key=credentials.key, http_options=options)
            client.models.generate_content(model=model.id, contents=prompt, config=config)
        document = parse_json(bodies.pop())
    except errors.APIError as error:
        return _provider_error(error)
    except httpx2.HTTPError as error:
        return exchange_error(error)
    except ValueError:
        return unreadable()
    return document if isinstance(document, dict) else unreadable()


def _object(value: Any, name: str) -> dict[str, Any]:
    """The object of this name in another; empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _objects(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list of this name."""
    found = value.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _candidate(answer: dict[str, Any]) -> dict[str, Any]:
    candidates = _objects(answer, "candidates")
    return candidates[0] if candidates else {}


def _parts(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the first candidate but for its thoughts, which may hold draft images."""
    return [part for part in _objects(_object(_candidate(answer), "content"), "parts") if not part.get("thought")]


def _texts(answer: dict[str, Any]) -> list[str]:
    return [part["text"] for part in _parts(answer) if isinstance(part.get("text"), str)]


def _read(answer: dict[str, Any]) -> Generated | ProviderError:
    refusal = _refusal(answer)
    if refusal:
        return refusal
    pictures = [_object(part, "inlineData").get("data") for part in _parts(answer)]
    encoded = [picture for picture in pictures if isinstance(picture, str) and picture]
    if not encoded:
        return _imageless(answer)
    image = decode_image(encoded[-1])
    if isinstance(image, ProviderError):
        return image
    return Generated((image,), _text(answer, "responseId") or None, _usage(_object(answer, "usageMetadata")))


def _imageless(answer: dict[str, Any]) -> ProviderError:
    """Why an answer that is no refusal holds no image, in the model's words or by the provider's reason."""
    words = " ".join(_texts(answer))
    if words:
        return ProviderError("no_image", f"The model answered in words: {words}", billable="unknown")
    reason = _finish_reason(answer)
    message = f"The provider answered without an image ({reason})." if reason else None
    return ProviderError("no_image", message, billable="unknown")


def _refusal(answer: dict[str, Any]) -> ProviderError | None:
    blocked = _text(_object(answer, "promptFeedback"), "blockReason")
    if blocked:
        return ProviderError("refused", f"The provider refused this prompt ({blocked}).")
    reason = _finish_reason(answer)
    if reason not in _REFUSED:
        return None
    return ProviderError("refused", f"The provider withheld the image ({reason}).", billable="unknown")


def _finish_reason(answer: dict[str, Any]) -> str:
    return _text(_candidate(answer), "finishReason")


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _usage(usage: dict[str, Any]) -> dict[str, int] | None:
    counts = {
        "inputTextTokens": usage.get("promptTokenCount"),
        "outputImageTokens": usage.get("candidatesTokenCount"),
    }
    return {name: count for name, count in counts.items() if isinstance(count, int)} or None


def _provider_error(error: errors.APIError) -> ProviderError:
    details = _details(error)
    reasons = {str(detail.get("reason")) for detail in details}
    if error.code in (401, 403) or "API_KEY_INVALID" in reasons:
        return ProviderError("bad_credentials")
    if error.code == 429:
        if any("PerDay" in str(violation) for detail in details for violation in detail.get("violations") or []):
            return ProviderError("quota_exhausted", "The day's quota at the provider is used up.")
        return ProviderError("rate_limited", safe_to_repeat=True, retry_after=_retry_delay(details))
    if error.code == 404:
        return ProviderError("model_retired")
    if error.code == 400 and error.status == "FAILED_PRECONDITION":
        return ProviderError("quota_exhausted", error.message)
    if error.code >= 500:
        return server_error(error.code, _retry_delay(details))
    return ProviderError("invalid_request", error.message)


def _details(error: errors.APIError) -> list[dict[str, Any]]:
    return _objects(_object(error.details, "error"), "details")


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        match = _SECONDS.fullmatch(str(detail.get("retryDelay", "")))
        if match:
            return float(match[1])
    return None
