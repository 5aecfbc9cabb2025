"""The reference images of a request: which image each one is, and what is wrong with it before it is fetched."""

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from pixelprompt.errors import InvalidParameter, PayloadTooLarge
from pixelprompt.jobs.schema import Reference
from pixelprompt.models.provider import url_host
from pixelprompt.storage.keys import gallery_of, is_record_key

MAX_REFERENCES = 8
# Bytes of all data URLs of a request together, decoded.
DATA_LIMIT = 3 * 1024**2
URL_LIMIT = 2048
_UPLOAD_ID = "[0-9a-f]{32}"
_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
_DATA_URL = r"data:image/(?:png|jpeg|webp);base64,(?P<data>.*)"


class ReferenceImage(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One reference image: an earlier image, an upload, a URL, or the image itself; exactly one of these."""

    image_key: Annotated[
        str | None,
        Meta(
            description="`imageKey` of an earlier image of this deployment.",
            examples=["group-images/…"],
            extra_json_schema={"pattern": "^group-images/"},
        ),
    ] = None
    upload_id: Annotated[
        str | None,
        Meta(
            description="`uploadId` of `POST /uploads`.",
            examples=["9f86d081884c7d659a2feaa0c55ad015"],
            extra_json_schema={"pattern": f"^{_UPLOAD_ID}$"},
        ),
    ] = None
    url: Annotated[
        str | None,
        Meta(
            description="https URL of an image on the public Internet.",
            examples=["https://example.com/fox.png"],
            extra_json_schema={"format": "uri", "pattern": "^https://", "maxLength": URL_LIMIT},
        ),
    ] = None
    data: Annotated[
        str | None,
        Meta(
            description="Data URL with a PNG, JPEG, or WebP image in base64; all of them together have at most 3 MiB.",
            examples=["data:image/png;base64,iVBORw0KGgo…"],
            extra_json_schema={"pattern": "^data:image/(png|jpeg|webp);base64,"},
        ),
    ] = None

    def given(self) -> dict[str, str]:
        """The members that the request has, by their names in JSON."""
        members = {"imageKey": self.image_key, "uploadId": self.upload_id, "url": self.url, "data": self.data}
        return {name: value for name, value in members.items() if value is not None}


def read_references(images: Sequence[ReferenceImage]) -> tuple[dict[str, str], ...]:
    """The references of a request, each as its one member; nothing is fetched.

    Raises
    ------
    InvalidParameter : one isn't well-formed, or leads into a private network by its address
    PayloadTooLarge : the data URLs hold more than ``DATA_LIMIT`` bytes
    """
    references = tuple(image.given() for image in images)
    total = 0
    for place, reference in enumerate(references):
        if len(reference) != 1:
            raise _invalid(place, "must have exactly one of imageKey, uploadId, url, and data")
        (member, value), *_ = reference.items()
        problem = _PROBLEMS[member](value)
        if problem:
            raise _invalid(place, problem, member)
        if member == "data":
            total += _decoded_size(value)
    if total > DATA_LIMIT:
        raise PayloadTooLarge(
            f"The data URLs in `images` hold {total} bytes; the limit is {DATA_LIMIT}. Upload larger images with "
            "POST /uploads.",
            limit=DATA_LIMIT,
        )
    return references


def described(references: Sequence[Mapping[str, str]]) -> list[Reference]:
    """The references as the job document shows them: of a URL its host; an upload's ID is its permission."""
    return [_described(index, reference) for index, reference in enumerate(references)]


def _described(index: int, reference: Mapping[str, str]) -> Reference:
    (source, value), *_ = reference.items()
    shown: dict[str, Any] = {"index": index, "source": source}
    if source == "url":
        shown["host"] = url_host(value)
    elif source == "imageKey":
        # Not the job that made it: whoever knows the key of an image must not learn the ID that opens the job.
        shown |= {"imageKey": value, "fromGallery": gallery_of(value)}
    return cast(Reference, shown)


def _invalid(place: int, problem: str, member: str = "") -> InvalidParameter:
    name = f"images[{place}].{member}" if member else f"images[{place}]"
    return InvalidParameter(f"`{name}` {problem}.", parameter="images")


def _image_key_problem(key: str) -> str | None:
    return None if is_record_key(key) else "must be the imageKey of an image, such as `results` of a job has it"


def _upload_id_problem(upload_id: str) -> str | None:
    return None if re.fullmatch(_UPLOAD_ID, upload_id) else "must be an uploadId of POST /uploads"


def _url_problem(url: str) -> str | None:
    if not url.startswith("https://"):
        return "must be an https URL"
    if len(url) > URL_LIMIT:
        return f"has {len(url)} characters; the limit is {URL_LIMIT}"
    host = url_host(url)
    if host is None:
        return "must be a URL without user, password, and characters that are not percent-encoded"
    # Only a request with a URL needs the tables of addresses.
    from pixelprompt.providers.wire.addresses import host_problem, names_private_host

    name = re.sub(r":[0-9]+$", "", host).strip("[]")
    problem = host_problem(name)
    if problem:
        return f"is not allowed: {problem}"
    return "is not allowed: it leads into a private network" if names_private_host(name) else None


def _data_problem(url: str) -> str | None:
    found = re.fullmatch(_DATA_URL, url, re.DOTALL)
    if not found:
        return "must be a data URL such as data:image/png;base64,…, of the type png, jpeg, or webp"
    try:
        data = binascii.a2b_base64(found["data"], strict_mode=True)
    except ValueError:
        return "is not valid base64"
    # Only a request with data needs it.
    from pixelprompt.storage.image_format import image_format

    found_format = image_format(data)
    if found_format is None or found_format.mime_type not in _TYPES:
        return "is not a whole PNG, JPEG, or WebP image"
    return None


def _decoded_size(url: str) -> int:
    encoded = len(url) - url.index(",") - 1
    return encoded // 4 * 3 - url[-2:].count("=")


_PROBLEMS = {
    "imageKey": _image_key_problem,
    "uploadId": _upload_id_problem,
    "url": _url_problem,
    "data": _data_problem,
}
