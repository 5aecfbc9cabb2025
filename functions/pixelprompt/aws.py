"""Clients of AWS with the retries and time limits that a request's caller can wait for."""

from typing import Any

import boto3
from botocore.config import Config


def client(service: str) -> Any:
    """A boto3 client: standard retries, three attempts in all; 3 s to connect, 10 s to read."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=10,
        max_pool_connections=20,
        # Presigned URLs would otherwise be signed with version 2, which newer buckets refuse.
        signature_version="s3v4" if service == "s3" else None,
    )
    return boto3.client(service, config=config)
