"""Every service of the Lambdas whose callers wait, built once from the settings.

With ``workflow_services``, the only place that wires them.

A service's modules are imported when it is built, so a Lambda loads those of its own services and no others.
"""

from __future__ import annotations

import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from pixelprompt.settings import Settings

if TYPE_CHECKING:
    from pixelprompt.api.enhance import PromptEnhancer
    from pixelprompt.api.routes import Route
    from pixelprompt.api.uploads import Uploads
    from pixelprompt.jobs.cancel import Cancellation
    from pixelprompt.jobs.executions import Executions
    from pixelprompt.jobs.reserving import Reserving, RetryBudget
    from pixelprompt.jobs.retry import Retry
    from pixelprompt.jobs.settlement import Settlement
    from pixelprompt.jobs.status import JobStatus
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.jobs.submit import Submission
    from pixelprompt.limits.budget import Budget, Budgets
    from pixelprompt.limits.limiter import Limiter
    from pixelprompt.limits.spending import CallBudget
    from pixelprompt.models.overlay import LiveRegistry
    from pixelprompt.prompts.moderation.filter import ContentFilter
    from pixelprompt.providers.keys import ProviderKeys
    from pixelprompt.storage.galleries import Galleries
    from pixelprompt.storage.images import ImageStorage
    from pixelprompt.storage.ledger import Ledger
    from pixelprompt.storage.references import ReferenceStorage


@cache
def settings() -> Settings:
    """The settings of this Lambda."""
    return Settings.from_environment()


@cache
def routes() -> tuple[Route, ...]:
    """The routes that this deployment has."""
    from pixelprompt.api.routes import deployed_routes

    return deployed_routes(has_gallery=settings().has_gallery)


@cache
def jobs() -> JobManager:
    """The job documents."""
    from pixelprompt.api.http import deadline
    from pixelprompt.jobs.store import JobManager

    return JobManager(_s3(), settings().bucket_name, patience=5.0, time_limit=8.0, deadline=deadline)


@cache
def images() -> ImageStorage:
    """The stored images, as callers get them."""
    from pixelprompt.storage.images import ImageStorage

    return ImageStorage(_s3(), settings().bucket_name, settings().cloudfront_domain)


@cache
def galleries() -> Galleries:
    """The galleries of stored images."""
    from pixelprompt.storage.galleries import Galleries

    return Galleries(_s3(), settings().bucket_name, images(), jobs().get_job_status)


@cache
def submission() -> Submission:
    """Starts jobs."""
    from pixelprompt.api.http import deadline
    from pixelprompt.jobs.idempotency import IdempotencyRecords
    from pixelprompt.jobs.submit import Submission

    return Submission(
        jobs(),
        _job_limiter(),
        _moderation(),
        registry(),
        keys(),
        _executions().start,
        IdempotencyRecords(_s3(), settings().bucket_name, deadline=deadline),
        _references,
        reserving=_reserving() if settings().has_budget else None,
        trust_body_ip=settings().trust_body_ip,
        deadline=deadline,
    )


@cache
def job_status() -> JobStatus:
    """Reads jobs."""
    from pixelprompt.api.http import deadline
    from pixelprompt.jobs.status import JobStatus

    return JobStatus(
        jobs(),
        images(),
        ask_to_finish,
        lambda name: _executions().is_running(name),
        deadline=deadline,
        clock=time.time,
        longest_job=settings().longest_job,
    )


def ask_to_finish(job_id: str, run: int) -> None:
    """Have the finish Lambda close a run of a job, without waiting for it."""
    from pixelprompt.observability import logger

    about = {"jobId": job_id, "run": run, "correlationId": logger.get_current_keys().get("correlation_id")}
    _finish_client().invoke(
        FunctionName=settings().finish_function,
        InvocationType="Event",
        Payload=json.dumps(about, allow_nan=False),
    )


@cache
def cancellation() -> Cancellation:
    """Cancels jobs."""
    from pixelprompt.jobs.cancel import Cancellation

    return Cancellation(jobs(), _executions().stop)


@cache
def retry() -> Retry:
    """Runs again the models of a job that made no image."""
    from pixelprompt.api.http import deadline
    from pixelprompt.jobs.progress import ResumeTokens
    from pixelprompt.jobs.retry import Retry

    return Retry(
        jobs(),
        images(),
        ResumeTokens(_s3(), settings().bucket_name),
        _job_limiter(),
        _executions().start,
        budget=_retry_budget() if settings().has_budget else None,
        trust_body_ip=settings().trust_body_ip,
        deadline=deadline,
    )


@cache
def enhancer() -> PromptEnhancer:
    """Expands prompts."""
    from pixelprompt.api.enhance import PromptEnhancer
    from pixelprompt.api.http import deadline
    from pixelprompt.prompts.enhancement import EnhancementCache
    from pixelprompt.prompts.moderation.classifier import longest

    return PromptEnhancer(
        _limiter("enhance", settings().enhance_limit, settings().enhance_ip_limit),
        _moderation(),
        registry(),
        keys(),
        EnhancementCache(_s3(), settings().bucket_name, deadline),
        moderation_seconds=longest(settings().moderation),
        budget=_call_budget() if settings().has_budget else None,
        judges=_judges(),
        trust_body_ip=settings().trust_body_ip,
        deadline=deadline,
    )


