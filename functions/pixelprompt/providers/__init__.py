"""One module per wire protocol, imported only when it is asked for: an SDK costs half a second of a cold start."""

import gc
import sys
from importlib import import_module
from types import ModuleType

from pixelprompt.models.provider import PROVIDERS


def adapter(provider: str) -> ModuleType:
    """The module that speaks this provider's protocol."""
    name = f"{__name__}.{PROVIDERS[provider].module}"
    if name in sys.modules:
        return import_module(name)
    # An SDK makes a hundred thousand objects that stay; nothing is gained by searching them for garbage.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if was_enabled:
            gc.enable()
