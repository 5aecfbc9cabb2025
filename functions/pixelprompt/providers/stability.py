"""Stability AI: Stable Image core, ultra and Stable Diffusion 3.5, through the REST API v2beta.

Facts: https://platform.stability.ai/docs/api-reference
The body is always multipart; a refusal comes as HTTP 403 or, with a blurred image, as HTTP 200.
"""

from typing import Any

import httpx2

from pixelprompt.providers.base import Credentials, Generated, ImageRequest, Model, ProviderError, decode_image
from pixelprompt.providers.transport import (
    client,
    excerpt,
    exchange_error,
    json_object,
    retry_after,
    server_error,
    unreadable,
)

_HOME = "https://api.stability.ai"
# Who exceeds the rate limit is locked out for a minute.
_LOCKOUT = 60.0


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | ProviderError:
    """One image; there is no ``n``, no size but the ratio, and guidance with the sd3 models only."""
    base = credentials.base_url or model.base_url or _HOME
    headers = {"authorization": f"Bearer {credentials.key}", "accept": "application/json"}
    try:
        with client(deadline) as http:
            answer = http.post(
                f"{base}/v2beta/stable-image/generate/{_door(model.id)}", headers=headers, files=_form(request, model)
            )
    except httpx2.HTTPError as error:
        return exchange_error(error)
    if answer.status_code != 200:
        return _status_error(answer, credentials.key)
    document, about = json_object(answer), answer.headers
    # The text of the answer is larger than its pictures; it need not be there while they are decoded.
    del answer
    return _read(document, about)


def _door(model_id: str) -> str:
    return "sd3" if model_id.startswith("sd3") else model_id.removeprefix("stable-image-")


def _form(request: ImageRequest, model: Model) -> dict[str, tuple[None, str]]:
    fields = {
        **model.parameters,
        "prompt": request.prompt,
        "model": model.id if _door(model.id) == "sd3" else None,
        "aspect_ratio": request.aspect_ratio or model.parameters.get("aspect_ratio"),
        "seed": request.seed if request.seed is not None else model.parameters.get("seed"),
        "output_format": request.output_format or model.parameters.get("output_format"),
        "negative_prompt": request.negative_prompt or model.parameters.get("negative_prompt"),
        "cfg_scale": request.guidance if request.guidance is not None else model.parameters.get("cfg_scale"),
    }
    # A part without a file name is a plain field.
    return {name: (None, str(value)) for name, value in fields.items() if value is not None}


def _read(document: dict[str, Any] | None, headers: httpx2.Headers) -> Generated | ProviderError:
    if document is None:
        return unreadable()
    if document.get("finish_reason") == "CONTENT_FILTERED":
        return ProviderError("refused", "The provider withheld the image.", billable="unknown")
    encoded = document.get("image")
    if not isinstance(encoded, str) or not encoded:
        return ProviderError("no_image", billable="unknown")
    seed = document.get("seed")
    image = decode_image(encoded, seed=seed if isinstance(seed, int) else None)
    if isinstance(image, ProviderError):
        return image
    return Generated((image,), headers.get("x-request-id"))


def _status_error(answer: httpx2.Response, key: str | None) -> ProviderError:
    status = answer.status_code
    body = json_object(answer) or {}
    errors = body.get("errors")
    said = " ".join(map(str, errors)) if isinstance(errors, list) else answer.text
    text = excerpt(said, key) or None
    if body.get("name") == "content_moderation":
        return ProviderError("refused", text)
    if status == 401:
        return ProviderError("bad_credentials")
    if status == 403:
        denial = f"The provider does not allow this account to do that: {text}" if text else None
        return ProviderError("bad_credentials", denial)
    if status == 402:
        return ProviderError("quota_exhausted")
    if status in (404, 410):
        return ProviderError("model_retired")
    if status == 429:
        pause = max(_LOCKOUT, retry_after(answer.headers) or 0.0)
        return ProviderError("rate_limited", safe_to_repeat=True, retry_after=pause)
    if status == 408:
        return ProviderError("unknown_outcome")
    if status >= 500:
        return server_error(status, retry_after(answer.headers))
    return ProviderError("invalid_request", text)
