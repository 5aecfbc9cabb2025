"""The state *Prepare references*: fetches the reference images of a job, and stores them as the providers get them."""

import binascii
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from msgspec import Struct

from pixelprompt.jobs.schema import Job, Reference
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import Image, ProviderError
from pixelprompt.observability import logger, record_failure
from pixelprompt.preparation.normalize import UnusableImage, normalize
from pixelprompt.storage.keys import gallery, gallery_of, is_record_key, upload_key
from pixelprompt.storage.references import BY_ADMIN, ObjectTooLarge, ReferenceStorage

# Bytes of what a caller gives, and of what a model has made.
GIVEN_LIMIT = 20 * 1024**2
MADE_LIMIT = 32 * 1024**2
# Seconds for the download of one reference, and for all of a job.
DOWNLOAD_SECONDS = 30.0
ALL_SECONDS = 120.0

_Kind = Literal["imageKey", "uploadId", "url", "data"]
_SOURCES: tuple[_Kind, ...] = ("imageKey", "uploadId", "url", "data")
_DESCRIBED = ("binaryKey", "sha256", "size", "mimeType", "width", "height")
_NO_UPLOAD = "The upload isn't there; it was never finished or has expired."
_NO_IMAGE = "The image no longer exists; images expire with their job."
_EXPIRED = "It has expired; send the request again."
_FROM_URL_SAFE = str.maketrans("-_", "+/")

Fetch = Callable[[str, float], bytes]
_Source = tuple[_Kind, str]


class PrepareRequest(Struct, frozen=True):
    """Request to prepare the references of a run of a job; without a run it is the present one."""

    job_id: str
    run: int | None = None
    correlation_id: str | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "PrepareRequest":
        """The request in a Lambda's event."""
        return cls(event["jobId"], event.get("run"), event.get("correlationId"))


class Prepared(TypedDict):
    """Outcome for the state machine: whether the models can begin, and the number of prepared references."""

    state: Literal["ready", "failed"]
    references: int


class _Failed(Exception):
    """The reference at a place, from 0, is unusable."""

    def __init__(self, index: int, error: UnusableImage) -> None:
        super().__init__(str(error))
        self.index = index
        self.passing = error.passing


def fetch_guarded(url: str, deadline: float) -> bytes:
    """Download an image from the public Internet until the deadline (epoch seconds).

    Raises
    ------
    UnusableImage
    """
    # Only a URL needs an HTTP client.
    from pixelprompt.providers.wire.download import DownloadFailed, download

    try:
        return download(url, deadline, limit=GIVEN_LIMIT)
    except DownloadFailed as error:
        raise UnusableImage(str(error), passing=error.passing) from error


