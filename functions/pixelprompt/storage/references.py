"""Reference images of jobs in S3: as the caller gave them, and as they are prepared for the providers."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.aws_errors import error_code
from pixelprompt.errors import PixelPromptError, StorageError
from pixelprompt.storage.documents import MISSING, DocumentStore, storage_error
from pixelprompt.storage.keys import JOBS, given_references_key, job_of_folder, reference_key

# The member of a reference that an admin gave.
BY_ADMIN = "byAdmin"
# Of a job that shares the beginning of its ID with others, so many are looked at.
_NAMESAKES = 3


class ReferenceStorage:
    """Reference images of one bucket.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    """

    def __init__(self, s3_client: Any, bucket: str) -> None:
        self._s3 = s3_client
        self._bucket = bucket
        self._documents = DocumentStore(s3_client, bucket)

    def save_given(self, job_id: str, references: Sequence[Mapping[str, Any]], *, by_admin: bool = False) -> None:
        """Keep a job's references as given; each has an ``imageKey``, an ``uploadId``, a ``url``, or ``data``.

        Those of an admin have ``BY_ADMIN``: they may be images of other owners.

        Raises
        ------
        StorageError
        """
        added = {BY_ADMIN: True} if by_admin else {}
        given = [{**reference, **added} for reference in references]
        self._documents.write(given_references_key(job_id), {"references": given})

    def given(self, job_id: str) -> list[dict[str, Any]]:
        """The references as the caller gave them; none where they have expired.

        Raises
        ------
        StorageError
        """
        found = self._documents.read(given_references_key(job_id))
        return [*found.value["references"]] if found else []

    def save(self, job_id: str, number: int, data: bytes, mime_type: str) -> None:
        """Store a prepared reference.

        Raises
        ------
        StorageError
        """
        key = reference_key(job_id, number)
        try:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=mime_type)
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, key) from error

    def has(self, job_id: str, number: int, size: int) -> bool:
        """Whether a prepared reference of so many bytes is there.

        Raises
        ------
        StorageError
        """
        key = reference_key(job_id, number)
        try:
            found: int = self._s3.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if error_code(error) in MISSING:
                return False
            raise storage_error(error, key) from error
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        return found == size

    def jobs_beginning_with(self, beginning: str) -> list[str]:
        """IDs of the jobs that begin with these eight characters, as the name of a gallery has them.

        Raises
        ------
        StorageError
        """
        prefix = f"{JOBS}{beginning}-"
        try:
            listing = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, Delimiter="/", MaxKeys=_NAMESAKES)
        except (ClientError, BotoCoreError) as error:
            raise storage_error(error, prefix) from error
        return [job_of_folder(entry["Prefix"]) for entry in listing.get("CommonPrefixes", [])]

    def load(self, job_id: str, count: int) -> list[bytes]:
        """The first ``count`` prepared references of a job.

        Raises
        ------
        StorageError : one cannot be read, or is gone
        """
        keys = [reference_key(job_id, number) for number in range(count)]
        with ThreadPoolExecutor(max(1, count)) as pool:
            return [*pool.map(self._require, keys)]

    def read(self, key: str, limit: float = math.inf) -> bytes | None:
        """The bytes of an object, or None if it does not exist.

        Raises
        ------
        ObjectTooLarge : it has more than ``limit`` bytes
        StorageError
        """
        try:
            response = self._s3.get_object(Bucket=self._bucket, Key=key)
            if response["ContentLength"] > limit:
                raise ObjectTooLarge
            data: bytes = response["Body"].read()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise storage_error(error, key) from error
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        return data

    def _require(self, key: str) -> bytes:
        data = self.read(key)
        if data is None:
            raise StorageError(f"There is no object {key}.")
        return data


class ObjectTooLarge(PixelPromptError):
    """An object has more bytes than are read."""
