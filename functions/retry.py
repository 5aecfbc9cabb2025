"""POST /retry/{jobId}: run again what has no image."""

from pixelprompt import cold_start, services
from pixelprompt.api import http

cold_start.ready(services.retry)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the number of the run and of the models that take part in it."""
    job_id = request.path_parameters["jobId"]
    with http.unless_missing(lambda: services.jobs().require(job_id, request.identity)):
        request.check_query()
        body = request.json_or_empty()
    with services.counting_refusals(request.identity):
        run = services.retry().retry(job_id, body, request.source_ip, request.correlation_id, request.identity)
    return http.Response({**run, "statusUrl": request.status_url(job_id, services.settings().api_url)})
