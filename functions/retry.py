"""POST /retry/{jobId}: run again what has no image."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.control import Retry
from pixelprompt.executions import Executions
from pixelprompt.generation import ResumeTokens
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import JobManager
from pixelprompt.rate_limit import RateLimiter
from pixelprompt.settings import Settings


@cache
def _services() -> tuple[str, Retry]:
    settings = Settings.from_environment()
    s3, bucket = aws.client("s3"), settings.bucket_name
    return settings.api_url, Retry(
        # The caller waits; Lambda itself allows 15 s.
        JobManager(s3, bucket, patience=5.0, time_limit=8.0),
        ImageStorage(s3, bucket),
        ResumeTokens(s3, bucket),
        RateLimiter(s3, bucket, settings.global_limit, settings.ip_limit, settings.ip_whitelist),
        Executions(aws.client("stepfunctions"), settings.state_machine_arn).start,
        trust_body_ip=settings.trust_body_ip,
    )


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the number of the run and of the models that take part in it."""
    api_url, retry = _services()
    job_id = request.path_parameters["jobId"]
    body = request.json() if request.body else {}
    answer = retry.retry(job_id, body, request.source_ip, request.correlation_id)
    return http.Response({**answer, "statusUrl": f"{api_url or request.url}/status/{job_id}"})
