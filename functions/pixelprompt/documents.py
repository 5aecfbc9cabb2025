"""JSON documents in S3 that many writers change at once without losing a change.

Every write is conditional: a document is created with ``If-None-Match: *`` and replaced with ``If-Match`` and the ETag
of the very read that the new value was computed from. S3 answers 412 when somebody else was quicker and 409 when two
conditional writes met; both mean read again and recompute (S3 User Guide, "Conditional writes").
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.errors import ConflictError, PermissionMissing, StorageError

Value = dict[str, Any]

_LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING = {"NoSuchKey", "NotFound", "404"}
_REFUSED = {"AccessDenied", "Forbidden", "403"}


@dataclass(frozen=True)
class Document:
    """A document as it was read.

    Attributes
    ----------
    value : the parsed JSON object
    etag : S3's ETag of these bytes, with its quotation marks
    """

    value: Value
    etag: str


class DocumentStore:
    """Reads and conditionally writes JSON documents of one bucket.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    attempts : how often an update may lose the race before it gives up
    patience : seconds for which an update goes on while S3 is failing
    """

    def __init__(self, s3_client: Any, bucket: str, *, attempts: int = 40, patience: float = 20.0) -> None:
        self.s3 = s3_client
        self.bucket = bucket
        self.attempts = attempts
        self.patience = patience

    def read(self, key: str) -> Document | None:
        """The document, or None where there is none.

        Raises
        ------
        PermissionMissing : S3 answered 403
        StorageError : S3 cannot be reached, or the object is no JSON object
        """
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=key)
            body = answer["Body"].read()
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise storage_error(error, key) from error
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise StorageError(f"The object {key} in the bucket is no JSON object; remove it or mend it.")
        return Document(value, answer["ETag"])

    def create(self, key: str, value: Value) -> bool:
        """Write a document that must not exist yet. False: it exists."""
        return self._put(key, value, IfNoneMatch="*")

    def replace(self, key: str, value: Value, etag: str) -> bool:
        """Write over the version that has this ETag. False: the document has changed since."""
        return self._put(key, value, IfMatch=etag)

    def update(
        self,
        key: str,
        change: Callable[[Value | None], Value | None],
        *,
        contenders: Callable[[Value], int] = lambda value: 1,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Value | None:
        """Change a document, again and again until the change is written.

        Parameters
        ----------
        change : takes the present value (None: no document), returns the new one, or None when there is nothing to
            change. It is called once an attempt and must be a no-op on a value that already holds the change: after a
            lost answer, S3 may hold our own write.
        contenders : how many writers may be busy with this value; the wait after a lost race widens with it
        give_up : asked before each attempt after the first

        Returns
        -------
        the value that is stored now, or None where there is no document

        Raises
        ------
        ConflictError : every attempt lost its race, or ``give_up`` said so
        StorageError : S3 kept failing
        """
        started = time.monotonic()
        failures = 0
        for attempt in range(self.attempts):
            if attempt and give_up():
                break
            round_started = time.monotonic()
            try:
                document = self.read(key)
                current = document.value if document else None
                new = change(current)
                if new is None:
                    return current
                if self.replace(key, new, document.etag) if document else self.create(key, new):
                    return new
                cycle = time.monotonic() - round_started
                time.sleep(random.uniform(0, cycle * max(1, contenders(new))))
            except PermissionMissing:
                raise
            except StorageError:
                failures += 1
                pause = random.uniform(0, min(5.0, 0.1 * 2**failures))
                if time.monotonic() - started + pause > self.patience:
                    raise
                time.sleep(pause)
        raise ConflictError(f"{key} was changed by others at every attempt.")

    def _put(self, key: str, value: Value, **condition: str) -> bool:
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition)
        except ClientError as error:
            # A replaced document that has been removed meanwhile answers 404: read again, too.
            if _code(error) in _LOST_RACE | _MISSING:
                return False
            raise storage_error(error, key) from error
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        return True


def storage_error(error: ClientError | BotoCoreError, key: str) -> StorageError:
    """What a failed S3 request for ``key`` means to the service."""
    if isinstance(error, ClientError):
        if _code(error) in _REFUSED:
            return PermissionMissing(
                f"S3 refused {error.operation_name} on {key}. The role lacks that action on the key's prefix, or "
                "s3:ListBucket on the bucket for it (without it a missing key answers 403)."
            )
        return StorageError(f"S3 answered {_code(error)} to {error.operation_name} on {key}.")
    return StorageError(f"S3 cannot be reached for {key} ({type(error).__name__}).")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
