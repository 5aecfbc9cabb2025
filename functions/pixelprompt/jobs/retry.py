"""Run the models of a job again that made no image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, cast

from msgspec import Meta, Struct

from pixelprompt.deadline import Deadline
from pixelprompt.errors import InvalidParameter, RequestError, ServiceUnavailable
from pixelprompt.identity import ANYBODY, Identity, refuse_disallowed
from pixelprompt.jobs.document import counted, failed_rows, run_of_row
from pixelprompt.jobs.executions import START_SECONDS, map_item, start_run
from pixelprompt.jobs.finish import stored_images
from pixelprompt.jobs.progress import Progress, ResumeTokens
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Image, Job, ModelResult, RunStarted
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.caller import CallerIp, read_ip
from pixelprompt.limits.limiter import Limiter, refuse_limited
from pixelprompt.observability import logger
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import StoredImage, number_of, stem_in_job
from pixelprompt.validation import read_body

if TYPE_CHECKING:
    from pixelprompt.jobs.reserving import RetryBudget


class RetryRequest(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The body of ``POST /retry/{jobId}``."""

    models: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        Meta(
            description="Names of models of this job, as `results` has them; the others don't run again. Without it, "
            "every model without an image runs again.",
            examples=[["GPT Image 2"]],
        ),
    ] = None
    ip: CallerIp = None


class Retry:
    """Runs again what has no image.

    Parameters
    ----------
    start_execution : starts the execution of this name with this input
    budget : reserves what a run may cost, where there are budgets
    trust_body_ip : whether the body's ``ip`` names the caller
    deadline : of the request
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        tokens: ResumeTokens,
        limiter: Limiter,
        start_execution: Callable[[str, str], None],
        *,
        budget: RetryBudget | None = None,
        trust_body_ip: bool = False,
        deadline: Deadline | None = None,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._limiter = limiter
        self._start = start_execution
        self._budget = budget
        self._trust_body_ip = trust_body_ip
        self._deadline = deadline or Deadline()

    def retry(
        self,
        job_id: str,
        body: Mapping[str, Any],
        source_ip: str,
        correlation_id: str,
        caller: Identity = ANYBODY,
    ) -> RunStarted:
        """Begin the job's next run with the rows that ended in ``error`` or ``cancelled``; the JSON of the response.

        Where the body has ``models``, only with those of them; the others are not asked again.
        Nothing that was paid for is made again: an image that lies in S3 completes its row, and a request that its
        provider may still be working on is resumed once, where the provider gave us something to resume it with.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        document = self._jobs.require(job_id, caller)
        request = read_body(body, RetryRequest)
        ip = read_ip(request.ip, source_ip, self._trust_body_ip)
        names = request.models
        _check_names(names or (), document)
        failed = failed_rows(document, names)
        refuse_disallowed([row["model"] for row in failed], caller)
        stored = stored_images(self._images, document)
        parameters = given_parameters(document)
        wanted = parameters.get("n", 1)
        resumable = self._resumable(document, failed)
        if any(len(stored[row["model"]]) < wanted for row in failed):
            refuse_limited(self._limiter.check(ip, key=caller.key))
        self._deadline.check(START_SECONDS)
        document, rows = self._begin(document, failed, stored, wanted, names, caller)
        if rows:
            items = [
                map_item(row, progress(document, row, stored.get(row["model"], []), resumable.get(row["index"])))
                for row in rows
            ]
            try:
                start_run(self._start, document, parameters, items, correlation_id)
            except ServiceUnavailable:
                if self._budget:
                    self._budget.abandon(self._jobs, job_id, document["run"])
                else:
                    self._jobs.finish(job_id, {}, lambda document: {}, run=document["run"])
                raise
            logger.info("A job runs again.", run=document["run"], models=len(items))
        return {
            "jobId": job_id,
            "message": f"Run {document['run']} was started with {counted(len(rows), 'model')}."
            if rows
            else "The images are already there; no model runs again.",
            "run": document["run"],
            "totalModels": len(rows),
        }

    def _begin(
        self,
        document: Job,
        failed: Sequence[ModelResult],
        stored: Mapping[str, Sequence[StoredImage]],
        wanted: int,
        names: Collection[str] | None,
        caller: Identity,
    ) -> tuple[Job, list[ModelResult]]:
        """Begin the next run: its document, and the rows that run again."""
        job_id, earlier = document["jobId"], document["run"]
        if self._budget is None:
            run = NextRun(earlier=earlier, stored=stored, images_wanted=wanted, names=names)
            return self._jobs.begin_run(job_id, run)
        missing = {row["index"]: wanted - len(stored[row["model"]]) for row in failed}
        claimed = self._budget.close(document)
        shares = self._budget.reserve(document, [row for row in failed if missing[row["index"]] > 0], missing, caller)
        run = NextRun(
            earlier=earlier,
            stored=stored,
            images_wanted=wanted,
            names=names,
            claimed=claimed,
            shares=shares,
        )
        try:
            begun, rows = self._jobs.begin_run(job_id, run)
        except RequestError:
            if shares:
                self._budget.release(shares)
            raise
        self._budget.settle(begun, earlier)
        if shares and not rows:
            self._budget.release(shares)
        return begun, rows

    def _resumable(self, document: Job, failed: Iterable[ModelResult]) -> dict[int, str]:
        """By row index, the tokens of requests that a provider may still be working on."""
        asked = [r for r in failed if r["status"] == "cancelled" or r.get("billable") == "unknown"]
        if not asked:
            return {}
        job_id = document["jobId"]
        with ThreadPoolExecutor(8) as pool:
            tokens = pool.map(lambda r: self._tokens.load(job_id, r["index"], run_of_row(document, r)), asked)
            return {row["index"]: token for row, token in zip(asked, tokens, strict=True) if token}


def _check_names(names: Iterable[str], document: Job) -> None:
    """Compare the names with those of the job's models.

    Raises
    ------
    InvalidParameter : the job has no model of this name
    """
    there = [row["model"] for row in document["results"]]
    for name in sorted(set(names).difference(there)):
        message = f"This job has no model {name[:80]!r}. Available: {', '.join(there)}."
        raise InvalidParameter(message, parameter="models")


def given_parameters(document: Job) -> dict[str, Any]:
    """The parameters that the job's caller gave; a document of an earlier release holds the defaults of others, too."""
    rows = document["results"]
    named = {
        name
        for row in rows
        for part in (row.get("applied", {}), row.get("adjusted", {}), row.get("ignored", {}))
        for name in part
    }
    return {name: value for name, value in document["parameters"].items() if name in named}


def progress(document: Job, row: ModelResult, stored: Iterable[StoredImage], token: str | None) -> str | None:
    """Progress of a row in earlier runs, for its next item; None if nothing is left of it."""
    name = stem_in_job(document["jobId"], document["createdAt"], row["model"])
    there: list[Image | StoredImage] = [*stored, *row.get("images", [])]
    images = {number_of(name, image): [cast(Image, dict(image))] for image in there}
    earlier = Progress.load(token)
    tokens = {
        call: value for call, value in earlier.tokens.items() if call not in images and call not in earlier.failures
    }
    found = Progress(images=dict(sorted(images.items())), tokens=tokens, earlier=sorted(images))
    return found.dump() if images or tokens else None
