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
    if cloud:
        try:
            found = DocumentStore(cloud.client("s3"), cloud.endpoints["bucket"]).read(OVERLAY_KEY)
            hosts = deployment.of_cloud(cloud).key_hosts()
            return ModelRegistry.load(overlay=found.value if found else None, key_hosts=hosts)
        except (ConfigurationError, StorageError):
            # The service goes on without it as well.
            pass
    return ModelRegistry.load()
