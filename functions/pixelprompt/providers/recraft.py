"""Recraft: raster images through its REST API, whose requests look like OpenAI's and whose errors do not.

Facts: https://www.recraft.ai/docs/api-reference
"""

import re

import httpx2

from pixelprompt.providers.base import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.providers.data_list import read_images
from pixelprompt.providers.download import download_paid
from pixelprompt.providers.transport import (
    client,
    excerpt,
    exchange_error,
    json_object,
    status_error,
    unreadable,
)

_HOME = "https://external.api.recraft.ai/v1"
_UNITS_PER_DOLLAR = 1000
_REFUSED = re.compile(r"content.?policy|moderat|nsfw|safety", re.IGNORECASE)
_RETIRED = re.compile(r"no longer|not supported any ?more|deprecated|\bmodel\W+unsupported", re.IGNORECASE)
_NO_CREDIT = re.compile(r"not.enough.credits|insufficient.(credits|balance|units)", re.IGNORECASE)


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | ProviderError:
    """``n`` images in one call; the shape is a ratio, and a negative prompt is for V2 and V3 only."""
    base = credentials.base_url or model.base_url or _HOME
    asked = {
        "size": request.aspect_ratio,
        "n": request.n if request.n > 1 else None,
        "random_seed": request.seed,
        "image_format": request.output_format,
        "negative_prompt": request.negative_prompt,
    }
    body = {
        "response_format": "b64_json",
        **model.parameters,
        "model": model.id,
        "prompt": request.prompt,
        **{name: value for name, value in asked.items() if value is not None},
    }
    try:
        with client(deadline) as http:
            answer = http.post(
                f"{base}/images/generations", headers={"authorization": f"Bearer {credentials.key}"}, json=body
            )
    except httpx2.HTTPError as error:
        return exchange_error(error)
    if answer.status_code != 200:
        return _status_error(answer, credentials.key)
    document, headers = json_object(answer), answer.headers
    # The text of the answer is larger than its pictures; it need not be there while they are decoded.
    del answer
    if document is None:
        return unreadable()
    # The provider does not say which seeds it used; a single image has the one that was asked for.
    seeds = [request.seed] if request.n == 1 else []
    images = read_images(
        document.get("data"), seeds=seeds, fetch=lambda url: download_paid(url, deadline, base_url=base)
    )
    if isinstance(images, ProviderError):
        return images
    units = document.get("credits")
    cost = units / _UNITS_PER_DOLLAR if isinstance(units, int | float) else None
    return Generated(images, headers.get("x-recraft-requestid"), cost=cost)


def _status_error(answer: httpx2.Response, key: str | None) -> ProviderError:
    status = answer.status_code
    body = json_object(answer) or {}
    code, said = str(body.get("code") or ""), str(body.get("message") or "")
    text = excerpt(said or answer.text, key) or None
    if _NO_CREDIT.search(f"{code} {said}"):
        return ProviderError("quota_exhausted")
    if _REFUSED.search(f"{code} {said}") and status != 402 and status < 500:
        return ProviderError("refused", text)
    if status not in (401, 402, 403) and (code == "invalid_model" or _RETIRED.search(said)):
        return ProviderError("model_retired")
    return status_error(answer, text)
