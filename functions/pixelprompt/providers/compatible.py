"""Any server that speaks the OpenAI Images API, more or less: LocalAI, xAI, OpenRouter, Azure and others.

The model says which: ``base_url``, ``path`` where the dialect has another, ``dialect`` (``pixelprompt.models.dialect``)
and, in ``parameters``, whatever else the server gets (such as ``response_format``). Without a key none is sent.
"""

import base64
import json
from typing import Any

from pixelprompt.models.dialect import Dialect, dialect
from pixelprompt.models.model import Credentials, Generated, Image, ImageRequest, Model, ProviderError
from pixelprompt.models.provider import key_headers
from pixelprompt.providers.wire.data_list import as_document, listed, read_images
from pixelprompt.providers.wire.error_response import ErrorResponse, read_error
from pixelprompt.providers.wire.errors import charging, imageless, status_error
from pixelprompt.providers.wire.image_bytes import bare_image
from pixelprompt.providers.wire.images_api import is_of_output, reference_files, token_counts
from pixelprompt.providers.wire.members import member, number, text, whole
from pixelprompt.providers.wire.transport import exchange

_TICKS_PER_DOLLAR = 10_000_000_000


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """``n`` images in one call, where the server can, edits of the reference images where there are some.

    The parameters are those in the catalogue's ``supports``.
    """
    base, spoken = credentials.base_url, dialect(model.dialect)
    if base is None:
        raise ProviderError("invalid_request", "The model has no URL; the operator must set its `baseUrl`.")
    with exchange(deadline) as http:
        response = http.post(
            base.rstrip("/") + _path(request, model, spoken),
            headers=key_headers(spoken.key_header, credentials.key),
            **_content(request, model, spoken),
        )
    if not response.is_success:
        raise _status_error(read_error(response, credentials.key))
    document, request_id = as_document(response), response.headers.get("x-request-id")
    if document is None:
        return bare_image(response.content, request_id)
    # The text of the response is larger than its images; it need not be there while they are decoded, nor the request.
    del response
    return _read(document, request_id, request, base, credentials.key, deadline)


def _path(request: ImageRequest, model: Model, spoken: Dialect) -> str:
    if request.references and spoken.edit_path:
        return model.path.replace("/images/generations", "/images/edits") if model.path else spoken.edit_path
    return model.path or spoken.path


def _content(request: ImageRequest, model: Model, spoken: Dialect) -> dict[str, Any]:
    """The request as a JSON document, or as a multipart form with the reference images."""
    body, references = _body(request, model, spoken), request.references
    if not references:
        return {"json": body}
    match spoken.references:
        case "files":
            fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
            return {"data": fields, "files": reference_files(references)}
        case "image":
            images = [{"url": _data_url(image), "type": "image_url"} for image in references]
            return {"json": {**body, **({"images": images} if len(images) > 1 else {"image": images[0]})}}
        case "input_references":
            given = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in references]
            return {"json": {**body, "input_references": given}}
    raise ProviderError("invalid_request", "No reference images can be sent to this server.", billable="no")


def _data_url(image: Image) -> str:
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode()}"


def _body(request: ImageRequest, model: Model, spoken: Dialect) -> dict[str, Any]:
    asked = {
        "n": request.n if request.n > 1 else None,
        "seed": request.seed,
        "steps": request.steps,
        "guidance_scale": request.guidance,
        "quality": request.quality,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
        "negative_prompt": request.negative_prompt,
        **(_shape(request, model, spoken) if request.aspect_ratio or request.resolution else {}),
    }
    return {
        **model.parameters,
        "model": model.id,
        "prompt": request.prompt,
        **{spoken.renamed.get(name, name): value for name, value in asked.items() if value is not None},
    }


def _shape(request: ImageRequest, model: Model, spoken: Dialect) -> dict[str, Any]:
    ratio, resolution = request.aspect_ratio, request.resolution
    if not spoken.size:
        written = resolution.lower() if resolution and spoken.lower_case else resolution
        return {"aspect_ratio": ratio, "resolution": written}
    size = (model.pixels or spoken.pixels).nearest(ratio, resolution)
    if len(spoken.size) == 1:
        return {spoken.size[0]: f"{size[0]}x{size[1]}"}
    return dict(zip(spoken.size, size, strict=True))


def _read(
    document: dict[str, Any], request_id: str | None, request: ImageRequest, base: str, key: str | None, deadline: float
) -> Generated:
    usage = member(document, "usage")
    cost = _cost(usage)
    entries = listed(document)
    shown = [entry for entry in entries if entry.get("respect_moderation") is not False]
    if document.get("respect_moderation") is False or (entries and not shown):
        raise ProviderError("refused", "The provider withheld the image.", billable="unknown", cost=cost)
    # Most servers do not say which seeds they used; a single image has the one that was asked for.
    seed = whole(document, "seed")
    seeds = [request.seed if seed is None else seed] if request.n == 1 else []
    with charging(cost):
        images = read_images(shown, deadline, wanted=request.n, base_url=base, seeds=seeds)
        if not images:
            raise imageless(document, key)
    return Generated(images, request_id or text(document, "id") or None, token_counts(usage), cost)


def _status_error(error: ErrorResponse) -> ProviderError:
    # OpenRouter refuses with a list of reasons.
    if error.status in (400, 403) and member(member(error.document, "error"), "metadata").get("reasons"):
        return ProviderError("refused", error.message or None)
    failure = status_error(error)
    if failure.code == "refused" and is_of_output(error):
        failure.billable = "unknown"
    return failure


def _cost(usage: dict[str, Any]) -> float | None:
    cost, ticks = number(usage, "cost"), number(usage, "cost_in_usd_ticks")
    return cost if cost or ticks is None else ticks / _TICKS_PER_DOLLAR
