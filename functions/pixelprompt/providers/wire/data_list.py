"""The list of images that the OpenAI Images API returns, and many others in much the same way."""

import re
from collections.abc import Sequence
from typing import Any

import httpx2

from pixelprompt.models.model import Image, ProviderError
from pixelprompt.providers.wire.download import DownloadFailed, download_paid
from pixelprompt.providers.wire.image_bytes import decode_image, read_image
from pixelprompt.providers.wire.members import text
from pixelprompt.providers.wire.transport import parse_json

# ``data`` is OpenAI's name of the list; other servers have their own, or lists inside objects.
_LISTS = ("data", "images", "image_urls", "output", "results", "result")
_ENCODED = ("b64_json", "base64", "image", "b64")
_URLS = ("url", "image_url")
_DEEPEST = 3
# Entries that are looked at: a list may hold broken ones before the images.
_MAX_ENTRIES = 20
# A bare string in a list is an image if it is longer than a status would be.
_SHORTEST = 60
# A file name, which base64 never looks like.
_FILE = re.compile(r"[./]{0,3}[\w./~%-]+\.(png|jpe?g|webp|gif)(\?\S*)?", re.IGNORECASE)


def as_document(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object of a response, or its JSON list as an object with ``data``; None where it is neither."""
    try:
        document = parse_json(response.content)
    except ValueError:
        return None
    if isinstance(document, list):
        return {_LISTS[0]: document}
    return document if isinstance(document, dict) else None


def listed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a response's list of images, each an object with ``b64_json``, ``url``, or the like."""
    found = [entries for name in _LISTS if (entries := _entries(document.get(name), 0))]
    with_image = [entries for entries in found if any(map(_has_image, entries))]
    own = [document] if _has_image(document) else []
    return next(iter(with_image), own or next(iter(found), []))


def _entries(value: Any, depth: int) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{_ENCODED[0]: value}] if len(value) >= _SHORTEST or _is_url(value) else []
    if isinstance(value, list):
        return [entry for item in value for entry in _entries(item, depth + 1)] if depth < _DEEPEST else []
    if not isinstance(value, dict):
        return []
    inner = [entry for name in _LISTS for entry in _entries(value.get(name), depth + 1)] if depth < _DEEPEST else []
    return inner if not _has_image(value) and any(map(_has_image, inner)) else [value]


def _has_image(entry: dict[str, Any]) -> bool:
    return any(text(entry, name) for name in (*_ENCODED, *_URLS))


def read_images(
    entries: Sequence[dict[str, Any]],
    deadline: float,
    *,
    wanted: int,
    base_url: str | None,
    seeds: Sequence[int | None] = (),
) -> tuple[Image, ...]:
    """Return the images of a list's entries: those that can be read; none where no entry holds one.

    Parameters
    ----------
    deadline : epoch seconds by which an image that is named by URL is fetched
    wanted : how many images were asked for; of further ones only the first is read, to tell that there are some
    base_url : the server's URL, which may serve its images itself
    seeds : by the place in the list

    Raises
    ------
    ProviderError : entries hold images, and none can be read
    """
    images: list[Image] = []
    failure: ProviderError | None = None
    for place, entry in enumerate(entries[:_MAX_ENTRIES]):
        if len(images) > wanted:
            break
        seed = seeds[place] if place < len(seeds) else None
        try:
            image = _image(entry, deadline, base_url, seed=seed, revised_prompt=text(entry, "revised_prompt") or None)
        except ProviderError as error:
            failure = failure or error
        else:
            images += [image] if image else []
    if failure and not images:
        raise failure
    return tuple(images)


def _image(entry: dict[str, Any], deadline: float, base_url: str | None, **about: Any) -> Image | None:
    """Return the first image that one of an entry's members holds or names; None where none does."""
    failure: ProviderError | None = None
    for name in (*_ENCODED, *_URLS):
        value = text(entry, name).strip()
        if not value:
            continue
        is_url = name in _URLS or _is_url(value)
        try:
            return _named(value, deadline, base_url, about) if is_url else decode_image(value, **about)
        except ProviderError as error:
            failure = failure or error
    if failure:
        raise failure
    return None


def _named(url: str, deadline: float, base_url: str | None, about: dict[str, Any]) -> Image:
    try:
        return read_image(download_paid(url, deadline, base_url=base_url), **about)
    except DownloadFailed as failure:
        raise ProviderError("no_image", str(failure), billable="unknown") from failure


def _is_url(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://")) or (
        len(value) < 2000 and _FILE.fullmatch(value) is not None
    )
