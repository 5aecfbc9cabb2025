"""Lambda authorizer: whether a caller's API key allows a request, and who the caller is."""

from collections.abc import Mapping
from typing import Any

from pixelprompt import cold_start
from pixelprompt import ledger_services as services
from pixelprompt.api.authorization import decision
from pixelprompt.api.http import deadline
from pixelprompt.observability import begin

cold_start.ready(services.api_keys)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The decision, in the form of a simple response of API Gateway's payload version 2.0."""
    deadline.begin(context.get_remaining_time_in_millis() / 1000)
    begin(function=context.function_name)
    return decision(event, services.api_keys())
