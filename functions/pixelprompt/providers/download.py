"""Fetches an image from an address that a provider gave, and from nowhere inside the network we run in.

An address is data from outside: it may point to another service behind the same firewall, or to the credentials of the
machine. So only https is followed, every host is resolved here, every address of it must be a public one, and the
connection goes to the very address that was checked; the same holds for each redirect. No key is ever sent. The one
exception is the provider's own server, which the operator has chosen and which has just been asked.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from pixelprompt.errors import PixelPromptError
from pixelprompt.providers import transport
from pixelprompt.providers.base import decode_base64

SIZE_LIMIT = 32 * 1024 * 1024
MOST_REDIRECTS = 3
# Hosts that a server names if it listens on every interface; there is nothing to connect to.
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Newer than the tables of some Python versions (RFC 9637).
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")
# Public by their numbers only: Azure's platform, and the anycast of 6to4 relays (RFC 7526).
_PLATFORM = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.88.99.0/24"))


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
    """The bytes behind an address, by the deadline (epoch seconds), at most ``limit`` of them.

    Parameters
    ----------
    base_url : URL of the provider's server, which a relative ``url`` is relative to; it may serve its images itself,
        and where it is on this machine, so may another server on this machine

    Raises
    ------
    DownloadFailed : the address is not allowed, or does not answer with something of that size in time
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
        for _ in range(1 + MOST_REDIRECTS):
            response = _fetch(target, deadline, limit, at_home=transport.origin(target) == home)
            if not response.has_redirect_location:
                return _content(response)
            target = target.join(response.headers["location"])
    except transport.AnswerTooLarge:
        raise DownloadFailed("The image is too large.") from None
    except (httpx2.InvalidURL, UnicodeError):
        raise DownloadFailed("The address of the image is not valid.") from None
    except httpx2.HTTPError as error:
        raise DownloadFailed("The image could not be fetched in time.", passing=True) from error
    raise DownloadFailed(f"The image is behind more than {MOST_REDIRECTS} redirects.")


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


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, also where it carries an IPv4 address inside."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        if inner is not None:
            ip = inner
    if isinstance(ip, ipaddress.IPv6Address) and (ip.is_site_local or ip in _DOCUMENTATION):
        return False
    if any(ip in network for network in _PLATFORM):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local)


def _fetch(target: httpx2.URL, deadline: float, limit: int, *, at_home: bool) -> httpx2.Response:
    if not at_home and target.scheme != "https":
        raise DownloadFailed("The address of the image is not allowed: only https is.")
    headers = {"accept": "image/*"}
    extensions: dict[str, Any] = {}
    backend = transport.DeadlineBackend(deadline) if at_home else _PublicBackend(deadline)
    if not at_home and transport.proxy_for(target):
        # A proxy connects for us: to the checked address, under the host's name.
        headers["host"] = target.netloc.decode("ascii")
        extensions["sni_hostname"] = target.host
        target = target.copy_with(host=_public_addresses(target.host, target.port or 443)[0])
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
    """Connects to public addresses only, and to the one that was checked: a name may change its address at any time."""

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
        raise httpcore2.ConnectError(f"No address of {host} answers.") from failure


def _public_addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("The host of the image is not known.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    # One address inside the network condemns them all.
    if not all(is_public(address.partition("%")[0]) for address in addresses):
        raise DownloadFailed("The address of the image is not allowed: it leads into a private network.")
    return addresses
