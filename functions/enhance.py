"""POST /enhance: a text model expands the prompt."""

from pixelprompt import cold_start, services
from pixelprompt.api import http

cold_start.ready(services.enhancer)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the enhanced prompt, or the original and a warning."""
    request.check_query()
    with services.counting_refusals(request.identity):
        enhancement = services.enhancer().enhance(request.json(), request.source_ip, request.identity)
    return http.Response(enhancement.answer())
