"""One request on its way through a simulated provider, and what all providers share."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from threading import Event, Lock
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

from local.simulator.drawing import ImageFormat, draw, encode, seed_for
from local.simulator.errors import ERROR_FAULTS, Page, Words
from local.simulator.faults import COMMON_FAULTS, Fault, FaultTable
from local.simulator.latency import Latency
from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.provider import PROVIDERS

JSON = "application/json"
MIME_TYPES: dict[ImageFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
# What an image to edit may be. The functions have the same limit, on which the simulators do not depend.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 64_000_000
SLOW_SECONDS = 300.0
# How often an answer that waits looks whether the latency has changed.
CHECK_SECONDS = 0.25
SHELF_LENGTH = 200
OVERSIZED_BYTES = 41 * 1024 * 1024
# The headers that carry a key, in lower case.
KEY_HEADERS = (
    frozenset({"authorization"})
    | {row.key_header for row in PROVIDERS.values()}
    | {dialect.key_header for dialect in DIALECTS.values()}
)

# Faults that are answered as soon as the request is understood; the others show when the picture would be ready.
EARLY_FAULTS = frozenset(
    {
        "throttled",
        "quota_exhausted",
        "refused",
        "retired",
        "bad_key",
        "bad_parameter",
        "server_error",
        "unavailable",
        *ERROR_FAULTS,
    }
)


@dataclass(frozen=True)
class Request:
    """A request as it came: `path` without the provider's prefix, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str
    received: float

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def bearer(self) -> str:
        """The bearer token, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass
class Response:
    """An answer; `headers` holds its content type."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
        """An answer whose body is this document."""
        body = json.dumps(document, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": JSON, **(headers or {})})


class Refusal(Exception):
    """The provider answers this request at once with the response given."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Dropped(Exception):
    """The connection ends without an answer: closed in order, or reset."""

    def __init__(self, reset: bool = False) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class CallerKilled(Dropped):
    """As Dropped, after the process of the caller has been killed where it is a Lambda worker of the emulator."""


class Picture(NamedTuple):
    """An encoded image; `mime_type` is what the provider calls it, which a fault can make wrong."""

    data: bytes
    mime_type: str
    size: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class Stage:
    """What all providers of one simulator share; `other_port` is a second port that answers the same."""

    faults: FaultTable
    latency: Latency
    stopping: Event
    other_port: Callable[[], int]
    today: Callable[[], date] = date.today


class Exchange:
    """One request of one provider, from its arrival to its answer.

    Parameters
    ----------
    playable
        The faults that the protocol knows.
    identified
        Called as soon as the model is known.
    """

    def __init__(
        self,
        request: Request,
        stage: Stage,
        playable: frozenset[str],
        identified: Callable[[Exchange], None] = lambda exchange: None,
    ) -> None:
        self.request = request
        self.stage = stage
        self.model: str | None = None
        self.body: Any = None
        self.fault: Fault | None = None
        self.makes_image = False
        self._playable = playable
        self._identified = identified

    def identify(self, model: str) -> None:
        """Take note of the model, and play the faults of the connection.

        Raises
        ------
        Dropped
            If the connection is to end here.
        Refusal
            If the fault set for the model cannot occur in this protocol.
        """
        self.model = model
        self.fault = fault = self.stage.faults.take(model, self._playable)
        self._identified(self)
        if fault is None:
            return
        if fault.name not in self._playable:
            sentence = f"The fault {fault.name!r} does not exist in this protocol; it has: {sorted(self._playable)}."
            raise Refusal(Response.json(501, {"simulator": sentence}))
        if fault.name == "dropped":
            raise Dropped
        if fault.name == "dropped_before":
            raise Dropped(reset=True)
        if fault.name == "crash":
            raise CallerKilled(reset=True)

    def meets(self, *names: str) -> bool:
        """Whether this request meets one of these faults."""
        return self.fault is not None and self.fault.name in names

    def picture(
        self,
        model: str,
        prompt: str,
        size: tuple[int, int],
        image_format: ImageFormat,
        *,
        seed: int | None = None,
        quality: int = 90,
        lossless: bool = False,
        transparent: bool = False,
        blurred: bool = False,
    ) -> Picture:
        """Draw the picture; the faults that spoil an image's bytes act here."""
        number = seed_for(model, prompt) if seed is None else seed
        mime_type = MIME_TYPES[image_format]
        if self.meets("not_an_image"):
            page = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Something went wrong</body></html>"
            return Picture(page, mime_type, size, number)
        if self.meets("svg"):
            drawing = (
                f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}">'
                '<circle cx="50%" cy="50%" r="30%" fill="#c63"/></svg>'
            )
            return Picture(drawing.encode(), mime_type, size, number)
        drawn: ImageFormat = image_format
        if self.meets("wrong_mime"):
            drawn = "png" if image_format == "jpeg" else "jpeg"
        image = draw(model, prompt, number, size, transparent=transparent)
        if blurred:
            image = image.reduce(32).resize(size, Image.Resampling.BICUBIC)
        data = encode(image, drawn, quality, lossless=lossless)
        if self.meets("oversized"):
            data += bytes(max(0, OVERSIZED_BYTES - len(data)))
        return Picture(data, mime_type, size, number)

    def base64(self, picture: Picture) -> str:
        """The bytes of the image in base64; the faults that spoil this text act here."""
        data = picture.data
        if self.meets("base64_data_url"):
            return _data_url(picture)
        if self.meets("base64_lines"):
            return base64.encodebytes(data).decode()
        if self.meets("base64_unpadded"):
            # One byte more where there would be no padding to leave out.
            return base64.b64encode(data if len(data) % 3 else data + b"\0").decode().rstrip("=")
        if self.meets("base64_urlsafe"):
            return base64.urlsafe_b64encode(data).decode()
        return base64.b64encode(data).decode()

    def age(self) -> float:
        """Seconds since the request arrived."""
        return time.time() - self.request.received

    def ready_at(self, model: str) -> float:
        """The moment, in epoch seconds, at which an image of this model is ready, by the latency as it is now."""
        return self.request.received + self.stage.latency.seconds(model) + self._held_back()

    def _wait_until(self, moment: Callable[[], float]) -> None:
        """Hold the answer back until a moment (epoch seconds), which may change meanwhile.

        Raises
        ------
        Dropped
            If the simulator stops meanwhile.
        """
        while (left := moment() - time.time()) > 0:
            if self.stage.stopping.wait(min(left, CHECK_SECONDS)):
                raise Dropped

    def wait_for_image(self, model: str) -> None:
        """Hold the answer back for as long as this model takes for an image, even if that changes meanwhile."""
        self.makes_image = True
        self._wait_until(lambda: self.ready_at(model))

    def wait_for_text(self) -> None:
        """Hold the answer back only where the model is slow."""
        self._wait_until(lambda: self.request.received + self._held_back())

    def _held_back(self) -> float:
        if self.fault is None or self.fault.name != "slow":
            return 0.0
        return SLOW_SECONDS if self.fault.seconds is None else self.fault.seconds


