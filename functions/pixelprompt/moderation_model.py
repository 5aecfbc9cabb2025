"""The model-based filter behind the keyword filter, where a deployment asks for one.

``MODERATION`` is ``keyword`` (none), ``model`` (the text model that enhances prompts is asked for YES or NO) or
``openai`` (OpenAI's moderation endpoint). A model that cannot be asked within five seconds blocks: nothing passes
unjudged.
"""

import time
from collections.abc import Callable

from pixelprompt.errors import ConfigurationError, InappropriateContent, RequestError, ServiceUnavailable
from pixelprompt.metrics import record
from pixelprompt.moderation import UNAVAILABLE, Classifier, ContentFilter, Verdict, yes_no_classifier
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.providers import adapter
from pixelprompt.providers.base import Model, ProviderError
from pixelprompt.registry import ModelRegistry

MODES = ("keyword", "model", "openai")
TIME_LIMIT = 5.0

_OPENAI = Model("OpenAI moderation", "openai", "omni-moderation-latest")


def content_filter(mode: str, registry: Callable[[], ModelRegistry], keys: ProviderKeys) -> ContentFilter:
    """The filter of a deployment.

    Raises
    ------
    ConfigurationError : there is no such mode
    """
    classifiers: dict[str, Classifier | None] = {
        "keyword": None,
        "model": yes_no_classifier(lambda question: _ask(question, registry, keys)),
        "openai": lambda text: _is_flagged(text, keys),
    }
    if mode not in classifiers:
        raise ConfigurationError(f"MODERATION is {mode!r}; it must be one of {', '.join(MODES)}.")
    return ContentFilter(classifier=classifiers[mode])


def refusal(verdict: Verdict) -> RequestError:
    """The answer to a prompt that was blocked, which is counted."""
    record({"PromptsRefused": 1}, category=str(verdict.category))
    if verdict.category == UNAVAILABLE:
        message = "The prompt could not be checked at the moment. Try again in a few seconds."
        return ServiceUnavailable(message, headers={"Retry-After": "5"})
    message = "The prompt was blocked by moderation. Change it and try again."
    return InappropriateContent(message, category=verdict.category)


def _ask(question: str, registry: Callable[[], ModelRegistry], keys: ProviderKeys) -> str:
    model = registry().get_prompt_model()
    credentials = keys.credentials(model) if model else None
    if model is None or credentials is None:
        raise ConfigurationError("There is no text model with a key to ask; set one with `make keys`.")
    answer = adapter(model.provider).complete(question, model, credentials, time.time() + TIME_LIMIT)
    if isinstance(answer, ProviderError):
        raise answer
    return str(answer)


def _is_flagged(text: str, keys: ProviderKeys) -> bool:
    credentials = keys.credentials(_OPENAI)
    if credentials is None:
        raise ConfigurationError("OPENAI_API_KEY is missing; its owner sets it with `make keys`.")
    flagged = adapter("openai").is_flagged(text, _OPENAI, credentials, time.time() + TIME_LIMIT)
    if isinstance(flagged, ProviderError):
        raise flagged
    return bool(flagged)
