"""Black Forest Labs: an image is ordered, then asked for until it is ready, then fetched from a signed address.

Facts: https://docs.bfl.ai
The order returns the address to poll, which holds the region. That address, the moment of the order and its cost
are the token to resume with: who holds it can ask again freely, without paying twice.
"""

import base64
import json
import re
import time
from typing import Any

import httpx2
from msgspec import Struct, to_builtins

from pixelprompt.models.model import Credentials, Generated, Image, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.models.parameters import IMAGES
from pixelprompt.models.provider import PROVIDERS, key_headers
from pixelprompt.providers.wire.download import DownloadFailed, download
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.providers.wire.errors import status_error
from pixelprompt.providers.wire.image_bytes import read_image
from pixelprompt.providers.wire.members import member, number, text, whole
from pixelprompt.providers.wire.transport import (
    client,
    exchange,
    is_loopback,
    json_object,
    origin,
    retry_after,
    unreadable,
)

# api.bfl.ai and the regions behind it, such as api.eu4.bfl.ai.
_OUR_HOSTS = re.compile(r"api\.([a-z0-9-]+\.)?bfl\.ai")
_CREDITS_PER_DOLLAR = 100
# For some seconds after the order, the region might not know it yet.
_GRACE = 10.0
# Seconds between two polls: at first, after the first ten, after a minute, and when asked to slow down.
_PAUSES = ((10.0, 0.5), (60.0, 1.0))
_LONG_PAUSE = 2.0
_SLOWER = 5.0
_LONGEST = 20.0
# A poll without a response; the order stands.
_ASK_AGAIN = frozenset({408, 425, 429, 499})

_HEADER = PROVIDERS["bfl"].key_header
_RESOLUTIONS = {"512": "768sq", "1K": "1k", "2K": "2k", "4K": "4k"}


