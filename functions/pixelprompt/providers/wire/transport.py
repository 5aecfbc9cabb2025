"""HTTP for every adapter, through ``httpx2``: an exchange ends by a deadline and has a limited size.

And what it means when an exchange fails.
"""

import functools
import io
import ipaddress
import json
import math
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2
import jiter

from pixelprompt.models.model import ProviderError
from pixelprompt.redaction import MESSAGE_SOURCE, visible, without_key

CONNECT_SECONDS = 5.0
# A longer pause than this is past every deadline.
MAX_PAUSE = 3600.0
# The largest response that is read: several images of 4K in base64.
RESPONSE_LIMIT = 40 * 1024 * 1024

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

# Raised before a byte of the request has left.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_FAILED = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
_TAG = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[/!]?[a-z][^>]*>", re.IGNORECASE | re.DOTALL)


class ResponseTooLarge(httpx2.RequestError):
    """A response is larger than the limit."""


def time_left(deadline: float) -> float:
    """Seconds until the deadline (epoch), at least a tenth."""
    return max(0.1, deadline - time.time())


def timeout(deadline: float) -> httpx2.Timeout:
    """Time limits of one exchange that has to end by the deadline (epoch seconds)."""
    left = time_left(deadline)
    return httpx2.Timeout(left, connect=min(CONNECT_SECONDS, left))


def client(
    deadline: float,
    *,
    limit: int = RESPONSE_LIMIT,
    backend: httpcore2.NetworkBackend | None = None,
    responses: list[httpx2.Response] | None = None,
) -> httpx2.Client:
    """A client whose exchanges end by the deadline (epoch seconds); it follows no redirect and repeats nothing.

    Reads a response whole, up to ``limit`` bytes; ``backend`` opens its connections. Given ``responses``, the client
    appends every response to it, and its user sees an empty 200: an SDK would copy the body, and knows fewer kinds of
    failure than exist.
    """
    transport = _Transport(limit, backend or DeadlineBackend(deadline), responses)
    # A redirect could carry the key, or the order for an image, to another server.
    return httpx2.Client(transport=transport, timeout=timeout(deadline), follow_redirects=False)


