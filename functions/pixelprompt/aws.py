"""Clients of AWS with the retries and time limits that a request's caller can wait for."""

from typing import Any

import boto3
from botocore.config import Config

from pixelprompt.settings import endpoint_is_overridden


def client(service: str) -> Any:
    """A boto3 client: standard retries, three attempts in all; 3 s to connect, 10 s to read."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=10,
        max_pool_connections=20,
        **(_s3_options() if service == "s3" else {}),
    )
    return boto3.client(service, config=config)


def _s3_options() -> dict[str, Any]:
    """Options for presigned URLs.

    They would otherwise be signed with version 2, which newer buckets refuse, and for the host of all regions, which
    redirects to the bucket's own and thereby breaks the signature. An overridden endpoint has no such hosts.
    """
    style = "path" if endpoint_is_overridden() else "virtual"
    return {"signature_version": "s3v4", "s3": {"addressing_style": style}}
