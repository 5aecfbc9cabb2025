"""One job for one ``Idempotency-Key``, however often its request is sent.

``idempotency/{sha256 of caller and key}.json`` is written with ``If-None-Match`` before anything else of a submit that
may pass, as far as the limits and the word list tell: ``{"bodyHash", "jobId", "createdAt", "holder"}``. Who has written
it makes the job; everybody else waits for that job's document and answers with it. A record counts for 24 hours.

- A submit that is refused after all (others were quicker at the limit, a model judged the prompt, no execution could be
  started) made no job: it releases its record (``jobId: null``), and the next request with the key starts over, with
  whatever body.
- A submit that broke lays its record down (``holder: null``); one that died holds it no longer than a Lambda lives. The
  next request with the key and the same body takes it over with the same job id. Where the document is there, only the
  execution can be missing: that is started, and nothing is charged. Where it is not, the limit is charged once more,
  because its outcome is unknown.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from pixelprompt.deadline import REQUEST_SECONDS, Deadline
from pixelprompt.errors import IdempotencyConflict, InvalidParameter
from pixelprompt.storage.documents import DocumentStore, Value, iso
from pixelprompt.storage.keys import idempotency_key

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
LIFE = timedelta(hours=24)
MAX_SUBMIT_SECONDS = timedelta(seconds=REQUEST_SECONDS)


def read_key(headers: Mapping[str, str]) -> str | None:
    """The caller's key, or None without one; header names in lower case.

    Raises
    ------
    InvalidParameter : not 1 to 255 printable ASCII characters
    """
    key = headers.get(HEADER.lower())
    if key is not None and not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidParameter(
            f"{HEADER} must be 1 to {MAX_KEY} printable ASCII characters, such as a UUID.", parameter=HEADER
        )
    return key


def body_hash(body: Mapping[str, Any]) -> str:
    """Hash of a body, equal for equal content in any order of the members."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Claim(Struct, frozen=True):
    """State of a request's key.

    Attributes
    ----------
    record_key : key of the record in S3
    job_id : id of the job that the key stands for
    is_mine : this request, and no other, creates the job
    is_abandoned : the request that was to make the job no longer works on it
    """

    record_key: str
    job_id: str
    is_mine: bool
    is_abandoned: bool = False


class IdempotencyRecords:
    """The records in S3."""

    def __init__(
        self,
        s3_client: Any,
        bucket: str,
        *,
        deadline: Deadline | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._documents = DocumentStore(s3_client, bucket, patience=3.0, time_limit=5.0, deadline=deadline)
        self._clock = clock

    def claim(self, caller: str, key: str, digest: str) -> Claim:
        """Claim a key for a body with this hash; one write if the key is unclaimed.

        Raises
        ------
        IdempotencyConflict : the key stands for another body
        StorageError : S3 kept failing
        """
        now = self._clock()
        mine = {"bodyHash": digest, "jobId": str(uuid.uuid4()), "createdAt": iso(now), "holder": uuid.uuid4().hex}

        def change(current: Value | None) -> Value | None:
            return mine if current is None or _is_free(current, now) else None

        name = idempotency_key(caller, key)
        record = self._documents.update(name, change, new=True) or mine
        return _claim(name, record, digest, now, mine["holder"])

    def find(self, caller: str, key: str, digest: str) -> Claim | None:
        """Return the present claim of a key; None if it is free. Writes nothing.

        Raises
        ------
        IdempotencyConflict : the key stands for another body
        StorageError : S3 cannot be read
        """
        now = self._clock()
        name = idempotency_key(caller, key)
        found = self._documents.read(name)
        if found is None or _is_free(found.value, now):
            return None
        return _claim(name, found.value, digest, now)

    def take_over(self, claim: Claim) -> bool:
        """Go on with an abandoned record; one of those who try it may."""
        now = self._clock()
        holder = uuid.uuid4().hex

        def change(current: Value | None) -> Value | None:
            if current is None or current["jobId"] != claim.job_id:
                return None
            if current["holder"] is not None and _age(current, now) < MAX_SUBMIT_SECONDS:
                return None
            return {**current, "createdAt": iso(now), "holder": holder}

        record = self._documents.update(claim.record_key, change)
        return record is not None and record["holder"] == holder

    def release(self, claim: Claim) -> None:
        """No job was made: the key is free again."""
        self._write(claim, {"jobId": None, "holder": None})

    def abandon(self, claim: Claim) -> None:
        """The job may have been made in part: let the next request go on with it at once."""
        self._write(claim, {"holder": None})

    def _write(self, claim: Claim, fields: Mapping[str, Any]) -> None:
        def change(current: Value | None) -> Value | None:
            return {**current, **fields} if current and current["jobId"] == claim.job_id else None

        self._documents.update(claim.record_key, change)


def _is_free(record: Value, now: datetime) -> bool:
    return not record["jobId"] or _age(record, now) >= LIFE


def _claim(name: str, record: Value, digest: str, now: datetime, holder: str = "") -> Claim:
    if record["bodyHash"] != digest:
        raise IdempotencyConflict(f"This {HEADER} was already used with a different body; use a new key.")
    is_abandoned = record["holder"] is None or _age(record, now) >= MAX_SUBMIT_SECONDS
    return Claim(name, record["jobId"], record["holder"] == holder, is_abandoned)


def _age(record: Value, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(record["createdAt"])
