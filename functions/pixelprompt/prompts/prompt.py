"""Reads a caller's prompt, and fences it for a text model."""

from collections.abc import Mapping
from typing import Any, Final

from pixelprompt.errors import InvalidParameter, PromptRequired, PromptTooLong
from pixelprompt.models.parameters import is_plain_text

PROMPT_LIMIT = 1000


def read_prompt(body: Mapping[str, Any], limit: int = PROMPT_LIMIT) -> str:
    """The trimmed prompt.

    Raises
    ------
    PromptRequired, PromptTooLong, InvalidParameter
    """
    prompt = body.get("prompt")
    if prompt is None:
        raise PromptRequired("The body needs a prompt, a text that describes the picture.")
    if not isinstance(prompt, str):
        raise InvalidParameter("prompt must be a text.", parameter="prompt")
    prompt = prompt.strip()
    if not prompt:
        raise PromptRequired("The prompt is blank.")
    if len(prompt) > limit:
        raise PromptTooLong(f"The prompt has {len(prompt)} characters; at most {limit} are taken.", limit=limit)
    if not is_plain_text(prompt):
        raise InvalidParameter("The prompt has control characters.", parameter="prompt")
    return prompt


def fenced(name: str, text: str) -> str:
    """A text between tags of this name, which it cannot close."""
    return f"<{name}>{text.translate(_NO_TAGS)}</{name}>"


_NO_TAGS: Final = str.maketrans("<>", "‹›")
