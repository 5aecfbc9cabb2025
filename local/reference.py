"""The reference image of a demo: read from the path in IMAGE, and uploaded as a caller uploads one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from PIL import ImageOps
from urllib3.filepost import encode_multipart_formdata

from local import terminal
from local.cloud import Cloud, CloudError
from local.options import OptionError
from local.report import contact_sheet, images
from pixelprompt.storage.image_format import image_format
from pixelprompt.storage.uploads import MAX_BYTES

# What POST /uploads accepts.
TYPES = ("image/png", "image/jpeg", "image/webp")


class ReferenceImage(Struct, frozen=True):
    """An image that a prompt is about; ``mime_type`` is read from its bytes."""

    path: Path
    data: bytes
    mime_type: str


def reference_of(environment: Mapping[str, str]) -> ReferenceImage | None:
    """The image at the path in IMAGE; None where it is not set.

    Raises
    ------
    OptionError : it cannot be read, or is none that the API accepts
    """
    given = environment.get("IMAGE", "")
    if not given:
        return None
    path = Path(given).expanduser()
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise OptionError(f"Cannot read the image {given}: {error.strerror}. Name a file: IMAGE=photo.jpg.") from None
    if size > MAX_BYTES:
        raise OptionError(f"The image {given} has {size} bytes; the API accepts at most {MAX_BYTES}.")
    found = image_format(data)
    if found is None or found.mime_type not in TYPES:
        raise OptionError(f"The image {given} isn't a PNG, JPEG, or WebP image; convert it to one of them.")
    return ReferenceImage(path, data, found.mime_type)


def left_out(cloud: Cloud) -> str:
    """Those of the default models that a job with a reference image does not ask: they don't support one."""
    models = cloud.request("GET", "/models").json()["models"]
    asked = (model for model in models if model["default"] and model["configured"])
    return ", ".join(model["name"] for model in asked if "images" not in model["parameters"])


def upload(cloud: Cloud, image: ReferenceImage) -> dict[str, str]:
    """Upload an image; what a request names it by.

    Raises
    ------
    CloudError : the API or the bucket refused it
    """
    response = cloud.request("POST", "/uploads", {"contentType": image.mime_type})
    if response.status != 200:
        raise CloudError(f"The API rejected the upload ({response.status}): {terminal.safe(response.message)[:300]}")
    form = response.json()
    body, content_type = encode_multipart_formdata(
        [*form["fields"].items(), ("file", (image.path.name, image.data, image.mime_type))]
    )
    stored = cloud.request("POST", form["url"], body, {"Content-Type": content_type})
    if stored.status >= 300:
        raise CloudError(f"The bucket rejected the upload ({stored.status}); see `make logs`.")
    return {"uploadId": form["uploadId"]}


def tile(image: ReferenceImage) -> contact_sheet.Tile:
    """The image on a contact sheet, upright."""
    try:
        thumbnail = contact_sheet.reduce(ImageOps.exif_transpose(images.load(image.data)))
    except images.ImageError as error:
        return contact_sheet.Tile("Reference image", image.path.name, None, None, str(error))
    return contact_sheet.Tile("Reference image", image.path.name, None, thumbnail)
