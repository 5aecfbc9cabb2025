"""The job document: its shape, and the rules by which it changes.

The functions are pure: they take a document and a time and change the document. ``pixelprompt.jobs.store`` applies them
under conditional writes.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from pixelprompt.errors import JobNotFinished, NothingToRetry
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.jobs.schema import Image, Job, JobStatusName, ModelResult, Reference, ResultFields, RowStatus, Skipped
from pixelprompt.models.cost import UNKNOWN, Cost, total
from pixelprompt.models.model import Failure, ProviderError
from pixelprompt.storage.keys import StoredImage

SCHEMA_VERSION = 1
FINAL_ROW = frozenset({"completed", "error", "cancelled"})
# A row that a retry runs again.
RETRIED_ROW = frozenset({"error", "cancelled"})
FINAL_JOB = frozenset({"completed", "partial", "failed", "cancelled"})
JOB_STATUSES = FINAL_JOB | {"pending", "in_progress"}
AT_WORK = "This job is still running. Wait for it, or cancel it."
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# What a run has written into a row besides its images.
_OF_RUN = (
    "startedAt", "completedAt", "duration", "error", "errorCode", "retryable", "billable", "cost", "requestId", "usage",
    "missing", "run", "reserved",
)  # fmt: skip


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id, a UUID of version 4 in lower case."""
    return _JOB_ID.fullmatch(text) is not None


def seconds_between(start: str, end: str) -> float:
    """Seconds from one ISO 8601 moment to another, at least 0, to the hundredth."""
    elapsed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, round(elapsed.total_seconds(), 2))


def new_document(
    job_id: str,
    prompt: str,
    parameters: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    now: str,
    *,
    references: Sequence[Reference] = (),
    skipped: Sequence[Skipped] = (),
    caller: Identity = ANYBODY,
) -> Job:
    """A job document in which no model has started; rows in the order of ``models``.

    Each of ``models`` has ``name``, ``provider`` and whatever else its row shows from the beginning.
    """
    document: Job = {
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
        "results": [_new_row(index, model) for index, model in enumerate(models)],
    }
    if caller.owner:
        document["owner"] = caller.owner
    if caller.key_id:
        document["apiKey"] = caller.key_id
    if references:
        document["references"] = [*references]
    if skipped:
        document["skipped"] = [*skipped]
    return document


def _new_row(index: int, model: Mapping[str, Any]) -> ModelResult:
    row = ModelResult(index=index, model=model["name"], provider=model["provider"], status="pending")
    row.update(_free_fields({name: value for name, value in model.items() if name != "name"}))
    return row


def is_there_for(document: Job, caller: Identity) -> bool:
    """Whether a caller may know of a job."""
    return caller.may_see(document.get("owner", ""))


def row_of(document: Job, model_name: str) -> ModelResult:
    """The row of a model of the job."""
    for row in document["results"]:
        if row["model"] == model_name:
            return row
    raise KeyError(f"The job has no model {model_name!r}.")


def job_status(rows: Sequence[ModelResult]) -> JobStatusName:
    """Derive a job's status from its rows."""
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


def summarize(document: Job) -> None:
    """Derive from the rows what the job shows of them all."""
    rows = document["results"]
    document["completedModels"] = sum(row["status"] == "completed" for row in rows)
    document["status"] = job_status(rows)
    costs = [cost for row in rows for cost in row_costs(row)]
    if costs:
        document["cost"] = total(costs)


def open_rows(document: Job) -> int:
    """Number of rows that are not final yet."""
    return sum(row["status"] not in FINAL_ROW for row in document["results"])


def closing_rows(document: Job, losses: int) -> int:
    """Estimate, from lost races, the number of rows being closed now: few at first, all later."""
    return min(open_rows(document), int(8**losses))


def starting_rows(document: Job, losses: int) -> int:
    """Over how many round trips starts spread that have lost a race, though each has a time of its own."""
    return 2 * open_rows(document)


def start_row(row: ModelResult, now: str) -> bool:
    """Mark a row as begun. False: nothing changed.

    A start is written beside the request to the provider, so a row may be cancelled as pending although its provider
    was asked. It stays cancelled, but says then that it may have been billed.
    """
    if row["status"] == "cancelled" and row.get("billable") == "no":
        row["billable"], row["cost"] = "unknown", UNKNOWN
        return True
    if row["status"] != "pending":
        return False
    row["status"], row["startedAt"] = "in_progress", now
    return True


def add_images(row: ModelResult, result: ResultFields) -> bool:
    """Show the images that a row has so far. False: nothing changed."""
    if row["status"] in FINAL_ROW or len(row.get("images", [])) >= len(result["images"]):
        return False
    row.update(_free_fields(result))
    return True


def complete_row(row: ModelResult, result: Mapping[str, object], now: str) -> bool:
    """Close a row with its image; this holds against an error or a cancellation too. False: nothing changed."""
    if row["status"] == "completed":
        return False
    _remove(row, ("error", "errorCode", "retryable"))
    row["billable"], row["cost"] = "yes", UNKNOWN
    row.update(_free_fields(result))
    _close(row, "completed", now)
    return True


def fail_row(row: ModelResult, failure: Mapping[str, object], now: str) -> bool:
    """Close a row with its error. False: nothing changed."""
    if row["status"] in FINAL_ROW:
        return False
    row.update(_free_fields(failure))
    if row.get("billable", "no") != "no":
        row.setdefault("cost", UNKNOWN)
    _close(row, "error", now)
    return True


