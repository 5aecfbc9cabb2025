"""From a caller's request to a running job."""

import ipaddress
import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.errors import (
    InappropriateContent,
    InvalidParameter,
    NoProviderConfigured,
    PromptRequired,
    PromptTooLong,
    RateLimitExceeded,
    ServiceUnavailable,
)
from pixelprompt.jobs import JobManager
from pixelprompt.moderation import ContentFilter
from pixelprompt.observability import log_failure, logger
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.providers.base import Model
from pixelprompt.rate_limit import Decision, RateLimiter
from pixelprompt.registry import ModelRegistry

PROMPT_LIMIT = 1000
# Name: lowest, highest, default, whole numbers only.
PARAMETERS: dict[str, tuple[float, float, float, bool]] = {
    "steps": (1, 150, 28, True),
    "guidance": (0, 30, 5, False),
    "control": (0, 2, 1.0, False),
}

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
    if any(ord(character) < 32 and character not in "\t\n\r" for character in prompt):
        raise InvalidParameter("The prompt has control characters.", parameter="prompt")
    return prompt


def read_parameters(body: Body) -> dict[str, float]:
    """``steps``, ``guidance`` and ``control`` with their defaults.

    Raises
    ------
    InvalidParameter : no number, or out of range
    """
    parameters = {}
    for name, (lowest, highest, default, whole) in PARAMETERS.items():
        value = body.get(name)
        if value is None:
            value = default
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not lowest <= value <= highest or (whole and value != math.floor(value)):
            kind = "a whole number" if whole else "a number"
            raise InvalidParameter(f"{name} must be {kind} from {lowest} to {highest}.", parameter=name)
        parameters[name] = int(value) if whole else value
    return parameters


def read_models(body: Body, registry: ModelRegistry) -> list[Model] | None:
    """The models that the body names, each once, in the registry's order; None where it names none.

    Raises
    ------
    InvalidParameter : no list of names, or an unknown name
    """
    wanted = body.get("models")
    if wanted is None:
        return None
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        raise InvalidParameter("models must be a list of model names or ids.", parameter="models")
    found = []
    for name in wanted:
        model = registry.find(name)
        if model is None:
            known = ", ".join(model.name for model in registry.get_all_models())
            raise InvalidParameter(f"There is no model {name[:80]!r}. There are: {known}.", parameter="models")
        found.append(model)
    return [model for model in registry.get_all_models() if model in found]


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


class Submission:
    """Takes a request, checks it and starts its job."""

    def __init__(
        self,
        jobs: JobManager,
        limiter: RateLimiter,
        content_filter: ContentFilter,
        registry: ModelRegistry,
        keys: ProviderKeys,
        start_execution: Callable[[str, str], None],
        *,
        trust_body_ip: bool = False,
    ) -> None:
        self._jobs = jobs
        self._limiter = limiter
        self._filter = content_filter
        self._registry = registry
        self._keys = keys
        self._start = start_execution
        self._trust_body_ip = trust_body_ip

    def submit(self, body: Body, source_ip: str, correlation_id: str) -> dict[str, Any]:
        """Start a job; returns ``jobId`` and ``totalModels``.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        prompt = read_prompt(body)
        parameters = read_parameters(body)
        wanted = read_models(body, self._registry)
        ip = read_ip(body, source_ip, self._trust_body_ip)
        models = self._usable(wanted)
        self._count(ip)
        verdict = self._filter.verdict(prompt)
        if verdict.blocked:
            logger.info("A prompt was blocked.", category=verdict.category)
            message = "The prompt was blocked by moderation. Change it and try again."
            raise InappropriateContent(message, category=verdict.category)
        job_id = str(uuid.uuid4())
        self._run(job_id, prompt, parameters, models, correlation_id)
        return {"jobId": job_id, "totalModels": len(models)}

    def _usable(self, wanted: Sequence[Model] | None) -> list[Model]:
        providers = self._keys.configured()
        models = self._registry.configured(providers) if wanted is None else list(wanted)
        missing = sorted({model.provider for model in models} - set(providers))
        if missing or not models:
            which = ", ".join(missing) or "any provider"
            raise NoProviderConfigured(
                f"There is no key for {which}; the owner of this deployment sets it with `make keys`."
            )
        return models

    def _count(self, ip: str) -> None:
        decision = self._limiter.check(ip)
        if decision.limited:
            raise rate_limit_error(decision)

    def _run(
        self, job_id: str, prompt: str, parameters: Mapping[str, Any], models: Sequence[Model], correlation_id: str
    ) -> None:
        created_at = self._jobs.now()
        rows = [{"name": model.name, "provider": model.provider} for model in models]
        self._jobs.create_job(prompt, parameters, rows, job_id=job_id, created_at=created_at)
        execution = {
            "jobId": job_id,
            "run": 1,
            "createdAt": created_at,
            "correlationId": correlation_id,
            "prompt": prompt,
            "parameters": parameters,
            "models": [model.name for model in models],
        }
        logger.append_keys(job_id=job_id)
        try:
            self._start(job_id, json.dumps(execution))
        except (ClientError, BotoCoreError) as error:
            log_failure("The execution could not be started.", error)
            self._jobs.finish(job_id, {}, lambda document: {})
            message = "The job could not be started. Try again in a few seconds."
            raise ServiceUnavailable(message, headers={"Retry-After": "5"}, jobId=job_id) from error
        logger.info("A job was started.", models=len(models))


def rate_limit_error(decision: Decision) -> RateLimitExceeded:
    """The answer to a request over a limit: which limit, and when the next request may pass."""
    seconds = max(1, math.ceil(decision.retry_after))
    sentences = {
        "global": "This deployment has reached its requests per hour.",
        "ip": "Your address has reached its requests per day.",
    }
    sentence = sentences.get(decision.scope or "", "Too many requests arrive at once.")
    return RateLimitExceeded(
        f"{sentence} Try again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
        retryAfter=seconds,
        scope=decision.scope,
    )
