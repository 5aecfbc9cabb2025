"""One module per wire protocol, imported only when it is asked for: an SDK costs half a second of a cold start."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Provider:
    """A provider that models can name.

    Attributes
    ----------
    module : the adapter's module in this package
    key_name : name of its key in the secret and in the owner's environment
    """

    module: str
    key_name: str


PROVIDERS: dict[str, Provider] = {
    "openai": Provider("openai", "OPENAI_API_KEY"),
    "gemini": Provider("gemini", "GEMINI_API_KEY"),
}


def adapter(provider: str) -> ModuleType:
    """The module that speaks this provider's protocol."""
    return import_module(f"{__name__}.{PROVIDERS[provider].module}")
