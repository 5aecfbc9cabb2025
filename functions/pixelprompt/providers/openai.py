"""OpenAI: the Images API for pictures, chat completions for text, through the ``openai`` SDK with its retries off.

Facts: https://platform.openai.com/docs/api-reference/images and https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any

import openai

from pixelprompt.providers.base import (
    Credentials,
    Generated,
    Image,
    ImageRequest,
    Model,
    ProviderError,
    decode_image,
)
from pixelprompt.providers.transport import exchange_error, retry_after, server_error, timeout

_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "project_spend_limit_exceeded"})
_REFUSED = frozenset({"moderation_blocked", "content_policy_violation"})


def generate(
    request: ImageRequest, model: Model, credentials: Credentials, deadline: float
) -> Generated | ProviderError:
    """One image; ``n``, seed, steps and guidance are no parameters of the gpt-image models or are left at one."""
    try:
        with _client(credentials, deadline) as client:
            answer = client.images.with_raw_response.generate(
                model=model.id, prompt=request.prompt, n=1, extra_body=dict(model.parameters)
            )
            return _read(answer.http_response.json(), answer.headers.get("x-request-id"))
    except openai.OpenAIError as error:
        return _provider_error(error)
    except ValueError:
        return ProviderError("no_image", "The provider's answer is no valid JSON.", billable="unknown")


def complete(prompt: str, model: Model, credentials: Credentials, deadline: float) -> str | ProviderError:
    """The text model's answer to one message."""
    try:
        with _client(credentials, deadline) as client:
            answer = client.chat.completions.create(
                model=model.id, messages=[{"role": "user", "content": prompt}], extra_body=dict(model.parameters)
            )
    except openai.OpenAIError as error:
        return _provider_error(error)
    except ValueError:
        return ProviderError("no_image", "The provider's answer is no valid JSON.")
    choice = answer.choices[0] if answer.choices else None
    if choice is None or not choice.message.content:
        refused = choice is not None and (choice.message.refusal or choice.finish_reason == "content_filter")
        return ProviderError("refused" if refused else "no_image", "The text model gave no text.")
    return choice.message.content


def _client(credentials: Credentials, deadline: float) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=credentials.key, base_url=credentials.base_url, max_retries=0, timeout=timeout(deadline)
    )


def _read(answer: Any, request_id: str | None) -> Generated | ProviderError:
    items = answer.get("data") if isinstance(answer, dict) else None
    images: list[Image] = []
    for item in items or []:
        if not isinstance(item, dict) or not item.get("b64_json"):
            continue
        image = decode_image(item["b64_json"], revised_prompt=item.get("revised_prompt"))
        if isinstance(image, ProviderError):
            return image
        images.append(image)
    if not images:
        return ProviderError("no_image", billable="unknown")
    return Generated(tuple(images), request_id, _usage(answer.get("usage")))


def _usage(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("input_tokens_details") or {}
    counts = {
        "inputTextTokens": details.get("text_tokens", usage.get("input_tokens")),
        "inputImageTokens": details.get("image_tokens"),
        "outputImageTokens": usage.get("output_tokens"),
    }
    return {name: count for name, count in counts.items() if isinstance(count, int)}


def _provider_error(error: openai.OpenAIError) -> ProviderError:
    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    if isinstance(error, openai.APIConnectionError):
        return exchange_error(error.__cause__)
    return ProviderError("no_image", "The provider's answer cannot be read.", billable="unknown")


def _status_error(error: openai.APIStatusError) -> ProviderError:
    message = error.body.get("message") if isinstance(error.body, dict) else None
    text = message if isinstance(message, str) else None
    if error.code in _NO_CREDIT:
        return ProviderError("quota_exhausted")
    if error.code in _REFUSED:
        return ProviderError("refused", text)
    if error.status_code == 429:
        return ProviderError("rate_limited", safe_to_repeat=True, retry_after=retry_after(error.response.headers))
    if error.status_code == 401 or error.status_code == 403:
        # The provider quotes part of the key in its message, so it is not passed on.
        return ProviderError("bad_credentials")
    if error.status_code == 404 or error.code == "model_not_found":
        return ProviderError("model_retired")
    if error.status_code >= 500:
        return server_error(error.status_code, retry_after(error.response.headers))
    return ProviderError("invalid_request", text)
