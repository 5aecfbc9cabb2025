"""Stability AI: Stable Image core, ultra and Stable Diffusion 3.5, through the REST API v2beta.

Facts: https://platform.stability.ai/docs/api-reference
The body is always multipart, also without a file; a refusal comes as HTTP 403 or, with a blurred image, as HTTP 200.
"""

from typing import Any

import httpx2

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.models.provider import PROVIDERS, key_headers
from pixelprompt.models.references import DEFAULT_STRENGTH
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.providers.wire.errors import imageless, status_error
from pixelprompt.providers.wire.image_bytes import bare_image, decode_image
from pixelprompt.providers.wire.images_api import reference_files
from pixelprompt.providers.wire.members import text, whole
from pixelprompt.providers.wire.transport import exchange, json_object

# Of the models that are named in the request; the others have a path each (the catalogue's ``path``).
_SHARED_PATH = "/v2beta/stable-image/generate/sd3"
# Who exceeds the rate limit is locked out for a minute.
_LOCKOUT = 60.0
_WITHHELD = "CONTENT_FILTERED"


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """One image, made from the reference image where there is one; guidance is for Stable Diffusion only.

    There is no ``n``, and the size is only a ratio, or that of the reference image. With an image the API requires a
    strength: without one of the request or of the catalogue it is ``DEFAULT_STRENGTH``.
    """
    headers = key_headers(PROVIDERS["stability"].key_header, credentials.key) | {"accept": "application/json"}
    url = str(credentials.base_url) + (model.path or _SHARED_PATH)
    with exchange(deadline) as http:
        response = http.post(url, headers=headers, files=_form(request, model))
    if not response.is_success:
        raise _status_error(response, credentials.key, names_model=model.path is not None)
    document, request_id = json_object(response), response.headers.get("x-request-id")
    if response.headers.get("finish-reason") == _WITHHELD:
        document = {"finish_reason": _WITHHELD}
    if document is None:
        return bare_image(response.content, request_id)
    # The text of the response is larger than its images; it need not be there while they are decoded.
    del response
    return _read(document, request_id, credentials.key)


def _form(request: ImageRequest, model: Model) -> list[tuple[str, Any]]:
    fields = {
        **model.parameters,
        "prompt": request.prompt,
        "model": None if model.path else model.id,
        "aspect_ratio": request.aspect_ratio or model.parameters.get("aspect_ratio"),
        "seed": request.seed if request.seed is not None else model.parameters.get("seed"),
        "output_format": request.output_format or model.parameters.get("output_format"),
        "negative_prompt": request.negative_prompt or model.parameters.get("negative_prompt"),
        "cfg_scale": request.guidance if request.guidance is not None else model.parameters.get("cfg_scale"),
        # Rejected without an image.
        "strength": None,
    }
    if request.references:
        strength = model.parameters.get("strength", DEFAULT_STRENGTH) if request.strength is None else request.strength
        # Only the models of the shared path know modes.
        mode = None if model.path else "image-to-image"
        fields = {**fields, "aspect_ratio": None, "mode": mode, "strength": strength}
    # A part without a file name is a plain field.
    parts: list[tuple[str, Any]] = [(name, (None, str(value))) for name, value in fields.items() if value is not None]
    return parts + reference_files(request.references)


def _read(document: dict[str, Any], request_id: str | None, key: str | None) -> Generated:
    if text(document, "finish_reason") == _WITHHELD:
        raise ProviderError("refused", "The provider withheld the image.", billable="unknown")
    encoded = text(document, "image")
    if not encoded:
        raise imageless(document, key)
    return Generated((decode_image(encoded, seed=whole(document, "seed")),), request_id)


def _status_error(response: httpx2.Response, key: str | None, *, names_model: bool) -> ProviderError:
    error = read_error(response, key)
    if text(error.document, "name") == "content_moderation":
        return ProviderError("refused", error.message or None)
    failure = status_error(error, names_model=names_model)
    if failure.code == "rate_limited":
        failure.retry_after = max(_LOCKOUT, failure.retry_after or 0.0)
    return failure
