"""The reference images of a job, before its models begin: called by the state machine."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import workflow_services as services
from pixelprompt.observability import begin
from pixelprompt.preparation.prepare import Prepared, PrepareRequest

cold_start.ready(services.preparation)


def handler(event: Mapping[str, Any], context: Any) -> Prepared:
    """Whether the references are ready."""
    request = PrepareRequest.from_event(event)
    begin(correlation_id=request.correlation_id, job_id=request.job_id, function=context.function_name)
    return services.preparation().prepare(request)
