"""Job documents as callers see them."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from pixelprompt.deadline import REQUEST_SECONDS, Deadline
from pixelprompt.errors import InvalidParameter, JobNotFound
from pixelprompt.identity import Identity
from pixelprompt.jobs.document import FINAL_JOB, FINAL_ROW, is_there_for
from pixelprompt.jobs.executions import execution_name
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.store import NO_SUCH_JOB, JobManager, as_job
from pixelprompt.models.parameters import DEFAULTS
from pixelprompt.observability import log_failure, record
from pixelprompt.settings import MAX_JOB_SECONDS
from pixelprompt.storage.images import URL_SECONDS, ImageStorage

# While a request waits for a change, seconds between two reads of the document.
PAUSE = 1.0
# A run of which nothing has begun after so many seconds, when the request that made it has ended, may never have been
# started: its execution is looked up, at most so often. Step Functions might not know it yet: once is not enough.
STARTING_SECONDS = REQUEST_SECONDS + 1.0
LOOK_SECONDS = 10.0
LOOKS = 2
_MAX_LOOKED_FOR = 1000
# An ETag as responses have it, also without its quotes or weakened, as proxies may do.
SINCE = '(?:W/)?"?([A-Za-z0-9-]{0,100})"?'


def is_version(if_none_match: str, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names this ETag; weak comparison (RFC 9110, 13.1.2)."""
    given = {name.strip().removeprefix("W/") for name in if_none_match.split(",")}
    return "*" in given or etag.removeprefix("W/") in given


class Wait(Struct, frozen=True):
    """Wait of at most ``seconds`` for a change from the version that ``since`` names, an ``If-None-Match``."""

    seconds: float = 0.0
    since: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str], if_none_match: str, longest: int) -> "Wait":
        """Read the parameters of a query string; what asks for more than ``longest`` seconds gets those.

        Raises
        ------
        InvalidParameter
        """
        text = query.get("wait", "0")
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text):
            raise InvalidParameter("`wait` must be a number of seconds from 0, such as 20.", parameter="wait")
        since = re.fullmatch(SINCE, query.get("since", ""))
        if not since:
            raise InvalidParameter("`since` must be the ETag of an earlier response.", parameter="since")
        return cls(min(float(text), longest), f'"{since[1]}"' if since[1] else if_none_match)


def with_image_urls(document: Job, images: ImageStorage) -> Job:
    """The document as callers get it: with an ``imageUrl`` for each image that it made or edited, and defaults."""
    document["parameters"] = {**DEFAULTS, **document["parameters"]}
    for row in document["results"]:
        for image in row.get("images", []):
            image["imageUrl"] = images.image_url(image["binaryKey"])
        if row.get("images"):
            row["imageUrl"] = row["images"][0]["imageUrl"]
    for reference in document.get("references", []):
        if "binaryKey" in reference:
            reference["imageUrl"] = images.image_url(reference["binaryKey"])
    return document


class JobStatus:
    """Reads jobs.

    Parameters
    ----------
    finish : asks the finish Lambda to close this run of a job, without waiting for it
    is_running : whether the execution of this name runs
    deadline : of the request
    clock : epoch seconds
    sleep : waits for seconds
    longest_job : seconds after which a job that is still open was abandoned
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        finish: Callable[[str, int], None],
        is_running: Callable[[str], bool],
        *,
        deadline: Deadline | None = None,
        clock: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        longest_job: float = MAX_JOB_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._finish = finish
        self._is_running = is_running
        self._deadline = deadline or Deadline()
        self._clock = clock
        self._sleep = sleep
        self._longest_job = longest_job
        # By the name of an execution, when it was looked for last, and how often in vain.
        self._looked_for: dict[str, tuple[float, int]] = {}

    def get(self, job_id: str, wait: Wait | None = None, caller: Identity | None = None) -> tuple[Job, str]:
        """The job document as ``with_image_urls`` shows it, and its ETag.

        With ``wait`` it is the first version other than ``since``, or the present one when too little time is left for
        another read. A job that has ended is not waited for. With a ``caller``, only a job that is there for that one.

        Raises
        ------
        JobNotFound
        """
        wait = wait or Wait()
        document, etag = self._read(job_id, caller)
        if document["status"] not in FINAL_JOB and (
            self._age(document) > self._longest_job or self._was_never_started(document)
        ):
            self._close(document)
        since = wait.since or etag
        # The last look takes time as well.
        left = min(wait.seconds, self._deadline.left() - PAUSE)
        until = self._clock() + left
        while document["status"] not in FINAL_JOB and is_version(since, etag) and left >= PAUSE:
            self._sleep(PAUSE)
            document, etag = self._read(job_id, caller)
            left = until - self._clock()
        return with_image_urls(document, self._images), etag

    def _read(self, job_id: str, caller: Identity | None) -> tuple[Job, str]:
        found = self._jobs.read(job_id)
        if found is None or (caller and not is_there_for(as_job(found.value), caller)):
            raise JobNotFound(NO_SUCH_JOB)
        return as_job(found.value), self._etag(found.etag)

    def _was_never_started(self, document: Job) -> bool:
        """Whether a run has no execution, and will have none: what is open in it is still pending."""
        is_open = {row["status"] for row in document["results"]} - FINAL_ROW
        if is_open != {"pending"} or self._age(document) < STARTING_SECONDS:
            return False
        name, now = execution_name(document["jobId"], document["run"]), self._clock()
        looked_at, missed = self._looked_for.get(name, (-LOOK_SECONDS, 0))
        if now - looked_at < LOOK_SECONDS:
            return False
        try:
            missed = 0 if self._is_running(name) else missed + 1
        except Exception as error:
            log_failure("The execution of a job of which nothing has begun could not be looked for.", error)
            return False
        if len(self._looked_for) >= _MAX_LOOKED_FOR:
            self._looked_for.clear()
        self._looked_for[name] = now, missed
        return missed >= LOOKS

    def _age(self, document: Job) -> float:
        began_at = document.get("runStartedAt") or document["createdAt"]
        return self._clock() - datetime.fromisoformat(began_at).timestamp()

    def _close(self, document: Job) -> None:
        record({"JobsAbandoned": 1})
        try:
            self._finish(document["jobId"], document["run"])
        except Exception as error:
            log_failure("The finish Lambda could not be asked to close an abandoned job.", error)

    def _etag(self, etag: str) -> str:
        """The document's ETag; it changes every half of a presigned URL's life, so that no cached one is dead."""
        if self._images.cloudfront_domain:
            return etag
        return f'"{etag.strip(chr(34))}-{int(self._clock() // (URL_SECONDS / 2))}"'
