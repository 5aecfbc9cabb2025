"""One module per wire protocol, imported only when it is asked for: an SDK costs half a second of a cold start."""

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Protocol

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, Waiting
from pixelprompt.models.provider import PROVIDERS


class ImageAdapter(Protocol):
    """The function that every adapter has."""

    def __call__(
        self, request: ImageRequest, model: Model, credentials: Credentials, deadline: float
    ) -> Generated | Waiting:
        """Ask the provider for the image; ``deadline`` is the epoch second by which it must have answered.

        Raises
        ------
        ProviderError : the provider did not make an image
        """


def adapter(provider: str) -> ModuleType:
    """The module that speaks this provider's protocol."""
    name = f"{__name__}.{PROVIDERS[provider].module}"
    if name in sys.modules:
        return import_module(name)
    # An SDK makes a hundred thousand objects that stay; nothing is gained by searching them for garbage meanwhile.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if was_enabled:
            gc.enable()
