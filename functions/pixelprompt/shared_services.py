"""What several services of the Lambdas whose callers wait are built from."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pixelprompt.settings import Settings

if TYPE_CHECKING:
    from pixelprompt.models.overlay import LiveRegistry
    from pixelprompt.providers.keys import ProviderKeys


@cache
def settings() -> Settings:
    """The settings of this Lambda."""
    return Settings.from_environment()


@cache
def registry() -> LiveRegistry:
    """The models as they are now."""
    from pixelprompt.models.overlay import LiveRegistry

    return LiveRegistry(
        s3(), settings().bucket_name, prompt_model=settings().prompt_model, key_hosts=settings().key_hosts
    )


@cache
def keys() -> ProviderKeys:
    """The providers' keys."""
    from pixelprompt.providers.keys import ProviderKeys

    secrets = request_client("secretsmanager")
    return ProviderKeys(secrets, settings().provider_secret, settings().provider_endpoints, registry().key_hosts)


@cache
def s3() -> Any:
    """The client of S3."""
    return request_client("s3")


def request_client(service: str) -> Any:
    """A client of an AWS service that keeps to the deadline of the request."""
    from pixelprompt.api.http import deadline
    from pixelprompt.storage import clients

    return clients.request_client(service, deadline)
