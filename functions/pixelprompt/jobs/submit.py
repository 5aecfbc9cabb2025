"""From a caller's request to a running job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pixelprompt.deadline import Deadline
from pixelprompt.errors import InvalidParameter, NoProviderConfigured, RequestError, ServiceUnavailable, StorageError
from pixelprompt.identity import ANYBODY, Identity, refuse_disallowed
from pixelprompt.jobs.document import counted
from pixelprompt.jobs.executions import START_SECONDS, map_item, start_run
from pixelprompt.jobs.idempotency import HEADER, Claim, IdempotencyRecords, body_hash
from pixelprompt.jobs.references import described, read_references
from pixelprompt.jobs.request import Body, GenerateRequest, Plan, read_models, split_supporting
from pixelprompt.jobs.schema import Estimate, EstimatedModel, Job, JobStarted, Skipped
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.caller import caller as counted_as
from pixelprompt.limits.caller import read_ip
from pixelprompt.limits.limiter import Limiter, Look, refuse_limited
from pixelprompt.models.cost import estimate, total
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import IMAGES, Receipt, receipt
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.observability import log_failure, logger
from pixelprompt.prompts.moderation.classifier import refuse_blocked
from pixelprompt.prompts.moderation.filter import ContentFilter, Verdict
from pixelprompt.prompts.prompt import read_body_with_prompt, read_prompt
from pixelprompt.providers.keys import ProviderKeys

if TYPE_CHECKING:
    from pixelprompt.jobs.charges import Shares
    from pixelprompt.jobs.reserving import Reserving
    from pixelprompt.storage.references import ReferenceStorage

# How long one request waits for the job that another one with its key is making, in seconds.
_PAUSES = (0.1, 0.2, 0.4, 0.7, *[1.0] * 6)


class _Check(Struct, frozen=True):
    """Result of checking a request against the limits and the word list."""

    look: Look
    verdict: Verdict

    @property
    def is_refused(self) -> bool:
        return self.look.decision.limited or self.verdict.blocked

    def refuse(self) -> None:
        """Go on only where neither refuses.

        Raises
        ------
        RequestError
        """
        refuse_limited(self.look.decision)
        refuse_blocked(self.verdict)


class Submission:
    """Takes a request, checks it and starts its job.

    Parameters
    ----------
    registry : gives the models as they are now
    start_execution : starts the execution of this name with this input
    records : of the idempotency keys
    references : gives the storage of reference images
    reserving : reserves what a job may cost, where there are budgets
    deadline : of the request
    sleep : waits for seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        limiter: Limiter,
        content_filter: ContentFilter,
        registry: Callable[[], ModelRegistry],
        keys: ProviderKeys,
        start_execution: Callable[[str, str], None],
        records: IdempotencyRecords,
        references: Callable[[], ReferenceStorage],
        *,
        reserving: Reserving | None = None,
        trust_body_ip: bool = False,
        deadline: Deadline | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jobs = jobs
        self._limiter = limiter
        self._filter = content_filter
        self._registry = registry
        self._keys = keys
        self._start = start_execution
        self._records = records
        self._references = references
        self._reserving = reserving
        self._trust_body_ip = trust_body_ip
        self._deadline = deadline or Deadline()
        self._sleep = sleep

    def submit(
        self, body: Body, source_ip: str, correlation_id: str, caller: Identity = ANYBODY
    ) -> JobStarted | Estimate:
        """Start a job, or with ``dryRun`` estimate its cost; the JSON of the response.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        request = read_body_with_prompt(body, GenerateRequest)
        plan = self._plan(request, source_ip, caller)
        if request.dry_run:
            refuse_blocked(self._screened(plan))
            return self._estimate(plan)
        verdict = self._screened(plan)
        if verdict.blocked:
            # It is not counted, but a caller over a limit hears only of that.
            _Check(self._limiter.look(plan.ip, caller.key), verdict).refuse()
        return self._submit(str(uuid.uuid4()), plan, None, correlation_id)

    def submit_once(
        self, body: Body, source_ip: str, correlation_id: str, key: str, caller: Identity = ANYBODY
    ) -> tuple[JobStarted | Estimate, bool]:
        """Likewise, but only one job for one idempotency key of a caller.

        The key belongs to whom API Gateway has authenticated; where the API is open, to the IP address.

        Returns
        -------
        the JSON of the response, and whether an earlier request with the key has made this job

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        request = read_body_with_prompt(body, GenerateRequest)
        plan = self._plan(request, source_ip, caller)
        if request.dry_run:
            refuse_blocked(self._screened(plan))
            return self._estimate(plan), False
        owner, digest = caller.principal or counted_as(plan.ip), body_hash(body)
        check = self._check(plan)
        # Who is refused gets no further, unless the job of the key is there already.
        find: Callable[..., Claim | None] = self._records.find if check.is_refused else self._records.claim
        for pause in _PAUSES:
            claim = find(owner, key, digest)
            if claim is None:
                break
            if claim.is_mine:
                return self._submit_claimed(claim, plan, check.look, correlation_id), False
            document = self._jobs.get_job_status(claim.job_id)
            if document:
                return self._replay(document, plan, correlation_id), True
            if claim.is_abandoned:
                if check.is_refused:
                    break
                if self._records.take_over(claim):
                    return self._submit_claimed(claim, plan, check.look, correlation_id), False
            self._sleep(pause)
        if claim is None or claim.is_abandoned:
            check.refuse()
        message = f"Another request with this {HEADER} is still being worked on. Try again in a few seconds."
        raise ServiceUnavailable(message, headers={"Retry-After": "5"})

    def _submit_claimed(self, claim: Claim, plan: Plan, look: Look, correlation_id: str) -> JobStarted:
        """Make the job of a key; a request that fails leaves the key to the next."""
        try:
            return self._submit(claim.job_id, plan, look, correlation_id)
        except Exception as error:
            try:
                if isinstance(error, RequestError):
                    self._records.release(claim)
                else:
                    self._records.abandon(claim)
            except StorageError as second:
                log_failure("The idempotency record could not be given up; it is held until its time is over.", second)
            raise

    def _replay(self, document: Job, plan: Plan, correlation_id: str) -> JobStarted:
        """The response for an existing job, which is started if the request that created it ended before that."""
        if document["status"] == "pending" and document["run"] == 1:
            logger.append_keys(job_id=document["jobId"])
            self._start_execution(document, plan, correlation_id, late=True)
        return _started(document)

    def _check(self, plan: Plan) -> _Check:
        """Check the limits and the word list, without writing or counting anything."""
        look = self._limiter.look(plan.ip, plan.caller.key)
        verdict = Verdict(False) if look.decision.limited else self._screened(plan)
        return _Check(look, verdict)

    def _submit(self, job_id: str, plan: Plan, look: Look | None, correlation_id: str) -> JobStarted:
        refuse_limited(self._limiter.check(plan.ip, look, plan.caller.key))
        shares = self._reserve(job_id, plan)
        try:
            # Asking a model costs something, so it comes after the count, which stays whatever it says.
            refuse_blocked(self._filter.judge(plan.prompt, plan.negative_prompt))
            logger.append_keys(job_id=job_id)
            rows = [self._row(model, given) for model, given in plan.models]
            self._deadline.check(START_SECONDS)
            if plan.references:
                # The execution, whose input is limited, carries only their number.
                self._references().save_given(job_id, plan.references, by_admin=plan.caller.is_admin)
        except Exception:
            if self._reserving and shares:
                self._reserving.release(shares, plan.caller)
            raise
        document = self._jobs.create(
            plan.prompt,
            plan.parameters,
            rows,
            job_id=job_id,
            references=described(plan.references),
            skipped=plan.skipped,
            shares=shares,
            caller=plan.caller,
        )
        try:
            self._start_execution(document, plan, correlation_id)
        except ServiceUnavailable:
            if self._reserving:
                self._reserving.abandon(self._jobs, job_id, 1)
            else:
                self._jobs.finish(job_id, {}, lambda document: {})
            raise
        logger.info("A job was started.", models=len(rows))
        return _started(document)

    def _reserve(self, job_id: str, plan: Plan) -> Shares | None:
        """Reserve what the job may cost, where there are budgets."""
        if self._reserving is None:
            return None
        return self._reserving.reserve_job(job_id, plan.models, plan.text, plan.caller)

    def _plan(self, request: GenerateRequest, source_ip: str, caller: Identity) -> Plan:
        prompt = read_prompt(request.prompt)
        parameters = request.given()
        references = read_references(request.images or ())
        wanted = read_models(request.models, self._registry())
        skipped: list[Skipped] = []
        if references:
            parameters[IMAGES] = len(references)
            if wanted is not None:
                wanted, skipped = split_supporting(wanted, skip=request.on_unsupported == "skip")
        elif request.strength is not None:
            raise InvalidParameter(
                "`strength` needs `images`: it says how much of them may change.", parameter="strength"
            )
        usable = self._usable(wanted, caller, with_references=bool(references))
        models = tuple((model, receipt(parameters, model.supports)) for model in usable)
        if request.models is None and self._reserving:
            models, unpriced = self._reserving.split_priced(models, caller)
            skipped += unpriced
        ip = read_ip(request.ip, source_ip, self._trust_body_ip)
        plan = Plan(prompt, parameters, models, ip, references, tuple(skipped), caller)
        if request.strict:
            plan.check()
        return plan

    def _usable(self, wanted: Sequence[Model] | None, caller: Identity, *, with_references: bool) -> list[Model]:
        has_key = self._keys.has_credentials
        if wanted is None:
            defaults = self._registry().defaults(has_key)
            models = [model for model in defaults if caller.may_ask(model.name)] or defaults
        else:
            models = list(wanted)
        refuse_disallowed([model.name for model in models], caller)
        if with_references:
            models = [model for model in models if IMAGES in model.supports]
        missing = sorted({str(self._keys.key_name(model)) for model in models if not has_key(model)})
        if missing or not models:
            nobody = "No provider whose models support reference images" if with_references else "No provider"
            which = f"The key {', '.join(missing)} is missing" if missing else f"{nobody} has a key"
            raise NoProviderConfigured(f"{which}; the operator can add it with `make keys`.")
        return models

    def _estimate(self, plan: Plan) -> Estimate:
        rows: list[EstimatedModel] = [
            {
                "model": model.name,
                "provider": model.provider,
                "cost": estimate(model, given.used()),
                "applied": given.applied,
                "adjusted": given.adjusted,
                "ignored": given.ignored,
            }
            for model, given in plan.models
        ]
        cost = total(row["cost"] for row in rows)
        response: Estimate = {"dryRun": True, "totalModels": len(rows), "models": rows, "cost": cost}
        if plan.skipped:
            response["skipped"] = [*plan.skipped]
        return response

    def _screened(self, plan: Plan) -> Verdict:
        """What the word list says, which costs nothing."""
        return self._filter.screen(plan.prompt, plan.negative_prompt)

    def _start_execution(self, document: Job, plan: Plan, correlation_id: str, *, late: bool = False) -> None:
        items = [map_item(row) for row in document["results"]]
        start_run(self._start, document, plan.parameters, items, correlation_id, late=late)

    def _row(self, model: Model, given: Receipt) -> dict[str, Any]:
        row = {"name": model.name, "provider": model.provider, **given.row()}
        warning = self._registry().warning(model)
        return row | {"warning": warning} if warning else row


def _started(document: Job) -> JobStarted:
    """The response to the request that made a job."""
    models = document["totalModels"]
    response: JobStarted = {
        "jobId": document["jobId"],
        "message": f"The job was started with {counted(models, 'model')}.",
        "totalModels": models,
    }
    warnings = [row["warning"] for row in document["results"] if "warning" in row]
    if warnings:
        response["warnings"] = warnings
    if "skipped" in document:
        response["skipped"] = document["skipped"]
    return response
