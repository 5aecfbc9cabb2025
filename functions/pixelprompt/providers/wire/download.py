"""Fetches an image from a provider's URL, and never from inside the network that this code runs in.

A URL is data from outside: it may point to another service behind the same firewall, or to the credentials of the
machine. So only https is followed, every host is resolved here, every IP address of it must be public, and the
connection goes to the IP address that was checked; the same holds for each redirect. No key is ever sent. The one
exception is the provider's own server, which the operator has chosen.
"""

import socket
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from pixelprompt.errors import PixelPromptError
from pixelprompt.providers.wire import transport
from pixelprompt.providers.wire.addresses import host_problem, is_public
from pixelprompt.providers.wire.image_bytes import decode_base64

SIZE_LIMIT = 32 * 1024 * 1024
MAX_REDIRECTS = 3
# Hosts that a server names if it listens on every interface; nothing can connect to them.
_EVERYWHERE = frozenset({"0.0.0.0", "::"})


class DownloadFailed(PixelPromptError):
    """An image could not be fetched.

    Parameters
    ----------
    passing : whether it may work when it is tried again
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def download(url: str, deadline: float, *, base_url: str | None = None, limit: int = SIZE_LIMIT) -> bytes:
    """The bytes behind a URL, by the deadline (epoch seconds), at most ``limit`` of them.

    Parameters
    ----------
    base_url : URL of the provider's server, which a relative ``url`` is relative to; it may serve its images itself,
        and where it is on this machine, so may another server on this machine

    Raises
    ------
    DownloadFailed : the URL is not allowed, or did not return a file of that size in time
    """
    if url[:16].lstrip()[:5].lower() == "data:":
        return _inline(url, limit)
    try:
        base = httpx2.URL(base_url) if base_url else None
        target = base.join(url.strip()) if base else httpx2.URL(url.strip())
        home = None
        if base and _is_at_home(target, base):
            home = transport.origin(target)
            if target.host in _EVERYWHERE:
                target = target.copy_with(host=base.host)
        for _ in range(1 + MAX_REDIRECTS):
            response = _fetch(target, deadline, limit, at_home=transport.origin(target) == home)
            if not response.has_redirect_location:
                return _content(response)
            target = target.join(response.headers["location"])
    except transport.ResponseTooLarge:
        raise DownloadFailed("The image is too large.") from None
    except (httpx2.InvalidURL, UnicodeError):
        raise DownloadFailed("The address of the image is not valid.") from None
    except httpx2.TimeoutException as error:
        raise DownloadFailed("The image could not be fetched in time.", passing=True) from error
    except httpx2.HTTPError as error:
        raise DownloadFailed(
            "The image could not be fetched: its server could not be reached.", passing=True
        ) from error
    raise DownloadFailed(f"The image is behind more than {MAX_REDIRECTS} redirects.")


def download_paid(url: str, deadline: float, *, base_url: str | None = None) -> bytes:
    """As ``download``, tried up to three times: the image is paid for, and fetching it again costs nothing.

    Raises
    ------
    DownloadFailed : it did not work in the end
    """
    for pause in (0.5, 1.5):
        try:
            return download(url, deadline, base_url=base_url)
        except DownloadFailed as failure:
            if not failure.passing or time.time() + pause >= deadline:
                raise
        time.sleep(pause)
    return download(url, deadline, base_url=base_url)


def _check_host(target: httpx2.URL) -> None:
    """Refuse a URL that different parsers would send to different hosts, or that carries credentials."""
    if target.userinfo:
        raise DownloadFailed("The image URL is not allowed: it has a user name or a password.")
    problem = host_problem(_ascii_host(target))
    if problem:
        raise DownloadFailed(f"The image URL is not allowed: {problem}.")


def _ascii_host(target: httpx2.URL) -> str:
    """Return the host as it is resolved; ``URL.host`` shows an internationalized name in its own letters."""
    return target.raw_host.decode("ascii").strip("[]")


def _fetch(target: httpx2.URL, deadline: float, limit: int, *, at_home: bool) -> httpx2.Response:
    if not at_home and target.scheme != "https":
        raise DownloadFailed("The address of the image is not allowed: only https is.")
    if not at_home:
        _check_host(target)
    headers = {"accept": "image/*"}
    extensions: dict[str, Any] = {}
    backend = transport.DeadlineBackend(deadline) if at_home else _PublicBackend(deadline)
    if not at_home and transport.proxy_for(target):
        # A proxy connects for us: to the checked address, under the host's name.
        headers["host"] = target.netloc.decode("ascii")
        host = _ascii_host(target)
        extensions["sni_hostname"] = host
        # Proxies and their clients understand an IPv4 address most surely.
        addresses = sorted(_public_addresses(host, target.port or 443), key=lambda address: ":" in address)
        target = target.copy_with(host=addresses[0])
        backend = transport.DeadlineBackend(deadline)
    with transport.client(deadline, limit=limit, backend=backend) as client:
        return client.get(target, headers=headers, extensions=extensions)


def _content(response: httpx2.Response) -> bytes:
    if not response.is_success:
        # A missing image may just have been made; a signed address that is refused stays so.
        passing = response.status_code in (404, 408, 425, 429) or response.status_code >= 500
        raise DownloadFailed(f"The image could not be fetched (HTTP {response.status_code}).", passing=passing)
    return response.content


def _inline(url: str, limit: int) -> bytes:
    data = decode_base64(url)
    if not data:
        raise DownloadFailed("The image inside the data URL is not valid base64.")
    if len(data) > limit:
        raise DownloadFailed("The image is too large.")
    return data


def _is_at_home(target: httpx2.URL, base: httpx2.URL) -> bool:
    """Whether a URL leads to the provider's own server, which the operator has chosen, or beside it on this machine."""
    beside = transport.is_loopback(base) and transport.is_loopback(target) and target.scheme in ("http", "https")
    return beside or transport.origin(target) == transport.origin(base)


class _PublicBackend(transport.DeadlineBackend):
    """Connects only to the public IP address that was checked: a name may change its address at any time."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[transport.SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception | None = None
        for address in _public_addresses(host, port):
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise httpcore2.ConnectError(f"Failed to connect to {host}.") from failure


def _public_addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("Failed to resolve the host of the image.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    # One IP address inside the network rules out the host.
    if not all(map(is_public, addresses)):
        raise DownloadFailed("The address of the image is not allowed: it leads into a private network.")
    return addresses