class _Order(Struct, frozen=True, omit_defaults=True):
    """An order that the provider has taken; ``at`` in epoch seconds, ``cost`` in credits.

    ``edits`` says whether it has reference images: who asks again does not have them.
    """

    url: str
    at: float
    cost: float | None = None
    edits: bool = False

    @property
    def dollars(self) -> float | None:
        """Cost that the provider reports, in US dollars."""
        return None if self.cost is None else self.cost / _CREDITS_PER_DOLLAR

    def token(self) -> str:
        return json.dumps(to_builtins(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def of(cls, token: str) -> "_Order | None":
        try:
            return cls(**json.loads(token))
        except (ValueError, TypeError):
            return None


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated | Waiting:
    """Order one image, an edit of the reference images where there are some; or with ``request.resume`` ask for it.

    It is asked for once; the order holds the reference images.
    """
    base = str(credentials.base_url)
    if request.resume is None:
        return _submit(request, model, credentials.key, base, deadline)
    order = _Order.of(request.resume)
    if order is None or not _is_theirs(order.url, base):
        raise ProviderError("internal", "The resume token is invalid.", billable="unknown")
    return _poll(order, request, credentials.key, base, deadline)


def _submit(request: ImageRequest, model: Model, key: str | None, base: str, deadline: float) -> Waiting:
    at = time.time()
    with exchange(deadline) as http:
        response = http.post(f"{base}/v1/{model.id}", headers=key_headers(_HEADER, key), json=_body(request, model))
    if not response.is_success:
        raise status_error(read_error(response, key), names_model=True)
    document = json_object(response)
    url = _polling_url(document, base)
    if url is None:
        raise unreadable()
    if not _is_theirs(url, base):
        message = "The provider names an address to ask that is not its own; the key is not sent there."
        raise ProviderError("no_image", message, billable="unknown")
    order = _Order(url, round(at, 1), number(document, "cost"), bool(request.references))
    return Waiting(_PAUSES[0][1], order.token())


def _polling_url(document: dict[str, Any] | None, base: str) -> str | None:
    """Return the URL to poll, with the order's ID where the provider left it out."""
    named = text(document, "polling_url")
    try:
        url = httpx2.URL(base).join(named) if named else None
    except httpx2.InvalidURL:
        return named
    order_id = text(document, "id")
    if url is not None and order_id and order_id not in named:
        url = url.copy_merge_params({"id": order_id})
    return None if url is None else str(url)


def _body(request: ImageRequest, model: Model) -> dict[str, Any]:
    asked = {
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
        "output_format": request.output_format,
        **(_shape(request, model) if request.aspect_ratio or request.resolution else {}),
    }
    return {
        **model.parameters,
        "prompt": request.prompt,
        **{name: value for name, value in asked.items() if value is not None},
        **(_references(request, model) if request.references else {}),
    }


def _references(request: ImageRequest, model: Model) -> dict[str, Any]:
    """The members of the reference images; each family of models has its own, which the catalogue names."""
    member = model.supports.get(IMAGES, {}).get("member", "input_image")
    first, *others = map(_encoded, request.references)
    if member == "images":
        return {member: [first, *others]}
    if member != "image_prompt":
        return {member: first, **{f"{member}_{count}": image for count, image in enumerate(others, 2)}}
    if others:
        raise ProviderError("invalid_request", "This model accepts one reference image.", billable="no")
    # It is told how much the image counts: the opposite of how much may change.
    counts = {} if request.strength is None else {"image_prompt_strength": round(1 - request.strength, 6)}
    return {"image_prompt": first, **counts}


def _encoded(image: Image) -> str:
    return base64.b64encode(image.data).decode()


def _shape(request: ImageRequest, model: Model) -> dict[str, Any]:
    if model.pixels is None:
        return {"aspect_ratio": request.aspect_ratio, "resolution": _RESOLUTIONS.get(request.resolution or "")}
    width, height = model.pixels.nearest(request.aspect_ratio, request.resolution)
    return {"width": width, "height": height}


def _is_theirs(url: str, base: str) -> bool:
    """Whether the key may be sent to this URL."""
    try:
        target, home = httpx2.URL(url), httpx2.URL(base)
    except httpx2.InvalidURL:
        return False
    if target.userinfo:
        return False
    if is_loopback(home) or not _OUR_HOSTS.fullmatch(home.host):
        # Another server than Black Forest Labs, perhaps with another key, which is not for theirs.
        return origin(target) == origin(home)
    return target.scheme == "https" and target.port is None and _OUR_HOSTS.fullmatch(target.host) is not None


def _poll(order: _Order, request: ImageRequest, key: str | None, base: str, deadline: float) -> Generated | Waiting:
    token = order.token()
    age = time.time() - order.at
    pause = next((seconds for until, seconds in _PAUSES if age < until), _LONG_PAUSE)
    try:
        with client(deadline) as http:
            response = http.get(order.url, headers=key_headers(_HEADER, key))
    except httpx2.HTTPError:
        # The order stands whatever becomes of a question.
        return Waiting(_LONG_PAUSE, token)
    status = response.status_code
    if status in _ASK_AGAIN or status >= 500:
        # The order is paid for: it is asked for again before its time is over, whatever a gateway says.
        return Waiting(min(max(_SLOWER, retry_after(response.headers) or 0.0), _LONGEST), token)
    if status in (401, 403):
        raise ProviderError("bad_credentials", said=read_error(response, key).message, billable="unknown")
    document = json_object(response)
    state = (text(document, "status") or text(document, "state")).lower()
    if status == 404 or state == "task not found":
        if age < _GRACE:
            return Waiting(1.0, token)
        raise ProviderError("unknown_outcome", "The provider no longer knows this request.")
    if not response.is_success:
        message = f"The provider does not say what became of the order (HTTP {status})."
        raise ProviderError("unknown_outcome", message)
    if document is None:
        return Waiting(_LONG_PAUSE, token)
    match state:
        case "ready":
            return _fetch(order, document, request, base, deadline)
        case "request moderated":
            given = "the prompt or a reference image" if order.edits else "this prompt"
            raise ProviderError("refused", _reasons(document, f"The provider refused {given}"))
        case "content moderated":
            message = _reasons(document, "The provider withheld the image")
            raise ProviderError("refused", message, billable="unknown", cost=order.dollars)
        case "error" | "failed":
            message = "The provider failed to make the image."
            raise ProviderError("provider_unavailable", message, billable="unknown")
    # A status that is not known yet is one more way to say that it takes time.
    return Waiting(pause, token)


def _fetch(
    order: _Order, document: dict[str, Any], request: ImageRequest, base: str, deadline: float
) -> Generated | Waiting:
    result = member(document, "result")
    url, prompt = text(result, "sample") or text(result, "url"), text(result, "prompt")
    if not url:
        raise ProviderError("no_image", billable="yes", cost=order.dollars)
    try:
        data = download(url, deadline, base_url=base)
    except DownloadFailed as failure:
        if failure.passing:
            return Waiting(_LONG_PAUSE, order.token())
        raise ProviderError("no_image", str(failure), billable="yes", cost=order.dollars) from failure
    revised = prompt if prompt != request.prompt else ""
    try:
        image = read_image(data, seed=whole(result, "seed"), revised_prompt=revised or None)
    except ProviderError as error:
        raise ProviderError(error.code, str(error), billable="yes", cost=order.dollars) from None
    return Generated((image,), text(document, "id") or None, cost=order.dollars)


def _reasons(document: dict[str, Any], sentence: str) -> str:
    reasons = member(document, "details").get("Moderation Reasons")
    listed = ", ".join(reason for reason in reasons if isinstance(reason, str)) if isinstance(reasons, list) else ""
    return f"{sentence} ({listed})." if listed else f"{sentence}."
