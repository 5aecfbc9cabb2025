"""GET /status/{jobId}: the job document as it is now; GET /openapi.json. Also answers preflights and unknown routes."""

import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pixelprompt import aws, cold_start, http
from pixelprompt.executions import Executions
from pixelprompt.images import ImageStorage
from pixelprompt.job_status import JobStatus, Wait, is_version
from pixelprompt.jobs import JobManager
from pixelprompt.observability import logger
from pixelprompt.settings import Settings


@cache
def _services() -> tuple[JobStatus, int]:
    settings = Settings.from_environment()
    s3, bucket = aws.request_client("s3", http.deadline), settings.bucket_name
    status = JobStatus(
        JobManager(s3, bucket),
        ImageStorage(s3, bucket, settings.cloudfront_domain),
        _finish(settings),
        _is_running(settings),
        deadline=http.deadline,
        clock=time.time,
        longest_job=settings.longest_job,
    )
    return status, settings.status_wait


# The clients of both are made when they are needed, which is seldom.
def _finish(settings: Settings) -> Callable[[str, int], None]:
    def finish(job_id: str, run: int) -> None:
        about = {"jobId": job_id, "run": run, "correlationId": logger.get_current_keys().get("correlation_id")}
        client = aws.request_client("lambda", http.deadline)
        client.invoke(
            FunctionName=settings.finish_function, InvocationType="Event", Payload=json.dumps(about, allow_nan=False)
        )

    return finish


def _is_running(settings: Settings) -> Callable[[str], bool]:
    def is_running(name: str) -> bool:
        client = aws.request_client("stepfunctions", http.deadline)
        return Executions(client, settings.state_machine_arn).is_running(name)

    return is_running


@cache
def _routes() -> dict[str, str]:
    return http.deployed_routes(Settings.from_environment())


@cache
def _description() -> Any:
    return json.loads((Path(__file__).parent / "pixelprompt" / "openapi.json").read_text(encoding="utf-8"))


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the job document, or 304 where the caller has this version; with the description of the API.

    ``?wait=20&since=ETAG`` answers when the document is another one or the time is over.
    """
    if (request.method, request.path) == ("GET", "/openapi.json"):
        request.check_query()
        return http.Response(_description(), headers={"Cache-Control": "max-age=300"})
    job_id = request.path_parameters.get("jobId")
    if job_id is None or request.method != "GET":
        raise http.no_such_route(request, _routes())
    status, longest_wait = _services()
    with http.unless_missing(lambda: status.require(job_id)):
        request.check_query("wait", "since")
        wait = Wait.from_query(request.query, request.headers.get("if-none-match", ""), longest_wait)
    document, etag = status.get(job_id, wait)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if wait.since and is_version(wait.since, etag):
        return http.Response(status=304, headers=headers)
    return http.Response(document, headers=headers)
