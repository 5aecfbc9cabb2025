"""One model's turn: called by the state machine for each Map item."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pixelprompt import aws, cold_start
from pixelprompt.generation import Generation, Item, Outcome, ResumeTokens
from pixelprompt.images import ImageStorage
from pixelprompt.jobs import JobManager
from pixelprompt.observability import begin
from pixelprompt.overlay import LiveRegistry
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.settings import Settings


@cache
def _generation() -> Generation:
    settings = Settings.from_environment()
    s3, bucket = aws.client("s3"), settings.bucket_name
    registry = LiveRegistry(s3, bucket, key_hosts=settings.key_hosts)
    secrets = aws.client("secretsmanager")
    keys = ProviderKeys(secrets, settings.provider_secret, settings.provider_endpoints, registry.key_hosts)
    # An image that was paid for is worth all the time that the Lambda has.
    jobs, images = JobManager(s3, bucket), ImageStorage(s3, bucket, patience=200.0)
    return Generation(jobs, images, ResumeTokens(s3, bucket), registry, keys)


cold_start.ready(_generation)


def handler(event: Mapping[str, Any], context: Any) -> Outcome:
    """The outcome of one model."""
    item = Item.from_event(event)
    begin(correlation_id=item.correlation_id, job_id=item.job_id, model=item.model, function=context.function_name)
    return _generation().run(item, context.get_remaining_time_in_millis() / 1000)
