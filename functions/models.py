"""GET /models: what a caller may ask for."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.model_list import model_list
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.settings import Settings


@cache
def _services() -> tuple[LiveRegistry, ProviderKeys]:
    settings = Settings.from_environment()
    s3, secrets = (aws.request_client(service, http.deadline) for service in ("s3", "secretsmanager"))
    registry = LiveRegistry(s3, settings.bucket_name, prompt_model=settings.prompt_model, key_hosts=settings.key_hosts)
    return registry, ProviderKeys(secrets, settings.provider_secret, settings.provider_endpoints, registry.key_hosts)


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the models, their parameters, prices and ends."""
    request.check_query()
    registry, keys = _services()
    return http.Response(model_list(registry(), keys), headers={"Cache-Control": "max-age=60"})
