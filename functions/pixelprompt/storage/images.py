"""Images in S3: the record, the image itself, and the galleries they form.

An image is stored at two keys: its record ``group-images/{target}/{model}-{timestamp}.json``, with the image in base64,
and the image ``images/{target}/{model}-{timestamp}.{png|jpg|webp}``. Both follow from the job, so saving twice is
harmless. An empty object ``gallery-index/{9999999999999 - timestamp}-{target}/{model}-{timestamp}.{png|jpg|webp}``
lists it: S3 lists in ascending order only, and so the newest gallery comes first. Where the job has an owner, another
one below ``owned-galleries/{owner}/`` lists it among that owner's.
"""

import base64
import binascii
import io
import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.errors import PermissionDenied, StorageError
from pixelprompt.observability import log_failure
from pixelprompt.storage.documents import DocumentStore, storage_error
from pixelprompt.storage.image_format import EXTENSIONS, image_format
from pixelprompt.storage.keys import (
    IMAGES,
    RECORDS,
    StoredImage,
    file_name,
    image_key,
    index_key,
    record_key,
    stem,
    stem_of,
)

URL_SECONDS = 3600
# Bytes that are encoded at once; a multiple of three, so that only the last piece is padded.
_PIECE = 3 * 2**15
_TYPES = {extension: mime_type for mime_type, extension in EXTENSIONS.items()}


