"""What OpenAI's Images API says beside its images, at OpenAI and at other servers that speak it."""

from typing import Any

from pixelprompt.providers.wire.errors import ErrorResponse
from pixelprompt.providers.wire.members import member, text, whole


def token_counts(usage: dict[str, Any]) -> dict[str, int] | None:
    """Return the tokens that an answer's ``usage`` counts, by kind; None where it counts none.

    Text and images are told apart where the server does so. Older servers have the names of completions.
    """
    read, made = member(usage, "input_tokens_details"), member(usage, "output_tokens_details")
    counts = {
        "inputTextTokens": _rest(_first(usage, "input_tokens", "prompt_tokens"), read, "text_tokens", "image_tokens"),
        "inputImageTokens": whole(read, "image_tokens"),
        "outputTextTokens": whole(made, "text_tokens"),
        "outputImageTokens": _rest(
            _first(usage, "output_tokens", "completion_tokens"), made, "image_tokens", "text_tokens"
        ),
    }
    # Servers that do not count say 0.
    return {name: count for name, count in counts.items() if count is not None and count > 0} or None


def is_of_output(error: ErrorResponse) -> bool:
    """Whether a refusal is about the image, which was made by then, and not about the prompt."""
    details = member(member(error.document, "error"), "moderation_details")
    return text(details, "moderation_stage") == "output"


def _rest(total: int | None, details: dict[str, Any], kind: str, other: str) -> int | None:
    """Return the tokens of a kind, or what the other kind leaves of all."""
    count = whole(details, kind)
    return count if count is not None or total is None else total - (whole(details, other) or 0)


def _first(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := whole(usage, name)) is not None), None)