class Shelf:
    """Pictures that are fetched by a signed address of limited life.

    Parameters
    ----------
    lifetime
        Seconds an address is good for.
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._lock = Lock()
        self._items: OrderedDict[str, tuple[Picture, str, float, str | None]] = OrderedDict()

    def put(self, exchange: Exchange, picture: Picture) -> str:
        """Keep the picture; return the address to fetch it from. The faults that spoil a URL act here."""
        if exchange.meets("data_url"):
            return _data_url(picture)
        name = f"{new_id(length=24)}.{picture.mime_type.rpartition('/')[2].partition('+')[0]}"
        signature = new_id(length=40)
        with self._lock:
            expiry = time.time() + self._lifetime
            self._items[name] = picture, signature, expiry, exchange.fault.name if exchange.fault else None
            while len(self._items) > SHELF_LENGTH:
                self._items.popitem(last=False)
        url = f"{exchange.request.url}/delivery/{name}?se={int(expiry)}&sig={signature}"
        parts = urlsplit(url)
        if exchange.meets("relative_url"):
            return parts._replace(scheme="", netloc="").geturl()
        if exchange.meets("localhost_url"):
            return parts._replace(netloc=f"localhost:{parts.port}").geturl()
        if exchange.meets("other_port_url"):
            return parts._replace(netloc=f"{parts.hostname}:{exchange.stage.other_port()}").geturl()
        return url

    def fetch(self, exchange: Exchange, path: Mapping[str, str]) -> Response:
        """Answer a request for a picture: signed, and without any key, which is nobody's business there."""
        request = exchange.request
        if KEY_HEADERS & set(request.headers):
            return Response(403, b"This address takes no key: its signature is enough.", {"Content-Type": "text/plain"})
        with self._lock:
            item = self._items.get(path["name"])
        if item is None or item[1] != request.query.get("sig") or item[2] < time.time():
            return Response(403, b"The signature is wrong or has expired.", {"Content-Type": "text/plain"})
        picture, _, _, fault = item
        if fault == "redirect_private":
            return Response(
                302, b"", {"Location": "http://169.254.169.254/latest/meta-data/", "Content-Type": "text/plain"}
            )
        return Response(201 if fault == "created" else 200, picture.data, {"Content-Type": picture.mime_type})


