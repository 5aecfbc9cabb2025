"""POST /uploads: a form that uploads one image into the bucket."""

from pixelprompt import cold_start, services
from pixelprompt.api import http

cold_start.ready(services.uploads)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the form."""
    request.check_query()
    return http.Response(services.uploads().create(request.json(), request.source_ip, request.identity))
