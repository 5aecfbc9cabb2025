"""Calling an adapter as the workflow does."""

import time
from typing import Any

from msgspec.structs import replace

from local.simulator import Simulator
from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.providers import adapter
from tests.contract.table import PATHS
from tests.outcomes import outcome

PROMPT = "a red fox in snow"


def ask(
    model: Model,
    base_url: str | None,
    *,
    seconds: float = 20.0,
    key: str | None = "test-key-0123456789",
    **request: Any,
) -> Generated | Waiting | ProviderError:
    """Make images; where the provider wants to be asked again, ask until the deadline."""
    # Its first import takes time of its own.
    generate = adapter(model.provider).generate
    deadline = time.time() + seconds
    wanted = ImageRequest(PROMPT, **request)
    while True:
        answer: Generated | Waiting | ProviderError = outcome(
            generate, wanted, model, Credentials(key, base_url), deadline
        )
        if not isinstance(answer, Waiting) or time.time() + answer.seconds >= deadline:
            return answer
        time.sleep(min(answer.seconds, 0.002))
        wanted = replace(wanted, resume=answer.resume)


def ask_simulator(simulator: Simulator, model: Model, **options: Any) -> Generated | Waiting | ProviderError:
    """Make images with a simulated provider."""
    return ask(model, simulator.url + PATHS[model.provider], **options)


def images(simulator: Simulator, model: Model, **options: Any) -> Generated:
    """Images that must come."""
    answer = ask_simulator(simulator, model, **options)
    assert isinstance(answer, Generated), answer
    return answer


def orders(simulator: Simulator) -> list[Any]:
    """The requests that ask for an image to be made."""
    return [request for request in simulator.requests if request.method == "POST"]


def digests(body: Any) -> list[str]:
    """The SHA-256 of each file in a recorded request, in their order."""
    if isinstance(body, list):
        return [found for entry in body for found in digests(entry)]
    if not isinstance(body, dict):
        return []
    own = [body["sha256"]] if "sha256" in body else []
    return own + [found for entry in body.values() for found in digests(entry)]
