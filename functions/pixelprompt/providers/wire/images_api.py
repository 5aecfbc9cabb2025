"""Parts of OpenAI's Images API, at OpenAI and at other servers that speak it: reference images, and usage."""

from collections.abc import Sequence
from typing import Any

from pixelprompt.models.model import Image
from pixelprompt.providers.wire.error_response import ErrorResponse
from pixelprompt.providers.wire.members import member, text, whole
from pixelprompt.storage.image_format import EXTENSIONS

File = tuple[str, tuple[str, bytes, str]]


def reference_files(references: Sequence[Image]) -> list[File]:
    """The parts of a multipart form with the reference images: one is in ``image``, several are in ``image[]``.

    A part is its name with the name of the file, the bytes, and the MIME type.
    """
    part = "image[]" if len(references) > 1 else "image"
    return [
        (part, (f"reference-{number}.{EXTENSIONS[image.mime_type]}", image.data, image.mime_type))
        for number, image in enumerate(references, 1)
    ]


def token_counts(usage: dict[str, Any]) -> dict[str, int] | None:
    """Return the tokens that a response's ``usage`` counts, by kind; None where it counts none.

    Text and images are told apart where the server does so. Older servers have the names of completions.
    """
    words, images = _split(usage, "input_tokens", "prompt_tokens")
    written, drawn = _split(usage, "output_tokens", "completion_tokens", usually_images=True)
    counts = {
        "inputTextTokens": words,
        "inputImageTokens": images,
        "outputTextTokens": written,
        "outputImageTokens": drawn,
    }
    # Servers that do not count say 0.
    return {name: count for name, count in counts.items() if count > 0} or None


def _split(usage: dict[str, Any], name: str, older_name: str, *, usually_images: bool = False) -> tuple[int, int]:
    """Return the tokens of text and of images, by the details where they are within the total."""
    total = whole(usage, name) if whole(usage, name) is not None else whole(usage, older_name)
    details = member(usage, f"{name}_details")
    words, images = whole(details, "text_tokens"), whole(details, "image_tokens")
    if total is None:
        total = (words or 0) + (images or 0)
    if words is None and images is not None:
        words = total - images
    elif images is None and words is not None:
        images = total - words
    if words is None or images is None or min(words, images) < 0 or words + images != total:
        return (0, total) if usually_images else (total, 0)
    return words, images


def is_of_output(error: ErrorResponse) -> bool:
    """Whether a refusal is about the image, which was made by then, and not about the prompt."""
    details = member(member(error.document, "error"), "moderation_details")
    return text(details, "moderation_stage") == "output"
