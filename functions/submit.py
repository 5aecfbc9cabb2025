"""POST /generate: check a request and start its job."""

from pixelprompt import cold_start, services
from pixelprompt.api import http
from pixelprompt.jobs.idempotency import REPLAYED, read_key

cold_start.ready(services.submission)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the new job's ID, or what it would cost."""
    request.check_query()
    key = read_key(request.headers)
    submission = services.submission()
    asked = (request.json(may_have_images=True), request.source_ip, request.correlation_id)
    with services.counting_refusals(request.identity):
        if key is None:
            job, is_replayed = submission.submit(*asked, request.identity), False
        else:
            job, is_replayed = submission.submit_once(*asked, key, request.identity)
    if "jobId" in job:
        job["statusUrl"] = request.status_url(job["jobId"], services.settings().api_url)
    return http.Response(job, headers={REPLAYED: "true"} if is_replayed else {})
