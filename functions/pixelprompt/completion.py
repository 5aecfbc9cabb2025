"""The end of a job: whatever died, its document reaches a final status."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixelprompt.documents import Value
from pixelprompt.executions import job_and_run
from pixelprompt.images import ImageStorage, StoredImage, stem
from pixelprompt.jobs import FINAL_ROW, JobManager, epoch_milliseconds, gallery
from pixelprompt.metrics import record_completion, record_failure


@dataclass(frozen=True)
class Ending:
    """Which run of which job to finish, and the outcomes of its Map items as far as they are known.

    Without a run it is the present one.
    """

    job_id: str
    outcomes: tuple[Mapping[str, Any], ...] = ()
    correlation_id: str | None = None
    run: int | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Ending":
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
    """Finishes jobs."""

    def __init__(self, jobs: JobManager, images: ImageStorage) -> None:
        self._jobs = jobs
        self._images = images

    def finish(self, ending: Ending) -> Value:
        """Close what is open; returns the job document.

        Raises
        ------
        JobNotFound
        """
        untold = {outcome["index"]: outcome for outcome in ending.outcomes if outcome.get("row")}
        abandoned: set[str] = set()

        def stored(document: Value) -> dict[str, list[StoredImage]]:
            rows = document["results"]
            abandoned.update(r["model"] for r in rows if r["status"] not in FINAL_ROW and r["index"] not in untold)
            return stored_images(self._images, document)

        document = self._jobs.finish(ending.job_id, untold, stored, run=ending.run)
        # Whoever worked on these died before it could measure them.
        for row in document["results"]:
            if row["model"] in abandoned and row["status"] == "completed":
                record_completion(row["model"], None)
            elif row["model"] in abandoned and row["status"] == "error":
                record_failure(row["model"], row["errorCode"], row["billable"])
        return document


def stored_images(images: ImageStorage, document: Value) -> dict[str, list[StoredImage]]:
    """The images of a job that lie in S3, by model name."""
    target = gallery(document["jobId"], document["createdAt"])
    timestamp = epoch_milliseconds(document["createdAt"])
    found = images.find(f"{target}/")
    by_model = {}
    for row in document["results"]:
        name = f"{stem(target, row['model'], timestamp)}"
        by_model[row["model"]] = [i for i in found if _is_of(i["imageKey"], name)]
    return by_model


def _is_of(image_key: str, name: str) -> bool:
    """Whether the key is that of the stem itself or of one of its numbered followers."""
    rest = image_key.partition("/")[2].removesuffix(".json")
    return rest == name or rest.startswith(f"{name}-")
