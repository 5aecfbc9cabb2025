"""Every service of the Lambdas, built once from the settings: the only place that wires them.

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
    from pixelprompt.generation.failure import FailureRecorder
    from pixelprompt.generation.run import Generation
    from pixelprompt.jobs.cancel import Cancellation
    from pixelprompt.jobs.executions import Executions
    from pixelprompt.jobs.finish import Completion
    from pixelprompt.jobs.retry import Retry
    from pixelprompt.jobs.status import JobStatus
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.jobs.submit import Submission
    from pixelprompt.limits.limiter import Limiter
    from pixelprompt.models.model import Image
    from pixelprompt.models.overlay import LiveRegistry
    from pixelprompt.preparation.prepare import Preparation
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


# --- for functions whose callers wait ---------------------------------------------------------------------------------


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


# --- for functions that the state machine calls -----------------------------------------------------------------------


@cache
def preparation() -> Preparation:
    """Makes reference images ready for the providers."""
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.preparation.prepare import Preparation
    from pixelprompt.storage import clients
    from pixelprompt.storage.references import ReferenceStorage

    s3, bucket = clients.client("s3"), settings().bucket_name
    return Preparation(JobManager(s3, bucket), ReferenceStorage(s3, bucket))


@cache
def generation() -> Generation:
    """Asks providers for images."""
    from pixelprompt.generation.run import Generation
    from pixelprompt.jobs.progress import ResumeTokens
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.models.overlay import LiveRegistry
    from pixelprompt.providers.keys import ProviderKeys
    from pixelprompt.storage import clients
    from pixelprompt.storage.images import ImageStorage

    s3, bucket = clients.client("s3"), settings().bucket_name
    models = LiveRegistry(s3, bucket, key_hosts=settings().key_hosts)
    secrets = clients.client("secretsmanager")

    def references(job_id: str, count: int) -> tuple[Image, ...]:
        from pixelprompt.providers.wire.image_bytes import read_image
        from pixelprompt.storage.references import ReferenceStorage

        return tuple(map(read_image, ReferenceStorage(s3, bucket).load(job_id, count)))

    # An image that was paid for is worth all the time that the Lambda has.
    return Generation(
        JobManager(s3, bucket),
        ImageStorage(s3, bucket, patience=200.0),
        ResumeTokens(s3, bucket),
        models,
        ProviderKeys(secrets, settings().provider_secret, settings().provider_endpoints, models.key_hosts),
        references,
    )


@cache
def failure_recorder() -> FailureRecorder:
    """Records the outcome of an item whose invocation broke."""
    from pixelprompt.generation.failure import FailureRecorder
    from pixelprompt.jobs.progress import ResumeTokens
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.storage import clients
    from pixelprompt.storage.images import ImageStorage

    s3, bucket = clients.client("s3"), settings().bucket_name
    return FailureRecorder(JobManager(s3, bucket), ImageStorage(s3, bucket), ResumeTokens(s3, bucket))


@cache
def completion() -> Completion:
    """Finishes jobs."""
    from pixelprompt.jobs.finish import Completion
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.storage import clients
    from pixelprompt.storage.images import ImageStorage

    s3, bucket = clients.client("s3"), settings().bucket_name
    return Completion(JobManager(s3, bucket, patience=45.0), ImageStorage(s3, bucket))
