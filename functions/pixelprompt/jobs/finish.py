"""The end of a job: whatever died, its document reaches a final status."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pixelprompt.errors import JobNotFound
from pixelprompt.jobs.charges import ANY_ROW
from pixelprompt.jobs.document import FINAL_JOB, FINAL_ROW, is_of_run, seconds_between
from pixelprompt.jobs.executions import job_and_run
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.store import JobManager
from pixelprompt.observability import logger, record, record_completion, record_failure
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import StoredImage, gallery, stem_in_job, stem_of

if TYPE_CHECKING:
    from pixelprompt.jobs.settlement import Settlement


class FinishRequest(Struct, frozen=True):
    """Request to finish a run of a job, with the known outcomes of its Map items.

    Without a run it is the present one.
    """

    job_id: str
    outcomes: tuple[Mapping[str, Any], ...] = ()
    correlation_id: str | None = None
    run: int | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> FinishRequest:
        """Read the event of any of the callers: *Finish job*, the failure rule (EventBridge), the status Lambda."""
        detail = event.get("detail")
        if isinstance(detail, Mapping):
            text = detail.get("input")
            given = json.loads(text) if text else {}
            job_id, run = job_and_run(str(detail["name"]))
            return cls(job_id, correlation_id=given.get("correlationId"), run=run)
        outcomes = event.get("outcomes")
        told = outcomes if isinstance(outcomes, Sequence) else ()
        known = tuple(outcome for outcome in told if isinstance(outcome, Mapping))
        return cls(event["jobId"], known, event.get("correlationId"), event.get("run"))


class Completion:
    """Finishes jobs.

    Parameters
    ----------
    settlement : charges them to the budgets, where there are any
    """

    def __init__(self, jobs: JobManager, images: ImageStorage, settlement: Settlement | None = None) -> None:
        self._jobs = jobs
        self._images = images
        self._settlement = settlement

    def finish(self, ending: FinishRequest) -> Job:
        """Close what is open; returns the job document.

        Raises
        ------
        JobNotFound
        """
        run = ending.run
        claimed: Collection[int] | None = None
        begun: Collection[int] = ()
        if self._settlement:
            run = run or self._jobs.require(ending.job_id)["run"]
            claimed = self._settlement.close(ending.job_id, run)
            begun = ANY_ROW if claimed is None else claimed
        untold = {outcome["index"]: outcome for outcome in ending.outcomes if outcome.get("row")}
        abandoned: set[str] = set()

        def stored(document: Job) -> dict[str, list[StoredImage]]:
            rows = document["results"]
            abandoned.update(r["model"] for r in rows if r["status"] not in FINAL_ROW and r["index"] not in untold)
            return stored_images(self._images, document)

        document = self._jobs.finish(ending.job_id, untold, stored, run=run, claimed=claimed, begun=begun)
        if self._settlement and run:
            self._settlement.settle(document, run)
        # The worker of these rows ended before it could measure them.
        for row in document["results"]:
            if row["model"] in abandoned and row["status"] == "completed":
                record_completion(row["model"], None)
            elif row["model"] in abandoned and row["status"] == "error":
                record_failure(row["model"], row["errorCode"], row["billable"])
        return document

    def close(self, ending: FinishRequest) -> dict[str, Any]:
        """Finish a job and measure it; what the execution shows of it. A job that has expired has the status None."""
        try:
            document = self.finish(ending)
        except JobNotFound:
            logger.warning("The job's document was not found.")
            return {"jobId": ending.job_id, "status": None}
        if document["status"] in FINAL_JOB and is_of_run(document, ending.run):
            began_at = document.get("runStartedAt") or document["createdAt"]
            record({"JobsEnded": 1}, status=document["status"])
            record({"JobSeconds": seconds_between(began_at, document["updatedAt"])})
            if self._settlement:
                self._settlement.measure(document)
        logger.info("The job ended.", status=document["status"], completed_models=document["completedModels"])
        return {name: document[name] for name in ("jobId", "status", "totalModels", "completedModels")}


def stored_images(images: ImageStorage, document: Job) -> dict[str, list[StoredImage]]:
    """The images of a job that lie in S3, by model name."""
    found = images.find(f"{gallery(document['jobId'], document['createdAt'])}/")
    by_model = {}
    for row in document["results"]:
        name = stem_in_job(document["jobId"], document["createdAt"], row["model"])
        by_model[row["model"]] = [image for image in found if _is_of(image["imageKey"], name)]
    return by_model


def _is_of(image_key: str, name: str) -> bool:
    """Whether the key is that of the stem itself or of one of its numbered followers."""
    rest = stem_of(image_key)
    return rest == name or rest.startswith(f"{name}-")
