"""Google Gemini: `generateContent` for image and text models, and the model list."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs
from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.bodies import InvalidBody, Problem, read_body
from local.simulator.errors import Words, answers
from local.simulator.exchange import EncodedImage, Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, read_json
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import TYPES, Reference, read_reference, shown

# Pixels at 1K; 512 halves them, 2K and 4K multiply them.
RATIOS = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200), "4:3": (1200, 896),
    "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376), "16:9": (1376, 768), "21:9": (1584, 672),
}  # fmt: skip
LONG_RATIOS = {"1:4": (512, 2048), "4:1": (2048, 512), "1:8": (384, 3072), "8:1": (3072, 384)}
SCALES = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}
# Google's name of an HTTP status; PERMISSION_DENIED for the others.
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
}
LEAST_DEADLINE = 10
IMAGE_TOKENS = {"512": 747, "1K": 1120, "2K": 1680, "4K": 3780}
PRO_TOKENS = {"1K": 1120, "2K": 1120, "4K": 2000}
MAX_REFERENCES = 14
# What a model thinks before it draws; paid as text.
THOUGHT_TOKENS = 260


@dataclass(frozen=True)
class ImageModel:
    """An image model's limits; `shutdown` is the first day without it."""

    sizes: tuple[str, ...]
    long_ratios: bool = False
    sampling: bool = True
    thinks: bool = False
    tokens: Mapping[str, int] = field(default_factory=lambda: IMAGE_TOKENS)
    reference_tokens: int = 1120
    shutdown: date | None = None


_PREVIEWS_END, _IMAGEN_END = date(2026, 6, 25), date(2026, 8, 17)
IMAGE_MODELS = {
    "gemini-nano-banana-2.1": ImageModel(("1K", "2K", "4K"), long_ratios=True, sampling=False, thinks=True),
    "gemini-3-pro-image": ImageModel(("1K", "2K", "4K"), thinks=True, tokens=PRO_TOKENS, reference_tokens=560),
    "gemini-3.1-flash-lite-image": ImageModel(("1K",), long_ratios=True),
    "gemini-3.1-flash-image": ImageModel(("512", "1K", "2K", "4K"), long_ratios=True, thinks=True),
    "gemini-2.5-flash-image": ImageModel(("1K",), shutdown=date(2026, 10, 2)),
    **{
        f"gemini-{name}-image-preview": ImageModel(("1K",), shutdown=_PREVIEWS_END)
        for name in ("2.5-flash", "3-pro", "3.1-flash")
    },
    **{f"imagen-4.0-{name}generate-001": ImageModel(("1K",), shutdown=_IMAGEN_END) for name in ("", "ultra-", "fast-")},
}
TEXT_MODELS = (
    "gemini-4-argon", "gemini-4-carbon", "gemini-4-hydrogen", "gemini-3.8-flash", "gemini-3.7-flash",
    "gemini-3.6-flash", "gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-3.1-pro-preview", "gemini-3.1-flash-lite",
    "gemini-3-flash-preview", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-flash-latest",
    "gemini-flash-lite-latest", "gemini-pro-latest",
)  # fmt: skip


class InlineData(Struct, rename="camel", forbid_unknown_fields=True):
    """A file in a part."""

    mime_type: Any = None
    data: Any = None


class Part(Struct, rename="camel", forbid_unknown_fields=True):
    """A part of a content."""

    text: str | None = None
    inline_data: InlineData | None = None
    thought: Any = None
    thought_signature: Any = None


class Instruction(Struct, rename="camel", forbid_unknown_fields=True):
    """What the model is to keep to."""

    parts: list[Part] = []
    role: Any = None

    @property
    def words(self) -> str:
        """All that it says."""
        return "\n".join(part.text for part in self.parts if part.text is not None)


class Content(Instruction):
    """What a user or the model said."""

    parts: Annotated[list[Part], Meta(min_length=1)]
    role: Literal["user", "model"] | None = None