class ImageStorage:
    """Image records and images of one bucket.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    cloudfront_domain : domain that serves ``images/``; without it URLs are presigned for an hour
    patience : seconds for which a write goes on while S3 is failing
    """

    def __init__(self, s3_client: Any, bucket: str, cloudfront_domain: str = "", *, patience: float = 20.0) -> None:
        self.s3 = s3_client
        self.bucket = bucket
        self.cloudfront_domain = cloudfront_domain
        self.patience = patience
        self._documents = DocumentStore(s3_client, bucket)
        # A client asks for the same job again and again, and signing 160 URLs takes longer than all the rest.
        self._presigned = lru_cache(1000)(self._presign)

    def save_image(self, base64_image: str, metadata: Mapping[str, Any]) -> str:
        """Store an image; returns the key of its record.

        Parameters
        ----------
        base64_image : the image
        metadata : fields of the record: ``model``, ``prompt``, ``steps``, ``guidance``, ``target``, ``timestamp``
            (epoch milliseconds), …; target and timestamp default to the present

        Raises
        ------
        ValueError : the data isn't base64, or isn't an image of a known type and of a size that is stored
        StorageError : S3 kept failing
        """
        return self.save(base64.b64decode(base64_image, validate=True), metadata)["imageKey"]

    def save(
        self,
        data: bytes,
        metadata: Mapping[str, Any],
        number: int = 0,
        *,
        owner: str = "",
        patience: float | None = None,
    ) -> StoredImage:
        """Store an image's bytes; returns ``imageKey`` (record) and ``binaryKey`` (image).

        An ``owner`` has a list of its own beside that of all images. ``patience`` shortens that of the storage for this
        image.
        """
        give_up = time.monotonic() + min(self.patience, self.patience if patience is None else max(1.0, patience))
        found = image_format(data)
        if found is None:
            raise ValueError("These bytes are not an image of a known type.")
        if found.problem:
            raise ValueError(f"This is an image {found.problem}.")
        target = metadata.get("target") or f"{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}"
        timestamp = metadata.get("timestamp") or round(time.time() * 1000)
        name = stem(target, str(metadata.get("model", "image")), timestamp, number)
        stored: StoredImage = {
            "imageKey": record_key(name),
            "binaryKey": image_key(name, EXTENSIONS[found.mime_type]),
        }
        record = {
            "NSFW": False,
            **metadata,
            "target": target,
            "timestamp": timestamp,
            "mimeType": found.mime_type,
            "width": found.width,
            "height": found.height,
        }
        body = _record_body(data, record)
        entries = [index_key(timestamp, stored["binaryKey"], whose) for whose in dict.fromkeys(("", owner))]
        with ThreadPoolExecutor(2 + len(entries)) as pool:
            writes = [
                pool.submit(self._put, stored["imageKey"], body, "application/json", give_up),
                pool.submit(
                    self._put,
                    stored["binaryKey"],
                    data,
                    found.mime_type,
                    give_up,
                    ContentDisposition=_disposition(stored["binaryKey"]),
                ),
            ]
            listings = [pool.submit(self._put, entry, b"", "text/plain", give_up) for entry in entries]
        for write in writes:
            write.result()
        for listing in listings:
            try:
                listing.result()
            except StorageError as error:
                log_failure("The image is stored, but an index of galleries does not list it.", error)
        return stored

    def get_image(self, image_key: str) -> dict[str, Any] | None:
        """The record of an image, or None if it does not exist."""
        document = self._documents.read(image_key)
        return document.value if document else None

    def find(self, name: str) -> list[StoredImage]:
        """The images stored for this stem or any that begins with it, both objects present, in the order of their keys.

        A job's gallery name with a closing slash finds all of a job.
        """
        records = {stem_of(key): key for key in self._keys(f"{RECORDS}{name}")}
        binaries = {stem_of(key): key for key in self._keys(f"{IMAGES}{name}")}
        return [{"imageKey": records[s], "binaryKey": binaries[s]} for s in sorted(records) if s in binaries]

    def list_galleries(self) -> list[str]:
        """The names of all galleries, oldest first."""
        found = []
        for page in self._pages(RECORDS, Delimiter="/"):
            found += [entry["Prefix"].removeprefix(RECORDS).rstrip("/") for entry in page.get("CommonPrefixes", [])]
        return found

    def list_gallery_images(self, gallery_folder: str) -> list[str]:
        """The keys of the records in a gallery; an unknown gallery has none."""
        return list(self._keys(f"{RECORDS}{file_name(gallery_folder)}/"))

    def image_url(self, binary_key: str) -> str:
        """A URL from which anyone can load the image now."""
        if self.cloudfront_domain:
            return f"https://{self.cloudfront_domain}/{quote(binary_key)}"
        return self._presigned(binary_key, int(time.time() // (URL_SECONDS / 2)))

    def _presign(self, binary_key: str, half_life: int) -> str:
        """A URL that works for an hour; callers get it for half of that time, all within one ``half_life``.

        Type and name are part of what is signed: whatever stands at the key, a browser treats it as an image, or as
        something to save, and never as a document.
        """
        parameters = {
            "Bucket": self.bucket,
            "Key": binary_key,
            "ResponseContentType": _TYPES.get(binary_key.rpartition(".")[2], "application/octet-stream"),
            "ResponseContentDisposition": _disposition(binary_key),
        }
        url: str = self.s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_SECONDS)
        return url

    def _put(self, key: str, body: bytes, content_type: str, give_up: float, **headers: str) -> None:
        """Write an object, again and again while S3 is failing: the image may have been paid for."""
        for attempt in itertools.count():
            try:
                self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **headers)
                return
            except (ClientError, BotoCoreError) as error:
                failure = storage_error(error, key)
                pause = random.uniform(0, min(5.0, 0.2 * 2**attempt))
                if isinstance(failure, PermissionDenied) or time.monotonic() + pause > give_up:
                    raise failure from error
            time.sleep(pause)

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        try:
            paginator = self.s3.get_paginator("list_objects_v2")
            yield from paginator.paginate(Bucket=self.bucket, Prefix=prefix, **options)
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, prefix) from error


def _record_body(data: bytes, record: Mapping[str, Any]) -> bytes:
    """The JSON of a record with the image as ``output``, made piece by piece: a large one is in memory only once."""
    begin, end = b'{"output":"', b'",' + json.dumps(record, separators=(",", ":"), allow_nan=False).encode()[1:]
    # While a growing buffer is copied, it is in memory twice.
    body = io.BytesIO(bytes(len(begin) + (len(data) + 2) // 3 * 4 + len(end)))
    body.write(begin)
    view = memoryview(data)
    for start in range(0, len(data), _PIECE):
        body.write(binascii.b2a_base64(view[start : start + _PIECE], newline=False))
    body.write(end)
    # Shares its bytes instead of copying them.
    return body.getvalue()


def _disposition(binary_key: str) -> str:
    """Return the ``Content-Disposition`` of an image: shown where it is opened, and saved under the name in its key.

    It is ``inline``: people open images in a tab, and what an image may be besides has no say there, because the type
    is fixed.
    """
    return f'inline; filename="{file_name(binary_key.rpartition("/")[2])}"'
