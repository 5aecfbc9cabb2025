"""What a caller sees of a job."""

from collections.abc import Callable
from datetime import datetime

from pixelprompt.documents import Value
from pixelprompt.errors import JobNotFound
from pixelprompt.images import URL_SECONDS, ImageStorage
from pixelprompt.jobs import FINAL_JOB, JobManager
from pixelprompt.observability import log_failure


def with_addresses(document: Value, images: ImageStorage) -> Value:
    """The document with an ``imageUrl`` for each image."""
    for row in document["results"]:
        for image in row.get("images", []):
            image["imageUrl"] = images.image_url(image["binaryKey"])
        if row.get("images"):
            row["imageUrl"] = row["images"][0]["imageUrl"]
    return document


class JobStatus:
    """Reads jobs.

    Parameters
    ----------
    finish : asks the finish Lambda to close this run of a job, without waiting for it
    clock : epoch seconds
    longest_job : seconds after which a job that is still open was abandoned
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        finish: Callable[[str, int], None],
        *,
        clock: Callable[[], float],
        longest_job: float = 1200,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._finish = finish
        self._clock = clock
        self._longest_job = longest_job

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
        if document["status"] not in FINAL_JOB and self._age(document) > self._longest_job:
            self._close(document)
        return with_addresses(document, self._images), self._etag(found.etag)

    def _age(self, document: Value) -> float:
        began_at = document.get("runStartedAt") or document["createdAt"]
        return self._clock() - datetime.fromisoformat(began_at).timestamp()

    def _close(self, document: Value) -> None:
        try:
            self._finish(document["jobId"], document["run"])
        except Exception as error:
            log_failure("The finish Lambda could not be asked to close an abandoned job.", error)

    def _etag(self, etag: str) -> str:
        """The document's ETag; it changes every half of a presigned URL's life, so that no cached one is dead."""
        if self._images.cloudfront_domain:
            return etag
        return f'"{etag.strip(chr(34))}-{int(self._clock() // (URL_SECONDS / 2))}"'
