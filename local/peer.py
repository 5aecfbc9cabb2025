"""Which user of this machine a loopback connection belongs to, as Linux lists it in ``/proc/net/tcp`` and ``tcp6``."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_TABLES = Path("/proc/net")
# How the table for IPv6 writes an IPv4 address, which some clients connect to through it.
_MAPPED = "0000000000000000FFFF0000"
_LISTENING = "0A"
# Owns everything on the machine anyway; also the relay that leads from Windows into WSL.
_ROOT = 0

Address = tuple[str, int]


def is_of_another_user(client: Address, server: Address) -> bool:
    """Whether the connection from `client` to `server` certainly or possibly belongs to another user.

    A connection that its owner has closed already belongs to nobody in the table, so it counts as another user's.
    Where the kernel has no such table (macOS), or not of this network, the answer is always False.
    """
    lines = _lines("tcp")
    ours, theirs = _hexadecimal(server), _hexadecimal(client)
    if not any(line[1] == ours and line[3] == _LISTENING for line in lines):
        return False
    # The entries of the client's end: its user, and the number of its socket, which is 0 once it is closed.
    ends = ((theirs, ours), (_MAPPED + theirs, _MAPPED + ours))
    owners = [(int(line[7]), int(line[9])) for line in (*lines, *_lines("tcp6")) if (line[1], line[2]) in ends]
    return not any(user in (os.getuid(), _ROOT) and socket_number for user, socket_number in owners)


def _lines(table: str) -> list[list[str]]:
    try:
        return [line.split() for line in (_TABLES / table).read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return []


def _hexadecimal(address: Address) -> str:
    host, port = address
    # The kernel prints the four bytes as one number of the machine's own byte order.
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
