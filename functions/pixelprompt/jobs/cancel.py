"""Cancel a job."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from pixelprompt.deadline import REQUEST_SECONDS
from pixelprompt.errors import ServiceUnavailable
from pixelprompt.identity import Identity
from pixelprompt.jobs.document import is_job_id
from pixelprompt.jobs.executions import FAILURES, execution_name
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.store import JobManager
from pixelprompt.observability import logger, record_unknown_cost
from pixelprompt.validation import read_body

_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.5)


class CancelRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /cancel/{jobId}``, which has no members."""


class Cancellation:
    """Cancels jobs.

    Parameters
    ----------
    stop_execution : stops the execution of this name; False if it does not exist
    clock : epoch seconds
    sleep : waits for seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        stop_execution: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jobs = jobs
        self._stop = stop_execution
        self._clock = clock
        self._sleep = sleep

    def cancel(
        self, job_id: str, body: Mapping[str, Any] = MappingProxyType({}), caller: Identity | None = None
    ) -> Job:
        """Close what is open as ``cancelled`` and stop the execution; returns the job document.

        The rows come first: when the stopped execution calls for *finish*, it finds nothing open. A repeat stops the
        execution again, in case the first could not. The body has no members.

        Raises
        ------
        JobNotFound, InvalidParameter
        ServiceUnavailable : the rows are cancelled, but the execution could not be stopped
        """
        if body or not is_job_id(job_id):
            self._jobs.require(job_id, caller)
            read_body(body, CancelRequest)
        document, cancelled = self._jobs.cancel(job_id, caller)
        for row in cancelled:
            record_unknown_cost(row["billable"])
        if "cancelRequested" in document:
            try:
                self._stop_execution(document)
            except FAILURES as error:
                message = "The job is cancelled, but its execution could not be stopped. Cancel it again."
                raise ServiceUnavailable(message, headers={"Retry-After": "2"}, jobId=job_id) from error
            logger.info("A job was cancelled.", status=document["status"])
        return document

    def _stop_execution(self, document: Job) -> None:
        name = execution_name(document["jobId"], document["run"])
        for pause in _PAUSES:
            # The request that has written the document may still be about to start its execution.
            if self._stop(name) or _age(document, self._clock()) > REQUEST_SECONDS:
                return
            self._sleep(pause)
        self._stop(name)


def _age(document: Job, now: float) -> float:
    began_at = document.get("runStartedAt") or document["createdAt"]
    return now - datetime.fromisoformat(began_at).timestamp()
