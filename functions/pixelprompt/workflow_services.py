"""Every service of the Lambdas that the state machine or a rule calls, built once from the settings."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from pixelprompt.shared_services import settings

if TYPE_CHECKING:
    from pixelprompt.generation.failure import FailureRecorder
    from pixelprompt.generation.run import Generation
    from pixelprompt.jobs.finish import Completion
    from pixelprompt.jobs.settlement import Sweep
    from pixelprompt.limits.budget import Budgets
    from pixelprompt.limits.usage import UsageLog
    from pixelprompt.models.model import Image
    from pixelprompt.preparation.prepare import Preparation
    from pixelprompt.storage.ledger import Ledger


@cache
def preparation() -> Preparation:
    """Makes reference images ready for the providers."""
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.preparation.prepare import Preparation
    from pixelprompt.storage import clients
    from pixelprompt.storage.references import ReferenceStorage

    s3, bucket = clients.client("s3"), settings().bucket_name
    return Preparation(
        JobManager(s3, bucket), ReferenceStorage(s3, bucket), takes_everyones=settings().gallery == "public"
    )


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
        claim_share=_budgets().claim if settings().ledger_table else None,
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

    settlement = None
    if settings().ledger_table:
        from pixelprompt.jobs.settlement import Settlement

        settlement = Settlement(_budgets(), _usage_log())
    s3, bucket = clients.client("s3"), settings().bucket_name
    return Completion(JobManager(s3, bucket, patience=45.0), ImageStorage(s3, bucket), settlement)


@cache
def sweep() -> Sweep:
    """Settles what is reserved of the budgets and was left behind."""
    from pixelprompt.jobs.executions import Executions, execution_name
    from pixelprompt.jobs.finish import FinishRequest
    from pixelprompt.jobs.settlement import Sweep
    from pixelprompt.jobs.store import JobManager
    from pixelprompt.storage import clients

    executions = Executions(clients.client("stepfunctions"), settings().state_machine_arn)
    return Sweep(
        _budgets(),
        _usage_log(),
        JobManager(clients.client("s3"), settings().bucket_name).get_job_status,
        lambda job_id, run: completion().finish(FinishRequest(job_id, run=run)),
        lambda job_id, run: executions.exists(execution_name(job_id, run)),
        longest_job=settings().longest_job,
        clock=time.time,
    )


@cache
def _budgets() -> Budgets:
    from pixelprompt.limits.budget import Budgets

    return Budgets(_ledger())


@cache
def _usage_log() -> UsageLog:
    from pixelprompt.limits.usage import UsageLog

    return UsageLog(_ledger())


@cache
def _ledger() -> Ledger:
    from pixelprompt.storage import clients
    from pixelprompt.storage.ledger import Ledger

    return Ledger(clients.client("dynamodb"), settings().ledger_table)
