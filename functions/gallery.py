"""GET /gallery/list and GET /gallery/{galleryId}: the pictures of earlier jobs."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.galleries import Galleries, Page
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import JobManager
from pixelprompt.settings import Settings


@cache
def _galleries() -> Galleries:
    settings = Settings.from_environment()
    s3, bucket = aws.request_client("s3", http.deadline), settings.bucket_name
    return Galleries(s3, bucket, ImageStorage(s3, bucket, settings.cloudfront_domain), JobManager(s3, bucket))


cold_start.ready(_galleries)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with a page of galleries, or with the images of one."""
    gallery_id = request.path_parameters.get("galleryId")
    if gallery_id is None:
        request.check_query("limit", "cursor")
        page = Page.from_query(request.query)
        return http.Response(_galleries().page(page), headers={"Cache-Control": "no-cache"})
    gallery = _galleries().gallery(gallery_id)
    request.check_query()
    return http.Response(gallery, headers={"Cache-Control": "no-cache"})
