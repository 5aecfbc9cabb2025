"""The end of a job: called by the state machine, by the rule on failed executions, and by status for a stale job."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pixelprompt import aws, cold_start
from pixelprompt.completion import Completion, Ending
from pixelprompt.errors import JobNotFound
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import FINAL_JOB, JobManager, is_of_run, seconds_between
from pixelprompt.metrics import record
from pixelprompt.observability import begin, logger
from pixelprompt.settings import Settings


@cache
def _completion() -> Completion:
    s3, bucket = aws.client("s3"), Settings.from_environment().bucket_name
    return Completion(JobManager(s3, bucket, patience=45.0), ImageStorage(s3, bucket))


cold_start.ready(_completion)


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
    if document["status"] in FINAL_JOB and is_of_run(document, ending.run):
        began_at = document.get("runStartedAt") or document["createdAt"]
        record({"JobsEnded": 1}, status=document["status"])
        record({"JobSeconds": seconds_between(began_at, document["updatedAt"])})
    logger.info("The job ended.", status=document["status"], completed_models=document["completedModels"])
    return summary
