"""What a caller sees of a job."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pixelprompt.documents import Value
from pixelprompt.errors import JobNotFound
from pixelprompt.images import URL_SECONDS, ImageStorage
from pixelprompt.jobs import FINAL_JOB, JobManager
from pixelprompt.observability import log_failure

# The state machine ends after 900 s, and what follows has a minute; a job that is open for longer was abandoned.
LONGEST_JOB = 1200.0


class JobStatus:
    """Reads jobs.

    Parameters
    ----------
    finish : asks the finish Lambda to close a job, without waiting for it
    clock : epoch seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        finish: Callable[[str], None],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._finish = finish
        self._clock = clock

    def get(self, job_id: str) -> tuple[Value, str]:
        """The job document with an ``imageUrl`` for each image, and its ETag.

        Raises
        ------
        JobNotFound
        """
        found = self._jobs.read(job_id)
        if found is None:
            raise JobNotFound("There is no job with this id. Jobs are kept for a limited time.")
        document = found.value
        if document["status"] not in FINAL_JOB and self._age(document) > LONGEST_JOB:
            self._close(job_id)
        for row in document["results"]:
            for image in row.get("images", []):
                image["imageUrl"] = self._images.image_url(image["binaryKey"])
            if row.get("images"):
                row["imageUrl"] = row["images"][0]["imageUrl"]
        return document, self._etag(found.etag)

    def _age(self, document: dict[str, Any]) -> float:
        return self._clock() - datetime.fromisoformat(document["createdAt"]).timestamp()

    def _close(self, job_id: str) -> None:
        try:
            self._finish(job_id)
        except Exception as error:
            log_failure("The finish Lambda could not be asked to close an abandoned job.", error)

    def _etag(self, etag: str) -> str:
        """The document's ETag; it changes every half of a presigned URL's life, so that no cached one is dead."""
        if self._images.cloudfront_domain:
            return etag
        return f'"{etag.strip(chr(34))}-{int(self._clock() // (URL_SECONDS / 2))}"'
