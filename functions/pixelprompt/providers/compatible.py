"""Any server that speaks the OpenAI Images API, more or less: LocalAI, xAI, OpenRouter, Azure and others.

The model says which: ``base_url``, ``path`` (``/images/generations`` unless the dialect has another), ``dialect`` and,
in ``parameters``, whatever else the server shall get (such as ``response_format``). Without a key none is sent.

Dialects tell the shape of the picture apart:

- ``openai`` (the default): ``size`` as ``WIDTHxHEIGHT``
- ``xai``: ``aspect_ratio`` and ``resolution`` (``1k``, ``2k``)
- ``openrouter``: ``aspect_ratio`` and ``resolution`` (``1K``, ``2K``, …), at the path ``/images``
- ``siliconflow``: ``image_size`` as ``WIDTHxHEIGHT``, and its own names for ``n`` and ``steps``
- ``together``: ``width`` and ``height``
- ``azure``: ``size`` as OpenAI's own models take it; ``model`` is the deployment's name, and the key has a header of
  its own
"""

from typing import Any

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.models.sizes import openai_pixels, pixels
from pixelprompt.providers.wire.data_list import as_document, listed, read_images
from pixelprompt.providers.wire.error_response import ErrorResponse, read_error
from pixelprompt.providers.wire.errors import charging, imageless, status_error
from pixelprompt.providers.wire.image_bytes import bare_image
from pixelprompt.providers.wire.images_api import is_of_output, token_counts
from pixelprompt.providers.wire.members import member, number, text, whole
from pixelprompt.providers.wire.transport import exchange

_USUAL_PATH = "/images/generations"
_PATHS = {"openrouter": "/images", "azure": f"{_USUAL_PATH}?api-version=v1"}
_TICKS_PER_DOLLAR = 10_000_000_000
# Our names of members, where a dialect has others.
_RENAMED = {"siliconflow": {"n": "batch_size", "steps": "num_inference_steps"}}


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """``n`` images in one call, where the server can; the parameters are those that the catalogue says it takes."""
    base = credentials.base_url or model.base_url
    if base is None:
        raise ProviderError("invalid_request", "The model has no address; its owner must set its baseUrl.")
    path = model.path or _PATHS.get(model.dialect or "", _USUAL_PATH)
    with exchange(deadline) as http:
        answer = http.post(
            base.rstrip("/") + path, headers=_headers(credentials.key, model.dialect), json=_body(request, model)
        )
    if not answer.is_success:
        raise _status_error(read_error(answer, credentials.key))
    document, request_id = as_document(answer), answer.headers.get("x-request-id")
    if document is None:
        return bare_image(answer.content, request_id)
    # The text of the answer is larger than its pictures; it need not be there while they are decoded.
    del answer
    return _read(document, request_id, request, base, credentials.key, deadline)


def _headers(key: str | None, dialect: str | None) -> dict[str, str]:
    if not key:
        return {}
    return {"api-key": key} if dialect == "azure" else {"authorization": f"Bearer {key}"}


def _body(request: ImageRequest, model: Model) -> dict[str, Any]:
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
        **(_shape(request, model.dialect) if request.aspect_ratio or request.resolution else {}),
    }
    names = _RENAMED.get(model.dialect or "", {})
    return {
        **model.parameters,
        "model": model.id,
        "prompt": request.prompt,
        **{names.get(name, name): value for name, value in asked.items() if value is not None},
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
    if dialect == "azure":
        width, height = openai_pixels(ratio, resolution)
        return {"size": f"{width}x{height}"}
    # Diffusion models draw in blocks; 64 suits all of them.
    width, height = pixels(ratio, resolution, step=64, shortest=256, longest=4096, most=4096 * 4096)
    return {"image_size" if dialect == "siliconflow" else "size": f"{width}x{height}"}


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
