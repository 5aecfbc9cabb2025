"""What is reserved of the budgets and was left behind: called by a rule every few minutes."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import workflow_services as services
from pixelprompt.observability import begin

cold_start.ready(services.sweep)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, int]:
    """How many reservations were settled."""
    begin(function=context.function_name)
    return {"settled": services.sweep().sweep()}
