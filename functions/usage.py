"""GET /usage: what was made, what it cost, and what the budgets have left."""

from pixelprompt import cold_start
from pixelprompt import ledger_services as services
from pixelprompt.api import http

cold_start.ready(services.usage)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the caller's own usage, or an admin everybody's."""
    request.check_query("from", "to", "by")
    report = services.usage().report(request.query, request.identity)
    return http.Response(report, headers={"Cache-Control": "no-cache"})
