"""The list of images that the OpenAI Images API answers with, and many others in much the same way."""

from collections.abc import Sequence
from typing import Any

from pixelprompt.providers.base import Image, ProviderError, decode_image, read_image
from pixelprompt.providers.download import DownloadFailed, download_paid
from pixelprompt.providers.wire.members import text

# ``data`` is OpenAI's name of the list; Stable Diffusion servers and SiliconFlow say ``images``.
_LISTS = ("data", "images")
_ENCODED = ("b64_json", "base64", "image", "b64")


def listed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a response's list of images, each an object with ``b64_json`` or ``url``."""
    for name in _LISTS:
        found = document.get(name)
        entries = found if isinstance(found, list) else [found]
        if objects := [entry for entry in map(_as_object, entries) if entry]:
            return objects
    return []


def read_images(
    entries: Sequence[dict[str, Any]], deadline: float, *, base_url: str | None, seeds: Sequence[int | None] = ()
) -> tuple[Image, ...] | ProviderError | None:
    """Return the images of a list's entries: those that can be read, or why none can, or None where there is none.

    Parameters
    ----------
    deadline : epoch seconds by which an image that is named by URL is fetched
    base_url : the server's URL, which may serve its images itself
    seeds : by the place in the list
    """
    images: list[Image] = []
    failure: ProviderError | None = None
    for place, entry in enumerate(entries):
        seed = seeds[place] if place < len(seeds) else None
        image = _image(entry, deadline, base_url, seed=seed, revised_prompt=text(entry, "revised_prompt") or None)
        if isinstance(image, Image):
            images.append(image)
        else:
            failure = failure or image
    return tuple(images) if images else failure


def _as_object(entry: Any) -> dict[str, Any]:
    if isinstance(entry, str) and entry:
        return {"b64_json": entry}
    return entry if isinstance(entry, dict) else {}


def _image(entry: dict[str, Any], deadline: float, base_url: str | None, **about: Any) -> Image | ProviderError | None:
    """Return the first image that one of an entry's members holds or names."""
    failure: ProviderError | None = None
    for name in (*_ENCODED, "url"):
        value = text(entry, name)
        if not value:
            continue
        image = (
            _named(value, deadline, base_url, about)
            if name == "url" or _is_url(value)
            else decode_image(value, **about)
        )
        if isinstance(image, Image):
            return image
        failure = failure or image
    return failure


def _named(url: str, deadline: float, base_url: str | None, about: dict[str, Any]) -> Image | ProviderError:
    try:
        return read_image(download_paid(url, deadline, base_url=base_url), **about)
    except DownloadFailed as failure:
        return ProviderError("no_image", str(failure), billable="unknown")


def _is_url(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://"))
