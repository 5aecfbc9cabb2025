"""The caller that a request is counted for."""

import ipaddress
from typing import Annotated

from pixelprompt.errors import InvalidParameter
from pixelprompt.validation import about

CallerIp = Annotated[
    str | None,
    about(
        "IP address that the request is counted for, where the operator trusts it (`trustBodyIp`).",
        "an IPv4 or IPv6 address",
        examples=["198.51.100.7"],
    ),
]


def read_ip(ip: str | None, source_ip: str, trusted: bool) -> str:
    """The IP address that a request is counted for: the one API Gateway saw, or the body's where that is trusted.

    Raises
    ------
    InvalidParameter : the body's ``ip`` is trusted and isn't an IP address
    """
    if not trusted or ip is None:
        return source_ip
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        raise InvalidParameter("`ip` must be an IPv4 or IPv6 address.", parameter="ip") from None


def caller(address: str) -> str:
    """The name under which an IP address is counted: itself, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        # By its number, since a network may keep the zone of an address: any text, of any length.
        return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return str(parsed)
