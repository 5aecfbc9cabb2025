"""POST /cancel/{jobId}: keep what is finished, end the rest."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.control import Cancellation
from pixelprompt.executions import Executions
from pixelprompt.images import ImageStorage
from pixelprompt.job_status import with_addresses
from pixelprompt.jobs import JobManager
from pixelprompt.settings import Settings


@cache
def _services() -> tuple[Cancellation, ImageStorage]:
    settings = Settings.from_environment()
    deadline = http.deadline
    s3, bucket = aws.request_client("s3", deadline), settings.bucket_name
    executions = Executions(aws.request_client("stepfunctions", deadline), settings.state_machine_arn)
    jobs = JobManager(s3, bucket, patience=5.0, time_limit=8.0, deadline=deadline)
    cancellation = Cancellation(jobs, executions.stop)
    return cancellation, ImageStorage(s3, bucket, settings.cloudfront_domain)


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the job document."""
    cancellation, images = _services()
    job_id = request.path_parameters["jobId"]
    with http.unless_missing(lambda: cancellation.require(job_id)):
        request.check_query()
        body = request.json_or_empty()
    document = cancellation.cancel(job_id, body)
    return http.Response(with_addresses(document, images))
