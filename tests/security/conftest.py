"""Tests of what providers may do to us: against real servers on loopback, with S3 as moto plays it."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from pytest_socket import socket_allow_hosts

from pixelprompt import aws
from pixelprompt.observability import logger
from tests.security.jobs import BUCKET


@pytest.fixture(autouse=True)
def _no_network() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"], allow_unix_socket=True)


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of moto's S3 with an empty bucket."""
    with mock_aws():
        client = aws.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the Lambdas log."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.handlers[0], "stream", stream)
    return stream
