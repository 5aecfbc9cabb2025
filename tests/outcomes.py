"""What calls that may raise come to."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pixelprompt.models.model import ProviderError

P = ParamSpec("P")
T = TypeVar("T")


def outcome(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | ProviderError:
    """What a call returns, or the provider's error that it raises."""
    try:
        return call(*args, **options)
    except ProviderError as error:
        return error


def give(planned: T | ProviderError) -> T:
    """Return what is planned, or raise it, as an adapter does."""
    if isinstance(planned, ProviderError):
        raise planned
    return planned
