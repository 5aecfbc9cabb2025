"""Reads a caller's prompt, and fences it for a text model."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct

from pixelprompt.errors import InvalidParameter, PromptRequired, PromptTooLong
from pixelprompt.models.parameters import is_plain_text
from pixelprompt.validation import check_names, read_body

T = TypeVar("T", bound=Struct)

PROMPT_LIMIT = 1000


def read_body_with_prompt(body: Mapping[str, Any], kind: type[T], limit: int = PROMPT_LIMIT) -> T:
    """Convert the body of a request to a type whose only required member is ``prompt``.

    Raises
    ------
    PromptRequired, PromptTooLong, InvalidParameter : what is wrong with the prompt comes first
    """
    check_names(body, kind.__struct_encode_fields__)
    prompt = body.get("prompt")
    if prompt is None:
        raise PromptRequired("The body needs `prompt`, a string that describes the image.")
    if isinstance(prompt, str):
        read_prompt(prompt, limit)
    return read_body(body, kind)


def read_prompt(prompt: str, limit: int = PROMPT_LIMIT) -> str:
    """The prompt without the white space around it.

    Raises
    ------
    PromptRequired, PromptTooLong, InvalidParameter
    """
    prompt = prompt.strip()
    if not prompt:
        raise PromptRequired("`prompt` is blank.")
    if len(prompt) > limit:
        raise PromptTooLong(f"`prompt` has {len(prompt)} characters; the limit is {limit}.", limit=limit)
    if not is_plain_text(prompt):
        raise InvalidParameter("`prompt` has control characters.", parameter="prompt")
    return prompt


def fenced(name: str, text: str) -> str:
    """A text between tags of this name, which it cannot close."""
    return f"<{name}>{text.translate(_NO_TAGS)}</{name}>"


_NO_TAGS: Final = str.maketrans("<>", "‹›")
