"""From a caller's request to a running job."""

import ipaddress
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pixelprompt.cost import estimate, total
from pixelprompt.deadline import Deadline
from pixelprompt.documents import Value
from pixelprompt.errors import (
    InvalidParameter,
    NoProviderConfigured,
    PromptRequired,
    PromptTooLong,
    RateLimitExceeded,
    RequestError,
    ServiceUnavailable,
    StorageError,
)
from pixelprompt.executions import FAILURES, error_code, may_have_started
from pixelprompt.idempotency import HEADER, Claim, IdempotencyRecords, body_hash
from pixelprompt.jobs import JobManager
from pixelprompt.member_names import check_names
from pixelprompt.metrics import record
from pixelprompt.moderation import ContentFilter, Verdict
from pixelprompt.moderation_model import refuse_blocked
from pixelprompt.observability import log_failure, logger
from pixelprompt.parameters import DEFAULTS, NAMES, Receipt, is_plain_text, read_parameters, receipt
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.providers.base import Model
from pixelprompt.rate_limit import Decision, Look, RateLimiter, caller
from pixelprompt.registry import ModelRegistry

PROMPT_LIMIT = 1000
# What the body of ``POST /generate`` may hold.
MEMBERS = ("prompt", *NAMES, "models", "strict", "dryRun", "ip")

# How long one request waits for the job that another one with its key is making, in seconds.
_PAUSES = (0.1, 0.2, 0.4, 0.7, *[1.0] * 6)
# What writing a job's document and starting its execution may take, in seconds; with less, neither is begun.
START_SECONDS = 5.0

Body = Mapping[str, Any]


def read_prompt(body: Body, limit: int = PROMPT_LIMIT) -> str:
    """The trimmed prompt.

    Raises
    ------
    PromptRequired, PromptTooLong, InvalidParameter
    """
    prompt = body.get("prompt")
    if prompt is None:
        raise PromptRequired("The body needs a prompt, a text that describes the picture.")
    if not isinstance(prompt, str):
        raise InvalidParameter("prompt must be a text.", parameter="prompt")
    prompt = prompt.strip()
    if not prompt:
        raise PromptRequired("The prompt is blank.")
    if len(prompt) > limit:
        raise PromptTooLong(f"The prompt has {len(prompt)} characters; at most {limit} are taken.", limit=limit)
    if not is_plain_text(prompt):
        raise InvalidParameter("The prompt has control characters.", parameter="prompt")
    return prompt


def read_models(body: Body, registry: ModelRegistry) -> list[Model] | None:
    """The models that the body names, each once, in the registry's order; None where it names none.

    Raises
    ------
    InvalidParameter : no list of names, an unknown name, or a model that was shut down
    """
    wanted = read_names(body, "model names or ids")
    if wanted is None:
        return None
    found = [registry.find(name) or _no_such_model(name, registry) for name in wanted]
    return [model for model in registry.get_all_models() if model in found]


def read_names(body: Body, what: str) -> list[str] | None:
    """The body's ``models``, a list of ``what``; None where it has none.

    Raises
    ------
    InvalidParameter : no list of texts, or an empty one
    """
    names = body.get("models")
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidParameter(f"models must be a list of {what}.", parameter="models")
    return names


def _no_such_model(name: str, registry: ModelRegistry) -> NoReturn:
    retired = registry.find_retired(name)
    if retired:
        on = f" on {retired.shutdown}" if retired.shutdown else ""
        instead = f" Use {retired.replacement} instead." if retired.replacement else ""
        raise InvalidParameter(
            f"{retired.name} ({retired.id}) was shut down{on}.{instead}",
            parameter="models",
            shutdown=retired.shutdown,
            replacement=retired.replacement,
        )
    known = ", ".join(model.name for model in registry.get_all_models())
    raise InvalidParameter(f"There is no model {name[:80]!r}. There are: {known}.", parameter="models")


def read_flag(body: Body, name: str) -> bool:
    """A member that is true or false; false where it is missing.

    Raises
    ------
    InvalidParameter : anything else
    """
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name} must be true or false.", parameter=name)
    return value


def read_ip(body: Body, source_ip: str, trusted: bool) -> str:
    """The address that the request is counted for: the one API Gateway saw, or the body's where that is trusted.

    Raises
    ------
    InvalidParameter : the body's ``ip`` is trusted and is no address
    """
    ip = body.get("ip")
    if not trusted or ip is None:
        return source_ip
    try:
        return str(ipaddress.ip_address(ip)) if isinstance(ip, str) else _bad_ip()
    except ValueError:
        return _bad_ip()


