"""The caller that a request is counted for."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from pixelprompt.errors import InvalidParameter


def read_ip(body: Mapping[str, Any], source_ip: str, trusted: bool) -> str:
    """The address that the request is counted for: the one API Gateway saw, or the body's where that is trusted.

    Raises
    ------
    InvalidParameter : the body's ``ip`` is trusted and is no address
    """
    ip = body.get("ip")
    if not trusted or ip is None:
        return source_ip
    try:
        return str(ipaddress.ip_address(ip)) if isinstance(ip, str) else _bad_ip()
    except ValueError:
        return _bad_ip()


def _bad_ip() -> str:
    raise InvalidParameter("ip must be an IPv4 or IPv6 address.", parameter="ip")


def caller(address: str) -> str:
    """The name under which an address is counted: itself, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