class Preparation:
    """Prepares references.

    Parameters
    ----------
    fetch : gives the bytes at a URL until a deadline (epoch seconds); raises ``UnusableImage``
    clock : gives the present moment in epoch seconds
    takes_everyones : whether a job may use the images of other owners, because everybody sees those
    """

    def __init__(
        self,
        jobs: JobManager,
        references: ReferenceStorage,
        fetch: Fetch = fetch_guarded,
        clock: Callable[[], float] = time.time,
        *,
        takes_everyones: bool = True,
    ) -> None:
        self._jobs = jobs
        self._references = references
        self._fetch = fetch
        self._clock = clock
        self._takes_everyones = takes_everyones

    def prepare(self, request: PrepareRequest) -> Prepared:
        """Store every reference as the providers get it, and record it; one that is unusable closes the run's rows.

        Those that an earlier attempt has prepared stay as they are.

        Raises
        ------
        JobNotFound
        StorageError : S3 failed; the same request may be made again
        """
        began = self._clock()
        document = self._jobs.require(request.job_id)
        given = self._references.given(request.job_id)
        shown = [_without(entry, "error") for entry in document.get("references", [])]
        if not shown:
            shown = [{"index": index, "source": _source(entry)[0]} for index, entry in enumerate(given)]
        try:
            self._prepare_all(document, given, shown, began + ALL_SECONDS)
        except _Failed as failed:
            self._close(request, shown, failed)
            return self._told("failed", shown, began, reference=failed.index + 1, reason=str(failed))
        self._jobs.record_references(request.job_id, shown, run=request.run)
        return self._told("ready", shown, began)

    def _prepare_all(
        self, job: Job, given: Sequence[Mapping[str, Any]], shown: list[Reference], deadline: float
    ) -> None:
        """Prepare the references in order, and write into ``shown`` what becomes of each."""
        job_id = job["jobId"]
        known: dict[_Source, Image] = {}
        binary_keys: dict[str, str] = {}
        for index, entry in enumerate(shown):
            if "sha256" in entry and self._references.has(job_id, index, entry["size"]):
                continue
            entry = _without(entry, *_DESCRIBED)
            try:
                if index >= len(given):
                    raise UnusableImage(_EXPIRED)
                kind, value = source = _source(given[index])
                if kind == "imageKey":
                    binary_keys[value] = entry["binaryKey"] = binary_keys.get(value) or self._made(
                        value, job, is_admins=BY_ADMIN in given[index]
                    )
                if source not in known:
                    known[source] = self._normalized(source, entry.get("binaryKey", ""), deadline)
            except UnusableImage as error:
                shown[index] = {**entry, "error": str(error)}
                raise _Failed(index, error) from error
            # Kept only for the same one further on.
            image = known[source] if source in map(_source, given[index + 1 :]) else known.pop(source)
            self._references.save(job_id, index, image.data, image.mime_type)
            shown[index] = _described(entry, image)

    def _normalized(self, source: _Source, binary_key: str, deadline: float) -> Image:
        """A reference as the providers get it; ``binary_key`` is the key of an earlier image."""
        kind, value = source
        if kind == "url":
            return normalize(self._fetch(value, min(deadline, self._clock() + DOWNLOAD_SECONDS)))
        if kind == "data":
            return normalize(_decoded(value))
        if kind == "uploadId":
            return normalize(self._stored(upload_key(value), GIVEN_LIMIT, _NO_UPLOAD))
        return normalize(self._stored(binary_key, MADE_LIMIT, _NO_IMAGE))

    def _stored(self, key: str, limit: int, missing: str) -> bytes:
        try:
            data = self._references.read(key, limit)
        except ObjectTooLarge:
            raise UnusableImage(f"It has more than {limit // 1024**2} MiB.") from None
        if data is None:
            raise UnusableImage(missing)
        return data

    def _made(self, image_key: str, user: Job, *, is_admins: bool) -> str:
        """The key of the image itself, of one with this key of its record, where a job may use it."""
        if is_record_key(image_key):
            name = gallery_of(image_key)
            for job_id in self._references.jobs_beginning_with(name[-8:]):
                document = self._jobs.get_job_status(job_id)
                if not document or gallery(job_id, document["createdAt"]) != name:
                    continue
                if is_admins or self._takes_everyones or document.get("owner") == user.get("owner"):
                    for image in (image for row in document["results"] for image in row.get("images", [])):
                        if image["imageKey"] == image_key:
                            return image["binaryKey"]
        raise UnusableImage(_NO_IMAGE)

    def _close(self, request: PrepareRequest, shown: Sequence[Reference], failed: _Failed) -> None:
        """Close the rows of the run with the failure of a reference."""
        reason = str(failed)
        sentence = f"Reference image {failed.index + 1} can't be used: {reason[0].lower()}{reason[1:]}"
        failure = ProviderError("invalid_request", sentence, billable="no", retryable=failed.passing)
        _, closed = self._jobs.record_references(request.job_id, shown, failure.row(), run=request.run)
        for row in closed:
            record_failure(row["model"], failure.code, failure.billable)

    def _told(
        self, state: Literal["ready", "failed"], shown: Sequence[Reference], began: float, **about: Any
    ) -> Prepared:
        """The outcome, which is logged."""
        ready = [entry for entry in shown if "sha256" in entry]
        logger.info(
            "The references were prepared." if state == "ready" else "A reference can't be used.",
            references=len(ready),
            seconds=round(self._clock() - began, 2),
            bytes=sum(entry["size"] for entry in ready),
            **about,
        )
        return {"state": state, "references": len(ready)}


def _source(given: Mapping[str, Any]) -> _Source:
    """Where a reference comes from: the member that names it, and its value."""
    (kind,) = (name for name in _SOURCES if name in given)
    return kind, given[kind]


def _decoded(text: str) -> bytes:
    """The bytes of a data URL in base64 (RFC 2397)."""
    try:
        return binascii.a2b_base64(text.rpartition(",")[2].translate(_FROM_URL_SAFE))
    except ValueError:
        raise UnusableImage("It isn't valid base64.") from None


def _described(entry: Reference, image: Image) -> Reference:
    """What is shown of a reference that is prepared."""
    return {
        **entry,
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "size": len(image.data),
        "mimeType": image.mime_type,
        "width": image.width,
        "height": image.height,
    }


def _without(entry: Reference, *names: str) -> Reference:
    return cast(Reference, {name: value for name, value in entry.items() if name not in names})
