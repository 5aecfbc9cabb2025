"""OpenAI: the Images API for images, chat completions for text, through the ``openai`` SDK with its retries off.

Facts: https://platform.openai.com/docs/api-reference/images and https://platform.openai.com/docs/guides/error-codes
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from pixelprompt.models.model import Credentials, Generated, Image, ImageRequest, Model, ProviderError
from pixelprompt.models.sizes import OPENAI_SIZES
from pixelprompt.providers.wire.data_list import as_document, listed, read_images
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.providers.wire.errors import imageless, status_error
from pixelprompt.providers.wire.image_bytes import bare_image
from pixelprompt.providers.wire.images_api import is_of_output, reference_files, token_counts
from pixelprompt.providers.wire.members import member, members, text
from pixelprompt.providers.wire.text import ANSWER_TOKENS, cut_off
from pixelprompt.providers.wire.transport import client as http_client
from pixelprompt.providers.wire.transport import exchange_error, parse_json, timeout, unreadable

_REFUSED = frozenset({"moderation_blocked", "content_policy_violation"})


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """``n`` images in one call, edits of the reference images where there are some.

    The gpt-image models have no seed, steps, guidance or negative prompt.
    """
    asked = {
        "size": _size(request, model) if request.aspect_ratio or request.resolution else None,
        "quality": request.quality,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
    }
    options = {**model.parameters, **{name: value for name, value in asked.items() if value is not None}}
    with _client(credentials, deadline) as client:
        images = client.images.with_raw_response
        if request.references:
            response = images.edit(
                image=_files(request.references),
                model=model.id,
                prompt=request.prompt,
                n=request.n,
                extra_body=options,
            )
        else:
            response = images.generate(model=model.id, prompt=request.prompt, n=request.n, extra_body=options)
    document, request_id = as_document(response.http_response), response.headers.get("x-request-id")
    if document is None:
        return bare_image(response.http_response.content, request_id)
    # The text of the response is larger than its images; it need not be there while they are decoded.
    del response
    return _read(document, request_id, credentials, deadline, request.n)


def complete(prompt: str, model: Model, credentials: Credentials, deadline: float, *, instruction: str = "") -> str:
    """The text model's answer to one message, of at most ``ANSWER_TOKENS`` unless the model's parameters say more."""
    # The older name of the same limit must not be sent with it.
    limit = {} if "max_tokens" in model.parameters else {"max_completion_tokens": ANSWER_TOKENS}
    options = {**limit, **model.parameters}
    messages: list[Any] = [{"role": "system", "content": instruction}] if instruction else []
    with _client(credentials, deadline) as client:
        response = client.chat.completions.with_raw_response.create(
            model=model.id, messages=[*messages, {"role": "user", "content": prompt}], extra_body=options
        )
    try:
        document = parse_json(response.http_response.content)
    except ValueError:
        raise ProviderError("no_image", "The provider's response is not valid JSON.") from None
    choice = next(iter(members(document, "choices")), {})
    reason, message = text(choice, "finish_reason"), member(choice, "message")
    if reason == "length":
        name = "max_completion_tokens" if "max_completion_tokens" in options else "max_tokens"
        raise cut_off(name, options[name])
    # Some servers answer in parts.
    words = text(message, "content") or "".join(text(part, "text") for part in members(message, "content"))
    if not words:
        refused = text(message, "refusal") or reason == "content_filter"
        raise ProviderError("refused" if refused else "no_image", "The text model gave no text.")
    return words


def is_flagged(prompt: str, model: Model, credentials: Credentials, deadline: float) -> bool:
    """Whether the moderation model finds a text harmful (https://platform.openai.com/docs/guides/moderation)."""
    with _client(credentials, deadline) as client:
        response = client.moderations.with_raw_response.create(model=model.id, input=prompt)
    try:
        document = parse_json(response.http_response.content)
    except ValueError:
        raise unreadable() from None
    flagged = next(iter(members(document, "results")), {}).get("flagged")
    if not isinstance(flagged, bool):
        raise unreadable()
    return flagged


@contextmanager
def _client(credentials: Credentials, deadline: float) -> Iterator[openai.OpenAI]:
    """The SDK's client; what it raises is raised as ours.

    Raises
    ------
    ProviderError
    """
    try:
        with openai.OpenAI(
            api_key=credentials.key,
            base_url=credentials.base_url,
            max_retries=0,
            timeout=timeout(deadline),
            http_client=http_client(deadline),
        ) as client:
            yield client
    except openai.OpenAIError as error:
        raise _provider_error(error, credentials.key) from error


def _files(references: tuple[Image, ...]) -> Any:
    """Return the reference images as the SDK takes them, which names their parts itself."""
    files = [file for _, file in reference_files(references)]
    return files if len(files) > 1 else files[0]


def _size(request: ImageRequest, model: Model) -> str:
    width, height = (model.pixels or OPENAI_SIZES).nearest(request.aspect_ratio, request.resolution)
    return f"{width}x{height}"


def _read(
    response: dict[str, Any], request_id: str | None, credentials: Credentials, deadline: float, wanted: int
) -> Generated:
    images = read_images(listed(response), deadline, wanted=wanted, base_url=credentials.base_url)
    if not images:
        raise imageless(response, credentials.key)
    used = {name: value for name in ("size", "quality", "output_format") if (value := text(response, name))}
    return Generated(images, request_id, token_counts(member(response, "usage")), used=used or None)


def _provider_error(error: openai.OpenAIError, key: str | None) -> ProviderError:
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, key)
    if isinstance(error, openai.APIConnectionError):
        return exchange_error(error.__cause__)
    return unreadable()


def _status_error(error: openai.APIStatusError, key: str | None) -> ProviderError:
    said = read_error(error.response, key)
    if text(member(said.document, "error"), "code") in _REFUSED:
        return ProviderError("refused", said.message or None, billable="unknown" if is_of_output(said) else "no")
    return status_error(said)
