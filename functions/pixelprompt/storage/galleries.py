"""Galleries as callers see them: pages of them, newest first, and the images of one.

A page costs two S3 requests however many galleries there are: one lists the index from the cursor on, one counts. The
index has an entry for each image (see ``pixelprompt.storage.keys``), written together with it, so a gallery is listed
as soon as it has an image, whatever becomes of its job.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Any, Required, TypedDict, cast

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Meta, Struct

from pixelprompt.errors import InvalidParameter
from pixelprompt.identity import Identity
from pixelprompt.storage.documents import iso, storage_error
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import (
    IMAGES,
    JOBS,
    GalleryReference,
    ImageUrl,
    Moment,
    StoredImage,
    file_name,
    gallery,
    index_of,
    job_of_folder,
    model_of,
    of_index_folder,
)

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_CURSOR = 200
# What one request of S3 lists at most.
LISTING = 1000

_MAX_ID = 100
_CURSOR = re.compile(r"[0-9]{13}-[A-Za-z0-9.-]+")
# Of a job that shares the beginning of its id with others, so many are looked at.
_NAMESAKES = 3
_SHOWN = ("width", "height", "seed")


GalleryId = Annotated[str, Meta(description="ID of the gallery.", examples=["2026-11-28-09-30-00-3f2b8c1e"])]


class Page(Struct, frozen=True):
    """Page of galleries to list: at most ``limit``, those after ``cursor``."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Page":
        """Read the parameters of a query string.

        Raises
        ------
        InvalidParameter
        """
        text = query.get("limit", str(DEFAULT_LIMIT))
        if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
            raise InvalidParameter(f"`limit` must be a whole number from 1 to {MAX_LIMIT}.", parameter="limit")
        cursor = query.get("cursor")
        if cursor is not None and (len(cursor) > MAX_CURSOR or not _CURSOR.fullmatch(cursor)):
            raise InvalidParameter("`cursor` must be the `nextCursor` of an earlier page.", parameter="cursor")
        return cls(int(text), cursor)


class GallerySummary(TypedDict):
    """A gallery of a page."""

    galleryId: GalleryId
    createdAt: Moment
    coverUrl: ImageUrl
    images: Annotated[int, Meta(ge=1, description="Number of images.", examples=[9])]


class GalleryPage(TypedDict):
    """A page of galleries, newest first."""

    galleries: Annotated[list[GallerySummary], Meta(description="The galleries of the page.")]
    total: Annotated[int, Meta(ge=0, description=f"Number of all galleries, counted to {LISTING}.", examples=[57])]
    totalIsExact: Annotated[bool, Meta(description="False: there are more than `total`.", examples=[True])]
    nextCursor: Annotated[
        str | None,
        Meta(
            description="`cursor` of the next page; null at the end.",
            examples=["8236403899999-2026-11-28-09-30-00-3f2b8c1e"],
        ),
    ]


class GalleryImage(TypedDict, total=False):
    """An image of a gallery."""

    model: Required[Annotated[str, Meta(description="Name of the model.", examples=["GPT Image 2"])]]
    imageUrl: Required[ImageUrl]
    imageKey: Required[Annotated[str, Meta(description="Key of its record.", examples=["group-images/…"])]]
    width: Annotated[int, Meta(ge=0, description="Pixels.", examples=[1024])]
    height: Annotated[int, Meta(ge=0, description="Pixels.", examples=[1024])]
    seed: Annotated[int, Meta(description="The seed that the provider used, where it says so.", examples=[42])]


class Gallery(TypedDict):
    """The images of a gallery."""

    galleryId: GalleryId
    images: Annotated[list[GalleryImage], Meta(description="The images, in the order of their keys.")]
    references: Annotated[
        list[GalleryReference],
        Meta(
            description="The reference images of the job, in the order of its request; empty without any, and where "
            "the job document is gone."
        ),
    ]
    total: Annotated[int, Meta(ge=0, description="Number of images.", examples=[9])]


