"""Options of a cloud from the environment, and the models that it then has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local.aws import deployment
from local.cloud.running import Cloud, find
from local.options import Options
from pixelprompt.errors import ConfigurationError, StorageError
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.keys import OVERLAY_KEY


def chosen_options(directory: Path, environment: Mapping[str, str]) -> Options:
    """The environment's choice, for a new cloud or the one that runs in a folder."""
    options = Options.from_environment(environment)
    return options.resolved(models_of(find(directory))) if options.faults else options


def models_of(cloud: Cloud | None) -> ModelRegistry:
    """The models of a cloud, those of an overlay in its bucket included; without a cloud the built-in ones."""
    return models_deployed(deployment.of_cloud(cloud)) if cloud else ModelRegistry.load()


def models_deployed(found: deployment.Deployment) -> ModelRegistry:
    """The models of a deployment, likewise; the built-in ones where its overlay is broken, or cannot be read."""
    try:
        overlay = DocumentStore(found.client("s3"), found.bucket).read(OVERLAY_KEY)
        return ModelRegistry.load(overlay=overlay.value if overlay else None, key_hosts=found.key_hosts())
    except (ConfigurationError, StorageError):
        # The service goes on without it as well.
        return ModelRegistry.load()
