"""GET /gallery/list and GET /gallery/{galleryId}: the images of earlier jobs."""

from pixelprompt import cold_start, services
from pixelprompt.api import http
from pixelprompt.storage.galleries import Page

cold_start.ready(services.galleries)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return a page of galleries, or the images of one."""
    gallery_id = request.path_parameters.get("galleryId")
    is_public = services.settings().gallery == "public"
    if gallery_id is None:
        request.check_query("limit", "cursor")
        page = Page.from_query(request.query)
        owner = "" if is_public or request.identity.is_admin else request.identity.owner
        return http.Response(services.galleries().page(page, owner), headers={"Cache-Control": "no-cache"})
    gallery = services.galleries().gallery(gallery_id, None if is_public else request.identity)
    request.check_query()
    return http.Response(gallery, headers={"Cache-Control": "no-cache"})
