"""The job document: its shape, and the rules by which it changes.

The functions are pure: they take a document and a time and change the document. ``pixelprompt.jobs.store`` applies them
under conditional writes.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pixelprompt.errors import JobNotFinished, NothingToRetry
from pixelprompt.models.cost import UNKNOWN
from pixelprompt.models.model import ProviderError
from pixelprompt.storage.documents import Value

Row = dict[str, Any]
SCHEMA_VERSION = 1
FINAL_ROW = frozenset({"completed", "error", "cancelled"})
# A row that a retry runs again.
RETRIED_ROW = frozenset({"error", "cancelled"})
FINAL_JOB = frozenset({"completed", "partial", "failed", "cancelled"})
JOB_STATUSES = FINAL_JOB | {"pending", "in_progress"}
AT_WORK = "Models of this job are still at work. Wait for them, or cancel the job."
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# What a run has written into a row besides its images.
_OF_RUN = (
    "startedAt", "completedAt", "duration", "error", "errorCode", "retryable", "billable", "cost", "requestId", "usage",
    "missing", "run",
)  # fmt: skip


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id, a UUID of version 4 in lower case."""
    return _JOB_ID.fullmatch(text) is not None


def seconds_between(start: str, end: str) -> float:
    """Seconds from one ISO 8601 moment to another, at least 0, to the hundredth."""
    elapsed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, round(elapsed.total_seconds(), 2))


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
        raise JobNotFinished(AT_WORK)
    asked = [row for row in document["results"] if names is None or row["model"] in names]
    failed = [row for row in asked if row["status"] in RETRIED_ROW]
    if not failed:
        of = "model of this job" if names is None else "one of these models"
        raise NothingToRetry(f"Every {of} has made its image.")
    return failed


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 model`` and ``2 models``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
