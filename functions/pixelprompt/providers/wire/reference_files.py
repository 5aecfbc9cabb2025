"""Reference images as files of a multipart form, and what goes with them where the provider has no default."""

from collections.abc import Iterable

from pixelprompt.models.model import Image
from pixelprompt.storage.image_format import EXTENSIONS

# How much of the image may change, 0 to 1, where neither the request nor the catalogue says it.
DEFAULT_STRENGTH = 0.7


def reference_files(references: Iterable[Image]) -> list[tuple[str, bytes, str]]:
    """Return the name, the bytes, and the MIME type of each file, in the order of the request."""
    return [
        (f"reference-{number}.{EXTENSIONS[image.mime_type]}", image.data, image.mime_type)
        for number, image in enumerate(references, 1)
    ]
