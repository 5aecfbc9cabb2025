"""OpenAI: images, chat completions and the model list."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.bodies import InvalidBody, Named, read_body
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import UNTYPED_QUOTA, Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import (
    FORM,
    JSON,
    is_bad_key,
    json_response,
    masked,
    new_id,
    read_form,
    read_json,
    retry_after,
)
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import TYPES, Reference, logged_form, read_reference

T = TypeVar("T", bound=Struct)
FIXED_SIZES = ("1024x1024", "1536x1024", "1024x1536")
MAX_EDGE, MAX_PIXELS, MIN_PIXELS = 3840, 3840 * 2160, 655_360
# What the tokens of an image follow from, beside its size: gpt-image-2, 2.5, and 2.6, whose own are not published.
FACTORS = {"low": 16, "medium": 48, "high": 96}
FACTORS_2_5 = {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96}
FACTORS_2_6 = {**FACTORS_2_5, "low": 30, "medium": 45}
# Of images to edit: how many, and the bytes of one.
MAX_REFERENCES, MAX_FILE = 16, 50_000_000
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}


def image_tokens(factor: int, size: tuple[int, int]) -> int:
    """Tokens of one image, whose size is in pixels."""
    short = round(factor * min(size) / max(size))
    return math.ceil(factor * short * (2_000_000 + size[0] * size[1]) / 4_000_000)


def reference_tokens(size: tuple[int, int]) -> int:
    """Tokens of one image to edit, whose size is in pixels: 1024 for 1024x1024."""
    return min(1536, math.ceil(size[0] / 32) * math.ceil(size[1] / 32))


@dataclass(frozen=True)
class ImageModel:
    """An image model's limits; `shutdown` is the first day without it."""

    created: int
    any_size: bool = True
    factors: Mapping[str, int] = field(default_factory=lambda: FACTORS)
    complexity: bool = False
    shutdown: date | None = None


@dataclass(frozen=True)
class TextModel:
    """A chat model; the older ones take `max_tokens` and any temperature."""

    created: int
    classic: bool = False
    shutdown: date | None = None


