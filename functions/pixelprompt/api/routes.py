"""The one table of routes: the stack, the description of the API, and the errors 404 and 405 read it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from pixelprompt.errors import MethodNotAllowed, RequestError, RouteNotFound

Event = Mapping[str, Any]


class Route(Struct, frozen=True):
    """A path of the API, and what responds to it.

    Attributes
    ----------
    function : the entry point, a module of ``functions/``
    is_paid : whether a request may cost money at a provider; API Gateway throttles it more
    is_gallery, is_usage : whether a deployment may have it off; it is then like any unknown path
    """

    method: str
    path: str
    function: str
    is_paid: bool = False
    is_gallery: bool = False
    is_usage: bool = False

    @property
    def key(self) -> str:
        """API Gateway's name of the route."""
        return f"{self.method} {self.path}"

    def matches(self, path: str) -> bool:
        """Whether a request's path is one of this route."""
        return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(self.path)), path) is not None


# By path; each has one method.
ROUTES = {
    route.path: route
    for route in (
        Route("POST", "/generate", "submit", is_paid=True),
        Route("GET", "/status/{jobId}", "status"),
        Route("POST", "/cancel/{jobId}", "cancel"),
        Route("POST", "/retry/{jobId}", "retry", is_paid=True),
        Route("POST", "/enhance", "enhance", is_paid=True),
        Route("POST", "/uploads", "upload"),
        Route("GET", "/models", "models"),
        Route("GET", "/gallery/list", "gallery", is_gallery=True),
        Route("GET", "/gallery/{galleryId}", "gallery", is_gallery=True),
        Route("GET", "/usage", "usage", is_usage=True),
        Route("GET", "/openapi.json", "status"),
    )
}


def deployed_routes(*, has_gallery: bool, has_usage: bool) -> tuple[Route, ...]:
    """The routes of a deployment."""
    return tuple(
        route
        for route in ROUTES.values()
        if (has_gallery or not route.is_gallery) and (has_usage or not route.is_usage)
    )


def no_such_route(method: str, path: str, routes: Iterable[Route] = ROUTES.values()) -> RequestError:
    """Why none of the deployed ``routes`` took a request: its path is unknown, or its method is another."""
    for route in routes:
        if route.matches(path) and route.method != method:
            return MethodNotAllowed(
                f"{path} supports {route.method}, not {method}.",
                headers={"Allow": f"{route.method}, OPTIONS"},
                path=path,
                method=method,
            )
    return RouteNotFound(f"Route not found: {method} {path}.", path=path, method=method)


def supports(method: str, path: str) -> bool:
    """Whether a path of the API, deployed or not, has this method."""
    return any(route.method == method and route.matches(path) for route in ROUTES.values())


def split_path(event: Event) -> tuple[str, str]:
    """Split the URL into the part before the route's path, and that path.

    A named stage is part of ``rawPath`` on every domain, but of the URL on API Gateway's own only; a base path comes
    with custom domains only (https://github.com/CodeGenieApp/serverless-express/issues/465).
    """
    context = event.get("requestContext") or {}
    path, stage = str(event.get("rawPath", "/")), f"/{context.get('stage', '$default')}"
    is_own_domain = ".execute-api." in f"{context.get('domainName', '')}."
    if route := matched_route(event):
        # What is more than the route's own segments stands before it.
        segments = path.rstrip("/").split("/")
        length = route.count("/")
        prefix, path = "/".join(segments[:-length]), "/" + "/".join(segments[-length:])
    else:
        prefix, path = _split_unmatched(path, stage, is_own_domain=is_own_domain)
    if stage != "/$default" and not is_own_domain and f"{prefix}/".startswith(f"{stage}/"):
        prefix = prefix[len(stage) :]
    return prefix.rstrip("/"), path


def matched_route(event: Event) -> str:
    """The path of ``ROUTES`` that API Gateway has matched, however the caller wrote it; or nothing."""
    route = str(event.get("routeKey", "")).partition(" ")[2]
    return route if route in ROUTES else ""


def _split_unmatched(path: str, stage: str, *, is_own_domain: bool) -> tuple[str, str]:
    """As ``split_path`` where no route has matched: with another method, one may stand behind a base path."""
    prefix = ""
    if stage != "/$default" and (path == stage or path.startswith(f"{stage}/")):
        prefix, path = stage, path[len(stage) :] or "/"
    if is_own_domain or _is_route(path):
        return prefix, path
    starts = [match.start() for match in re.finditer("/", path)]
    start = next((start for start in starts if _is_route(path[start:])), 0)
    return prefix + path[:start], path[start:]


def _is_route(path: str) -> bool:
    return any(route.matches(path) for route in ROUTES.values())
