"""What OpenAI's Images API says beside its images, at OpenAI and at other servers that speak it."""

from typing import Any

from pixelprompt.providers.wire.errors import ErrorResponse
from pixelprompt.providers.wire.members import member, text, whole


def token_counts(usage: dict[str, Any]) -> dict[str, int] | None:
    """Return the tokens that an answer's ``usage`` counts, by kind; None where it counts none.

    Text and images of the input are told apart where the server does so. Older servers have the names of completions.
    """
    details = member(usage, "input_tokens_details")
    total, images = _first(usage, "input_tokens", "prompt_tokens"), whole(details, "image_tokens")
    words = whole(details, "text_tokens")
    if words is None and total is not None:
        words = total - (images or 0)
    counts = {
        "inputTextTokens": words,
        "inputImageTokens": images,
        "outputImageTokens": _first(usage, "output_tokens", "completion_tokens"),
    }
    # Servers that do not count say 0.
    return {name: count for name, count in counts.items() if count is not None and count > 0} or None


def is_of_output(error: ErrorResponse) -> bool:
    """Whether a refusal is about the image, which was made by then, and not about the prompt."""
    details = member(member(error.document, "error"), "moderation_details")
    return text(details, "moderation_stage") == "output"


def _first(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := whole(usage, name)) is not None), None)