def _bad_ip() -> str:
    raise InvalidParameter("ip must be an IPv4 or IPv6 address.", parameter="ip")


@dataclass(frozen=True)
class Plan:
    """What a request asks for: a prompt, parameters, and each model with what becomes of the parameters."""

    prompt: str
    parameters: Mapping[str, Any]
    models: tuple[tuple[Model, Receipt], ...]
    ip: str

    @property
    def negative_prompt(self) -> str:
        """What the images shall not show; empty where the caller does not say."""
        return str(self.parameters.get("negativePrompt") or "")

    def check(self) -> None:
        """Refuse a plan in which a model does not take a parameter as it was given.

        Raises
        ------
        InvalidParameter : lists every misfit
        """
        misfits = [misfit for model, given in self.models for misfit in given.misfits(model.name)]
        if misfits:
            models = len({misfit["model"] for misfit in misfits})
            raise InvalidParameter(
                f"{models} of {len(self.models)} models do not take every parameter as it is given; see misfits.",
                misfits=misfits,
            )


@dataclass(frozen=True)
class _Check:
    """What a look at the limits and the word list say about a request."""

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
    deadline : of the request
    sleep : waits for seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        limiter: RateLimiter,
        content_filter: ContentFilter,
        registry: Callable[[], ModelRegistry],
        keys: ProviderKeys,
        start_execution: Callable[[str, str], None],
        records: IdempotencyRecords,
        *,
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
        self._trust_body_ip = trust_body_ip
        self._deadline = deadline or Deadline()
        self._sleep = sleep

    def submit(self, body: Body, source_ip: str, correlation_id: str) -> dict[str, Any]:
        """Start a job, or with ``dryRun`` say what it would cost; the JSON of the answer.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        plan = self._plan(body, source_ip)
        if read_flag(body, "dryRun"):
            self._screen(plan)
            return self._estimate(plan)
        check = self._check(plan)
        check.refuse()
        return self._submit(str(uuid.uuid4()), plan, check.look, correlation_id)

    def submit_once(
        self, body: Body, source_ip: str, correlation_id: str, key: str, principal: str = ""
    ) -> tuple[dict[str, Any], bool]:
        """Likewise, but only one job for one idempotency key of a caller.

        The key belongs to whom API Gateway has authenticated, the ``principal``; without one, to the address.

        Returns
        -------
        the JSON of the answer, and whether an earlier request with the key has made this job

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        plan = self._plan(body, source_ip)
        if read_flag(body, "dryRun"):
            self._screen(plan)
            return self._estimate(plan), False
        owner, digest = principal or caller(plan.ip), body_hash(body)
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

    def _submit_claimed(self, claim: Claim, plan: Plan, look: Look, correlation_id: str) -> dict[str, Any]:
        """Make the job of a key; a request that fails leaves the key to the next."""
        try:
            return self._submit(claim.job_id, plan, look, correlation_id)
        except Exception as error:
            try:
                if isinstance(error, RequestError):
                    self._records.vacate(claim)
                else:
                    self._records.lay_down(claim)
            except StorageError as second:
                log_failure("The idempotency record could not be given up; it is held until its time is over.", second)
            raise

    def _replay(self, document: Value, plan: Plan, correlation_id: str) -> dict[str, Any]:
        """The answer of a job that was made; it is started where the request that made it has died before that."""
        if document["status"] == "pending" and document["run"] == 1:
            logger.append_keys(job_id=document["jobId"])
            self._start_execution(document, plan, correlation_id, late=True)
        return _answer(document)

    def _check(self, plan: Plan) -> _Check:
        """What a look at the limits and the word list say: that writes nothing and is not counted."""
        look = self._limiter.look(plan.ip)
        verdict = Verdict(False) if look.decision.limited else self._filter.screen(plan.prompt, plan.negative_prompt)
        return _Check(look, verdict)

    def _submit(self, job_id: str, plan: Plan, look: Look, correlation_id: str) -> dict[str, Any]:
        refuse_limited(self._limiter.check(plan.ip, look))
        # Asking a model costs something, so it comes after the count, which stays whatever it says.
        refuse_blocked(self._filter.judge(plan.prompt, plan.negative_prompt))
        logger.append_keys(job_id=job_id)
        rows = [self._row(model, given) for model, given in plan.models]
        self._deadline.check(START_SECONDS)
        document = self._jobs.create(plan.prompt, {**DEFAULTS, **plan.parameters}, rows, job_id=job_id)
        try:
            self._start_execution(document, plan, correlation_id)
        except ServiceUnavailable:
            self._jobs.finish(job_id, {}, lambda document: {})
            raise
        logger.info("A job was started.", models=len(rows))
        return _answer(document)

    def _plan(self, body: Body, source_ip: str) -> Plan:
        check_names(body, MEMBERS)
        prompt = read_prompt(body)
        parameters = read_parameters(body)
        wanted = read_models(body, self._registry())
        models = tuple((model, receipt(parameters, model.takes)) for model in self._usable(wanted))
        plan = Plan(prompt, parameters, models, read_ip(body, source_ip, self._trust_body_ip))
        if read_flag(body, "strict"):
            plan.check()
        return plan

    def _usable(self, wanted: Sequence[Model] | None) -> list[Model]:
        def has_key(model: Model) -> bool:
            return self._keys.credentials(model) is not None

        models = self._registry().defaults(has_key) if wanted is None else list(wanted)
        missing = sorted({str(self._keys.key_name(model)) for model in models if not has_key(model)})
        if missing or not models:
            which = f"The key {', '.join(missing)} is missing" if missing else "No provider has a key"
            raise NoProviderConfigured(f"{which}; the owner of this deployment sets it with `make keys`.")
        return models

    def _estimate(self, plan: Plan) -> dict[str, Any]:
        rows = [
            {
                "model": model.name,
                "provider": model.provider,
                "cost": estimate(model, given.used()),
                **given.row(),
            }
            for model, given in plan.models
        ]
        return {"dryRun": True, "totalModels": len(rows), "models": rows, "cost": total(row["cost"] for row in rows)}

    def _screen(self, plan: Plan) -> None:
        refuse_blocked(self._filter.screen(plan.prompt, plan.negative_prompt))

    def _start_execution(self, document: Value, plan: Plan, correlation_id: str, *, late: bool = False) -> None:
        """Start the execution of a new job; one that was started already counts.

        A ``late`` one may find rows that were closed in the meantime, as never started: they are not run.

        Raises
        ------
        ServiceUnavailable : it certainly does not run
        """
        job_id = document["jobId"]
        execution = {
            "jobId": job_id,
            "run": 1,
            "createdAt": document["createdAt"],
            "correlationId": correlation_id,
            "prompt": plan.prompt,
            "parameters": plan.parameters,
            "models": [row["model"] for row in document["results"]],
            **({"late": True} if late else {}),
        }
        try:
            self._start(job_id, json.dumps(execution, allow_nan=False))
        except FAILURES as error:
            if error_code(error) == "ExecutionAlreadyExists":
                return
            log_failure("The execution could not be started.", error)
            if may_have_started(error):
                # The caller gets the job; if it does not run after all, it is closed as an abandoned one.
                return
            message = "The job could not be started. Try again in a few seconds."
            raise ServiceUnavailable(message, headers={"Retry-After": "5"}, jobId=job_id) from error

    def _row(self, model: Model, given: Receipt) -> dict[str, Any]:
        row = {"name": model.name, "provider": model.provider, **given.row()}
        warning = self._registry().warning(model)
        return row | {"warning": warning} if warning else row


def _answer(document: Value) -> dict[str, Any]:
    """The answer to the request that made a job."""
    models = document["totalModels"]
    answer = {
        "jobId": document["jobId"],
        "message": f"The job was started with {models} models.",
        "totalModels": models,
    }
    warnings = [row["warning"] for row in document["results"] if "warning" in row]
    return answer | {"warnings": warnings} if warnings else answer


def refuse_limited(decision: Decision) -> None:
    """Go on only where no limit is reached.

    Raises
    ------
    RateLimitExceeded : says which limit, and when the next request may pass
    """
    if not decision.limited:
        return
    if decision.scope:
        record({"RateLimited": 1}, scope=decision.scope)
    seconds = max(1, math.ceil(decision.retry_after))
    sentences = {
        "global": "This deployment has reached its requests per hour.",
        "ip": "Your address has reached its requests per day.",
    }
    sentence = sentences.get(decision.scope or "", "Too many requests arrive at once.")
    raise RateLimitExceeded(
        f"{sentence} Try again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
        retryAfter=seconds,
        scope=decision.scope,
    )
