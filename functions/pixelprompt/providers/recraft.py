"""Recraft: raster images through its REST API, whose requests look like OpenAI's and whose errors do not.

Facts: https://www.recraft.ai/docs/api-reference
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.models.provider import PROVIDERS, key_headers
from pixelprompt.models.references import DEFAULT_STRENGTH
from pixelprompt.providers.wire.data_list import as_document, listed, read_images
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.providers.wire.errors import charging, imageless, status_error
from pixelprompt.providers.wire.image_bytes import bare_image
from pixelprompt.providers.wire.images_api import reference_files
from pixelprompt.providers.wire.members import number, text
from pixelprompt.providers.wire.transport import exchange

_UNITS_PER_DOLLAR = 1000
_RETIRED = r"no longer|not supported any ?more|deprecated|\bmodel\W+unsupported"


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """``n`` images in one call, made from the reference image where there is one.

    The shape is a ratio, or that of the reference image; a negative prompt is for V2 and V3 only. With an image the API
    requires a strength: without one of the request or of the catalogue it is ``DEFAULT_STRENGTH``.
    """
    base = str(credentials.base_url)
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
    with exchange(deadline) as http:
        headers = key_headers(PROVIDERS["recraft"].key_header, credentials.key)
        if request.references:
            response = http.post(f"{base}/images/imageToImage", headers=headers, files=_form(body, request))
        else:
            # Rejected without an image.
            body.pop("strength", None)
            response = http.post(f"{base}/images/generations", headers=headers, json=body)
    if not response.is_success:
        raise _status_error(response, credentials.key)
    document, request_id = as_document(response), response.headers.get("x-recraft-requestid")
    if document is None:
        return bare_image(response.content, request_id)
    # The text of the response is larger than its images; it need not be there while they are decoded.
    del response
    units = number(document, "credits")
    cost = None if units is None else units / _UNITS_PER_DOLLAR
    # The provider does not say which seeds it used; a single image has the one that was asked for.
    seeds = [request.seed] if request.n == 1 else []
    with charging(cost):
        images = read_images(listed(document), deadline, wanted=request.n, base_url=base, seeds=seeds)
        if not images:
            raise imageless(document, credentials.key)
    return Generated(images, request_id, cost=cost)


def _form(body: Mapping[str, Any], request: ImageRequest) -> list[tuple[str, Any]]:
    """The parts of a request that starts from an image: it has no size."""
    strength = body.get("strength", DEFAULT_STRENGTH) if request.strength is None else request.strength
    fields = {name: value for name, value in body.items() if name != "size"} | {"strength": strength}
    # A part without a file name is a plain field.
    parts: list[tuple[str, Any]] = [
        (name, (None, value if isinstance(value, str) else json.dumps(value))) for name, value in fields.items()
    ]
    return parts + reference_files(request.references)


def _status_error(response: httpx2.Response, key: str | None) -> ProviderError:
    error = read_error(response, key)
    gone = text(error.document, "code") == "invalid_model" or error.says(_RETIRED)
    if gone and error.status in (400, 404, 410, 422):
        return ProviderError("model_retired")
    return status_error(error)