_NEWEST = ImageModel(1793750400, factors=FACTORS_2_6, complexity=True)
_NEWER = ImageModel(1788825600, factors=FACTORS_2_5)
_DECEMBER = date(2026, 12, 1)
IMAGE_MODELS = {
    "gpt-image-2.6-sunburst": _NEWEST,
    "gpt-image-2.6-flare": _NEWEST,
    "gpt-image-2.5-sunburst": _NEWER,
    "gpt-image-2.5-sunburst-2026-09-08": _NEWER,
    "gpt-image-2.5-flare": _NEWER,
    "gpt-image-2.5-flare-2026-09-08": _NEWER,
    "gpt-image-2": ImageModel(1776729600),
    "gpt-image-2-2026-04-21": ImageModel(1776729600),
    "gpt-image-1.5": ImageModel(1765843200, any_size=False, shutdown=_DECEMBER),
    "gpt-image-1.5-2025-12-16": ImageModel(1765843200, any_size=False, shutdown=_DECEMBER),
    "gpt-image-1-mini": ImageModel(1759708800, any_size=False, shutdown=_DECEMBER),
    "chatgpt-image-latest": ImageModel(1765843200, any_size=False, shutdown=_DECEMBER),
    "gpt-image-1": ImageModel(1745366400, any_size=False, shutdown=date(2026, 10, 23)),
    "dall-e-3": ImageModel(1698785189, any_size=False, shutdown=date(2026, 5, 12)),
    "dall-e-2": ImageModel(1698798177, any_size=False, shutdown=date(2026, 5, 12)),
}
_GPT_6 = (
    "gpt-6.2-astra", "gpt-6.2-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-astra", "gpt-6-sol", "gpt-6-luna",
)  # fmt: skip
_GPT_5_END, _GPT_4_END, _OLD_END = date(2026, 12, 11), date(2027, 1, 14), date(2026, 10, 23)
TEXT_MODELS = {
    **{name: TextModel(1788220800) for name in _GPT_6},
    **{name: TextModel(1780272000) for name in ("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna")},
    **{name: TextModel(1776902400) for name in ("gpt-5.5", "gpt-5.5-2026-04-23")},
    **{name: TextModel(1772668800) for name in ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-mini-2026-03-17")},
    "gpt-5.4-nano": TextModel(1772668800, shutdown=date(2027, 4, 1)),
    "gpt-5.2": TextModel(1765411200),
    "gpt-5.1": TextModel(1762992000, shutdown=date(2027, 4, 1)),
    **{name: TextModel(1754524800, shutdown=_GPT_5_END) for name in ("gpt-5", "gpt-5-mini", "gpt-5-nano")},
    **{
        name: TextModel(1744316542, classic=True, shutdown=_GPT_4_END)
        for name in ("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini")
    },
    **{
        name: TextModel(1744316542, classic=True, shutdown=_OLD_END)
        for name in ("gpt-4.1-nano", "gpt-4", "gpt-3.5-turbo")
    },
    **{name: TextModel(1744225351, shutdown=_OLD_END) for name in ("o1", "o3-mini", "o4-mini")},
}

MODERATION_MODELS = ("omni-moderation-latest", "omni-moderation-2024-09-26")


class ImageBody(Named, forbid_unknown_fields=True):
    """A request for images."""

    prompt: Annotated[str, Meta(min_length=1, max_length=32_000)]
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    quality: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    safety_identifier: str | None = None
    user: str | None = None


class Part(Struct):
    """A part of a message."""

    type: str
    text: str = ""


class Message(Struct):
    """A message of a chat."""

    role: Literal["system", "assistant", "user", "developer"]
    content: str | list[Part]

    @property
    def words(self) -> str:
        """All that it says."""
        parts = [Part("text", self.content)] if isinstance(self.content, str) else self.content
        return "\n".join(part.text for part in parts if part.type == "text")


class ChatBody(Named, forbid_unknown_fields=True):
    """A request for a chat completion."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1, le=128_000)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=128_000)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    stop: str | list[Any] | None = None
    seed: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class ModerationBody(Struct, forbid_unknown_fields=True):
    """A request for the moderation of a text."""

    input: Annotated[str, Meta(min_length=1)]
    model: str = MODERATION_MODELS[0]


_JSON_NAMES = {
    "str": "a string", "int": "an integer", "bool": "a boolean", "float": "a decimal", "object": "an object",
    "array": "an array", "str | array": "one of a string or an array of strings",
}  # fmt: skip


def _error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    error = {"message": message, "type": kind, "param": param, "code": code, **more}
    return json_response(status, {"error": error}, headers)


def _listed(values: list[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def _typed(body: Mapping[str, Any], kind: type[T], *, strict: bool = True) -> T:
    """The body of a request as its type, or OpenAI's words for the first problem with it; a form is not `strict`."""
    try:
        return read_body(body, kind, strict=strict)
    except InvalidBody as invalid:
        problem = invalid.problems[0]
    name, limit, number = problem.path, problem.detail, "integer" if problem.expected == "int" else "decimal"
    came, wanted = (_JSON_NAMES.get(type_, type_) for type_ in (problem.detail, problem.expected))
    # Only those that are required may not be null, and no messages are none.
    empty = name == "messages" and problem.kind == "min_length"
    match "missing" if empty or (limit == "null" and name.isidentifier()) else problem.kind:
        case "unknown":
            code, message = "unknown_parameter", f"Unknown parameter: '{name}'."
        case "missing":
            code, message = "missing_required_parameter", f"Missing required parameter: '{name}'."
        case "type":
            code, message = "invalid_type", f"Invalid type for '{name}': expected {wanted}, but got {came} instead."
        case "enum":
            supported = f" Supported values are: {_listed([*problem.choices])}." if problem.choices else ""
            code, message = "invalid_value", f"Invalid value: {limit}.{supported}"
        case "min_length":
            wanted = f"a string with minimum length {limit}, but got an empty string"
            code, message = "empty_string", f"Invalid '{name}': empty string. Expected {wanted} instead."
        case "max_length":
            wanted = f"a string with maximum length {limit}, but got a string with length {len(problem.value)}"
            code, message = "string_above_max_length", f"Invalid '{name}': string too long. Expected {wanted} instead."
        case bound:
            sign, side = ("<=", "above maximum") if bound == "le" else (">=", "below minimum")
            code = f"{number}_{side.replace('imum', '').replace(' ', '_')}_value"
            wanted = f"a value {sign} {limit}, but got {problem.value}"
            message = f"Invalid '{name}': {number} {side} value. Expected {wanted} instead."
    raise Refusal(_error(400, message, code=code, param=name))


class OpenAI(Provider):
    """`https://api.openai.com/v1`, here below `/openai/v1`."""

    name = "openai"
    errors = answers(
        no_credit_429=Words(
            429,
            "Your account is not active, please check your billing details on our website.",
            "billing_not_active",
            "billing_not_active",
        ),
        no_credit_untyped=UNTYPED_QUOTA,
        region_unsupported=Words(
            403,
            "Country, region, or territory not supported",
            "unsupported_country_region_territory",
            "request_forbidden",
        ),
        wrong_path=Words(404, "Invalid URL (POST /v1/images/generations)"),
    )
    playable = COMMON_FAULTS | BASE64_FAULTS | {*errors, "text_only", "refused_image"}
    early = EARLY_FAULTS | {"refused_image"}
    more_models = MODERATION_MODELS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.routes = [
            route("POST", "/v1/images/generations", self.generate_images),
            route("POST", "/v1/images/edits", self.edit_images),
            route("POST", "/v1/chat/completions", self.complete_chat),
            route("POST", "/v1/moderations", self.moderate),
            route("GET", "/v1/models", self.list_models),
            route("GET", "/v1/models/(?P<model>[^/]+)", self.get_model),
        ]

    def handle(self, exchange: Exchange) -> Response:
        started = time.time()
        response = super().handle(exchange)
        response.headers.setdefault("x-request-id", new_id("req_"))
        response.headers.setdefault("openai-version", "2020-10-01")
        response.headers.setdefault("openai-processing-ms", str(round((time.time() - started) * 1000)))
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        request = exchange.request
        return _error(404, f"Invalid URL ({request.method} {request.path})")

    def error(self, exchange: Exchange, words: Words) -> Response:
        return _error(words.status, words.message, words.kind or "invalid_request_error", code=words.code)

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        model = exchange.model or ""
        match fault.name:
            case "throttled":
                hint = f" Please try again in {fault.retry_after:g}s." if fault.retry_after else ""
                message = (
                    f"Rate limit reached for {model} in organization org-simulated on images per min: Limit 5, Used 5, "
                    f"Requested 1.{hint} Visit https://platform.openai.com/account/rate-limits to learn more."
                )
                limits = {"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "0"}
                limits |= {"x-ratelimit-reset-requests": f"{fault.retry_after or 12:g}s", **retry_after(fault)}
                return _error(429, message, "images", code="rate_limit_exceeded", headers=limits)
            case "quota_exhausted":
                message = (
                    "You exceeded your current quota, please check your plan and billing details. For more information "
                    "on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
                )
                return _error(429, message, "insufficient_quota", code="insufficient_quota")
            case "refused" | "refused_image" | "refused_output":
                return self._blocked("output" if fault.name == "refused_output" else "input")
            case "retired":
                return self._shut_down(model)
            case "bad_key":
                return self._wrong_key(exchange.request.bearer)
            case "bad_parameter":
                message = "Invalid value: '1024x1000'. Width and height must both be divisible by 16."
                return _error(400, message, "image_generation_user_error", code="invalid_value", param="size")
            case "unavailable":
                return _error(503, "The engine is currently overloaded, please try again later.", "server_error")
        message = (
            "The server had an error processing your request. Sorry about that! You can retry your request, or contact "
            "us through our help center at help.openai.com if you keep seeing this error."
        )
        return _error(500, message, "server_error", code="server_error")

    def generate_images(self, exchange: Exchange, path: dict[str, str]) -> Response:
        document = self._read(exchange)
        model = self._identify(exchange, document)
        self._check_draws(model)
        return self._make_images(exchange, model, _typed(document, ImageBody))

    def edit_images(self, exchange: Exchange, path: dict[str, str]) -> Response:
        """Images that follow others; of the two forms of this request only multipart is there."""
        fields, files = self._read_form(exchange)
        model = self._identify(exchange, fields)
        self._check_draws(model)
        body = _typed(fields, ImageBody, strict=False)
        return self._make_images(exchange, model, body, self._references(files))

    def _make_images(
        self, exchange: Exchange, model: str, body: ImageBody, references: Sequence[Reference] = ()
    ) -> Response:
        traits, prompt = IMAGE_MODELS[model], body.prompt
        self._check_image_parameters(body, model, traits)
        size = self._size(body.size or "auto", traits)
        self.refuse_early(exchange, edits=bool(references))

        quality = (body.quality or "auto").replace("auto", "high")
        image_format = FORMATS[body.output_format or "png"]
        transparent = body.background == "transparent"
        count = body.n or 1
        seed = seed_for(model, prompt)
        encoded_images = [
            exchange.draw_image(
                model,
                prompt,
                size,
                image_format,
                seed=seed + number,
                quality=92 if body.output_compression is None else body.output_compression,
                transparent=transparent,
                references=[reference.thumbnail for reference in references],
            )
            for number in range(0 if exchange.meets("no_image", "text_only", "refused_output") else count)
        ]
        exchange.wait_for_image(model)
        if exchange.fault is not None and exchange.meets("refused_output"):
            raise Refusal(self.fault_response(exchange, exchange.fault))

        shared = {
            "background": "transparent" if transparent else "opaque",
            "output_format": image_format,
            "quality": quality,
            "size": f"{size[0]}x{size[1]}",
        }
        usage = self._usage(prompt, references, image_tokens(traits.factors[quality], size) * count)
        headers = {
            "x-ratelimit-limit-requests": "5",
            "x-ratelimit-remaining-requests": "4",
            "x-ratelimit-reset-requests": "12s",
        }
        if body.stream:
            task = "image_edit" if references else "image_generation"
            encoded = [exchange.base64(image) for image in encoded_images]
            return self._stream(task, encoded, shared, usage, body.partial_images or 0, headers)
        data: list[dict[str, Any]] = [{"b64_json": exchange.base64(encoded)} for encoded in encoded_images]
        if exchange.meets("text_only"):
            data = [{"revised_prompt": "I would rather describe this scene than draw it."}]
        return json_response(200, {"created": int(time.time()), **shared, "data": data, "usage": usage}, headers)

    def complete_chat(self, exchange: Exchange, path: dict[str, str]) -> Response:
        document = self._read(exchange)
        model = self._identify(exchange, document)
        if model not in TEXT_MODELS:
            message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint."
            raise Refusal(_error(404, message, param="model"))
        body = _typed(document, ChatBody)
        self._check_chat_parameters(body, model, TEXT_MODELS[model])
        limit = body.max_completion_tokens or body.max_tokens
        instruction = "\n".join(said.words for said in body.messages if said.role in ("system", "developer"))
        message = next((said.words for said in reversed(body.messages) if said.role == "user"), "")
        self.refuse_early(exchange)
        exchange.wait_for_text()

        text: str | None = prose.answer(instruction, message, model)
        finish, refusal = "stop", None
        if exchange.meets("no_image"):
            text = ""
        elif exchange.meets("refused_output"):
            text, finish, refusal = None, "content_filter", "I'm sorry, but I can't help with that."
        elif text is not None and limit is not None and prose.count_tokens(text) > limit:
            text, finish = prose.shorten(text, limit), "length"
        tokens_in = prose.count_tokens(instruction) + prose.count_tokens(message) + 7
        tokens_out = prose.count_tokens(text or "")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": refusal, "annotations": []},
            "logprobs": None,
            "finish_reason": finish,
        }
        usage = {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
        completion = {
            "id": new_id("chatcmpl-", 29),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": None,
        }
        return json_response(200, completion)

    def moderate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        body = _typed(self._read(exchange), ModerationBody)
        model = body.model
        exchange.identify(model)
        if model not in MODERATION_MODELS:
            raise Refusal(_error(404, f"The model `{model}` does not exist.", param="model"))
        self.refuse_early(exchange)
        flagged = prose.FORBIDDEN_WORD in body.input.lower()
        result = {
            "flagged": flagged,
            "categories": {"sexual": flagged},
            "category_scores": {"sexual": 0.98 if flagged else 0.01},
            "category_applied_input_types": {"sexual": ["text"]},
        }
        return json_response(200, {"id": new_id("modr-", 24), "model": model, "results": [result]})

    def list_models(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        models = [self._describe(model) for model in (*IMAGE_MODELS, *TEXT_MODELS) if not self._is_shut_down(model)]
        return json_response(200, {"object": "list", "data": models})

    def get_model(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        exchange.model = path["model"]
        self._check_model(path["model"])
        fault = self.stage.faults.peek(path["model"], self.playable)
        if fault is not None and fault.name == "retired":
            return self._shut_down(path["model"])
        return json_response(200, self._describe(path["model"]))

    def _check_key(self, exchange: Exchange) -> None:
        key = exchange.request.bearer
        if not key:
            message = (
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from "
                "https://platform.openai.com/account/api-keys."
            )
            raise Refusal(_error(401, message))
        if is_bad_key(key):
            raise Refusal(self._wrong_key(key))

    def _read(self, exchange: Exchange) -> dict[str, Any]:
        self._check_key(exchange)
        self._check_content_type(exchange, JSON)
        request = exchange.request
        try:
            body = exchange.body = read_json(request.get_data())
        except ValueError as error:
            message = (
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
                "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
            )
            raise Refusal(_error(400, message)) from error
        if not isinstance(body, dict):
            raise Refusal(_error(400, "Invalid type: expected an object.", code="invalid_type"))
        return body

    @staticmethod
    def _check_content_type(exchange: Exchange, accepted: str) -> None:
        if exchange.request.mimetype != accepted:
            given = exchange.request.headers.get("content-type", "")
            message = (
                f"Unsupported content type: '{given}'. This API method only accepts '{accepted}' requests, but "
                f"you specified the header 'Content-Type: {given}'. Please try again with a supported content type."
            )
            raise Refusal(_error(400, message, code="unsupported_content_type"))

    def _read_form(self, exchange: Exchange) -> tuple[dict[str, str], list[tuple[str, FileStorage]]]:
        """The text fields of the form, and its files."""
        self._check_key(exchange)
        self._check_content_type(exchange, FORM)
        try:
            fields, files = read_form(exchange.request)
        except ValueError as error:
            raise Refusal(_error(400, "Could not parse multipart form.")) from error
        exchange.body = logged_form(fields, files)
        return fields, files

    @staticmethod
    def _references(files: Sequence[tuple[str, FileStorage]]) -> list[Reference]:
        """The images to edit: one in `image`, or several in `image[]`."""
        for name, _ in files:
            if name not in ("image", "image[]"):
                raise Refusal(_error(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name))
        if not files:
            message = "Missing required parameter: 'image'."
            raise Refusal(_error(400, message, code="missing_required_parameter", param="image"))
        names = [name for name, _ in files]
        if names.count("image") > 1 or len({*names}) > 1:
            message = (
                "Duplicate parameter: 'image'. You provided multiple values for this parameter, whereas only one is "
                "allowed. If you are trying to provide a list of values, use the array syntax instead e.g. "
                "'image[]=<value>'."
            )
            raise Refusal(_error(400, message, code="duplicate_parameter", param="image"))
        if len(files) > MAX_REFERENCES:
            message = (
                f"Invalid 'image': array too long. Expected an array with maximum length {MAX_REFERENCES}, but got an "
                f"array with length {len(files)} instead."
            )
            raise Refusal(_error(400, message, code="array_above_max_length", param="image"))
        references = []
        for number, (_, file) in enumerate(files, 1):
            if file.mimetype not in TYPES.values():
                message = (
                    f"Invalid file 'image': unsupported mimetype ('{file.mimetype}'). Supported file formats are "
                    f"{_listed(sorted(TYPES.values()))}."
                )
                raise Refusal(_error(400, message, code="unsupported_file_mimetype", param="image"))
            data = file.read()
            if len(data) >= MAX_FILE:
                message = f"Invalid image file {number}: it must be smaller than 50MB."
                raise Refusal(_error(400, message, code="invalid_image_file", param="image"))
            reference = read_reference(data)
            if reference is None or reference.mime_type != file.mimetype:
                message = f"Invalid image file or mode for image {number}, please check your image file."
                raise Refusal(_error(400, message, code="invalid_image_file", param="image"))
            references.append(reference)
        return references

    @staticmethod
    def _check_draws(model: str) -> None:
        if model not in IMAGE_MODELS:
            message = f"The model '{model}' does not support image generation. Use an image model."
            raise Refusal(_error(400, message, code="invalid_value", param="model"))

    def _identify(self, exchange: Exchange, body: Mapping[str, Any]) -> str:
        try:
            model = read_body(body, Named).model
        except InvalidBody:
            raise Refusal(_error(400, "you must provide a model parameter")) from None
        exchange.identify(model)
        self._check_model(model)
        return model

    def _check_model(self, model: str) -> None:
        if model not in IMAGE_MODELS and model not in TEXT_MODELS:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise Refusal(_error(404, message, code="model_not_found"))
        if self._is_shut_down(model):
            raise Refusal(self._shut_down(model))

    def _is_shut_down(self, model: str) -> bool:
        last = (IMAGE_MODELS.get(model) or TEXT_MODELS[model]).shutdown
        return last is not None and last <= self.stage.today()

    def _describe(self, model: str) -> dict[str, Any]:
        traits = IMAGE_MODELS.get(model) or TEXT_MODELS[model]
        return {
            "id": model,
            "object": "model",
            "created": traits.created,
            "owned_by": "system",
            "shutdown_date": traits.shutdown.isoformat() if traits.shutdown else None,
        }

    def _check_image_parameters(self, body: ImageBody, model: str, traits: ImageModel) -> None:
        """Refuse what the model does not have, and what does not go together."""
        output_format = body.output_format or "png"
        qualities = [*traits.factors, "auto"]
        if body.quality is not None and body.quality not in qualities:
            message = f"Invalid value: '{body.quality}'. Supported values are: {_listed(qualities)}."
            raise Refusal(_error(400, message, code="invalid_value", param="quality"))
        if body.complexity and not traits.complexity:
            raise Refusal(self._unsupported(model, "complexity"))
        if body.background == "transparent" and output_format == "jpeg":
            message = "Transparent background is not supported for output format 'jpeg'. Use 'png' or 'webp'."
            raise Refusal(_error(400, message, code="invalid_value", param="background"))
        if body.output_compression not in (None, 100) and output_format == "png":
            message = "Compression less than 100 is not supported for PNG output format."
            raise Refusal(
                _error(400, message, "image_generation_user_error", code="invalid_value", param="output_compression")
            )
        if body.partial_images and not body.stream:
            message = "partial_images is only supported when stream is true."
            raise Refusal(_error(400, message, code="invalid_value", param="partial_images"))
        if body.stream and (body.n or 1) != 1:
            raise Refusal(_error(400, "Streaming is only supported for n=1.", code="invalid_value", param="n"))

    @staticmethod
    def _size(text: str, traits: ImageModel) -> tuple[int, int]:
        if text == "auto":
            return 1024, 1024
        match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
        if text not in FIXED_SIZES:
            problem = None
            if not traits.any_size or not match:
                problem = f"Supported values are: {_listed([*FIXED_SIZES, 'auto'])}."
            else:
                width, height = int(match[1]), int(match[2])
                if width % 16 or height % 16:
                    problem = "Width and height must both be divisible by 16."
                elif not 1 / 3 <= width / height <= 3:
                    problem = "The aspect ratio must be between 1:3 and 3:1."
                elif max(width, height) > MAX_EDGE or width * height > MAX_PIXELS:
                    problem = "Requested resolution exceeds the current pixel limit."
                elif width * height < MIN_PIXELS:
                    problem = "Requested resolution is below the current minimum pixel budget."
            if problem:
                message = f"Invalid size '{text}'. {problem}"
                raise Refusal(_error(400, message, "image_generation_user_error", code="invalid_value", param="size"))
        width, height = (int(part) for part in text.split("x"))
        return width, height

    @staticmethod
    def _usage(prompt: str, references: Sequence[Reference], drawn: int) -> dict[str, Any]:
        text = prose.count_tokens(prompt) + 6
        seen = sum(reference_tokens(reference.size) for reference in references)
        return {
            "input_tokens": text + seen,
            "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
            "output_tokens": drawn,
            "total_tokens": text + seen + drawn,
        }

    @staticmethod
    def _stream(
        task: str,
        images: list[str],
        shared: Mapping[str, Any],
        usage: Mapping[str, Any],
        partials: int,
        headers: Mapping[str, str],
    ) -> Response:
        events: list[dict[str, Any]] = []
        for image in images:
            base = {"created_at": int(time.time()), "b64_json": image, **shared}
            for index in range(partials):
                events.append({"type": f"{task}.partial_image", "partial_image_index": index, **base})
            events.append({"type": f"{task}.completed", "usage": usage, **base})
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Response(text.encode(), 200, {"Content-Type": "text/event-stream; charset=utf-8", **headers})

    @staticmethod
    def _check_chat_parameters(body: ChatBody, model: str, traits: TextModel) -> None:
        if body.max_tokens is not None and not traits.classic:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead."
            )
            raise Refusal(_error(400, message, code="unsupported_parameter", param="max_tokens"))
        for name, value in (("temperature", body.temperature), ("top_p", body.top_p)):
            if value not in (None, 1) and not traits.classic and body.reasoning_effort != "none":
                message = (
                    f"Unsupported value: '{name}' does not support {value} with this model. Only the default (1) "
                    "value is supported."
                )
                raise Refusal(_error(400, message, code="unsupported_value", param=name))
        if body.reasoning_effort is not None and traits.classic:
            message = f"Unrecognized request argument supplied: reasoning_effort ({model} does not reason)."
            raise Refusal(_error(400, message, code="unknown_parameter", param="reasoning_effort"))

    @staticmethod
    def _unsupported(subject: str, name: str) -> Response:
        message = f"Unsupported parameter: '{name}' is not supported with {subject}."
        return _error(400, message, code="unsupported_parameter", param=name)

    @staticmethod
    def _shut_down(model: str) -> Response:
        message = (
            f"The model `{model}` has been deprecated, learn more here: https://platform.openai.com/docs/deprecations"
        )
        return _error(404, message, code="model_not_found")

    @staticmethod
    def _wrong_key(key: str) -> Response:
        message = (
            f"Incorrect API key provided: {masked(key)}. You can find your API key at "
            "https://platform.openai.com/account/api-keys."
        )
        return _error(401, message, code="invalid_api_key")

    @staticmethod
    def _blocked(stage: str) -> Response:
        request_id = new_id("req_")
        message = (
            "Your request was rejected by the safety system. If you believe this is an error, contact us at "
            f"help.openai.com and include the request ID {request_id}. safety_violations=[violence]."
        )
        details = {"moderation_stage": stage, "categories": ["violence"]}
        headers = {"x-request-id": request_id}
        kind, code = "image_generation_user_error", "moderation_blocked"
        return _error(400, message, kind, code=code, headers=headers, moderation_details=details)


PROTOCOL = OpenAI
