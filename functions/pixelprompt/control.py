"""What a caller can do with a job that was started: cancel it, run again what failed."""

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pixelprompt.completion import stored_images
from pixelprompt.deadline import REQUEST_SECONDS, Deadline
from pixelprompt.documents import Value
from pixelprompt.errors import InvalidParameter, ServiceUnavailable
from pixelprompt.executions import FAILURES, execution_name, may_have_started
from pixelprompt.generation import Progress, ResumeTokens
from pixelprompt.images import ImageStorage, StoredImage, number_of, stem
from pixelprompt.jobs import JobManager, Row, epoch_milliseconds, failed_rows, gallery, is_job_id, run_of_row
from pixelprompt.member_names import check_names
from pixelprompt.metrics import record_unknown_cost
from pixelprompt.observability import log_failure, logger
from pixelprompt.rate_limit import RateLimiter
from pixelprompt.submission import START_SECONDS, Body, read_ip, read_names, refuse_limited

# What the body of ``POST /retry/{jobId}`` may hold.
RETRY_MEMBERS = ("models", "ip")

_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.5)


class Cancellation:
    """Cancels jobs.

    Parameters
    ----------
    stop_execution : stops the execution of this name; False where there is none
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

    def require(self, job_id: str) -> None:
        """Make sure that there is such a job.

        Raises
        ------
        JobNotFound
        """
        self._jobs.require(job_id)

    def cancel(self, job_id: str, body: Body = MappingProxyType({})) -> Value:
        """Close what is open as ``cancelled`` and stop the execution; returns the job document.

        The rows come first: when the stopped execution calls for *finish*, it finds nothing open. A repeat stops the
        execution again, in case the first could not. The body has no members.

        Raises
        ------
        JobNotFound, InvalidParameter
        ServiceUnavailable : the rows are cancelled, but the execution could not be stopped
        """
        if body or not is_job_id(job_id):
            self._jobs.require(job_id)
            check_names(body, ())
        document, cancelled = self._jobs.cancel(job_id)
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

    def _stop_execution(self, document: Value) -> None:
        name = execution_name(document["jobId"], document["run"])
        for pause in _PAUSES:
            # The request that has written the document may still be about to start its execution.
            if self._stop(name) or _age(document, self._clock()) > REQUEST_SECONDS:
                return
            self._sleep(pause)
        self._stop(name)


def _age(document: Value, now: float) -> float:
    began_at = document.get("runStartedAt") or document["createdAt"]
    return now - datetime.fromisoformat(began_at).timestamp()


class Retry:
    """Runs again what has no image.

    Parameters
    ----------
    start_execution : starts the execution of this name with this input
    trust_body_ip : whether the body's ``ip`` names the caller
    deadline : of the request
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        tokens: ResumeTokens,
        limiter: RateLimiter,
        start_execution: Callable[[str, str], None],
        *,
        trust_body_ip: bool = False,
        deadline: Deadline | None = None,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._limiter = limiter
        self._start = start_execution
        self._trust_body_ip = trust_body_ip
        self._deadline = deadline or Deadline()

    def require(self, job_id: str) -> None:
        """Make sure that there is such a job.

        Raises
        ------
        JobNotFound
        """
        self._jobs.require(job_id)

    def retry(self, job_id: str, body: Body, source_ip: str, correlation_id: str) -> dict[str, Any]:
        """Begin the job's next run with the rows that ended in ``error`` or ``cancelled``; the JSON of the answer.

        Where the body has ``models``, only with those of them; the others are not asked again.
        Nothing that was paid for is made again: an image that lies in S3 completes its row, and a request that its
        provider may still be working on is resumed once, where the provider gave us something to resume it with.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        document = self._jobs.require(job_id)
        check_names(body, RETRY_MEMBERS)
        ip = read_ip(body, source_ip, self._trust_body_ip)
        names = read_names(body, "names of models of this job")
        _check_names(names or (), document)
        failed = failed_rows(document, names)
        stored = stored_images(self._images, document)
        parameters = given_parameters(document)
        wanted = parameters.get("n", 1)
        resumable = self._resumable(document, failed)
        if any(len(stored[row["model"]]) < wanted for row in failed):
            refuse_limited(self._limiter.check(ip))
        self._deadline.check(START_SECONDS)
        document, rows = self._jobs.begin_run(job_id, document["run"], stored, wanted, names)
        if rows:
            items = [
                {
                    "index": row["index"],
                    "model": row["model"],
                    "resume": progress(document, row, stored.get(row["model"], []), resumable.get(row["index"])),
                }
                for row in rows
            ]
            self._run(document, parameters, items, correlation_id)
        return {
            "jobId": job_id,
            "message": f"Run {document['run']} was started with {len(rows)} models."
            if rows
            else "The images were there already; no model runs again.",
            "run": document["run"],
            "totalModels": len(rows),
        }

    def _resumable(self, document: Value, failed: Iterable[Row]) -> dict[int, str]:
        """By row index, the tokens of requests that a provider may still be working on."""
        asked = [r for r in failed if r["status"] == "cancelled" or r.get("billable") == "unknown"]
        if not asked:
            return {}
        job_id = document["jobId"]
        with ThreadPoolExecutor(8) as pool:
            tokens = pool.map(lambda r: self._tokens.load_row(job_id, r["index"], run_of_row(document, r)), asked)
            return {row["index"]: token for row, token in zip(asked, tokens, strict=True) if token}

    def _run(
        self, document: Value, parameters: dict[str, Any], items: list[dict[str, Any]], correlation_id: str
    ) -> None:
        job_id, run = document["jobId"], document["run"]
        execution = {
            "jobId": job_id,
            "run": run,
            "createdAt": document["createdAt"],
            "correlationId": correlation_id,
            "prompt": document["prompt"],
            "parameters": parameters,
            "models": items,
        }
        try:
            self._start(execution_name(job_id, run), json.dumps(execution, allow_nan=False))
        except FAILURES as error:
            log_failure("The execution could not be started.", error)
            if may_have_started(error):
                # If it does not run after all, the job is closed as an abandoned one.
                return
            self._jobs.finish(job_id, {}, lambda document: {}, run=run)
            message = "The run could not be started. Try again in a few seconds."
            raise ServiceUnavailable(message, headers={"Retry-After": "5"}, jobId=job_id) from error
        logger.info("A job runs again.", run=run, models=len(items))


def _check_names(names: Iterable[str], document: Value) -> None:
    """Compare the names with those of the job's models.

    Raises
    ------
    InvalidParameter : the job has no model of this name
    """
    there = [row["model"] for row in document["results"]]
    for name in sorted(set(names).difference(there)):
        message = f"This job has no model {name[:80]!r}. It has: {', '.join(there)}."
        raise InvalidParameter(message, parameter="models")


def given_parameters(document: Value) -> dict[str, Any]:
    """The parameters that the job's caller gave; the document shows the defaults of some others beside them."""
    rows = document["results"]
    named = {name for row in rows for part in ("applied", "adjusted", "ignored") for name in row.get(part, {})}
    return {name: value for name, value in document["parameters"].items() if name in named}


def progress(document: Value, row: Row, stored: Iterable[StoredImage], token: str | None) -> str | None:
    """How far a row has come in earlier runs, as its next item takes it; None where nothing is left of them."""
    name = stem(
        gallery(document["jobId"], document["createdAt"]), row["model"], epoch_milliseconds(document["createdAt"])
    )
    images = {number_of(name, image): [dict(image)] for image in [*stored, *row.get("images", [])]}
    earlier = Progress.load(token)
    tokens = {
        call: value for call, value in earlier.tokens.items() if call not in images and call not in earlier.failures
    }
    found = Progress(images=dict(sorted(images.items())), tokens=tokens)
    return found.dump() if images or tokens else None
