"""What becomes of a model whose generate invocation broke: called by the state machine."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import workflow_services as services
from pixelprompt.generation.item import Item, Outcome
from pixelprompt.observability import begin, logger

cold_start.ready(services.failure_recorder)


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """The outcome of the model whose invocation broke."""
    item = Item.from_event(event)
    begin(correlation_id=item.correlation_id, job_id=item.job_id, model=item.model, function=context.function_name)
    error = str(event["error"]["Error"])
    outcome = services.failure_recorder().record(item, error)
    logger.warning("A generate invocation broke.", error_type=error, outcome=outcome["state"])
    return outcome
