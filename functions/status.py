"""GET /status/{jobId}: the job document as it is now; GET /openapi.json. Also answers preflights and unknown routes."""

from pixelprompt import cold_start, services
from pixelprompt.api import http
from pixelprompt.api.description import description
from pixelprompt.api.routes import no_such_route
from pixelprompt.jobs.status import Wait, is_version

cold_start.ready(services.job_status)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the job document, or 304 where the caller has this version; or the description of the API.

    ``?wait=20&since=ETAG`` responds when the document has another version, or the time is over.
    """
    if (request.method, request.path) == ("GET", "/openapi.json"):
        request.check_query()
        deployed = [route.path for route in services.routes()]
        return http.Response(description(deployed), headers={"Cache-Control": "max-age=300"})
    job_id = request.path_parameters.get("jobId")
    if job_id is None or request.method != "GET":
        raise no_such_route(request.method, request.path, services.routes())
    with http.unless_missing(lambda: services.jobs().require(job_id, request.identity)):
        request.check_query("wait", "since")
        wait = Wait.from_query(request.query, request.headers.get("if-none-match", ""), services.settings().status_wait)
    document, etag = services.job_status().get(job_id, wait, request.identity)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if wait.since and is_version(wait.since, etag):
        return http.Response(status=304, headers=headers)
    return http.Response(document, headers=headers)
