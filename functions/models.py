"""GET /models: what a caller may ask for."""

from pixelprompt import cold_start, services
from pixelprompt.api import http
from pixelprompt.models.listing import model_list


def _build() -> object:
    return services.registry(), services.keys()


cold_start.ready(_build)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Return the models, their parameters, prices, and shutdown days."""
    request.check_query()
    listed = model_list(
        services.registry()(), services.keys().has_credentials, lambda model: request.identity.may_ask(model.name)
    )
    # Each key has a list of its own, and caches of browsers do not tell them apart.
    kept = "no-cache" if request.identity.key else "max-age=60"
    return http.Response(listed, headers={"Cache-Control": kept})
