"""Black Forest Labs: an image is ordered, then asked for until it is ready, then fetched from a signed address.

Facts: https://docs.bfl.ai
The order answers with the address to poll, which holds the region. That address, the moment of the order and its cost
are the token to resume with: who holds it can ask again freely, without paying twice.
"""

import json
import re
import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from pixelprompt.providers.base import (
    Credentials,
    Generated,
    ImageRequest,
    Model,
    ProviderError,
    Waiting,
    read_image,
)
from pixelprompt.providers.download import DownloadFailed, download
from pixelprompt.providers.sizes import pixels
from pixelprompt.providers.transport import (
    client,
    excerpt,
    exchange_error,
    is_loopback,
    json_object,
    retry_after,
    status_error,
    unreadable,
)

_HOME = "https://api.bfl.ai"
_OUR_HOSTS = re.compile(r"([a-z0-9-]+\.)*bfl\.ai")
_CREDITS_PER_DOLLAR = 100
# For some seconds after the order, the region that is asked may not know it yet.
_GRACE = 10.0
# Seconds between two polls: at first, after the first ten, after a minute, and when asked to slow down.
_PAUSES = ((10.0, 0.5), (60.0, 1.0))
_LONG_PAUSE = 2.0
_SLOWER = 5.0

_BY_RATIO = ("flux-3", "flux-pro-1.1-ultra", "flux-kontext")
_FLUX_3_RESOLUTIONS = {"512": "768sq", "1K": "1k", "2K": "2k", "4K": "4k"}


@dataclass(frozen=True)
class _Order:
    """An order that the provider has taken; ``at`` in epoch seconds, ``cost`` in credits."""

    url: str
    at: float
    cost: float | None = None

    def token(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, token: str) -> "_Order | None":
        try:
            return cls(**json.loads(token))
        except (ValueError, TypeError):
            return None


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | Waiting | ProviderError:
    """Order one image, or with ``request.resume`` ask once whether it is ready."""
    base = credentials.base_url or model.base_url or _HOME
    if request.resume is None:
        return _submit(request, model, credentials.key, base, deadline)
    order = _Order.of(request.resume)
    if order is None or not _is_theirs(order.url, base):
        return ProviderError("internal", "The token of the order cannot be used.", billable="unknown")
    return _poll(order, request, credentials.key, base, deadline)


def _submit(
    request: ImageRequest, model: Model, key: str | None, base: str, deadline: float
) -> Waiting | ProviderError:
    at = time.time()
    try:
        with client(deadline) as http:
            answer = http.post(f"{base}/v1/{model.id}", headers={"x-key": str(key)}, json=_body(request, model))
    except httpx2.HTTPError as error:
        return exchange_error(error)
    if answer.status_code != 200:
        return _status_error(answer, key)
    document = json_object(answer) or {}
    url, cost = document.get("polling_url"), document.get("cost")
    if not isinstance(url, str):
        return unreadable()
    if not _is_theirs(url, base):
        message = "The provider names an address to ask that is not its own; the key is not sent there."
        return ProviderError("no_image", message, billable="unknown")
    order = _Order(url, round(at, 1), cost if isinstance(cost, int | float) else None)
    return Waiting(_PAUSES[0][1], order.token())


def _body(request: ImageRequest, model: Model) -> dict[str, Any]:
    asked = {
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
        "output_format": request.output_format,
        **(_shape(request, model.id) if request.aspect_ratio or request.resolution else {}),
    }
    return {
        **model.parameters,
        "prompt": request.prompt,
        **{name: value for name, value in asked.items() if value is not None},
    }


def _shape(request: ImageRequest, model_id: str) -> dict[str, Any]:
    if model_id.startswith(_BY_RATIO):
        resolution = _FLUX_3_RESOLUTIONS.get(request.resolution or "") if model_id.startswith("flux-3") else None
        return {"aspect_ratio": request.aspect_ratio, "resolution": resolution}
    if model_id.startswith("flux-2"):
        limits = {"step": 16, "shortest": 64, "longest": 4096, "most": 4_000_000}
    else:
        limits = {"step": 32, "shortest": 256, "longest": 1440, "most": 1440 * 1440}
    width, height = pixels(request.aspect_ratio, request.resolution, **limits)
    return {"width": width, "height": height}


