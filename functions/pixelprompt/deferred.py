"""Names of packages that are imported when they are used: a cold start pays only for what it needs."""

from collections.abc import Callable, Mapping
from importlib import import_module


def deferred(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """A package's ``__getattr__`` (PEP 562) for ``places``: its public names, each with the module that has it."""

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return find
