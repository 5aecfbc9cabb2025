"""The job document: its shape, the rules by which it changes, and its place in S3.

``jobs/{jobId}/status.json`` is written by every Lambda of a job. The functions of the first half are pure: they take
a document and a time and change the document. ``JobManager`` applies them under conditional writes.
"""

import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pixelprompt.cost import UNKNOWN, total
from pixelprompt.documents import Document, DocumentStore, Value, wait
from pixelprompt.errors import ConfigurationError, ConflictError, JobNotFinished, JobNotFound, NothingToRetry
from pixelprompt.providers.base import ProviderError

Row = dict[str, Any]

SCHEMA_VERSION = 1
# Seconds between the start records of a job's rows: a read and a write of S3 take about as long.
START_SLOT = 0.1
FINAL_ROW = frozenset({"completed", "error", "cancelled"})
# A row that a retry runs again.
RETRIED_ROW = frozenset({"error", "cancelled"})
FINAL_JOB = frozenset({"completed", "partial", "failed", "cancelled"})
JOB_STATUSES = FINAL_JOB | {"pending", "in_progress"}

_NO_SUCH_JOB = "There is no job with this id. Jobs are kept for a limited time."
_AT_WORK = "Models of this job are still at work. Wait for them, or cancel the job."
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_FIXED = frozenset({"jobId", "createdAt", "schemaVersion", "results", "totalModels", "completedModels"})
# What a run has written into a row besides its images.
_OF_RUN = (
    "startedAt", "completedAt", "duration", "error", "errorCode", "retryable", "billable", "cost", "requestId", "usage",
    "missing", "run",
)  # fmt: skip


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id, a UUID of version 4 in lower case."""
    return _JOB_ID.fullmatch(text) is not None


def status_key(job_id: str) -> str:
    """Key of the job document."""
    return f"jobs/{job_id}/status.json"


def resume_key(job_id: str, index: int, run: int = 1) -> str:
    """Key of the token with which a row's request to its provider can be resumed; each run has its own."""
    return f"jobs/{job_id}/resume/{index}.json" if run == 1 else f"jobs/{job_id}/resume/{index}-r{run}.json"


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_between(start: str, end: str) -> float:
    """Seconds from one ISO 8601 moment to another, at least 0, to the hundredth."""
    elapsed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, round(elapsed.total_seconds(), 2))


def gallery(job_id: str, created_at: str) -> str:
    """Name of the gallery that holds a job's images: its creation time and the beginning of its id."""
    return f"{datetime.fromisoformat(created_at):%Y-%m-%d-%H-%M-%S}-{job_id[:8]}"


def epoch_milliseconds(created_at: str) -> int:
    """The job's creation as it stands in the names of its images."""
    return round(datetime.fromisoformat(created_at).timestamp() * 1000)


def new_document(
    job_id: str, prompt: str, parameters: Mapping[str, Any], models: Sequence[Mapping[str, Any]], now: str
) -> Value:
    """A job document in which no model has started; rows in the order of ``models``.

    Each of ``models`` has ``name``, ``provider`` and whatever else its row shall show from the beginning.
    """
    return {
        "jobId": job_id,
        "status": "pending",
        "run": 1,
        "createdAt": now,
        "updatedAt": now,
        "schemaVersion": SCHEMA_VERSION,
        "totalModels": len(models),
        "completedModels": 0,
        "prompt": prompt,
        "parameters": dict(parameters),
        "results": [
            {
                "index": index,
                "model": model["name"],
                "provider": model["provider"],
                "status": "pending",
                **{name: value for name, value in model.items() if name not in ("name", "provider")},
            }
            for index, model in enumerate(models)
        ],
    }


def job_status(rows: Sequence[Row]) -> str:
    """How a job's status follows from its rows."""
    states = {row["status"] for row in rows}
    if not rows:
        return "failed"
    if not states <= FINAL_ROW:
        return "pending" if states == {"pending"} else "in_progress"
    if states == {"completed"}:
        return "completed"
    if "cancelled" in states:
        return "cancelled"
    return "partial" if "completed" in states else "failed"


def open_rows(document: Value) -> int:
    """How many rows are not final yet."""
    return sum(row["status"] not in FINAL_ROW for row in document["results"])


def closing_rows(document: Value, losses: int) -> int:
    """How many rows are perhaps being closed now, as guessed from lost races: few at the first, all when it goes on."""
    return min(open_rows(document), int(8**losses))


def starting_rows(document: Value, losses: int) -> int:
    """Over how many round trips starts spread that have lost a race, though each has a time of its own."""
    return 2 * open_rows(document)


