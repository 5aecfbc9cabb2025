"""Clients of AWS with the retries and time limits that a request's caller can wait for."""

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

from pixelprompt.settings import endpoint_is_overridden


def client(service: str) -> Any:
    """A client as boto3 makes it: standard retries, three attempts in all; 3 s to connect, 10 s to read.

    It comes from botocore, on which boto3 stands: what boto3 adds (resources, transfers of files) is not used here, and
    loading it would cost each cold start an eighth more.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=10,
        max_pool_connections=20,
        **(_s3_options() if service == "s3" else {}),
    )
    return session().create_client(service, config=config)


@cache
def session() -> Any:
    """The botocore session of all clients; it reads each description of a service once."""
    return botocore.session.get_session()


def _s3_options() -> dict[str, Any]:
    """Options for presigned URLs.

    They would otherwise be signed with version 2, which newer buckets refuse, and for the host of all regions, which
    redirects to the bucket's own and thereby breaks the signature. An overridden endpoint has no such hosts.
    """
    style = "path" if endpoint_is_overridden() else "virtual"
    return {"signature_version": "s3v4", "s3": {"addressing_style": style}}
