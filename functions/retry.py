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
    deadline = http.deadline
    s3, bucket = aws.request_client("s3", deadline), settings.bucket_name
    limits = (settings.global_limit, settings.ip_limit, settings.ip_whitelist)
    return settings.api_url, Retry(
        JobManager(s3, bucket, patience=5.0, time_limit=8.0, deadline=deadline),
        ImageStorage(s3, bucket),
        ResumeTokens(s3, bucket),
        RateLimiter(s3, bucket, *limits, deadline=deadline),
        Executions(aws.request_client("stepfunctions", deadline), settings.state_machine_arn).start,
        trust_body_ip=settings.trust_body_ip,
        deadline=deadline,
    )


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the number of the run and of the models that take part in it."""
    api_url, retry = _services()
    job_id = request.path_parameters["jobId"]
    with http.unless_missing(lambda: retry.require(job_id)):
        request.check_query()
        body = request.json_or_empty()
    answer = retry.retry(job_id, body, request.source_ip, request.correlation_id)
    return http.Response({**answer, "statusUrl": f"{api_url or request.url}/status/{job_id}"})