@cache
def uploads() -> Uploads:
    """Makes forms for uploads."""
    from pixelprompt.api.uploads import Uploads
    from pixelprompt.storage.uploads import UploadStorage

    return Uploads(
        _limiter("uploads", settings().upload_limit, settings().upload_ip_limit),
        UploadStorage(_s3(), settings().bucket_name),
        trust_body_ip=settings().trust_body_ip,
    )


@cache
def registry() -> LiveRegistry:
    """The models as they are now."""
    from pixelprompt.models.overlay import LiveRegistry

    return LiveRegistry(
        _s3(), settings().bucket_name, prompt_model=settings().prompt_model, key_hosts=settings().key_hosts
    )


@cache
def keys() -> ProviderKeys:
    """The providers' keys."""
    from pixelprompt.providers.keys import ProviderKeys

    secrets = _request_client("secretsmanager")
    return ProviderKeys(secrets, settings().provider_secret, settings().provider_endpoints, registry().key_hosts)


@cache
def _references() -> ReferenceStorage:
    from pixelprompt.storage.references import ReferenceStorage

    return ReferenceStorage(_s3(), settings().bucket_name)


@cache
def _moderation() -> ContentFilter:
    from pixelprompt.api.http import deadline
    from pixelprompt.prompts.moderation.classifier import content_filter

    return content_filter(settings().moderation, registry(), keys(), deadline)


@cache
def _job_limiter() -> Limiter:
    return _limiter("jobs", settings().global_limit, settings().ip_limit)


def _limiter(windows: str, global_limit: int, ip_limit: int) -> Limiter:
    """Counts requests, in the ledger where there is one, or in S3."""
    limits = (global_limit, ip_limit, settings().ip_whitelist)
    if settings().ledger_table:
        from pixelprompt.limits.ledger_rate_limit import LedgerRateLimiter

        return LedgerRateLimiter(_ledger(), windows, *limits)
    from pixelprompt.api.http import deadline
    from pixelprompt.limits.rate_limit import RateLimiter
    from pixelprompt.storage.keys import LIMIT_KEYS

    return RateLimiter(_s3(), settings().bucket_name, *limits, key=LIMIT_KEYS[windows], deadline=deadline)


@cache
def _reserving() -> Reserving:
    """Reserves what jobs may cost."""
    from pixelprompt.jobs.reserving import Reserving

    return Reserving(
        _budgets(),
        _limits(),
        _settlement(),
        unknown_price=settings().unknown_price_ceiling,
        moderation=_price_of_call if _judges() else None,
    )


@cache
def _settlement() -> Settlement:
    from pixelprompt.jobs.settlement import Settlement

    return Settlement(_budgets())


@cache
def _retry_budget() -> RetryBudget:
    from pixelprompt.jobs.reserving import RetryBudget

    return RetryBudget(_reserving(), _settlement(), lambda name: registry()().find(name))


@cache
def _call_budget() -> CallBudget:
    from pixelprompt.limits.spending import CallBudget

    return CallBudget(_budgets(), _limits(), _price_of_call)


def _price_of_call(text: str) -> int | None:
    """The most that a call of the text model may cost, in millionths of a US dollar."""
    from pixelprompt.models.cost import micros, most_text
    from pixelprompt.providers.wire.text import most_tokens

    model = registry()().get_prompt_model()
    if model is None or not keys().has_credentials(model):
        return 0
    amount = most_text(model, text, most_tokens(model), settings().unknown_price_ceiling)
    return None if amount is None else micros(amount)


def _judges() -> bool:
    """Whether the text model checks prompts."""
    return settings().moderation == "model"


def _limits() -> list[Budget]:
    from pixelprompt.limits.budget import DEPLOYMENT, Budget
    from pixelprompt.models.cost import micros

    daily, monthly = settings().daily_budget, settings().monthly_budget
    return [
        Budget(
            DEPLOYMENT,
            daily=None if daily is None else micros(daily),
            monthly=None if monthly is None else micros(monthly),
        )
    ]


@cache
def _budgets() -> Budgets:
    from pixelprompt.limits.budget import Budgets

    return Budgets(_ledger())


@cache
def _ledger() -> Ledger:
    from pixelprompt.storage.ledger import Ledger

    return Ledger(_request_client("dynamodb"), settings().ledger_table)


@cache
def _executions() -> Executions:
    from pixelprompt.jobs.executions import Executions

    return Executions(_request_client("stepfunctions"), settings().state_machine_arn)


@cache
def _s3() -> Any:
    return _request_client("s3")


@cache
def _finish_client() -> Any:
    return _request_client("lambda")


def _request_client(service: str) -> Any:
    from pixelprompt.api.http import deadline
    from pixelprompt.storage import clients

    return clients.request_client(service, deadline)
