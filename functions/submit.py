"""POST /generate: check a request and start its job."""

from functools import cache

from pixelprompt import aws, http
from pixelprompt.jobs import JobManager
from pixelprompt.moderation import ContentFilter
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.rate_limit import RateLimiter
from pixelprompt.settings import Settings
from pixelprompt.submission import Submission


@cache
def _submission() -> tuple[str, Submission]:
    settings = Settings.from_environment()
    s3, bucket = aws.client("s3"), settings.bucket_name
    limiter = RateLimiter(s3, bucket, settings.global_limit, settings.ip_limit, settings.ip_whitelist)
    keys = ProviderKeys(aws.client("secretsmanager"), settings.provider_secret, settings.provider_endpoints)
    registry = LiveRegistry(s3, bucket)
    states, machine = aws.client("stepfunctions"), settings.state_machine_arn

    def start_execution(name: str, payload: str) -> None:
        states.start_execution(stateMachineArn=machine, name=name, input=payload)

    return settings.api_url, Submission(
        # The caller waits; Lambda itself allows 15 s.
        JobManager(s3, bucket, patience=5.0),
        limiter,
        ContentFilter(),
        registry,
        keys,
        start_execution,
        trust_body_ip=settings.trust_body_ip,
    )


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the new job's id, or with what it would cost."""
    api_url, submission = _submission()
    job = submission.submit(request.json(), request.source_ip, request.correlation_id)
    if "jobId" in job:
        job["statusUrl"] = f"{api_url or request.url}/status/{job['jobId']}"
    return http.Response(job)
