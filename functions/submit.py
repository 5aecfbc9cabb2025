"""POST /generate: check a request and start its job."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.executions import Executions
from pixelprompt.idempotency import REPLAYED, IdempotencyRecords, read_key
from pixelprompt.jobs import JobManager
from pixelprompt.moderation_model import content_filter
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.rate_limit import RateLimiter
from pixelprompt.settings import Settings
from pixelprompt.submission import Submission


@cache
def _submission() -> tuple[str, Submission]:
    settings = Settings.from_environment()
    deadline = http.deadline
    s3, bucket = aws.request_client("s3", deadline), settings.bucket_name
    limits = (settings.global_limit, settings.ip_limit, settings.ip_whitelist)
    secrets = aws.request_client("secretsmanager", deadline)
    registry = LiveRegistry(s3, bucket, prompt_model=settings.prompt_model, key_hosts=settings.key_hosts)
    keys = ProviderKeys(secrets, settings.provider_secret, settings.provider_endpoints, registry.key_hosts)
    executions = Executions(aws.request_client("stepfunctions", deadline), settings.state_machine_arn)
    return settings.api_url, Submission(
        JobManager(s3, bucket, patience=5.0, deadline=deadline),
        RateLimiter(s3, bucket, *limits, deadline=deadline),
        content_filter(settings.moderation, registry, keys, deadline),
        registry,
        keys,
        executions.start,
        IdempotencyRecords(s3, bucket, deadline=deadline),
        trust_body_ip=settings.trust_body_ip,
        deadline=deadline,
    )


cold_start.ready(_submission)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the new job's id, or with what it would cost."""
    request.check_query()
    key = read_key(request.headers)
    api_url, submission = _submission()
    asked = (request.json(), request.source_ip, request.correlation_id)
    if key is None:
        job, is_replayed = submission.submit(*asked), False
    else:
        job, is_replayed = submission.submit_once(*asked, key, request.principal)
    if "jobId" in job:
        job["statusUrl"] = f"{api_url or request.url}/status/{job['jobId']}"
    return http.Response(job, headers={REPLAYED: "true"} if is_replayed else {})
