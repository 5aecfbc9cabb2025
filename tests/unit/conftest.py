"""Unit tests open no socket and start no process; S3 is as moto plays it."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

_OF_SOCKETS = {"socket.bind", "socket.connect", "socket.sendto"}
_FORBIDDEN = _OF_SOCKETS | {
    "socket.getaddrinfo",
    *("os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"),
}
_is_unit_test = False
_seen: list[str] = []


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    # Loops of asyncio connect to themselves over Unix sockets.
    if _is_unit_test and event in _FORBIDDEN and not (event in _OF_SOCKETS and isinstance(arguments[1], str)):
        _seen.append(event)
        raise RuntimeError(f"{event}: a unit test opens no socket and starts no process; put it into tests/component")


sys.addaudithook(_forbid)


@pytest.fixture(autouse=True)
def _no_socket_and_no_process() -> Iterator[None]:
    global _is_unit_test
    _is_unit_test = True
    yield
    _is_unit_test = False
    # Also what a thread has tried, or a test has caught.
    tried, _seen[:] = [*_seen], []
    assert not tried