def start_row(row: Row, now: str) -> bool:
    """Mark a row as begun. False: nothing changed.

    A start is written beside the request to the provider, so a row may be cancelled as pending although its provider
    was asked. It stays cancelled, but says then that it may have been billed.
    """
    if row["status"] == "cancelled" and row.get("billable") == "no":
        row.update(billable="unknown", cost=UNKNOWN)
        return True
    if row["status"] != "pending":
        return False
    row.update(status="in_progress", startedAt=now)
    return True


def add_images(row: Row, result: Mapping[str, Any]) -> bool:
    """Show the images that a row has so far. False: nothing changed."""
    if row["status"] in FINAL_ROW or len(row.get("images", [])) >= len(result["images"]):
        return False
    row.update(_free_fields(result))
    return True


def complete_row(row: Row, result: Mapping[str, Any], now: str) -> bool:
    """Close a row with its image; this holds against an error or a cancellation too. False: nothing changed."""
    if row["status"] == "completed":
        return False
    for name in ("error", "errorCode", "retryable"):
        row.pop(name, None)
    row.update({"billable": "yes", "cost": UNKNOWN, **_free_fields(result)})
    _close(row, "completed", now)
    return True


def fail_row(row: Row, failure: Mapping[str, Any], now: str) -> bool:
    """Close a row with its error. False: nothing changed."""
    if row["status"] in FINAL_ROW:
        return False
    row.update(_free_fields(failure))
    if row.get("billable", "no") != "no":
        row.setdefault("cost", UNKNOWN)
    _close(row, "error", now)
    return True


def cancel_row(row: Row, now: str) -> bool:
    """Close a row without its image. False: nothing changed.

    A Lambda that has asked its provider goes on, so such a row may have been billed, and its image is kept if it comes.
    """
    if row["status"] in FINAL_ROW:
        return False
    if row["status"] == "pending":
        row["billable"] = "no"
    else:
        row.update(billable="yes" if row.get("images") else "unknown", cost=UNKNOWN)
    _close(row, "cancelled", now)
    return True


def reopen_row(row: Row) -> bool:
    """Make a row that ended without its image pending again, for a new run. False: nothing changed.

    Images that it has stay, and so does what it may have cost.
    """
    if row["status"] not in RETRIED_ROW:
        return False
    if "cost" in row:
        row["earlierCosts"] = [*row.get("earlierCosts", []), row["cost"]]
    for name in _OF_RUN:
        row.pop(name, None)
    row["status"] = "pending"
    return True


def failed_rows(document: Value, names: Collection[str] | None = None) -> list[Row]:
    """The rows that a retry runs again: those without image, of the models with these ``names`` or of all.

    Raises
    ------
    JobNotFinished : a row is open
    NothingToRetry : every one of these models is completed
    """
    if open_rows(document):
        raise JobNotFinished(_AT_WORK)
    asked = [row for row in document["results"] if names is None or row["model"] in names]
    failed = [row for row in asked if row["status"] in RETRIED_ROW]
    if not failed:
        of = "model of this job" if names is None else "one of these models"
        raise NothingToRetry(f"Every {of} has made its image.")
    return failed


def is_of_run(document: Value, run: int | None) -> bool:
    """Whether an event belongs to the document's present run; one that names no run does."""
    return run is None or run == document["run"]


def run_of_row(document: Value, row: Row) -> int:
    """The last run that a row took part in: the present one, unless a retry has left the row as it was."""
    run: int = row["run"] if "run" in row else document["run"]
    return run


def row_costs(row: Row) -> list[dict[str, Any]]:
    """What a row has cost in its runs, as far as it has cost anything."""
    return [*row.get("earlierCosts", []), *([row["cost"]] if "cost" in row else [])]


def _free_fields(fields: Mapping[str, Any]) -> Row:
    fixed = ("index", "model", "provider", "status", "completedAt")
    return {name: value for name, value in fields.items() if name not in fixed and value is not None}


def _close(row: Row, status: str, now: str) -> None:
    row.update(status=status, completedAt=now)
    if "startedAt" in row:
        row.setdefault("duration", seconds_between(row["startedAt"], now))


def finish_rows(
    rows: Sequence[Row],
    outcomes: Mapping[int, Mapping[str, Any]],
    stored: Mapping[str, Sequence[Mapping[str, str]]],
    now: str,
) -> bool:
    """Close what is still open at the end of an execution. False: nothing changed.

    Parameters
    ----------
    outcomes : by row index, the Map items' outcomes that the job document does not hold yet
    stored : by model name, the images that lie in S3
    """
    changed = False
    for row in rows:
        outcome = outcomes.get(row["index"], {})
        images = stored.get(row["model"])
        if outcome.get("state") == "done":
            changed |= complete_row(row, outcome.get("row", {}), now)
        elif images and (row["status"] not in FINAL_ROW or len(images) > len(row.get("images", []))):
            changed |= complete_row(row, images_result(images), now)
        elif outcome.get("state") == "failed" and outcome.get("row"):
            changed |= fail_row(row, outcome["row"], now)
        else:
            changed |= fail_row(row, _abandoned(row), now)
    return changed


