"""The end of a job: called by the state machine, by the rule on failed executions, and by status for a stale job."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import workflow_services as services
from pixelprompt.jobs.finish import FinishRequest
from pixelprompt.observability import begin

cold_start.ready(services.completion)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The job's final status."""
    ending = FinishRequest.from_event(event)
    begin(correlation_id=ending.correlation_id, job_id=ending.job_id, function=context.function_name)
    return services.completion().close(ending)