class SafetySetting(Struct, rename="camel", forbid_unknown_fields=True):
    """How much of a harm is let through."""

    category: Literal[
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
    ]
    threshold: Literal["BLOCK_NONE", "OFF", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE"]


class ImageConfig(Struct, rename="camel", forbid_unknown_fields=True):
    """The size of an image."""

    aspect_ratio: str | None = None
    image_size: str | None = None


class ThinkingConfig(Struct, rename="camel", forbid_unknown_fields=True):
    """How much the model thinks."""

    thinking_budget: Any = None
    thinking_level: Any = None
    include_thoughts: Any = None


class GenerationConfig(Struct, rename="camel", forbid_unknown_fields=True):
    """The parameters of a request."""

    response_modalities: list[Literal["TEXT", "IMAGE", "AUDIO"]] | None = None
    image_config: ImageConfig | None = None
    thinking_config: ThinkingConfig | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Any = None
    seed: int | None = None
    candidate_count: Any = None
    max_output_tokens: Annotated[float, Meta(ge=1, le=65_536)] | None = None
    stop_sequences: Any = None
    response_mime_type: Any = None
    response_schema: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    media_resolution: Any = None


class Body(Struct, rename="camel", forbid_unknown_fields=True):
    """A request for a content."""

    contents: list[Content] | None = None
    system_instruction: Instruction | None = None
    safety_settings: list[SafetySetting] | None = None
    generation_config: GenerationConfig | None = None
    tools: Any = None
    tool_config: Any = None
    cached_content: Any = None


_MESSAGES = (Body, GenerationConfig, ThinkingConfig, ImageConfig, SafetySetting, Content, Part, InlineData)
_CAMEL = {field.name: field.encode_name for kind in _MESSAGES for field in structs.fields(kind)}
_REPEATED = ("contents", "parts", "safetySettings")


def _error(status: int, name: str, message: str, details: list[dict[str, Any]] | None = None) -> Response:
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = details
    return json_response(status, {"error": error}, {"Content-Type": "application/json; charset=UTF-8"})


def _invalid(message: str, details: list[dict[str, Any]] | None = None) -> Refusal:
    return Refusal(_error(400, "INVALID_ARGUMENT", message, details))


def _google(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


def _decoded(value: Any) -> bytes | None:
    """The bytes of a base64 text, which may be URL-safe; None where it isn't one."""
    try:
        return binascii.a2b_base64(value.replace("-", "+").replace("_", "/"), strict_mode=True)
    except (ValueError, AttributeError):
        return None


def _logged(value: Any) -> Any:
    """The body as the request log keeps it: without the bytes of files."""
    if isinstance(value, list):
        return [*map(_logged, value)]
    if not isinstance(value, dict):
        return value
    data = _decoded(value.get("data")) if {"mimeType", "mime_type"} & set(value) else None
    if data is not None:
        return {**value, "data": shown(data)}
    return {name: _logged(entry) for name, entry in value.items()}


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _canonical(value: Any) -> Any:
    """The value with field names in camel case, and lists of messages: JSON has other forms of the same message."""
    if isinstance(value, list):
        return [*map(_canonical, value)]
    if not isinstance(value, dict):
        return value
    result = {_CAMEL.get(name, name): _canonical(entry) for name, entry in value.items()}
    single = {name: [result[name]] for name in _REPEATED if not isinstance(result.get(name, []), list | None)}
    return {**result, **single}


def _wrong(problem: Problem) -> Refusal:
    """A problem in Google's words."""
    path = _snake(problem.path)
    name = path.rpartition(".")[2]
    match problem.kind, name:
        case "unknown", _:
            path = _snake(problem.path.removesuffix(problem.detail)).rstrip(".")
            where = f" at '{path}'" if path else ""
            message = f'Invalid JSON payload received. Unknown name "{problem.detail}"{where}: Cannot find field.'
            violation = {"description": message, **({"field": path} if path else {})}
            return _invalid(message, [_google("BadRequest", fieldViolations=[violation])])
        case (("missing" | "min_length"), "parts"):
            return _invalid(f"* GenerateContentRequest.{path}: contents.parts must not be empty.\n")
        case "enum", "role":
            return _invalid("Please use a valid role: user, model.")
        case (("ge" | "le"), _):
            return _invalid(f"* GenerateContentRequest.{path}: {name} {problem.reason}.\n")
    kind = "type.googleapis.com/google.ai.generativelanguage.v1beta"
    kind = {"str": "TYPE_STRING", "int": "TYPE_INT32", "float": "TYPE_FLOAT"}.get(problem.expected, kind)
    return _invalid(f"Invalid value at '{path}' ({kind}), {problem.detail}")


class Gemini(Provider):
    """`https://generativelanguage.googleapis.com`, here below `/gemini`."""

    name = "gemini"
    errors = answers(
        without=("refused_words", "refused_after_work", "validation_list", "validation_issues"),
        no_credit_429=Words(
            429,
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your "
            "project and billing.",
        ),
        region_unsupported=Words(400, "User location is not supported for the API use.", kind="FAILED_PRECONDITION"),
    )
    playable = (
        COMMON_FAULTS
        | BASE64_FAULTS
        | {*errors, "text_only", "thought_only", "unspecified_block", "free_tier_zero", "refused_image"}
    )
    early = EARLY_FAULTS | {"free_tier_zero", "refused_image"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.routes = [
            route(
                "POST",
                "/(?P<version>v1|v1beta)/models/(?P<model>[^/:]+):generateContent",
                self.generate_content,
                model_in_path=True,
            ),
            route("GET", "/(?P<version>v1|v1beta)/models", self.list_models),
            route("GET", "/(?P<version>v1|v1beta)/models/(?P<model>[^/:]+)", self.get_model),
        ]

    def handle(self, exchange: Exchange) -> Response:
        response = super().handle(exchange)
        if response.headers["Content-Type"] == JSON:
            response.headers["Content-Type"] = "application/json; charset=UTF-8"
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        return Response(b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", 404, {"Content-Type": "text/html"})

    def error(self, exchange: Exchange, words: Words) -> Response:
        name = words.kind or STATUS_NAMES.get(words.status, "PERMISSION_DENIED")
        return _error(words.status, name, words.message)

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        model = exchange.model or ""
        match fault.name:
            case "throttled":
                delay = f" Please retry in {fault.retry_after:g}s." if fault.retry_after else ""
                return self._exhausted(model, "GenerateRequestsPerMinutePerProjectPerModel", delay, fault.retry_after)
            case "quota_exhausted":
                return self._exhausted(model, "GenerateRequestsPerDayPerProjectPerModel", "", None)
            case "free_tier_zero":
                hint = (
                    "\n* Quota exceeded for metric: "
                    "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 0, "
                    f"model: {model}\nPlease retry in 37s."
                )
                quota = "GenerateRequestsPerMinutePerProjectPerModel"
                return self._exhausted(model, quota, hint, 37, free=True)
            case "refused" | "refused_image":
                reason = "PROHIBITED_CONTENT" if fault.name == "refused" else "IMAGE_SAFETY"
                document = {
                    "promptFeedback": {"blockReason": reason},
                    "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
                    "modelVersion": model,
                    "responseId": new_id(length=22),
                }
                return json_response(200, document)
            case "retired":
                return self._not_found(exchange, model)
            case "bad_key":
                return self._wrong_key()
            case "bad_parameter":
                return _error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
            case "unavailable":
                return _error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        message = (
            "An internal error has occurred. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting"
        )
        return _error(500, "INTERNAL", message)

    def generate_content(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        model = path["model"]
        exchange.identify(model)
        self._check_deadline(exchange)
        body = self._read(exchange)
        self._check_model(exchange, model)
        prompt = self._prompt(body)
        config = body.generation_config or GenerationConfig()
        if (config.candidate_count or 1) != 1:
            raise _invalid("Multiple candidates is not enabled for this model")
        if model in IMAGE_MODELS:
            size, size_name = self._check_image_config(config, IMAGE_MODELS[model])
            references = self._references(body)
            self.refuse_early(exchange, edits=bool(references))
            return self._draw(exchange, model, prompt, config, size, size_name, references)
        modalities = config.response_modalities or ["TEXT"]
        if modalities != ["TEXT"] or (config.image_config or ImageConfig()) != ImageConfig():
            raise _invalid(
                "The requested combination of response modalities is not supported by the model. "
                f"models/{model} accepts the following combination of response modalities: TEXT."
            )
        self.refuse_early(exchange)
        return self._write(exchange, model, prompt, body.system_instruction, config.max_output_tokens)

    def list_models(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        models = [self._describe(model) for model in (*IMAGE_MODELS, *TEXT_MODELS) if not self._is_shut_down(model)]
        return json_response(200, {"models": models})

    def get_model(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        exchange.model = path["model"]
        fault = self.stage.faults.peek(path["model"], self.playable)
        self._check_model(exchange, path["model"])
        if fault is not None and fault.name == "retired":
            return self._not_found(exchange, path["model"])
        return json_response(200, self._describe(path["model"]))

    def _draw(
        self,
        exchange: Exchange,
        model: str,
        prompt: str,
        config: GenerationConfig,
        size: tuple[int, int],
        size_name: str,
        references: Sequence[Reference],
    ) -> Response:
        modalities = config.response_modalities or ["TEXT", "IMAGE"]
        drawn = "IMAGE" in modalities and not exchange.meets("no_image", "text_only", "refused_output")
        parts: list[dict[str, Any]] = []
        seed = config.seed
        hidden = exchange.meets("thought_only")
        if drawn and not hidden and (config.thinking_config or ThinkingConfig()).include_thoughts:
            draft = exchange.draw_image(model, f"draft: {prompt}", size, "jpeg", seed=seed, quality=60)
            parts.append({"inlineData": self._inline(exchange, draft), "thought": True})
        if "TEXT" in modalities and not exchange.meets("refused_output", "no_image"):
            text = "Here is the picture you asked for." if drawn else "I can describe this scene, but I cannot draw it."
            parts.append({"text": text})
        elif exchange.meets("text_only"):
            parts.append({"text": "Could you tell me more about the scene you have in mind?"})
        if drawn:
            thumbnails = [reference.thumbnail for reference in references]
            encoded = exchange.draw_image(model, prompt, size, "jpeg", seed=seed, references=thumbnails)
            signature = base64.b64encode(new_id(length=64).encode()).decode()
            part = {"inlineData": self._inline(exchange, encoded), "thoughtSignature": signature}
            parts.append({**part, "thought": True} if hidden else part)
        exchange.wait_for_image(model)

        candidate: dict[str, Any] = {"finishReason": "STOP", "index": 0}
        if exchange.meets("refused_output"):
            candidate["finishReason"] = "IMAGE_SAFETY"
            candidate["finishMessage"] = (
                "Unable to show the generated image. The model could not generate the image based on the prompt "
                "provided. You will not be charged for this request. Try rephrasing the prompt."
            )
        elif exchange.meets("no_image"):
            candidate["finishReason"] = "NO_IMAGE"
            candidate["finishMessage"] = "Unable to show the generated image. The model could not generate the image."
        if parts:
            candidate = {"content": {"role": "model", "parts": parts}, **candidate}
        counts = {
            "IMAGE": IMAGE_MODELS[model].tokens[size_name] if drawn else 0,
            "TEXT": sum(prose.count_tokens(part["text"]) for part in parts if "text" in part),
        }
        thoughts = THOUGHT_TOKENS if IMAGE_MODELS[model].thinks else 0
        feedback = {"blockReason": "BLOCK_REASON_UNSPECIFIED"} if exchange.meets("unspecified_block") else None
        seen = IMAGE_MODELS[model].reference_tokens * len(references)
        return self._answer(model, candidate, prompt, counts, thoughts, feedback, seen)

    def _write(
        self, exchange: Exchange, model: str, prompt: str, told: Instruction | None, limit: float | None
    ) -> Response:
        exchange.wait_for_text()
        instruction = told.words if told else ""
        text = prose.answer(instruction, prompt, model)
        candidate: dict[str, Any] = {"finishReason": "STOP", "index": 0}
        if exchange.meets("refused_output"):
            candidate["finishReason"], text = "SAFETY", ""
        elif exchange.meets("no_image"):
            text = ""
        elif limit is not None and prose.count_tokens(text) > limit:
            candidate["finishReason"], text = "MAX_TOKENS", prose.shorten(text, int(limit))
        if text:
            candidate = {"content": {"role": "model", "parts": [{"text": text}]}, **candidate}
        return self._answer(model, candidate, f"{instruction} {prompt}", {"TEXT": prose.count_tokens(text)})

    @staticmethod
    def _answer(
        model: str,
        candidate: Mapping[str, Any],
        prompt: str,
        counts: Mapping[str, int],
        thoughts: int = 0,
        feedback: Mapping[str, str] | None = None,
        seen: int = 0,
    ) -> Response:
        words, tokens_out = prose.count_tokens(prompt), sum(counts.values())
        tokens_in = words + seen
        read = {"TEXT": words, **({"IMAGE": seen} if seen else {})}
        details = [{"modality": modality, "tokenCount": count} for modality, count in counts.items() if count]
        usage: dict[str, Any] = {
            "promptTokenCount": tokens_in,
            "candidatesTokenCount": tokens_out,
            "totalTokenCount": tokens_in + tokens_out + thoughts,
            "promptTokensDetails": [{"modality": modality, "tokenCount": count} for modality, count in read.items()],
        }
        if details:
            usage["candidatesTokensDetails"] = details
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        document = {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": model,
            "responseId": new_id(length=22),
        }
        return json_response(200, {**document, "promptFeedback": feedback} if feedback else document)

    @staticmethod
    def _check_deadline(exchange: Exchange) -> None:
        try:
            seconds = float(exchange.request.headers.get("x-server-timeout", ""))
        except ValueError:
            return
        if seconds < LEAST_DEADLINE:
            least = f"Minimum allowed deadline is {LEAST_DEADLINE}s."
            raise _invalid(f"Manually set deadline {seconds:g}s is too short. {least}")

    def _check_key(self, exchange: Exchange) -> None:
        request = exchange.request
        key = request.headers.get("x-goog-api-key") or request.args.get("key", "")
        if not key:
            message = (
                "Method doesn't allow unregistered callers (callers without established identity). Please use API "
                "Key or other form of API consumer identity to call this API."
            )
            raise Refusal(_error(403, "PERMISSION_DENIED", message))
        if is_bad_key(key):
            raise Refusal(self._wrong_key())

    @staticmethod
    def _read(exchange: Exchange) -> Body:
        request = exchange.request
        if request.mimetype != JSON:
            name = request.headers.get("content-type", "")
            message = f"Invalid JSON payload received. Unknown content type '{name}': send application/json."
            raise _invalid(message)
        try:
            document = read_json(request.get_data())
        except ValueError as error:
            raise _invalid(f"Invalid JSON payload received. {error}") from error
        exchange.body = _logged(document)
        try:
            return read_body(_canonical(document), Body)
        except InvalidBody as invalid:
            raise _wrong(invalid.problems[0]) from None

    @staticmethod
    def _prompt(body: Body) -> str:
        """The text of the last content."""
        if not body.contents:
            violation = {"field": "contents", "description": "contents is not specified"}
            message = "* GenerateContentRequest.contents: contents is not specified\n"
            raise _invalid(message, [_google("BadRequest", fieldViolations=[violation])])
        for index, content in enumerate(body.contents):
            if any(part.text is None and part.inline_data is None for part in content.parts):
                where = f"GenerateContentRequest.contents[{index}].parts[0].data"
                raise _invalid(f"* {where}: required oneof field 'data' must have one initialized field\n")
        return body.contents[-1].words

    @staticmethod
    def _references(body: Body) -> list[Reference]:
        """The images in the last content."""
        index, content = len(body.contents or []) - 1, (body.contents or [])[-1]
        files = [(place, part.inline_data) for place, part in enumerate(content.parts) if part.inline_data is not None]
        if len(files) > MAX_REFERENCES:
            raise _invalid(f"The prompt has {len(files)} images. The maximum number of images is {MAX_REFERENCES}.")
        references = []
        for place, file in files:
            data = _decoded(file.data)
            if data is None:
                where = f"contents[{index}].parts[{place}].inline_data.data"
                raise _invalid(f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed")
            if file.mime_type not in TYPES.values():
                raise _invalid(f"Unsupported MIME type: {file.mime_type}")
            reference = read_reference(data)
            if reference is None or reference.mime_type != file.mime_type:
                raise _invalid("Provided image is not valid.")
            references.append(reference)
        return references

    @staticmethod
    def _check_image_config(config: GenerationConfig, traits: ImageModel) -> tuple[tuple[int, int], str]:
        """The size in pixels and the name of the image size."""
        if "AUDIO" in (config.response_modalities or []):
            raise _invalid(
                "The requested combination of response modalities is not supported by the model. It accepts the "
                "following combinations of response modalities: TEXT; IMAGE; TEXT, IMAGE."
            )
        if (config.thinking_config or ThinkingConfig()) != ThinkingConfig() and not traits.thinks:
            raise _invalid("Thinking is not enabled for this model.")
        for name in ("temperature", "top_p", "seed"):
            if not traits.sampling and getattr(config, name) is not None:
                raise _invalid(f"{name} is not supported for this model.")
        image = config.image_config or ImageConfig()
        ratios = {**RATIOS, **(LONG_RATIOS if traits.long_ratios else {})}
        ratio = "1:1" if image.aspect_ratio is None else image.aspect_ratio
        size_name = "1K" if image.image_size is None else image.image_size
        if ratio not in ratios:
            choices = ", ".join(f"'{name}'" for name in ratios)
            raise _invalid(f"Invalid aspect ratio '{ratio}'. Must be one of: {choices}.")
        if size_name not in traits.sizes:
            choices = ", ".join(f"'{name}'" for name in traits.sizes)
            raise _invalid(f"Invalid image size '{size_name}'. Must be one of: {choices}.")
        width, height = ratios[ratio]
        scale = SCALES[size_name]
        return (round(width * scale), round(height * scale)), size_name

    def _check_model(self, exchange: Exchange, model: str) -> None:
        if model not in (*IMAGE_MODELS, *TEXT_MODELS) or self._is_shut_down(model):
            raise Refusal(self._not_found(exchange, model))

    def _is_shut_down(self, model: str) -> bool:
        last = IMAGE_MODELS[model].shutdown if model in IMAGE_MODELS else None
        return last is not None and last <= self.stage.today()

    @staticmethod
    def _describe(model: str) -> dict[str, Any]:
        return {
            "name": f"models/{model}",
            "version": "001",
            "displayName": model.replace("-", " ").title(),
            "inputTokenLimit": 32_768 if model in IMAGE_MODELS else 1_048_576,
            "outputTokenLimit": 32_768 if model in IMAGE_MODELS else 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "batchGenerateContent"],
        }

    @staticmethod
    def _inline(exchange: Exchange, encoded: EncodedImage) -> dict[str, str]:
        return {"mimeType": encoded.mime_type, "data": exchange.base64(encoded)}

    @staticmethod
    def _not_found(exchange: Exchange, model: str) -> Response:
        version = exchange.request.path.split("/")[1]
        message = (
            f"models/{model} is not found for API version {version}, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods."
        )
        return _error(404, "NOT_FOUND", message)

    @staticmethod
    def _wrong_key() -> Response:
        info = _google("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com")
        info["metadata"] = {"service": "generativelanguage.googleapis.com"}
        return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [info])

    @staticmethod
    def _exhausted(model: str, quota: str, hint: str, delay: float | None, *, free: bool = False) -> Response:
        message = (
            "You exceeded your current quota, please check your plan and billing details. For more information on this "
            f"error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.{hint}"
        )
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_"
            f"{'free' if free else 'paid'}_tier_requests",
            "quotaId": f"{quota}-{'FreeTier' if free else 'PaidTier1'}",
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": "0" if free else "10",
        }
        details = [_google("QuotaFailure", violations=[violation])]
        if delay:
            details.append(_google("RetryInfo", retryDelay=f"{delay:g}s"))
        return _error(429, "RESOURCE_EXHAUSTED", message, details)


PROTOCOL = Gemini
