"""Which IP addresses belong to the public Internet, and which hosts of URLs are well-formed.

Public is what ``_SPECIAL`` leaves. The interpreter's tables (``is_global``, ``is_private``) differ between versions of
Python, and none of them lists everything.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable

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


def host_problem(host: str) -> str | None:
    """Return why a URL with this host is refused: different parsers would send it to different hosts.

    ``host`` is in ASCII and lower case, without the brackets of an IPv6 address.
    """
    if not _HOST.fullmatch(host):
        return "its host has characters that no host has"
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return "its host is an IP address in an unusual form"
    return None


def names_private_host(host: str) -> bool:
    """Return whether a host is, by itself, one of this machine or of a private network; a name is not resolved."""
    if host.rstrip(".").rpartition(".")[2] == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


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
