"""Reliability tests run real processes against the emulator: moto's conditional writes are not atomic."""

from collections.abc import Iterator
from typing import Any

import pytest

from .emulator import dynamodb_client, emulator, s3_client
from .fault_proxy import FaultProxy


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones to those who ask for them."""
    if config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run pytest tests/reliability -m slow")
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")) and item.get_closest_marker("slow"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an emulator with an empty bucket and an empty table."""
    with emulator(tmp_path_factory.mktemp("emulator")) as port:
        yield port


@pytest.fixture(scope="session")
def endpoint(s3_port: int) -> str:
    """The emulator, reached directly."""
    return f"http://127.0.0.1:{s3_port}"


@pytest.fixture(scope="session")
def _proxy(s3_port: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3_port)
    yield proxy
    proxy.refuse()


@pytest.fixture
def proxy(_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """A way to the same emulator that faults can be put on."""
    yield _proxy
    _proxy.recover()


@pytest.fixture(scope="session")
def s3(endpoint: str) -> Any:
    """A client of the emulator's S3."""
    return s3_client(endpoint)


@pytest.fixture(scope="session")
def dynamodb(endpoint: str) -> Any:
    """A client of the emulator's DynamoDB."""
    return dynamodb_client(endpoint)
