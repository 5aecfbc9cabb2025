"""One model's part of a job: called by the state machine for each Map item."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import workflow_services as services
from pixelprompt.generation.item import Item, Outcome
from pixelprompt.observability import begin

cold_start.ready(services.generation)


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """The outcome of one model."""
    item = Item.from_event(event)
    begin(correlation_id=item.correlation_id, job_id=item.job_id, model=item.model, function=context.function_name)
    return services.generation().run(item, context.get_remaining_time_in_millis() / 1000)
