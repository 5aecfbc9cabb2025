"""The available models: what they support and what they cost."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.models.registry import ModelRegistry

__all__ = ["ModelRegistry"]
__getattr__ = deferred(__name__, {"ModelRegistry": "registry"})
