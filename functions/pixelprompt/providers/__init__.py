"""One module per wire protocol, imported only when it is asked for: an SDK costs half a second of a cold start."""

import gc
import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Provider:
    """A provider that models can name.

    Attributes
    ----------
    module : the adapter's module in this package
    key_name : name of its key in the secret and in the owner's environment; None where the AWS role is enough
    key_required : whether its models can be called only with the key
    """

    module: str
    key_name: str | None
    key_required: bool = True


PROVIDERS: dict[str, Provider] = {
    "openai": Provider("openai", "OPENAI_API_KEY"),
    "gemini": Provider("gemini", "GEMINI_API_KEY"),
    "bedrock": Provider("bedrock", None, key_required=False),
    "stability": Provider("stability", "STABILITY_API_KEY"),
    "bfl": Provider("bfl", "BFL_API_KEY"),
    "recraft": Provider("recraft", "RECRAFT_API_KEY"),
    "compatible": Provider("compatible", "COMPATIBLE_API_KEY", key_required=False),
}


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
