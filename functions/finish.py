"""The end of a job: called by the state machine, by the rule on failed executions, and by status for a stale job."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pixelprompt import aws
from pixelprompt.completion import Completion, Ending
from pixelprompt.errors import JobNotFound
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import JobManager
from pixelprompt.observability import begin, logger
from pixelprompt.settings import Settings


@cache
def _completion() -> Completion:
    s3, bucket = aws.client("s3"), Settings.from_environment().bucket_name
    return Completion(JobManager(s3, bucket, patience=45.0), ImageStorage(s3, bucket))


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The job's final status."""
    ending = Ending.from_event(event)
    begin(correlation_id=ending.correlation_id, job_id=ending.job_id, function=context.function_name)
    try:
        document = _completion().finish(ending)
    except JobNotFound:
        # A document that has expired or was removed needs no end.
        logger.warning("There is no document of this job.")
        return {"jobId": ending.job_id, "status": None}
    summary = {name: document[name] for name in ("jobId", "status", "totalModels", "completedModels")}
    logger.info("The job ended.", status=document["status"], completed_models=document["completedModels"])
    return summary
