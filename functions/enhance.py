"""POST /enhance: a text model expands the prompt."""

from functools import cache

from pixelprompt import aws, cold_start, http
from pixelprompt.enhancement import (
    MEMBERS,
    PROMPT_LIMIT,
    TIME_LIMIT,
    Enhancement,
    EnhancementCache,
    enhance_prompt,
    unchanged,
)
from pixelprompt.member_names import check_names
from pixelprompt.moderation import ContentFilter
from pixelprompt.moderation_model import content_filter, longest, refuse_blocked
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.rate_limit import ENHANCE_KEY, RateLimiter
from pixelprompt.settings import Settings
from pixelprompt.submission import read_ip, read_prompt, refuse_limited


@cache
def _services() -> tuple[Settings, RateLimiter, EnhancementCache, LiveRegistry, ProviderKeys, ContentFilter]:
    settings = Settings.from_environment()
    s3, bucket = aws.request_client("s3", http.deadline), settings.bucket_name
    limits = (settings.enhance_limit, settings.enhance_ip_limit, settings.ip_whitelist)
    limiter = RateLimiter(s3, bucket, *limits, key=ENHANCE_KEY, deadline=http.deadline)
    registry = LiveRegistry(s3, bucket, prompt_model=settings.prompt_model, key_hosts=settings.key_hosts)
    secrets = aws.request_client("secretsmanager", http.deadline)
    keys = ProviderKeys(secrets, settings.provider_secret, settings.provider_endpoints, registry.key_hosts)
    cache_ = EnhancementCache(s3, bucket, http.deadline)
    moderation = content_filter(settings.moderation, registry, keys, http.deadline)
    return settings, limiter, cache_, registry, keys, moderation


cold_start.ready(_services)


@http.endpoint
def handler(request: http.Request) -> http.Response:
    """Answer with the enhanced prompt, or with the original and a warning."""
    request.check_query()
    body = request.json()
    check_names(body, MEMBERS)
    prompt = read_prompt(body, PROMPT_LIMIT)
    settings, limiter, cache_, registry, keys, moderation = _services()
    ip = read_ip(body, request.source_ip, settings.trust_body_ip)
    look = limiter.look(ip)
    refuse_limited(look.decision)
    refuse_blocked(moderation.screen(prompt))
    # An answer from the cache counts as well: its moderation may ask a model.
    refuse_limited(limiter.check(ip, look))
    refuse_blocked(moderation.judge(prompt))
    model = registry().get_prompt_model()
    credentials = keys.credentials(model) if model else None

    def enhance() -> Enhancement:
        # What comes of it must be moderated as well.
        seconds = min(TIME_LIMIT, http.deadline.left() - longest(settings.moderation))
        return enhance_prompt(prompt, model, credentials, time_limit=seconds)

    enhancement = cache_.get(prompt, model, enhance)
    if _is_blocked(enhancement, prompt, moderation):
        enhancement = unchanged(prompt, "The enhanced prompt was blocked by moderation.")
    return http.Response(enhancement.answer())


def _is_blocked(enhancement: Enhancement, prompt: str, moderation: ContentFilter) -> bool:
    """Whether a harmless prompt has become another; the word list reads each version alone, a model both at once."""
    versions = [text for text in dict.fromkeys((enhancement.short, enhancement.long)) if text != prompt]
    if any(moderation.screen(text).blocked for text in versions):
        return True
    return bool(versions) and moderation.judge("\n".join(versions)).blocked