class DeadlineBackend(httpcore2.SyncBackend):
    """Opens connections on which every wait ends at a deadline (epoch seconds), however slowly the response drips."""

    def __init__(self, deadline: float) -> None:
        self._end = time.monotonic() + deadline - time.time()

    def left(self, limit: float | None, late: type[httpcore2.TimeoutException]) -> float:
        """Seconds that a step may take; raises ``late`` when the time is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise late("The deadline has passed.")
        return left if limit is None else min(limit, left)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        limit = self.left(timeout, httpcore2.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, limit, local_address, socket_options), self)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, backend: DeadlineBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        limit = self._backend.left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, limit), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx2.BaseTransport):
    """Reads every response whole, unpacked, and no further than the limit in bytes."""

    def __init__(self, limit: int, backend: httpcore2.NetworkBackend, responses: list[httpx2.Response] | None) -> None:
        self._limit = limit
        self._backend = backend
        self._responses = responses

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if url.userinfo:
            raise httpx2.InvalidURL("The URL has a user name or a password, which is not allowed.")
        # What is not packed cannot unfold to a thousand times its size.
        request.headers["accept-encoding"] = "identity"
        order = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            with _pool(url, self._backend) as pool:
                received = pool.handle_request(order)
                try:
                    body = self._read(received, request)
                finally:
                    received.close()
        except _FAILED as error:
            raise getattr(httpx2, type(error).__name__)(str(error)) from error
        framing = {b"content-encoding", b"content-length", b"transfer-encoding"}
        headers = [(name, value) for name, value in received.headers if name.lower() not in framing]
        response = httpx2.Response(received.status, headers=headers, content=body, request=request)
        if self._responses is None:
            return response
        self._responses.append(response)
        return httpx2.Response(200, headers=headers, request=request)

    def _read(self, response: httpcore2.Response, request: httpx2.Request) -> bytes:
        assert isinstance(response.stream, Iterable)
        unpacked = httpx2.Response(response.status, headers=response.headers, stream=_Chunks(response.stream))
        length = unpacked.headers.get("content-length", "")
        # It has room for all from the start: while a growing buffer is copied, it is in memory twice.
        body = io.BytesIO(bytes(min(int(length), self._limit) if length.isdecimal() else 0))
        for part in unpacked.iter_bytes():
            if body.tell() + len(part) > self._limit:
                raise ResponseTooLarge(f"The response has more than {self._limit} bytes.", request=request)
            body.write(part)
        body.truncate()
        # Shares its bytes instead of copying them.
        return body.getvalue()


class _Chunks(httpx2.SyncByteStream):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def _pool(url: httpx2.URL, backend: httpcore2.NetworkBackend) -> httpcore2.ConnectionPool:
    """Connections for one exchange, through the proxy of the environment where there is one."""
    proxy = proxy_for(url)
    if proxy is None:
        return httpcore2.ConnectionPool(ssl_context=trusted_authorities(), network_backend=backend)
    return httpcore2.HTTPProxy(
        proxy_url=httpcore2.URL(scheme=proxy.raw_scheme, host=proxy.raw_host, port=proxy.port, target=b"/"),
        proxy_auth=(proxy.username, proxy.password) if proxy.userinfo else None,
        ssl_context=trusted_authorities(),
        network_backend=backend,
    )


def proxy_for(url: httpx2.URL) -> httpx2.URL | None:
    """The HTTP proxy that the environment names for this URL, or None."""
    if is_loopback(url) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    text = proxies.get(url.scheme) or proxies.get("all") or ""
    proxy = httpx2.URL(text if "://" in text else f"http://{text}")
    return proxy if text and proxy.scheme in ("http", "https") else None


def is_loopback(url: httpx2.URL) -> bool:
    """Whether a URL names this very machine; ``0.0.0.0`` is what a server calls itself that listens everywhere."""
    try:
        ip = ipaddress.ip_address(url.host)
    except ValueError:
        return url.host.rstrip(".") == "localhost"
    inner = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (inner or ip).is_loopback or ip.is_unspecified


def origin(url: httpx2.URL) -> tuple[str, str, int]:
    """Return the scheme, host, and port of a URL; all names of this machine count as one."""
    host = "localhost" if is_loopback(url) else url.host
    return url.scheme, host, url.port or {"https": 443}.get(url.scheme, 80)


@functools.cache
def trusted_authorities() -> ssl.SSLContext:
    """Context that checks certificates; reading the authorities takes 25 ms, so it is done once."""
    return httpx2.create_ssl_context()


@contextmanager
def exchange(
    deadline: float,
    *,
    limit: int = RESPONSE_LIMIT,
    backend: httpcore2.NetworkBackend | None = None,
    responses: list[httpx2.Response] | None = None,
) -> Iterator[httpx2.Client]:
    """A client as ``client`` makes it; what goes wrong with its exchanges is raised as ``exchange_error`` says.

    Raises
    ------
    ProviderError
    """
    try:
        with client(deadline, limit=limit, backend=backend, responses=responses) as http:
            yield http
    except httpx2.HTTPError as error:
        raise exchange_error(error) from error


def exchange_error(error: BaseException | None) -> ProviderError:
    """The outcome of an exchange that ended without a response."""
    if isinstance(error, _NOT_SENT):
        return ProviderError("provider_unavailable", "Failed to connect to the provider.", safe_to_repeat=True)
    if isinstance(error, ResponseTooLarge):
        return ProviderError("no_image", "The provider's response is too large.", billable="unknown")
    if isinstance(error, httpx2.TimeoutException):
        message = "The provider did not answer in time; it may have made an image."
        return ProviderError("unknown_outcome", message)
    return ProviderError("unknown_outcome")


def unreadable() -> ProviderError:
    """The outcome of a response that reports success but breaks the protocol."""
    return ProviderError("no_image", "Failed to read the provider's response.", billable="unknown")


def json_object(response: httpx2.Response) -> dict[str, Any] | None:
    """The JSON object in a response, or None without one."""
    try:
        document = parse_json(response.content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def parse_json(content: bytes) -> Any:
    """The JSON value in these bytes.

    A response may be tens of megabytes of images in base64, so it is read without a copy of the whole as text.

    Raises
    ------
    ValueError : there is none
    """
    try:
        return jiter.from_json(content)
    except ValueError:
        pass
    # What a strict parser refuses, such as half a surrogate pair, a raw line break, or a cut character, must not cost
    # an image that was paid for. Such a half cannot be encoded, so it becomes a question mark.
    try:
        value = json.loads(content.decode(errors="replace").strip("\ufeff\0 \r\n\t"), strict=False, parse_int=_integer)
        return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


def _integer(digits: str) -> int | None:
    # Python refuses to read a number of thousands of digits.
    return int(digits) if len(digits) < 400 else None


def excerpt(text: str, key: str | None) -> str:
    """Return the text of a plain or HTML body, in one line without the key; ``ProviderError`` shortens it."""
    # The key is hidden before anything is cut, or part of it would stay.
    start = text[: MESSAGE_SOURCE + len(key or "")]
    return visible(_TAG.sub(" ", without_key(start, key)[:MESSAGE_SOURCE]), lines=False)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or a date (RFC 9110, 10.2.3)."""
    text = (headers.get("retry-after") or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return min(max(0.0, seconds), MAX_PAUSE) if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), MAX_PAUSE)
