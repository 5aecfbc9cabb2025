"""Job documents in S3: ``jobs/{jobId}/status.json`` is written by every Lambda of a job, under conditional writes."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from pixelprompt.errors import ConfigurationError, ConflictError, JobNotFound
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.jobs.charges import Shares, charge, share_out
from pixelprompt.jobs.document import (
    FINAL_ROW,
    JOB_STATUSES,
    SCHEMA_VERSION,
    add_images,
    cancel_rows,
    closing_rows,
    complete_row,
    fail_row,
    finish_rows,
    is_job_id,
    is_of_run,
    is_there_for,
    job_status,
    keep_images,
    new_document,
    open_rows,
    row_of,
    run_of_row,
    start_row,
    starting_rows,
    summarize,
)
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Job, ModelResult, Reference, ResultFields, Skipped
from pixelprompt.models.model import Failure, ProviderError
from pixelprompt.storage.documents import Document, DocumentStore, Value, iso, wait
from pixelprompt.storage.keys import StoredImage, status_key

# Seconds between the start records of a job's rows: a read and a write of S3 take about as long.
START_SLOT = 0.1
NO_SUCH_JOB = "Job not found. Jobs are kept for a limited time."
_FIXED = frozenset({"jobId", "createdAt", "schemaVersion", "results", "totalModels", "completedModels"})


class JobManager:
    """Job documents in S3.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    clock : gives the present moment
    """

    def __init__(
        self, s3_client: Any, bucket: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), **limits: Any
    ) -> None:
        self.documents = DocumentStore(s3_client, bucket, **limits)
        self._clock = clock

    def now(self) -> str:
        """The present moment as job documents write it."""
        return iso(self._clock())

    def create_job(
        self,
        prompt: str,
        params: Mapping[str, Any],
        models: Sequence[Mapping[str, Any]],
        *,
        job_id: str | None = None,
        created_at: str | None = None,
    ) -> str:
        """Write the document of a new job.

        Parameters
        ----------
        models : in order, each with ``name`` and ``provider``

        Returns
        -------
        the job id, a UUID of version 4

        Raises
        ------
        StorageError : S3 kept failing
        """
        job_id = job_id or str(uuid.uuid4())
        self.create(prompt, params, models, job_id=job_id, created_at=created_at)
        return job_id

    def create(
        self,
        prompt: str,
        params: Mapping[str, Any],
        models: Sequence[Mapping[str, Any]],
        *,
        job_id: str,
        created_at: str | None = None,
        references: Sequence[Reference] = (),
        skipped: Sequence[Skipped] = (),
        shares: Shares | None = None,
        caller: Identity = ANYBODY,
    ) -> Job:
        """Write the document of a new job, unless it is there; returns the one that is there then."""
        now = created_at or self.now()
        document = new_document(
            job_id, prompt, params, models, now, references=references, skipped=skipped, caller=caller
        )
        if shares:
            share_out(document, shares)
        written = self.documents.update(
            status_key(job_id), lambda current: None if current else cast(Value, document), new=True
        )
        return as_job(written) if written else document

    def read(self, job_id: str) -> Document | None:
        """The job document with its ETag, or None."""
        return self.documents.read(status_key(job_id)) if is_job_id(job_id) else None

    def get_job_status(self, job_id: str) -> Job | None:
        """The job document, or None if the job does not exist."""
        document = self.read(job_id)
        return as_job(document.value) if document else None

    def require(self, job_id: str, caller: Identity | None = None) -> Job:
        """The job document; with a ``caller``, only a job that is there for that one.

        Raises
        ------
        JobNotFound
        """
        document = self.get_job_status(job_id)
        if document is None or (caller and not is_there_for(document, caller)):
            raise JobNotFound(NO_SUCH_JOB)
        return document

    def update_job_status(self, job_id: str, updates: Mapping[str, Any]) -> Job:
        """Set top-level fields of the document; rows and what follows from them change only by the ``mark_`` methods.

        Raises
        ------
        ValueError : a field that is fixed, or an unknown status
        """
        fixed = _FIXED & set(updates)
        if fixed:
            raise ValueError(f"update_job_status cannot set {', '.join(sorted(fixed))}.")
        if updates.get("status", "pending") not in JOB_STATUSES:
            raise ValueError(f"{updates['status']!r} is not a job status.")

        def change(document: Job) -> bool:
            changed = any(document.get(name) != value for name, value in updates.items())
            cast(Value, document).update(updates)
            return changed

        return self._change(job_id, change, recompute=False)

    def record_references(
        self, job_id: str, references: Sequence[Reference], failure: Failure | None = None, *, run: int | None = None
    ) -> tuple[Job, list[ModelResult]]:
        """Show what became of the reference images; a ``failure`` of theirs closes the open rows of the run.

        Returns the document, and the rows that were closed.
        """
        closed: list[ModelResult] = []

        def change(document: Job) -> bool:
            now = self.now()
            changed = document.get("references") != references
            document["references"] = [*references]
            if failure and is_of_run(document, run):
                closed[:] = [row for row in document["results"] if fail_row(row, failure, now)]
            return changed or bool(closed)

        return self._change(job_id, change), closed

    def mark_model_started(
        self,
        job_id: str,
        model_name: str,
        *,
        started_at: str | None = None,
        run: int | None = None,
        place: int = 0,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Job:
        """Mark a model's row as begun; ``give_up`` ends the attempts early with a ``ConflictError``.

        What belongs to an earlier ``run`` changes nothing. Rows start together, so each writes in a time of its own, by
        its ``place`` in the job: no work waits for this record, and a lost race would cost two more requests.
        """
        now = started_at or self.now()
        wait(place * START_SLOT, give_up)
        if give_up():
            raise ConflictError("The row is about to be closed.")

        def change(document: Job) -> bool:
            row = row_of(document, model_name)
            return run in (None, run_of_row(document, row)) and start_row(row, now)

        return self._change(job_id, change, contenders=starting_rows, give_up=give_up)

    def mark_model_images(self, job_id: str, model_name: str, result: ResultFields, *, run: int | None = None) -> Job:
        """Show the images that a model has made so far: ``result`` has ``imageKey`` and ``images``."""

        def change(document: Job) -> bool:
            return is_of_run(document, run) and add_images(row_of(document, model_name), result)

        return self._change(job_id, change)

    def mark_model_complete(self, job_id: str, model_name: str, result: Mapping[str, object]) -> Job:
        """Close a model's row with its image: ``result`` has ``imageKey`` and may have ``images``, ``duration``, …

        The image of an earlier run counts as well: it was paid for.
        """
        now = self.now()
        return self._change(job_id, lambda document: complete_row(row_of(document, model_name), result, now))

    def mark_model_error(
        self, job_id: str, model_name: str, error: "str | Mapping[str, Any]", *, run: int | None = None
    ) -> Job:
        """Close a model's row with an error: a sentence, or a mapping with ``error``, ``errorCode``, …"""
        now = self.now()
        failure = ProviderError("internal", error).row() if isinstance(error, str) else error

        def change(document: Job) -> bool:
            return is_of_run(document, run) and fail_row(row_of(document, model_name), failure, now)

        return self._change(job_id, change)

    def cancel(self, job_id: str, caller: Identity | None = None) -> tuple[Job, list[ModelResult]]:
        """Close every open row as ``cancelled``; the document, and the rows that were open.

        Raises
        ------
        JobNotFound : also where the job is not there for the ``caller``
        """
        cancelled: list[ModelResult] = []

        def change(document: Job) -> bool:
            if caller and not is_there_for(document, caller):
                raise JobNotFound(NO_SUCH_JOB)
            cancelled[:] = cancel_rows(document, self.now())
            return bool(cancelled)

        return self._change(job_id, change), cancelled

    def begin_run(self, job_id: str, run: NextRun) -> tuple[Job, list[ModelResult]]:
        """Begin the next run; of two who try, one succeeds.

        Returns
        -------
        the document, and the rows that run again; without any, no run has begun

        Raises
        ------
        JobNotFinished : a row is open, or another has begun this run
        NothingToRetry : every row that may run again is completed
        """
        began_at = self.now()
        rerun: list[ModelResult] = []

        def change(document: Job) -> bool:
            rerun[:] = run.begin(document, began_at)
            return True

        def already_applied(document: Job) -> bool:
            return document["run"] == run.earlier + 1 and document.get("runStartedAt") == began_at

        document = self._change(job_id, change, already_applied=already_applied)
        return document, rerun

    def finish(
        self,
        job_id: str,
        outcomes: Mapping[int, Mapping[str, Any]],
        stored: Callable[[Job], Mapping[str, Sequence[StoredImage]]],
        *,
        run: int | None = None,
        claimed: Collection[int] | None = None,
        begun: Collection[int] = (),
    ) -> Job:
        """Bring a job to its end: close every open row, compute the status.

        ``claimed`` has the indices of the rows that have claimed their share of a reservation; they are charged.
        Providers of the rows in ``begun`` may have been asked, even where that was not recorded. ``stored`` is asked
        for the images in S3 only when a row is open and no outcome tells how it ended. The end of an earlier ``run``
        closes no row but with an image.
        """
        found: Mapping[str, Sequence[StoredImage]] | None = None

        def change(document: Job) -> bool:
            nonlocal found
            rows = document["results"]
            if not is_of_run(document, run):
                return keep_images(rows, outcomes, self.now())
            untold = [r for r in rows if r["status"] not in FINAL_ROW and r["index"] not in outcomes]
            if found is None and untold:
                found = stored(document)
            changed = finish_rows(rows, outcomes, found or {}, self.now(), begun)
            if claimed is not None:
                changed |= charge(document, document["run"], claimed)
            return changed or document["status"] != job_status(rows)

        return self._change(job_id, change)

    def _change(
        self,
        job_id: str,
        change: Callable[[Job], bool],
        *,
        recompute: bool = True,
        contenders: Callable[[Job, int], int] = closing_rows,
        already_applied: Callable[[Job], bool] = lambda document: False,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Job:
        def apply(stored: Value | None) -> Value | None:
            if stored is None:
                return None
            document = as_job(stored)
            if document["schemaVersion"] > SCHEMA_VERSION:
                raise ConfigurationError("A later release has written this job; deploy that release, or a later one.")
            if not change(document):
                return None
            document["updatedAt"] = self.now()
            if recompute:
                summarize(document)
            return stored

        written = self.documents.update(
            status_key(job_id),
            apply,
            contenders=lambda stored, losses: contenders(as_job(stored), losses),
            already_applied=lambda stored: already_applied(as_job(stored)),
            give_up=give_up,
            # Who works on the only open row is the only one to write.
            alone=lambda stored: open_rows(as_job(stored)) <= 1,
        )
        if written is None:
            raise JobNotFound(NO_SUCH_JOB)
        return as_job(written)


def as_job(document: Value) -> Job:
    """A stored document as a job; it may have members that this release does not know, and keeps them."""
    return cast(Job, document)
