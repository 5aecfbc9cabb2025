"""Fetches an image from a provider's URL, and never from inside the network that this code runs in.

A URL is data from outside: it may point to another service behind the same firewall, or to the credentials of the
machine. So only https is followed, every host is resolved here, every IP address of it must be public, and the
connection goes to the IP address that was checked; the same holds for each redirect. No key is ever sent. The one
exception is the provider's own server, which the operator has chosen.

Public is what ``_SPECIAL`` leaves. The interpreter's tables (``is_global``, ``is_private``) differ between versions of
Python, and none of them lists everything.
"""

import functools
import ipaddress
import re
import socket
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from pixelprompt.errors import PixelPromptError
from pixelprompt.providers.wire import transport
from pixelprompt.providers.wire.image_bytes import decode_base64

SIZE_LIMIT = 32 * 1024 * 1024
MAX_REDIRECTS = 3
# Hosts that a server names if it listens on every interface; nothing can connect to them.
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
# The IANA IPv4 and IPv6 Special-Purpose Address Registries, multicast, and platforms of clouds. Some entries are marked
# as globally reachable (192.0.0.9, 192.0.0.10, AS112, AMT, 2001:1::1 and others): they are anycast addresses of network
# services, from which no image comes, so they are refused as well.
_SPECIAL = {
    4: (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carriers' NAT, RFC 6598; with 100.100.100.200, Alibaba Cloud's metadata
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's platform, in the middle of public addresses
        "169.254.0.0/16",  # link-local, RFC 3927; with 169.254.169.254, most clouds' metadata
        # IETF protocol assignments, RFC 6890, all of them: RFC 7335, 7600, 7723, 8155, 8880; with 192.0.0.192, Oracle's
        # metadata.
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # relays of 6to4, RFC 7526, and 6a44, RFC 6751
        "192.168.0.0/16",  # private, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "172.16.0.0/12",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112, and limited broadcast, RFC 8190
    ),
    6: (
        # Global unicast is 2000::/3, RFC 4291. Not in it are, among others, :: and ::1 and IPv4-compatible ::/96
        # (RFC 4291), 64:ff9b:1::/48 (RFC 8215), 100::/64 (RFC 6666), 100:0:0:1::/64 (RFC 9780), 5f00::/16 (RFC 9602),
        # fc00::/7 (RFC 4193; with fd00:ec2::254, AWS's metadata), fe80::/10 (RFC 4291), fec0::/10 (RFC 3879), and
        # ff00::/8 (RFC 4291).
        "::/3",
        "4000::/2",
        "8000::/1",
        # IETF protocol assignments, RFC 2928, all of them: Teredo (2001::/32, RFC 4380), 2001:1::1 to 2001:1::3
        # (RFC 7723, 8155, 9665), benchmarks (2001:2::/48, RFC 5180), AMT (2001:3::/32, RFC 7450), AS112
        # (2001:4:112::/48, RFC 7535), ORCHID (2001:10::/28, RFC 4843; 2001:20::/28, RFC 7343), drones (2001:30::/28,
        # RFC 9374).
        "2001::/23",
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056, whatever IPv4 address is inside
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    ),
}
# Addresses with an IPv4 address at their end, which decides: mapped (RFC 4291), and NAT64 (RFC 6052), by which a
# network without IPv4 reaches everything else.
_EMBEDDING = ("::ffff:0:0/96", "64:ff9b::/96")
# A name, with or without a dot at its end, or an IPv6 address without a zone.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
# The last part of a host that resolvers may read as a number: decimal, octal, or hexadecimal (WHATWG URL, 3.5).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)


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
    except httpx2.HTTPError as error:
        raise DownloadFailed("The image could not be fetched in time.", passing=True) from error
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


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public Internet, also where it has an IPv4 address inside.

    What isn't a plain IP address, such as one with a zone (``%eth0``), isn't public.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if "%" in address:
        return False
    version, number = ip.version, int(ip)
    if version == 6 and _is_in(number, address_ranges(_EMBEDDING)):
        version, number = 4, number & 0xFFFFFFFF
    return not _is_in(number, address_ranges(_SPECIAL[version]))


def _is_in(number: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


@functools.cache
def address_ranges(networks: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Return the first and the last address of each network, as numbers; the first download needs them."""
    parsed = map(ipaddress.ip_network, networks)
    return tuple((int(network.network_address), int(network.broadcast_address)) for network in parsed)


def _check_host(target: httpx2.URL) -> None:
    """Refuse a URL that different parsers would send to different hosts, or that carries credentials."""
    if target.userinfo:
        raise DownloadFailed("The image URL is not allowed: it has a user name or a password.")
    host = _ascii_host(target)
    if not _HOST.fullmatch(host):
        raise DownloadFailed("The image URL is not allowed: its host has characters that no host has.")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            message = "The image URL is not allowed: its host is an IP address in an unusual form."
            raise DownloadFailed(message) from None


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
