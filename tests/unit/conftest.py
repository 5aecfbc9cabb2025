"""Unit tests open no socket and start no process; S3 is as moto plays it."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

_FORBIDDEN = ("socket.connect", "socket.bind", "subprocess.Popen", "os.posix_spawn", "os.fork")
_is_unit_test = False


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    # Loops of asyncio connect to themselves over Unix sockets.
    if _is_unit_test and event in _FORBIDDEN and not (event.startswith("socket.") and isinstance(arguments[1], str)):
        pytest.fail(f"{event}: a unit test opens no socket and starts no process; such a test is in tests/component")


sys.addaudithook(_forbid)


@pytest.fixture(autouse=True)
def _no_socket_and_no_process() -> Iterator[None]:
    global _is_unit_test
    _is_unit_test = True
    yield
    _is_unit_test = False
