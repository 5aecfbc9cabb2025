"""One request on its way through a simulated provider, and what all providers share."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from threading import Event, Lock
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image
from werkzeug.wrappers import Response

from local.simulator.drawing import ImageFormat, draw, encode, seed_for
from local.simulator.faults import Fault, FaultTable
from local.simulator.latency import Latency
from local.simulator.messages import KEY_HEADERS, Request, json_response, new_id

MIME_TYPES: dict[ImageFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SLOW_SECONDS = 300.0
# How often a response that waits checks whether the latency has changed.
CHECK_SECONDS = 0.25
SHELF_LENGTH = 200
OVERSIZED_BYTES = 41 * 1024 * 1024


class Refusal(Exception):
    """The provider refuses this request at once, with `response`."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Dropped(Exception):
    """The connection ends without a response: closed in order, or reset."""

    def __init__(self, reset: bool = False) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class CallerKilled(Dropped):
    """As Dropped, after the process of the caller has been killed where it is a Lambda worker of the emulator."""


class EncodedImage(NamedTuple):
    """An encoded image; `mime_type` is what the provider calls it, which a fault can make wrong."""

    data: bytes
    mime_type: str
    size: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class Stage:
    """State shared by all providers of one simulator; `other_port` is a second port that serves the same."""

    faults: FaultTable
    latency: Latency
    stopping: Event
    other_port: Callable[[], int]
    today: Callable[[], date] = date.today


class Exchange:
    """One request of one provider, from its arrival to its response.

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
        """Record the model, and play the faults of the connection.

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
            raise Refusal(json_response(501, {"simulator": sentence}))
        if fault.name == "dropped":
            raise Dropped
        if fault.name == "dropped_before":
            raise Dropped(reset=True)
        if fault.name == "crash":
            raise CallerKilled(reset=True)

    def meets(self, *names: str) -> bool:
        """Whether this request meets one of these faults."""
        return self.fault is not None and self.fault.name in names

    def draw_image(
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
        references: Sequence[Image.Image] = (),
    ) -> EncodedImage:
        """Draw the image, with the references in it; the faults that spoil an image's bytes act here."""
        number = seed_for(model, prompt) if seed is None else seed
        mime_type = MIME_TYPES[image_format]
        if self.meets("not_an_image"):
            page = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Something went wrong</body></html>"
            return EncodedImage(page, mime_type, size, number)
        if self.meets("svg"):
            drawing = (
                f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}">'
                '<circle cx="50%" cy="50%" r="30%" fill="#c63"/></svg>'
            )
            return EncodedImage(drawing.encode(), mime_type, size, number)
        drawn: ImageFormat = image_format
        if self.meets("wrong_mime"):
            drawn = "png" if image_format == "jpeg" else "jpeg"
        image = draw(model, prompt, number, size, transparent=transparent, references=references)
        if blurred:
            image = image.reduce(32).resize(size, Image.Resampling.BICUBIC)
        data = encode(image, drawn, quality, lossless=lossless)
        if self.meets("oversized"):
            data += bytes(max(0, OVERSIZED_BYTES - len(data)))
        return EncodedImage(data, mime_type, size, number)

    def base64(self, image: EncodedImage) -> str:
        """The bytes of the image in base64; the faults that spoil this text act here."""
        data = image.data
        if self.meets("base64_data_url"):
            return _data_url(image)
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
        """Delay the response until a moment (epoch seconds), which may change during the wait.

        Raises
        ------
        Dropped
            If the simulator stops during the wait.
        """
        while (left := moment() - time.time()) > 0:
            if self.stage.stopping.wait(min(left, CHECK_SECONDS)):
                raise Dropped

    def wait_for_image(self, model: str) -> None:
        """Delay the response for as long as this model takes for an image, even if that changes during the wait."""
        self.makes_image = True
        self._wait_until(lambda: self.ready_at(model))

    def wait_for_text(self) -> None:
        """Delay the response only where the model is slow."""
        self._wait_until(lambda: self.request.received + self._held_back())

    def _held_back(self) -> float:
        if self.fault is None or self.fault.name != "slow":
            return 0.0
        return SLOW_SECONDS if self.fault.seconds is None else self.fault.seconds


class Shelf:
    """Images that are fetched by a signed URL of limited life.

    Parameters
    ----------
    lifetime
        Seconds a URL is valid for.
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._lock = Lock()
        self._items: OrderedDict[str, tuple[EncodedImage, str, float, str | None]] = OrderedDict()

    def put(self, exchange: Exchange, image: EncodedImage) -> str:
        """Keep the image; return the URL to fetch it from. The faults that spoil a URL act here."""
        if exchange.meets("data_url"):
            return _data_url(image)
        name = f"{new_id(length=24)}.{image.mime_type.rpartition('/')[2].partition('+')[0]}"
        signature = new_id(length=40)
        with self._lock:
            expiry = time.time() + self._lifetime
            self._items[name] = image, signature, expiry, exchange.fault.name if exchange.fault else None
            while len(self._items) > SHELF_LENGTH:
                self._items.popitem(last=False)
        url = f"{exchange.request.provider_url}/delivery/{name}?se={int(expiry)}&sig={signature}"
        parts = urlsplit(url)
        if exchange.meets("relative_url"):
            return parts._replace(scheme="", netloc="").geturl()
        if exchange.meets("localhost_url"):
            return parts._replace(netloc=f"localhost:{parts.port}").geturl()
        if exchange.meets("other_port_url"):
            return parts._replace(netloc=f"{parts.hostname}:{exchange.stage.other_port()}").geturl()
        return url

    def fetch(self, exchange: Exchange, path: Mapping[str, str]) -> Response:
        """Handle a request for an image: signed, and without any key, which must not be sent there."""
        request = exchange.request
        if any(name in request.headers for name in KEY_HEADERS):
            return Response("This address takes no key: its signature is enough.", 403)
        with self._lock:
            item = self._items.get(path["name"])
        if item is None or item[1] != request.args.get("sig") or item[2] < time.time():
            return Response("The signature is wrong or has expired.", 403)
        image, _, _, fault = item
        if fault == "redirect_private":
            return Response(
                b"", 302, {"Location": "http://169.254.169.254/latest/meta-data/", "Content-Type": "text/plain"}
            )
        return Response(image.data, 201 if fault == "created" else 200, {"Content-Type": image.mime_type})


def _data_url(image: EncodedImage) -> str:
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode()}"