def keep_images(rows: Sequence[Row], outcomes: Mapping[int, Mapping[str, Any]], now: str) -> bool:
    """Complete the rows whose image an earlier run has made after all. False: nothing changed."""
    changed = False
    for row in rows:
        outcome = outcomes.get(row["index"], {})
        if outcome.get("state") == "done":
            changed |= complete_row(row, outcome.get("row", {}), now)
    return changed


def images_result(images: Sequence[Mapping[str, str]]) -> Row:
    """The fields of a row whose images lie in S3."""
    return {"imageKey": images[0]["imageKey"], "images": [dict(image) for image in images]}


def _abandoned(row: Row) -> Row:
    if row["status"] == "pending":
        return ProviderError("internal", "The job ended before this model was started.", billable="no").row()
    return ProviderError(
        "unknown_outcome", "The job ended before this model's answer was recorded; the provider may have made an image."
    ).row()


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
    ) -> Value:
        """Write the document of a new job, unless it is there; returns the one that is there then."""
        document = new_document(job_id, prompt, params, models, created_at or self.now())
        written = self.documents.update(status_key(job_id), lambda current: None if current else document, new=True)
        return written or document

    def read(self, job_id: str) -> Document | None:
        """The job document with its ETag, or None."""
        return self.documents.read(status_key(job_id)) if is_job_id(job_id) else None

    def get_job_status(self, job_id: str) -> Value | None:
        """The job document, or None where there is no such job."""
        document = self.read(job_id)
        return document.value if document else None

    def require(self, job_id: str) -> Value:
        """The job document.

        Raises
        ------
        JobNotFound
        """
        document = self.read(job_id)
        if document is None:
            raise JobNotFound(_NO_SUCH_JOB)
        return document.value

    def update_job_status(self, job_id: str, updates: Mapping[str, Any]) -> Value:
        """Set top-level fields of the document; rows and what follows from them change only by the ``mark_`` methods.

        Raises
        ------
        ValueError : a field that is fixed, or an unknown status
        """
        fixed = _FIXED & set(updates)
        if fixed:
            raise ValueError(f"update_job_status cannot set {', '.join(sorted(fixed))}.")
        if updates.get("status", "pending") not in JOB_STATUSES:
            raise ValueError(f"{updates['status']!r} is no job status.")

        def change(document: Value) -> bool:
            changed = any(document.get(name) != value for name, value in updates.items())
            document.update(updates)
            return changed

        return self._change(job_id, change, recompute=False)

    def mark_model_started(
        self,
        job_id: str,
        model_name: str,
        *,
        started_at: str | None = None,
        run: int | None = None,
        place: int = 0,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Value:
        """Mark a model's row as begun; ``give_up`` ends the attempts early with a ``ConflictError``.

        What belongs to an earlier ``run`` changes nothing. Rows start together, so each writes in a time of its own, by
        its ``place`` in the job: nobody waits for this record, and a lost race would cost two more requests.
        """
        now = started_at or self.now()
        wait(place * START_SLOT, give_up)
        if give_up():
            raise ConflictError("The row is about to be closed.")

        def change(document: Value) -> bool:
            row = _row(document, model_name)
            return run in (None, run_of_row(document, row)) and start_row(row, now)

        return self._change(job_id, change, contenders=starting_rows, give_up=give_up)

    def mark_model_images(
        self, job_id: str, model_name: str, result: Mapping[str, Any], *, run: int | None = None
    ) -> Value:
        """Show the images that a model has made so far: ``result`` has ``imageKey`` and ``images``."""

        def change(document: Value) -> bool:
            return is_of_run(document, run) and add_images(_row(document, model_name), result)

        return self._change(job_id, change)

    def mark_model_complete(self, job_id: str, model_name: str, result: Mapping[str, Any]) -> Value:
        """Close a model's row with its image: ``result`` has ``imageKey`` and may have ``images``, ``duration``, …

        The image of an earlier run counts as well: it was paid for.
        """
        now = self.now()
        return self._change(job_id, lambda document: complete_row(_row(document, model_name), result, now))

    def mark_model_error(
        self, job_id: str, model_name: str, error: "str | Mapping[str, Any]", *, run: int | None = None
    ) -> Value:
        """Close a model's row with an error: a sentence, or a mapping with ``error``, ``errorCode``, …"""
        now = self.now()
        failure = ProviderError("internal", error).row() if isinstance(error, str) else error

        def change(document: Value) -> bool:
            return is_of_run(document, run) and fail_row(_row(document, model_name), failure, now)

        return self._change(job_id, change)

    def cancel(self, job_id: str) -> tuple[Value, list[Row]]:
        """Close every open row as ``cancelled``; the document, and the rows that were open."""
        cancelled: list[Row] = []

        def change(document: Value) -> bool:
            now = self.now()
            cancelled[:] = [row for row in document["results"] if cancel_row(row, now)]
            if cancelled:
                document["cancelRequested"] = now
            return bool(cancelled)

        return self._change(job_id, change), cancelled

    def begin_run(
        self,
        job_id: str,
        earlier: int,
        stored: Mapping[str, Sequence[Mapping[str, str]]],
        images_wanted: int,
        names: Collection[str] | None = None,
    ) -> tuple[Value, list[Row]]:
        """Begin the run after run ``earlier``; of two who try, one succeeds.

        Parameters
        ----------
        stored : by model name, the images that lie in S3; a row that has all of its images is completed with them
        images_wanted : how many images each row shall have
        names : of the models that may run again; None: all

        Returns
        -------
        the document, and the rows that run again; where there are none, no run has begun

        Raises
        ------
        JobNotFinished : a row is open, or another has begun this run
        NothingToRetry : every row that may run again is completed
        """
        began_at = self.now()
        rerun: list[Row] = []

        def change(document: Value) -> bool:
            if document["run"] != earlier:
                raise JobNotFinished(_AT_WORK)
            asked = failed_rows(document, names)
            for row in document["results"]:
                images = stored.get(row["model"], [])
                if len(images) >= images_wanted:
                    complete_row(row, images_result(images), began_at)
            rerun[:] = [row for row in asked if reopen_row(row)]
            if rerun:
                for row in document["results"]:
                    if row["status"] in RETRIED_ROW:
                        row.setdefault("run", earlier)
                document.update(run=earlier + 1, runStartedAt=began_at)
                document.pop("cancelRequested", None)
            return True

        def landed(document: Value) -> bool:
            return document["run"] == earlier + 1 and document.get("runStartedAt") == began_at

        document = self._change(job_id, change, landed=landed)
        return document, rerun

    def finish(
        self,
        job_id: str,
        outcomes: Mapping[int, Mapping[str, Any]],
        stored: Callable[[Value], Mapping[str, Sequence[Mapping[str, str]]]],
        *,
        run: int | None = None,
    ) -> Value:
        """Bring a job to its end: close every open row, compute the status.

        ``stored`` is asked for the images in S3 only when a row is open and no outcome tells how it ended. The end of
        an earlier ``run`` closes no row but with an image.
        """
        found: Mapping[str, Sequence[Mapping[str, str]]] | None = None

        def change(document: Value) -> bool:
            nonlocal found
            rows = document["results"]
            if not is_of_run(document, run):
                return keep_images(rows, outcomes, self.now())
            untold = [r for r in rows if r["status"] not in FINAL_ROW and r["index"] not in outcomes]
            if found is None and untold:
                found = stored(document)
            changed = finish_rows(rows, outcomes, found or {}, self.now())
            return changed or document["status"] != job_status(rows)

        return self._change(job_id, change)

    def _change(
        self,
        job_id: str,
        change: Callable[[Value], bool],
        *,
        recompute: bool = True,
        contenders: Callable[[Value, int], int] = closing_rows,
        landed: Callable[[Value], bool] = lambda document: False,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Value:
        def apply(document: Value | None) -> Value | None:
            if document is None:
                return None
            if document["schemaVersion"] > SCHEMA_VERSION:
                raise ConfigurationError("A later release has written this job; deploy that release, or a later one.")
            if not change(document):
                return None
            document["updatedAt"] = self.now()
            if recompute:
                document["completedModels"] = sum(row["status"] == "completed" for row in document["results"])
                document["status"] = job_status(document["results"])
                costs = [cost for row in document["results"] for cost in row_costs(row)]
                if costs:
                    document["cost"] = total(costs)
            return document

        document = self.documents.update(
            status_key(job_id),
            apply,
            contenders=contenders,
            landed=landed,
            give_up=give_up,
            # Who works on the only open row is the only one to write.
            alone=lambda document: open_rows(document) <= 1,
        )
        if document is None:
            raise JobNotFound(_NO_SUCH_JOB)
        return document


def _row(document: Value, model_name: str) -> Row:
    for row in document["results"]:
        if row["model"] == model_name:
            found: Row = row
            return found
    raise KeyError(f"The job has no model {model_name!r}.")