def _is_theirs(url: str, base: str) -> bool:
    """Whether the key may be sent to this address."""
    try:
        target, home = httpx2.URL(url), httpx2.URL(base)
    except httpx2.InvalidURL:
        return False
    if is_loopback(home):
        return (target.scheme, target.host, target.port) == (home.scheme, home.host, home.port)
    return target.scheme == "https" and _OUR_HOSTS.fullmatch(target.host) is not None


def _poll(
    order: _Order, request: ImageRequest, key: str | None, base: str, deadline: float
) -> Generated | Waiting | ProviderError:
    token = order.token()
    age = time.time() - order.at
    pause = next((seconds for until, seconds in _PAUSES if age < until), _LONG_PAUSE)
    try:
        with client(deadline) as http:
            answer = http.get(order.url, headers={"x-key": str(key)})
    except httpx2.HTTPError:
        # The order stands whatever becomes of a question.
        return Waiting(_LONG_PAUSE, token)
    status = answer.status_code
    if status == 429 or status >= 500:
        return Waiting(max(_SLOWER, retry_after(answer.headers) or 0.0), token)
    if status in (401, 403):
        return ProviderError("bad_credentials", billable="unknown")
    document = json_object(answer)
    state = (document.get("status") or document.get("state")) if document else None
    if status == 404 or state == "Task not found":
        if age < _GRACE:
            return Waiting(1.0, token)
        return ProviderError("unknown_outcome", "The provider does not know the order any more.")
    if status != 200:
        return ProviderError("unknown_outcome", f"The provider does not say what became of the order (HTTP {status}).")
    if document is None:
        return Waiting(_LONG_PAUSE, token)
    match state:
        case "Ready":
            return _fetch(order, document, request, base, deadline)
        case "Request Moderated":
            return ProviderError("refused", _reasons(document, "The provider refused this prompt"))
        case "Content Moderated":
            return ProviderError("refused", _reasons(document, "The provider withheld the image"), billable="unknown")
        case "Error" | "Failed":
            return ProviderError("provider_unavailable", "The provider failed to make the image.", billable="unknown")
    # A status that is not known yet is one more way to say that it takes time.
    return Waiting(pause, token)


def _fetch(
    order: _Order, document: dict[str, Any], request: ImageRequest, base: str, deadline: float
) -> Generated | Waiting | ProviderError:
    result = document.get("result")
    result = result if isinstance(result, dict) else {}
    url, seed, prompt = result.get("sample"), result.get("seed"), result.get("prompt")
    if not isinstance(url, str) or not url:
        return ProviderError("no_image", billable="yes")
    try:
        data = download(url, deadline, base_url=base)
    except DownloadFailed as failure:
        if failure.passing:
            return Waiting(_LONG_PAUSE, order.token())
        return ProviderError("no_image", str(failure), billable="yes")
    revised = prompt if isinstance(prompt, str) and prompt and prompt != request.prompt else None
    image = read_image(data, seed=seed if isinstance(seed, int) else None, revised_prompt=revised)
    if isinstance(image, ProviderError):
        return ProviderError(image.code, str(image), billable="yes")
    cost = order.cost / _CREDITS_PER_DOLLAR if order.cost is not None else None
    request_id = document.get("id")
    return Generated((image,), request_id if isinstance(request_id, str) else None, cost=cost)


def _reasons(document: dict[str, Any], sentence: str) -> str:
    details = document.get("details")
    reasons = details.get("Moderation Reasons") if isinstance(details, dict) else None
    listed = ", ".join(map(str, reasons)) if isinstance(reasons, list) else ""
    return f"{sentence} ({listed})." if listed else f"{sentence}."


def _status_error(answer: httpx2.Response, key: str | None) -> ProviderError:
    return status_error(answer, excerpt(_detail(answer), key) or None)


def _detail(answer: httpx2.Response) -> str:
    """What is wrong with an order: a sentence, or a list of fields with what is wrong with each."""
    detail = (json_object(answer) or {}).get("detail", answer.text)
    if not isinstance(detail, list):
        return str(detail)
    problems = [problem for problem in detail if isinstance(problem, dict)]
    return " ".join(f"{'.'.join(map(str, p.get('loc') or ()))}: {p.get('msg')}." for p in problems)
