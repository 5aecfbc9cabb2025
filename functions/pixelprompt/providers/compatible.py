"""Any server that speaks the OpenAI Images API, more or less: LocalAI, xAI, OpenRouter, Together and others.

The model says which: ``base_url``, ``path`` (``/images/generations`` unless the dialect has another), ``dialect`` and,
in ``parameters``, whatever else the server shall get (such as ``response_format``). Without a key none is sent.

Dialects tell the shape of the picture apart:

- ``openai`` (the default): ``size`` as ``WIDTHxHEIGHT``
- ``xai``: ``aspect_ratio`` and ``resolution`` (``1k``, ``2k``)
- ``openrouter``: ``aspect_ratio`` and ``resolution`` (``1K``, ``2K``, …), at the path ``/images``
- ``together``: ``width`` and ``height``
"""

import re
from typing import Any

import httpx2

from pixelprompt.providers.base import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.providers.data_list import read_images
from pixelprompt.providers.download import download_paid
from pixelprompt.providers.sizes import pixels
from pixelprompt.providers.transport import (
    client,
    excerpt,
    exchange_error,
    json_object,
    retry_after,
    server_error,
    unreadable,
)

_PATHS = {"openrouter": "/images"}
_USUAL_PATH = "/images/generations"
_TICKS_PER_DOLLAR = 10_000_000_000
_NO_CREDIT = re.compile(
    r"insufficient.(quota|credits|balance|funds)|billing.hard.limit|spend.limit|out of credits", re.IGNORECASE
)
_REFUSED = re.compile(r"content.?policy|content.?filter|moderat|safety.system|nsfw", re.IGNORECASE)
_RETIRED = re.compile(
    r"model.not.found|no such model|unknown model|model\b.*\b(does not exist|not available|deprecated)",
    re.IGNORECASE,
)


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | ProviderError:
    """``n`` images in one call, where the server can; the parameters are those that the catalogue says it takes."""
    base = credentials.base_url or model.base_url
    if base is None:
        return ProviderError("invalid_request", "The model has no address; its owner must set its baseUrl.")
    path = model.path or _PATHS.get(model.dialect or "", _USUAL_PATH)
    headers = {"authorization": f"Bearer {credentials.key}"} if credentials.key else {}
    try:
        with client(deadline) as http:
            answer = http.post(base.rstrip("/") + path, headers=headers, json=_body(request, model))
    except httpx2.HTTPError as error:
        return exchange_error(error)
    if answer.status_code != 200:
        return _status_error(answer, credentials.key)
    document, about = json_object(answer), answer.headers
    # The text of the answer is larger than its pictures; it need not be there while they are decoded.
    del answer
    return _read(document, about, request, base, credentials.key, deadline)


def _body(request: ImageRequest, model: Model) -> dict[str, Any]:
    asked = {
        "n": request.n if request.n > 1 else None,
        "seed": request.seed,
        "steps": request.steps,
        "guidance_scale": request.guidance,
        "quality": request.quality,
        "output_format": request.output_format,
        "negative_prompt": request.negative_prompt,
        **(_shape(request, model.dialect) if request.aspect_ratio or request.resolution else {}),
    }
    return {
        **model.parameters,
        "model": model.id,
        "prompt": request.prompt,
        **{name: value for name, value in asked.items() if value is not None},
    }


def _shape(request: ImageRequest, dialect: str | None) -> dict[str, Any]:
    ratio, resolution = request.aspect_ratio, request.resolution
    if dialect == "xai":
        return {"aspect_ratio": ratio, "resolution": resolution.lower() if resolution else None}
    if dialect == "openrouter":
        return {"aspect_ratio": ratio, "resolution": resolution}
    if dialect == "together":
        width, height = pixels(ratio, resolution, step=16, shortest=64, longest=1792, most=1792 * 1792)
        return {"width": width, "height": height}
    # Diffusion models draw in blocks; 64 suits all of them.
    width, height = pixels(ratio, resolution, step=64, shortest=256, longest=4096, most=4096 * 4096)
    return {"size": f"{width}x{height}"}


def _read(
    document: dict[str, Any] | None,
    headers: httpx2.Headers,
    request: ImageRequest,
    base: str,
    key: str | None,
    deadline: float,
) -> Generated | ProviderError:
    if document is None:
        return unreadable()
    listed = document.get("data")
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    shown = [item for item in items if item.get("respect_moderation") is not False]
    if items and not shown:
        return ProviderError("refused", "The provider withheld the image.", billable="unknown")
    if not items and document.get("error"):
        said = excerpt(_said(document), key)
        return ProviderError("no_image", f"The server answered with an error: {said}", billable="unknown")
    # The servers do not say which seeds they used; a single image has the one that was asked for.
    seeds = [request.seed] if request.n == 1 else []
    images = read_images(shown, seeds=seeds, fetch=lambda url: download_paid(url, deadline, base_url=base))
    if isinstance(images, ProviderError):
        return images
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    request_id = headers.get("x-request-id") or document.get("id")
    return Generated(images, request_id if isinstance(request_id, str) else None, _tokens(usage), _cost(usage))


def _tokens(usage: dict[str, Any]) -> dict[str, int] | None:
    counts = {
        "inputTextTokens": usage.get("input_tokens", usage.get("prompt_tokens")),
        "outputImageTokens": usage.get("output_tokens", usage.get("completion_tokens")),
    }
    # Servers that do not count say 0.
    return {name: count for name, count in counts.items() if isinstance(count, int) and count > 0} or None


def _cost(usage: dict[str, Any]) -> float | None:
    cost, ticks = usage.get("cost"), usage.get("cost_in_usd_ticks")
    if isinstance(cost, int | float):
        return float(cost)
    return ticks / _TICKS_PER_DOLLAR if isinstance(ticks, int | float) else None


def _said(document: dict[str, Any]) -> str:
    """The message of an error, in the envelopes that are about."""
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error or document.get("message") or document.get("detail") or document)


def _status_error(answer: httpx2.Response, key: str | None) -> ProviderError:
    status = answer.status_code
    document = json_object(answer)
    said = _said(document) if document is not None else answer.text
    error = (document or {}).get("error")
    envelope = error if isinstance(error, dict) else {}
    signs = f"{envelope.get('code') or (document or {}).get('code') or ''} {said}" if document is not None else ""
    text = excerpt(said, key)
    if status == 402 or (status < 500 and _NO_CREDIT.search(signs)):
        return ProviderError("quota_exhausted")
    if status in (400, 403, 422) and (_REFUSED.search(signs) or _moderated(envelope)):
        return ProviderError("refused", text)
    if status in (401, 403):
        return ProviderError("bad_credentials")
    if status in (404, 410) or (status == 400 and _RETIRED.search(signs)):
        return ProviderError("model_retired", f"The server does not offer this model: {text}" if text else None)
    if status == 429:
        return ProviderError("rate_limited", safe_to_repeat=True, retry_after=retry_after(answer.headers))
    if status == 408:
        return ProviderError("unknown_outcome")
    if status >= 500:
        return _server_error(answer, text)
    return ProviderError("invalid_request", f"The server answers HTTP {status}: {text}" if text else None)


def _moderated(envelope: dict[str, Any]) -> bool:
    metadata = envelope.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("reasons"))


def _server_error(answer: httpx2.Response, text: str) -> ProviderError:
    failure = server_error(answer.status_code, retry_after(answer.headers))
    if not text:
        return failure
    return ProviderError(
        failure.code,
        f"{failure} It says: {text}",
        billable=failure.billable,
        safe_to_repeat=failure.safe_to_repeat,
        retry_after=failure.retry_after,
    )
