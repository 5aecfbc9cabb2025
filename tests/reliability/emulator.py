"""The emulator alone, without the stack: S3 and DynamoDB with atomic conditional writes, for real processes."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.cloud.servers import launch_emulator
from local.emulator.access_key import AccessKey
from local.lease import Lease
from local.processes import end, with_children

from ..conftest import LEDGER_SCHEMA

BUCKET = TABLE = "reliability"
# Every process of a test may know it.
ACCESS_KEY = AccessKey("LOCALRELIABILITY", "of-a-test")


@contextmanager
def emulator(directory: Path) -> Iterator[int]:
    """The port of an emulator with an empty bucket and an empty table.

    Its data lie in the directory, and it ends with the block.
    """
    used = Lease(directory)
    server = launch_emulator(directory, directory / "emulator.log", cloud=directory, access_key=ACCESS_KEY)
    try:
        _await(server.port)
        endpoint = f"http://127.0.0.1:{server.port}"
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        dynamodb_client(endpoint).create_table(TableName=TABLE, **LEDGER_SCHEMA)
        yield server.port
    finally:
        process = server.process()
        if process:
            end(with_children(process))
        used.end()


def _await(port: int) -> None:
    limit = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < limit, "the emulator does not answer"
            time.sleep(0.05)


def s3_client(endpoint: str, *, read_timeout: float = 10, connections: int = 50) -> Any:
    """A client with the retries and time limits of the service's own, for another address."""
    path = {"addressing_style": "path"}
    return _client("s3", endpoint, read_timeout, connections, signature_version="s3v4", s3=path)


def dynamodb_client(endpoint: str, *, read_timeout: float = 10, connections: int = 50) -> Any:
    """Likewise, of DynamoDB."""
    return _client("dynamodb", endpoint, read_timeout, connections)


def _client(service: str, endpoint: str, read_timeout: float, connections: int, **more: Any) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        proxies={},
        **more,
    )
    return boto3.client(
        service, endpoint_url=endpoint, config=config, region_name="us-east-1", **ACCESS_KEY.client_options()
    )
