"""OpenAI: images, chat completions and the model list."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import UNTYPED_QUOTA, Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, masked, new_id, read_json, retry_after
from local.simulator.provider import Provider, route

FIXED_SIZES = ("1024x1024", "1536x1024", "1024x1536")
MAX_EDGE, MAX_PIXELS, MIN_PIXELS = 3840, 3840 * 2160, 655_360
# What the tokens of an image follow from, beside its size: gpt-image-2, 2.5, and 2.6, whose own are not published.
FACTORS = {"low": 16, "medium": 48, "high": 96}
FACTORS_2_5 = {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96}
FACTORS_2_6 = {**FACTORS_2_5, "low": 30, "medium": 45}
PREVIEW_FORMATS = {"gif": "GIF", "svg": "SVG"}
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}


def image_tokens(factor: int, size: tuple[int, int]) -> int:
    """Tokens of one image, whose size is in pixels."""
    short = round(factor * min(size) / max(size))
    return math.ceil(factor * short * (2_000_000 + size[0] * size[1]) / 4_000_000)


@dataclass(frozen=True)
class ImageModel:
    """What an image model takes; `shutdown` is the first day without it."""

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

IMAGE_PARAMETERS = {
    "model": str,
    "prompt": str,
    "n": int,
    "size": str,
    "quality": str,
    "output_format": str,
    "output_compression": int,
    "background": str,
    "moderation": str,
    "stream": bool,
    "partial_images": int,
    "complexity": str,
    "frame_count": int,
    "frame_duration_ms": int,
    "svg": dict,
    "safety_identifier": str,
    "user": str,
}
CHAT_PARAMETERS = {
    "model": str,
    "messages": list,
    "max_completion_tokens": int,
    "max_tokens": int,
    "temperature": float,
    "top_p": float,
    "n": int,
    "stop": (str, list),
    "seed": int,
    "user": str,
    "safety_identifier": str,
    "prompt_cache_key": str,
    "response_format": dict,
    "reasoning_effort": str,
    "verbosity": str,
    "store": bool,
    "metadata": dict,
    "service_tier": str,
    "frequency_penalty": float,
    "presence_penalty": float,
}
_JSON_NAMES = {
    str: "a string", int: "an integer", bool: "a boolean", float: "a decimal", dict: "an object", list: "an array",
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


def _json_name(value: Any) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), "another value")


def _check_types(body: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name not in parameters:
            raise Refusal(_error(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name))
        expected = parameters[name]
        accepted = (int, float) if expected is float else expected
        if value is None or (isinstance(value, accepted) and not (isinstance(value, bool) and expected is not bool)):
            continue
        wanted = _JSON_NAMES[expected] if not isinstance(expected, tuple) else "one of a string or an array of strings"
        message = f"Invalid type for '{name}': expected {wanted}, but got {_json_name(value)} instead."
        raise Refusal(_error(400, message, code="invalid_type", param=name))


def _check_enum(body: Mapping[str, Any], name: str, values: list[str]) -> None:
    value = body.get(name)
    if value is not None and value not in values:
        message = f"Invalid value: '{value}'. Supported values are: {_listed(values)}."
        raise Refusal(_error(400, message, code="invalid_value", param=name))


def _check_range(body: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value, kind = body.get(name), "integer" if isinstance(low, int) else "decimal"
    if value is None or low <= value <= high:
        return
    sign, side, bound = ("<=", "above maximum", high) if value > high else (">=", "below minimum", low)
    message = f"Invalid '{name}': {kind} {side} value. Expected a value {sign} {bound}, but got {value} instead."
    code = f"{kind}_{side.replace('maximum', 'max').replace('minimum', 'min').replace(' ', '_')}_value"
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
    playable = COMMON_FAULTS | BASE64_FAULTS | {*errors, "text_only"}
    more_models = MODERATION_MODELS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.routes = [
            route("POST", "/v1/images/generations", self.generate_images),
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
            case "refused" | "refused_output":
                return self._blocked("input" if fault.name == "refused" else "output")
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
        body = self._read(exchange)
        model = self._identify(exchange, body)
        if model not in IMAGE_MODELS:
            message = f"The model '{model}' does not support image generation. Use an image model."
            raise Refusal(_error(400, message, code="invalid_value", param="model"))
        traits = IMAGE_MODELS[model]
        _check_types(body, IMAGE_PARAMETERS)
        prompt = self._check_image_parameters(body, model, traits)
        size = self._size(body, traits)
        self.refuse_early(exchange)

        quality = str(body.get("quality") or "auto").replace("auto", "high")
        image_format = FORMATS[body.get("output_format") or "png"]
        transparent = body.get("background") == "transparent"
        compression = body.get("output_compression")
        count = 1 if body.get("n") is None else int(body["n"])
        seed = seed_for(model, prompt)
        pictures = [
            exchange.draw_image(
                model,
                prompt,
                size,
                image_format,
                seed=seed + number,
                quality=92 if compression is None else compression,
                transparent=transparent,
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
        usage = self._usage(prompt, traits.factors[quality], size, count)
        headers = {
            "x-ratelimit-limit-requests": "5",
            "x-ratelimit-remaining-requests": "4",
            "x-ratelimit-reset-requests": "12s",
        }
        if body.get("stream"):
            return self._stream(
                list(map(exchange.base64, pictures)), shared, usage, int(body.get("partial_images") or 0), headers
            )
        data: list[dict[str, Any]] = [{"b64_json": exchange.base64(picture)} for picture in pictures]
        if exchange.meets("text_only"):
            data = [{"revised_prompt": "I would rather describe this scene than draw it."}]
        document = {"created": int(time.time()), **shared, "data": data, "usage": usage}
        return json_response(200, document, headers)

    def complete_chat(self, exchange: Exchange, path: dict[str, str]) -> Response:
        body = self._read(exchange)
        model = self._identify(exchange, body)
        if model not in TEXT_MODELS:
            message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint."
            raise Refusal(_error(404, message, param="model"))
        _check_types(body, CHAT_PARAMETERS)
        limit = self._check_chat_parameters(body, model, TEXT_MODELS[model])
        instruction, message = self._read_messages(body)
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
        document = {
            "id": new_id("chatcmpl-", 29),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": None,
        }
        return json_response(200, document)

    def moderate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        body = self._read(exchange)
        model = str(body.get("model", MODERATION_MODELS[0]))
        exchange.identify(model)
        if model not in MODERATION_MODELS:
            raise Refusal(_error(404, f"The model `{model}` does not exist.", param="model"))
        if not isinstance(body.get("input"), str) or not body["input"]:
            raise Refusal(_error(400, "Invalid type for 'input': expected a string.", param="input"))
        if unknown := sorted(set(body) - {"model", "input"}):
            raise Refusal(_error(400, f"Unknown parameter: '{unknown[0]}'.", param=unknown[0]))
        self.refuse_early(exchange)
        flagged = prose.FORBIDDEN_WORD in body["input"].lower()
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
        request = exchange.request
        if request.mimetype != JSON:
            given = request.headers.get("content-type", "")
            message = (
                f"Unsupported content type: '{given}'. This API method only accepts 'application/json' requests, but "
                f"you specified the header 'Content-Type: {given}'. Please try again with a supported content type."
            )
            raise Refusal(_error(400, message, code="unsupported_content_type"))
        try:
            body = exchange.body = read_json(request.get_data())
        except ValueError as error:
            message = (
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
                "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
            )
            raise Refusal(_error(400, message)) from error
        if not isinstance(body, dict):
            message = f"Invalid type: expected an object, but got {_json_name(body)} instead."
            raise Refusal(_error(400, message, code="invalid_type"))
        return body

    def _identify(self, exchange: Exchange, body: Mapping[str, Any]) -> str:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Refusal(_error(400, "you must provide a model parameter"))
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

    def _check_image_parameters(self, body: Mapping[str, Any], model: str, traits: ImageModel) -> str:
        prompt = body.get("prompt")
        if prompt is None:
            message = "Missing required parameter: 'prompt'."
            raise Refusal(_error(400, message, code="missing_required_parameter", param="prompt"))
        if not prompt:
            message = (
                "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty "
                "string instead."
            )
            raise Refusal(_error(400, message, code="empty_string", param="prompt"))
        if len(prompt) > 32_000:
            message = (
                "Invalid 'prompt': string too long. Expected a string with maximum length 32000, but got a string with "
                f"length {len(prompt)} instead."
            )
            raise Refusal(_error(400, message, code="string_above_max_length", param="prompt"))
        _check_range(body, "n", 1, 10)
        _check_range(body, "output_compression", 0, 100)
        _check_range(body, "partial_images", 0, 3)
        _check_enum(body, "quality", [*traits.factors, "auto"])
        _check_enum(body, "output_format", [*FORMATS, *PREVIEW_FORMATS])
        _check_enum(body, "background", ["transparent", "opaque", "auto"])
        _check_enum(body, "moderation", ["low", "auto"])
        _check_enum(body, "complexity", ["low", "medium", "high"])

        output_format = body.get("output_format") or "png"
        if body.get("complexity") and not traits.complexity:
            raise Refusal(self._unsupported(model, "complexity"))
        for name in ("frame_count", "frame_duration_ms", "svg"):
            if body.get(name) is not None and output_format not in PREVIEW_FORMATS:
                raise Refusal(self._unsupported(output_format, name))
        if output_format in PREVIEW_FORMATS:
            message = (
                f"Your organization does not have access to the {PREVIEW_FORMATS[output_format]} preview for {model}."
            )
            raise Refusal(_error(403, message, param="output_format"))
        if body.get("background") == "transparent" and output_format == "jpeg":
            message = "Transparent background is not supported for output format 'jpeg'. Use 'png' or 'webp'."
            raise Refusal(_error(400, message, code="invalid_value", param="background"))
        if body.get("output_compression") not in (None, 100) and output_format == "png":
            message = "Compression less than 100 is not supported for PNG output format."
            raise Refusal(
                _error(400, message, "image_generation_user_error", code="invalid_value", param="output_compression")
            )
        if body.get("partial_images") and not body.get("stream"):
            message = "partial_images is only supported when stream is true."
            raise Refusal(_error(400, message, code="invalid_value", param="partial_images"))
        if body.get("stream") and (body.get("n") or 1) != 1:
            raise Refusal(_error(400, "Streaming is only supported for n=1.", code="invalid_value", param="n"))
        return str(prompt)

    @staticmethod
    def _size(body: Mapping[str, Any], traits: ImageModel) -> tuple[int, int]:
        text = body.get("size") or "auto"
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
    def _usage(prompt: str, factor: int, size: tuple[int, int], count: int) -> dict[str, Any]:
        text = prose.count_tokens(prompt) + 6
        image = image_tokens(factor, size) * count
        return {
            "input_tokens": text,
            "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
            "output_tokens": image,
            "total_tokens": text + image,
        }

    @staticmethod
    def _stream(
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
                events.append({"type": "image_generation.partial_image", "partial_image_index": index, **base})
            events.append({"type": "image_generation.completed", "usage": usage, **base})
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Response(text.encode(), 200, {"Content-Type": "text/event-stream; charset=utf-8", **headers})

    @staticmethod
    def _check_chat_parameters(body: Mapping[str, Any], model: str, traits: TextModel) -> int | None:
        if not body.get("messages"):
            message = "Missing required parameter: 'messages'."
            raise Refusal(_error(400, message, code="missing_required_parameter", param="messages"))
        if body.get("max_tokens") is not None and not traits.classic:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead."
            )
            raise Refusal(_error(400, message, code="unsupported_parameter", param="max_tokens"))
        for name in ("temperature", "top_p"):
            value = body.get(name)
            if value not in (None, 1) and not traits.classic and body.get("reasoning_effort") != "none":
                message = (
                    f"Unsupported value: '{name}' does not support {value} with this model. Only the default (1) "
                    "value is supported."
                )
                raise Refusal(_error(400, message, code="unsupported_value", param=name))
        if body.get("reasoning_effort") is not None and traits.classic:
            message = f"Unrecognized request argument supplied: reasoning_effort ({model} does not reason)."
            raise Refusal(_error(400, message, code="unknown_parameter", param="reasoning_effort"))
        _check_range(body, "temperature", 0.0, 2.0)
        _check_range(body, "top_p", 0.0, 1.0)
        _check_range(body, "n", 1, 1)
        for name in ("max_completion_tokens", "max_tokens"):
            _check_range(body, name, 1, 128_000)
        _check_enum(body, "reasoning_effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
        _check_enum(body, "verbosity", ["low", "medium", "high"])
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return None if limit is None else int(limit)

    @staticmethod
    def _read_messages(body: Mapping[str, Any]) -> tuple[str, str]:
        """The instruction and the last message of the user."""
        instruction, message = [], ""
        for index, entry in enumerate(body["messages"]):
            role = entry.get("role") if isinstance(entry, dict) else None
            if role not in ("system", "developer", "user", "assistant"):
                text = f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', and 'developer'."
                raise Refusal(_error(400, text, code="invalid_value", param=f"messages[{index}].role"))
            content = entry.get("content")
            if isinstance(content, list):
                texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
                known = [text for text in texts if isinstance(text, str)]
                content = "\n".join(known) if len(known) == len(texts) else None
            if not isinstance(content, str):
                text = (
                    f"Invalid type for 'messages[{index}].content': expected a string, but got "
                    f"{_json_name(content)} instead."
                )
                raise Refusal(_error(400, text, code="invalid_type", param=f"messages[{index}].content"))
            if role in ("system", "developer"):
                instruction.append(content)
            elif role == "user":
                message = content
        return "\n".join(instruction), message

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