def cancel_row(row: ModelResult, now: str) -> bool:
    """Close a row without its image. False: nothing changed.

    A Lambda that has asked its provider goes on, so such a row may have been billed, and its image is kept if it comes.
    """
    if row["status"] in FINAL_ROW:
        return False
    if row["status"] == "pending":
        row["billable"] = "no"
    else:
        row["billable"], row["cost"] = "yes" if row.get("images") else "unknown", UNKNOWN
    _close(row, "cancelled", now)
    return True


def cancel_rows(document: Job, now: str) -> list[ModelResult]:
    """Close every open row without its image; returns the rows that were open."""
    cancelled = [row for row in document["results"] if cancel_row(row, now)]
    if cancelled:
        document["cancelRequested"] = now
    return cancelled


def reopen_row(row: ModelResult) -> bool:
    """Make a row that ended without its image pending again, for a new run. False: nothing changed.

    Images that it has stay, and so does what it may have cost.
    """
    if row["status"] not in RETRIED_ROW:
        return False
    if "cost" in row:
        row["earlierCosts"] = [*row.get("earlierCosts", []), row["cost"]]
    _remove(row, _OF_RUN)
    row["status"] = "pending"
    return True


def reopen_rows(document: Job, asked: Iterable[ModelResult], now: str) -> list[ModelResult]:
    """Begin the next run with those of the rows ``asked`` that can run again; without any, no run begins."""
    earlier = document["run"]
    rerun = [row for row in asked if reopen_row(row)]
    if rerun:
        for row in document["results"]:
            if row["status"] in RETRIED_ROW:
                row.setdefault("run", earlier)
        document["run"], document["runStartedAt"] = earlier + 1, now
        document.pop("cancelRequested", None)
    return rerun


def failed_rows(document: Job, names: Collection[str] | None = None) -> list[ModelResult]:
    """The rows that a retry runs again: those without image, of the models with these ``names`` or of all.

    Raises
    ------
    JobNotFinished : a row is open
    NothingToRetry : every one of these models is completed
    """
    if open_rows(document):
        raise JobNotFinished(AT_WORK)
    asked = [row for row in document["results"] if names is None or row["model"] in names]
    failed = [row for row in asked if row["status"] in RETRIED_ROW]
    if not failed:
        which = "every model" if names is None else "every one of these models"
        raise NothingToRetry(f"Nothing to retry: {which} succeeded.")
    return failed


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 model`` and ``2 models``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_of_run(document: Job, run: int | None) -> bool:
    """Whether an event belongs to the document's present run; one that names no run does."""
    return run is None or run == document["run"]


def run_of_row(document: Job, row: ModelResult) -> int:
    """The last run that a row took part in: the present one, unless a retry has left the row as it was."""
    run: int = row["run"] if "run" in row else document["run"]
    return run


def row_costs(row: ModelResult) -> list[Cost]:
    """Costs of a row in its runs, where it has any."""
    return [*row.get("earlierCosts", []), *([row["cost"]] if "cost" in row else [])]


def _free_fields(fields: Mapping[str, object]) -> ModelResult:
    fixed = ("index", "model", "provider", "status", "completedAt")
    free = {name: value for name, value in fields.items() if name not in fixed and value is not None}
    # Without the fixed ones: it is only written over a whole result.
    return cast(ModelResult, free)


def _remove(row: ModelResult, names: Iterable[str]) -> None:
    fields = cast(dict[str, Any], row)
    for name in names:
        fields.pop(name, None)


def _close(row: ModelResult, status: RowStatus, now: str) -> None:
    row["status"], row["completedAt"] = status, now
    if "startedAt" in row:
        row.setdefault("duration", seconds_between(row["startedAt"], now))


def finish_rows(
    rows: Sequence[ModelResult],
    outcomes: Mapping[int, Mapping[str, Any]],
    stored: Mapping[str, Sequence[StoredImage]],
    now: str,
    begun: Collection[int] = (),
) -> bool:
    """Close what is still open at the end of an execution. False: nothing changed.

    Parameters
    ----------
    outcomes : by row index, the Map items' outcomes that the job document does not hold yet
    stored : by model name, the images that lie in S3
    begun : indices of rows whose provider may have been asked, whatever they say
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
            changed |= fail_row(row, _abandoned(row, has_begun=row["index"] in begun), now)
    return changed


def keep_images(rows: Sequence[ModelResult], outcomes: Mapping[int, Mapping[str, Any]], now: str) -> bool:
    """Complete the rows whose image an earlier run has made after all. False: nothing changed."""
    changed = False
    for row in rows:
        outcome = outcomes.get(row["index"], {})
        if outcome.get("state") == "done":
            changed |= complete_row(row, outcome.get("row", {}), now)
    return changed


def images_result(images: Sequence[StoredImage | Image]) -> ResultFields:
    """The fields of a row whose images are stored in S3."""
    return {"imageKey": images[0]["imageKey"], "images": [Image(**image) for image in images]}


def _abandoned(row: ModelResult, *, has_begun: bool) -> Failure:
    if row["status"] == "pending" and not has_begun:
        return ProviderError("internal", "The job ended before this model was started.", billable="no").row()
    return ProviderError(
        "unknown_outcome",
        "The job ended before this model's response was recorded; the provider may have made an image.",
    ).row()