Handler = Callable[[Exchange, dict[str, str]], Response]


class Route(NamedTuple):
    """A method and a path (named groups become arguments) with what answers them."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    model_in_path: bool = False


def route(method: str, pattern: str, handler: Handler, *, model_in_path: bool = False) -> Route:
    """A route whose pattern must match the whole path; `model_in_path` marks one that makes something with `model`."""
    return Route(method, re.compile(pattern), handler, model_in_path)


class Provider(ABC):
    """One wire protocol. A subclass fills `routes` and words the errors.

    Attributes
    ----------
    name : of the provider
    errors : the responses to the faults of `errors.py` that the protocol can have
    playable : all faults that it can have
    early : the faults that show before any work is done
    more_models : models beside the catalogue's that a fault can be set for
    """

    name: ClassVar[str]
    errors: ClassVar[Mapping[str, Words | Page]]
    playable: ClassVar[frozenset[str]] = COMMON_FAULTS
    early: ClassVar[frozenset[str]] = EARLY_FAULTS
    more_models: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.routes: list[Route] = []

    def handle(self, exchange: Exchange) -> Response:
        """Answer a request.

        Raises
        ------
        Dropped
            If the connection is to end without an answer.
        """
        try:
            response = self._route(exchange)
        except Refusal as refusal:
            return refusal.response
        if response.status == 200 and exchange.makes_image and exchange.meets("created"):
            response.status = 201
        return response

    def _route(self, exchange: Exchange) -> Response:
        for candidate in self.routes:
            match = candidate.pattern.fullmatch(exchange.request.path)
            if match and candidate.method == exchange.request.method:
                return candidate.handler(exchange, match.groupdict())
        return self.no_such_route(exchange)

    def model_before_body(self, method: str, path: str) -> str | None:
        """The model, where the path alone names it: a connection can then end before the body is read."""
        for candidate in self.routes:
            if candidate.model_in_path and candidate.method == method and (match := candidate.pattern.fullmatch(path)):
                return match.group("model")
        return None

    @abstractmethod
    def no_such_route(self, exchange: Exchange) -> Response:
        """What the provider answers on a path it does not have."""

    @abstractmethod
    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        """The words of a fault that is not in `errors`: an early one, or a late one that is an HTTP response."""

    @abstractmethod
    def error(self, exchange: Exchange, words: Words) -> Response:
        """These words in the provider's own envelope."""

    def refuse_early(self, exchange: Exchange) -> None:
        """Answer the faults that show before any work is done.

        Raises
        ------
        Refusal
            If the request meets such a fault.
        """
        fault = exchange.fault
        if fault is None or fault.name not in self.early:
            return
        answer = self.errors.get(fault.name)
        if answer is None:
            raise Refusal(self.fault_response(exchange, fault))
        if isinstance(answer, Page):
            raise Refusal(Response(answer.status, answer.body.encode(), {"Content-Type": answer.content_type}))
        raise Refusal(self.error(exchange, answer))


def _data_url(picture: Picture) -> str:
    return f"data:{picture.mime_type};base64,{base64.b64encode(picture.data).decode()}"


def read_json(body: bytes) -> Any:
    """The document in a request body.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deeply, or holds text that is no Unicode.
    """
    try:
        document = json.loads(body)
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return document


def image_size(data: bytes) -> tuple[int, int] | None:
    """The size in pixels of an encoded image; None where it isn't one that may be opened."""
    try:
        # The header is enough: no pixel is decoded.
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size if image.width * image.height <= MAX_PIXELS else None
    # A damaged file raises whatever the reader of its format comes across.
    except Exception:
        return None


def is_bad_key(key: str) -> bool:
    """Whether the simulators refuse this key: any other one is welcome."""
    return key.startswith("bad")


def masked(key: str) -> str:
    """The key as providers quote it in an error."""
    return f"{key[:4]}****{key[-4:]}" if len(key) > 8 else f"{key[:2]}****"


def retry_after(fault: Fault) -> dict[str, str]:
    """The Retry-After header of a fault, if it has one."""
    seconds = fault.retry_after
    return {"Retry-After": str(int(seconds) if seconds == int(seconds) else seconds)} if seconds else {}


def new_id(prefix: str = "", length: int = 32) -> str:
    """A fresh identifier of hexadecimal digits behind a prefix."""
    return prefix + secrets.token_hex((length + 1) // 2)[:length]
