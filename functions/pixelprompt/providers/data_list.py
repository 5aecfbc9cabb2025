"""The ``data`` list of the OpenAI Images API, and of the many that answer like it."""

from collections.abc import Callable, Sequence
from typing import Any

from pixelprompt.providers.base import Image, ProviderError, decode_image, read_image
from pixelprompt.providers.download import DownloadFailed

Fetch = Callable[[str], bytes]


def read_images(
    items: Any, *, fetch: Fetch | None = None, seeds: Sequence[int | None] = ()
) -> tuple[Image, ...] | ProviderError:
    """The images of a ``data`` list: those that can be read, or why there is none.

    Parameters
    ----------
    fetch : gets the bytes behind an address; without it, addresses are not followed
    seeds : by the place in the list
    """
    images: list[Image] = []
    failure: ProviderError | None = None
    for place, item in enumerate(items if isinstance(items, list) else []):
        if not isinstance(item, dict):
            continue
        words = item.get("revised_prompt")
        about = {
            "seed": seeds[place] if place < len(seeds) else None,
            "revised_prompt": words if isinstance(words, str) and words else None,
        }
        image = _image(item, fetch, about)
        if isinstance(image, Image):
            images.append(image)
        elif image is not None:
            failure = failure or image
    if images:
        return tuple(images)
    return failure or ProviderError("no_image", billable="unknown")


def _image(item: dict[str, Any], fetch: Fetch | None, about: dict[str, Any]) -> Image | ProviderError | None:
    encoded = item.get("b64_json") or item.get("base64")
    url = item.get("url")
    if isinstance(encoded, str) and encoded:
        return decode_image(encoded, **about)
    if fetch is None or not isinstance(url, str) or not url:
        return None
    try:
        return read_image(fetch(url), **about)
    except DownloadFailed as failure:
        return ProviderError("no_image", str(failure), billable="unknown")
