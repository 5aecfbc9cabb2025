"""What becomes of a model whose generate invocation broke: called by the state machine."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pixelprompt import aws, cold_start
from pixelprompt.generation import FailureRecorder, Item, Outcome, ResumeTokens
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import JobManager
from pixelprompt.observability import begin, logger
from pixelprompt.settings import Settings


@cache
def _recorder() -> FailureRecorder:
    s3, bucket = aws.client("s3"), Settings.from_environment().bucket_name
    return FailureRecorder(JobManager(s3, bucket), ImageStorage(s3, bucket), ResumeTokens(s3, bucket))


cold_start.ready(_recorder)


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """The outcome of the model whose invocation broke."""
    item = Item.from_event(event)
    begin(correlation_id=item.correlation_id, job_id=item.job_id, model=item.model, function=context.function_name)
    error = str(event["error"]["Error"])
    outcome = _recorder().record(item, error)
    logger.warning("A generate invocation broke.", error_type=error, outcome=outcome["state"])
    return outcome
