"""POST /cancel/{jobId}: keep what is finished, end the rest."""

from pixelprompt import cold_start, services
from pixelprompt.api import http
from pixelprompt.jobs.status import with_image_urls


def _build() -> object:
    return services.cancellation(), services.images()


cold_start.ready(_build)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the job document."""
    job_id = request.path_parameters["jobId"]
    with http.unless_missing(lambda: services.jobs().require(job_id, request.identity)):
        request.check_query()
        body = request.json_or_empty()
    document = services.cancellation().cancel(job_id, body, request.identity)
    return http.Response(with_image_urls(document, services.images()))
