"""POST /enhance: a text model expands the prompt."""

from functools import cache

from pixelprompt import aws, http
from pixelprompt.enhancement import EnhancementCache, enhance_prompt
from pixelprompt.errors import InappropriateContent
from pixelprompt.moderation import ContentFilter
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.settings import Settings
from pixelprompt.submission import read_prompt

PROMPT_LIMIT = 500


@cache
def _services() -> tuple[EnhancementCache, LiveRegistry, ProviderKeys, ContentFilter]:
    settings = Settings.from_environment()
    s3, bucket = aws.client("s3"), settings.bucket_name
    registry = LiveRegistry(s3, bucket, prompt_model=settings.prompt_model)
    keys = ProviderKeys(aws.client("secretsmanager"), settings.provider_secret, settings.provider_endpoints)
    return EnhancementCache(s3, bucket), registry, keys, ContentFilter()


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the enhanced prompt, or with the original and a warning."""
    prompt = read_prompt(request.json(), PROMPT_LIMIT)
    cache_, registry, keys, content_filter = _services()
    verdict = content_filter.verdict(prompt)
    if verdict.blocked:
        raise InappropriateContent(
            "The prompt was blocked by moderation. Change it and try again.", category=verdict.category
        )
    model = registry().get_prompt_model()
    credentials = keys.credentials(model) if model else None
    enhancement = cache_.get(prompt, model, lambda: enhance_prompt(prompt, model, credentials))
    return http.Response(enhancement.answer())
