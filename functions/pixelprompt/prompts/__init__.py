"""Prompts: reading, moderating and enhancing them."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.prompts.enhancement import enhance_prompt
    from pixelprompt.prompts.moderation.filter import ContentFilter

__all__ = ["ContentFilter", "enhance_prompt"]
__getattr__ = deferred(__name__, {"ContentFilter": "moderation.filter", "enhance_prompt": "enhancement"})
