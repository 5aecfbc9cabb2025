"""Every service of the Lambdas whose callers wait, built once from the settings.

With ``shared_services``, ``ledger_services``, and ``workflow_services``, the only place that wires them.

A service's modules are imported when it is built, so a Lambda loads those of its own services and no others.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from pixelprompt.shared_services import keys as keys
from pixelprompt.shared_services import registry as registry
from pixelprompt.shared_services import request_client, s3
from pixelprompt.shared_services import settings as settings

if TYPE_CHECKING:
    from pixelprompt.api.enhance import PromptEnhancer
    from pixelprompt.api.routes import Route
    from pixelprompt.api.uploads import Uploads
    from pixelprompt.identity import Identity
    from pixelprompt.jobs.cancel import Cancellation
    from pixelprompt.jobs.executions import Executions
    from pixelprompt.jobs.reserving import Reserving, RetryBudget
    from pixelprompt.jobs.retry import Retry
    from pixelprompt.jobs.status import JobStatus
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.jobs.submit import Submission
    from pixelprompt.limits.limiter import Limiter
    from pixelprompt.limits.spending import CallBudget
    from pixelprompt.prompts.moderation.filter import ContentFilter
    from pixelprompt.storage.galleries import Galleries
    from pixelprompt.storage.images import ImageStorage
    from pixelprompt.storage.references import ReferenceStorage


@cache
def routes() -> tuple[Route, ...]:
    """The routes that this deployment has."""
    from pixelprompt.api.routes import deployed_routes

    return deployed_routes(has_gallery=settings().has_gallery, has_usage=settings().has_usage)


@cache
def jobs() -> JobManager:
    """The job documents."""
    from pixelprompt.api.http import deadline
    from pixelprompt.jobs.store import JobManager

    return JobManager(s3(), settings().bucket_name, patience=5.0, time_limit=8.0, deadline=deadline)


@cache
def images() -> ImageStorage:
    """The stored images, as callers get them."""
    from pixelprompt.storage.images import ImageStorage

    return ImageStorage(s3(), settings().bucket_name, settings().cloudfront_domain)


@cache
def galleries() -> Galleries:
    """The galleries of stored images."""
    from pixelprompt.storage.galleries import Galleries

    return Galleries(s3(), settings().bucket_name, images(), jobs().get_job_status)


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
        IdempotencyRecords(s3(), settings().bucket_name, deadline=deadline),
        _references,
        reserving=_reserving(),
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
        ResumeTokens(s3(), settings().bucket_name),
        _job_limiter(),
        _executions().start,
        budget=_retry_budget(),
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
        EnhancementCache(s3(), settings().bucket_name, deadline),
        moderation_seconds=longest(settings().moderation),
        budget=_call_budget(),
        judges=settings().moderation == "model",
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
        UploadStorage(s3(), settings().bucket_name),
        trust_body_ip=settings().trust_body_ip,
    )


@cache
def _references() -> ReferenceStorage:
    from pixelprompt.storage.references import ReferenceStorage

    return ReferenceStorage(s3(), settings().bucket_name)


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
        from pixelprompt.ledger_services import ledger
        from pixelprompt.limits.ledger_rate_limit import LedgerRateLimiter

        return LedgerRateLimiter(ledger(), windows, *limits)
    from pixelprompt.api.http import deadline
    from pixelprompt.limits.rate_limit import RateLimiter
    from pixelprompt.storage.keys import LIMIT_KEYS

    return RateLimiter(s3(), settings().bucket_name, *limits, key=LIMIT_KEYS[windows], deadline=deadline)


def counting_refusals(caller: Identity) -> AbstractContextManager[None]:
    """Count it where a caller's request is refused within, where usage is recorded."""
    if not settings().has_charges:
        return nullcontext()
    from pixelprompt import ledger_services

    return ledger_services.usage_log().counting_refusals(caller.owner, caller.key_id)


def _reserving() -> Reserving | None:
    if not settings().has_charges:
        return None
    from pixelprompt import ledger_services

    return ledger_services.reserving()


def _retry_budget() -> RetryBudget | None:
    if not settings().has_charges:
        return None
    from pixelprompt import ledger_services

    return ledger_services.retry_budget()


def _call_budget() -> CallBudget | None:
    if not settings().has_charges:
        return None
    from pixelprompt import ledger_services

    return ledger_services.call_budget()


@cache
def _executions() -> Executions:
    from pixelprompt.jobs.executions import Executions

    return Executions(request_client("stepfunctions"), settings().state_machine_arn)


@cache
def _finish_client() -> Any:
    return request_client("lambda")
