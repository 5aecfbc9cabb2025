"""The user that a loopback connection belongs to, as the kernel of Linux says (sock_diag(7))."""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ERROR = 2
# Owns everything on the machine anyway; also the relay that leads from Windows into WSL.
_ROOT = 0

Address = tuple[str, int]


def is_of_another_user(client: Address, server: Address) -> bool:
    """Whether the connection from `client` to `server` certainly or possibly belongs to another user.

    A connection that its user has closed already belongs to no one, so it counts as another user's. Where the kernel
    does not say who owns a connection (macOS), the result is always False.
    """
    try:
        user, socket_number = owner_of(client, server)
    except FileNotFoundError:
        return True
    except (AttributeError, OSError):
        return False
    return user not in (os.getuid(), _ROOT) or socket_number == 0


def owner_of(client: Address, server: Address) -> tuple[int, int]:
    """The user of the client's end of a connection, and the number of its socket, which is 0 once it is closed.

    Raises
    ------
    FileNotFoundError : the connection does not exist
    AttributeError, OSError : the kernel does not say
    """
    ends = b"".join(
        [
            struct.pack(">HH", client[1], server[1]),
            *(socket.inet_aton(host) + bytes(12) for host, _ in (client, server)),
            # On any interface, and without the cookie of an earlier reply.
            struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF),
        ]
    )
    # In any state. The lookup also finds a socket of IPv6 whose addresses are IPv4 ones.
    wanted = struct.pack("=BBxxI", socket.AF_INET, socket.IPPROTO_TCP, 0xFFFFFFFF) + ends
    header = struct.pack("=IHHII", 16 + len(wanted), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + wanted)
        reply = kernel.recv(4096)
    _, kind, *_ = struct.unpack_from("=IHHII", reply)
    if kind == _ERROR:
        (code,) = struct.unpack_from("=i", reply, 16)
        raise OSError(-code, os.strerror(-code))
    # Behind the family, the state and the two ends: two counts, and these.
    user, socket_number = struct.unpack_from("=II", reply, 16 + 4 + 48 + 12)
    return user, socket_number
