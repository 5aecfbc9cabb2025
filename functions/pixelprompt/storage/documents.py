"""JSON documents in S3 that many writers change at once without losing a change.

Every write is conditional: a document is created with ``If-None-Match: *`` and replaced with ``If-Match`` and the ETag
of the very read that the new value was computed from. S3 returns 412 if another writer was quicker and 409 if two
conditional writes met; both mean read again and recompute (S3 User Guide, "Conditional writes").
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from msgspec import Struct

from pixelprompt.aws_errors import error_code, http_status
from pixelprompt.deadline import Deadline
from pixelprompt.errors import ConflictError, PermissionDenied, StorageError
from pixelprompt.observability import record

Value = dict[str, Any]

_LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
MISSING = {"NoSuchKey", "NotFound", "404"}
_REFUSED = {"AccessDenied", "Forbidden", "403"}
_PASSING = {
    "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "503",
    # Of DynamoDB.
    "ProvisionedThroughputExceededException", "RequestLimitExceeded",
}  # fmt: skip

# Seconds.
_MAX_PAUSE = 10.0
_MAX_FAILURE_PAUSE = 5.0
# A longer one holds the SDK's own retries and says nothing about the next.
_MAX_ROUND_TRIP = 0.25
_LOOK_UP = 0.05


class Document(Struct, frozen=True):
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
    time_limit : seconds after which an update begins no further attempt
    deadline : pauses end with it
    """

    def __init__(
        self,
        s3_client: Any,
        bucket: str,
        *,
        attempts: int = 40,
        patience: float = 20.0,
        time_limit: float = math.inf,
        deadline: Deadline | None = None,
    ) -> None:
        self.s3 = s3_client
        self.bucket = bucket
        self.attempts = attempts
        self.patience = patience
        self.time_limit = time_limit
        self._deadline = deadline or Deadline()
        # The last document that was written here: its key, its bytes and their ETag.
        self._written: tuple[str, bytes, str] | None = None
        # Half of what a read and its write took lately. The shortest tells of S3, longer ones of a queue as well, and
        # pauses in proportion to a queue would outlast it.
        self._round_trips: deque[float] = deque(maxlen=5)

    def read(self, key: str) -> Document | None:
        """The document, or None if it does not exist.

        Raises
        ------
        PermissionDenied : S3 returned 403
        StorageError : S3 cannot be reached, or the object isn't a JSON object
        """
        try:
            response = self.s3.get_object(Bucket=self.bucket, Key=key)
            body = response["Body"].read()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise storage_error(error, key) from error
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        try:
            # A NaN of an earlier release becomes null: it must not spoil each later write.
            value = json.loads(body, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise StorageError(f"`{key}` in the bucket is not a JSON object; delete or fix it.")
        return Document(value, response["ETag"])

    def create(self, key: str, value: Value) -> bool:
        """Write a document that must not exist yet. False: it exists; after a lost response it may be our own."""
        return self._put(key, value, IfNoneMatch="*") is _Outcome.WRITTEN

    def write(self, key: str, value: Value) -> None:
        """Write a document that has only one writer, whatever is there."""
        self._put(key, value)

    def replace(self, key: str, value: Value, etag: str) -> bool:
        """Write over the version that has this ETag. False: the document has changed since."""
        return self._put(key, value, IfMatch=etag) is _Outcome.WRITTEN

    def update(
        self,
        key: str,
        change: Callable[[Value | None], Value | None],
        *,
        new: bool = False,
        found: Document | None = None,
        contenders: Callable[[Value, int], int] = lambda value, losses: 1,
        already_applied: Callable[[Value], bool] = lambda value: False,
        give_up: Callable[[], bool] = lambda: False,
        alone: Callable[[Value], bool] = lambda value: False,
    ) -> Value | None:
        """Change a document, again and again until the change is written.

        Parameters
        ----------
        change : accepts the present value (None: no document), returns the new one, or None when there is nothing to
            change. It is called once an attempt and must be a no-op on a value that already holds the change: after a
            lost response, S3 may hold our own write.
        new : the document is hardly there yet, so the first attempt writes without reading
        found : what was read a moment ago: the first attempt starts from it instead of reading
        contenders : how many writers may be busy with this value, after so many lost races; the pause widens with it
        already_applied : whether a value holds the change, where ``change`` itself cannot tell; asked only after a
            request whose outcome is unknown
        give_up : asked before each attempt after the first, and during the pauses
        alone : whether no other writer is likely to have replaced this value, which was written here: then the first
            attempt starts from it instead of reading, and if another writer did, the next attempt reads at once

        Returns
        -------
        the value that is stored now, or None if the document does not exist

        Raises
        ------
        ConflictError : every attempt lost its race, the time was over, or ``give_up`` said so
        StorageError : S3 kept failing
        """
        started = time.monotonic()
        losses = failures = 0
        unknown = False
        own = None if new else found or self._own(key, alone)
        while losses < self.attempts:
            if (losses or failures) and (give_up() or time.monotonic() - started >= self.time_limit):
                break
            began = time.monotonic()
            try:
                remembered, own = own, None
                document = remembered or (None if new and not (losses or failures) else self.read(key))
                current = document.value if document else None
                if unknown and current is not None and already_applied(current):
                    return current
                try:
                    changed = change(current)
                except Exception:
                    # It may have been changed elsewhere since.
                    if remembered:
                        continue
                    raise
                if changed is None:
                    if remembered:
                        continue
                    return current
                outcome = self._put(key, changed, **_condition(document))
            except StorageError as error:
                if not is_transient(error):
                    raise
                unknown = True
                failures += 1
                pause = random.uniform(0, min(_MAX_FAILURE_PAUSE, 0.1 * 2**failures))
                if time.monotonic() - started + pause > self.patience:
                    raise
            else:
                round_trip = (time.monotonic() - began) / 2
                if document and not remembered:
                    self._round_trips.append(round_trip)
                if outcome is _Outcome.WRITTEN:
                    return changed
                unknown |= outcome is _Outcome.UNKNOWN
                if remembered:
                    continue
                losses += 1
                record({"WriteConflicts": 1}, document=key.partition("/")[0])
                shortest = min(self._round_trips, default=round_trip)
                pause = random.uniform(0, widest_pause(shortest, contenders(changed, losses)))
            wait(min(pause, started + self.time_limit - time.monotonic(), self._deadline.left()), give_up)
        raise ConflictError(f"{key} was changed by others at every attempt.")

    def _own(self, key: str, alone: Callable[[Value], bool]) -> Document | None:
        """The document that was last written here, if no other writer is likely to have replaced it."""
        written = self._written
        if written is None or written[0] != key:
            return None
        document = Document(json.loads(written[1]), written[2])
        return document if alone(document.value) else None

    def _put(self, key: str, value: Value, **condition: str) -> "_Outcome":
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        try:
            response = self.s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
        except ClientError as error:
            # A replaced document that has been removed in the meantime gives 404: read again, too.
            if error_code(error) not in _LOST_RACE | MISSING:
                raise storage_error(error, key) from error
            # Where the SDK has sent the request twice, the first may be the one that won.
            repeated = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
            return _Outcome.UNKNOWN if repeated else _Outcome.LOST
        except BotoCoreError as error:
            raise storage_error(error, key) from error
        self._written = (key, body, response["ETag"])
        return _Outcome.WRITTEN


class _Outcome(Enum):
    WRITTEN = auto()
    LOST = auto()
    UNKNOWN = auto()


def widest_pause(round_trip: float, contenders: int) -> float:
    """The longest pause after a lost race, in seconds; the pause is drawn between 0 and it (full jitter).

    Of writers that contend, one succeeds in each round trip: the time from a read to the write that is computed from
    it. So the pauses spread over one round trip for each contender.
    """
    return min(_MAX_PAUSE, min(_MAX_ROUND_TRIP, round_trip) * max(1, contenders))


def _condition(document: Document | None) -> dict[str, str]:
    return {"IfMatch": document.etag} if document else {"IfNoneMatch": "*"}


def wait(seconds: float, give_up: Callable[[], bool]) -> None:
    """Wait for seconds, or until ``give_up`` says so."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not give_up():
        time.sleep(min(left, _LOOK_UP))


def is_transient(error: StorageError) -> bool:
    """Whether the same request may succeed later."""
    cause = error.__cause__
    if isinstance(cause, ClientError):
        status = http_status(cause)
        return status >= 500 or status == 429 or error_code(cause) in _PASSING
    return isinstance(cause, NoConnection | HTTPClientError | IncompleteReadError)


def storage_error(error: ClientError | BotoCoreError, key: str) -> StorageError:
    """Translate a failed S3 request for ``key`` into the service's error."""
    if isinstance(error, ClientError):
        if error_code(error) in _REFUSED:
            return PermissionDenied(
                f"S3 refused {error.operation_name} on {key}. The role lacks that action on the key's prefix, or "
                "s3:ListBucket on the bucket for it (without it a missing key answers 403)."
            )
        return StorageError(f"S3 returned {error_code(error)} to {error.operation_name} on {key}.")
    return StorageError(f"Failed to connect to S3 for {key} ({type(error).__name__}).")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
