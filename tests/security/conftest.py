"""Tests of what providers may do to us: against real servers on loopback, with S3 as moto plays it."""

import pytest
from pytest_socket import socket_allow_hosts


@pytest.fixture(autouse=True)
def _no_network() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"], allow_unix_socket=True)
