"""Which models there are, what they take and what they cost."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.models.registry import ModelRegistry

__all__ = ["ModelRegistry"]
__getattr__ = deferred(__name__, {"ModelRegistry": "registry"})