class Galleries:
    """Reads galleries.

    Parameters
    ----------
    read_job : gives the document of a job, or None
    """

    def __init__(
        self, s3_client: Any, bucket: str, images: ImageStorage, read_job: Callable[[str], Mapping[str, Any] | None]
    ) -> None:
        self.s3 = s3_client
        self.bucket = bucket
        self._images = images
        self._read_job = read_job

    def page(self, page: Page, owner: str = "") -> GalleryPage:
        """The JSON of ``GET /gallery/list``, of the galleries of one owner or of all.

        A page ends early where its galleries have more than a thousand images together. ``total`` counts to a thousand;
        ``totalIsExact`` says whether that was all.

        Raises
        ------
        StorageError : S3 failed
        """
        # "0" is the character after "/": everything in the cursor's own folder lies before it.
        index = index_of(owner)
        start = {"StartAfter": f"{index}{page.cursor}0"} if page.cursor else {}
        listing = self._list(index, **start)
        entries = (entry["Key"].removeprefix(index).partition("/") for entry in listing.get("Contents", []))
        folders = [
            (folder, [name for _, _, name in found])
            for folder, found in groupby(entries, lambda entry: entry[0])
            if _CURSOR.fullmatch(folder)
        ]
        is_last = not listing.get("IsTruncated")
        if not is_last and len(folders) > 1:
            # Its other images may lie behind the end of the listing.
            folders.pop()
        shown = folders[: page.limit]
        counted = self._list(index, Delimiter="/")
        return {
            "galleries": [self._summary(folder, names) for folder, names in shown],
            "total": len(counted.get("CommonPrefixes", [])),
            "totalIsExact": not counted.get("IsTruncated"),
            "nextCursor": shown[-1][0] if shown and not (is_last and len(shown) == len(folders)) else None,
        }

    def _summary(self, folder: str, names: list[str]) -> GallerySummary:
        created, gallery_id = of_index_folder(folder)
        created_at = datetime.fromtimestamp(created / 1000, UTC)
        return {
            "galleryId": gallery_id,
            "createdAt": iso(created_at),
            "coverUrl": self._images.image_url(f"{IMAGES}{gallery_id}/{names[0]}"),
            "images": len(names),
        }

    def gallery(self, gallery_id: str, caller: Identity | None = None) -> Gallery:
        """The JSON of ``GET /gallery/{galleryId}``; a gallery that does not exist has no images.

        Nor has, with a ``caller``, one whose job is not there for that one.

        Raises
        ------
        StorageError : S3 failed
        """
        is_name = len(gallery_id) <= _MAX_ID and file_name(gallery_id) == gallery_id
        stored = self._images.find(f"{gallery_id}/") if is_name and gallery_id else []
        document = self._document(gallery_id) if stored else {}
        # Without its job, nobody knows any more whose a gallery is.
        if caller and not (caller.is_admin or (document and caller.may_see(document.get("owner", "")))):
            document, stored = {}, []
        about = _described(document.get("results", []))
        images = [self._image(image, about.get(image["binaryKey"], {})) for image in stored]
        references = [self._reference(reference) for reference in document.get("references", [])]
        return {"galleryId": gallery_id, "images": images, "references": references, "total": len(images)}

    def _image(self, image: StoredImage, about: Mapping[str, Any]) -> GalleryImage:
        shown = {
            "model": model_of(image["imageKey"]),
            **about,
            "imageUrl": self._images.image_url(image["binaryKey"]),
            "imageKey": image["imageKey"],
        }
        return cast(GalleryImage, shown)

    def _reference(self, reference: Mapping[str, Any]) -> GalleryReference:
        shown = {name: reference[name] for name in GalleryReference.__annotations__ if name in reference}
        if "binaryKey" in reference:
            shown["imageUrl"] = self._images.image_url(reference["binaryKey"])
        return cast(GalleryReference, shown)

    def _document(self, gallery_id: str) -> Mapping[str, Any]:
        """The document of the gallery's job; empty where there is none."""
        beginning = gallery_id.rpartition("-")[2]
        if not re.fullmatch("[0-9a-f]{8}", beginning):
            return {}
        listing = self._list(f"{JOBS}{beginning}-", Delimiter="/", MaxKeys=_NAMESAKES)
        for entry in listing.get("CommonPrefixes", []):
            document = self._read_job(job_of_folder(entry["Prefix"]))
            if document and gallery(document["jobId"], document["createdAt"]) == gallery_id:
                return document
        return {}

    def _list(self, prefix: str, **options: Any) -> dict[str, Any]:
        try:
            listing: dict[str, Any] = self.s3.list_objects_v2(
                Bucket=self.bucket, Prefix=prefix, **{"MaxKeys": LISTING, **options}
            )
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, prefix) from error
        return listing


def _described(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By image, what the job document says of it: the model by its full name, width, height, seed."""
    return {
        image["binaryKey"]: {"model": row["model"], **{name: image[name] for name in _SHOWN if name in image}}
        for row in rows
        for image in row.get("images", [])
    }
