"""Amazon Bedrock: `InvokeModel` for the Stability models, and the list of foundation models."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.wrappers import Response

from local.simulator.bodies import InvalidBody, read_body
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, read_json, retry_after
from local.simulator.protocols.stability import MAX_SEED, MIN_SIDE, RATIOS, AspectRatio
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import Reference, read_reference, shown

HOME_REGION = "us-west-2"
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg"}
_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/"
    r"aws4_request,\s*SignedHeaders=(?P<headers>[a-z0-9;-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Model:
    """A text-to-image model; `end` is its first day without life, `modes` whether it accepts `mode` and an image."""

    name: str
    modes: bool = False
    legacy: bool = False
    end: date | None = None


MODELS = {
    "stability.stable-image-core-v1:1": Model("Stable Image Core 1.0"),
    "stability.stable-image-ultra-v1:1": Model("Stable Image Ultra 1.0"),
    "stability.sd3-5-large-v1:0": Model("Stable Diffusion 3.5 Large", modes=True),
    "stability.stable-image-core-v1:0": Model("Stable Image Core 1.0", legacy=True),
    "stability.stable-image-ultra-v1:0": Model("Stable Image Ultra 1.0", legacy=True),
    "stability.sd3-large-v1:0": Model("SD3 Large 1.0", end=date(2026, 1, 1)),
    "stability.stable-diffusion-xl-v1": Model("SDXL 1.0", end=date(2025, 1, 1)),
    "amazon.nova-canvas-v1:0": Model("Nova Canvas", end=date(2026, 9, 30)),
    "amazon.titan-image-generator-v2:0": Model("Titan Image Generator G1 v2", end=date(2026, 6, 30)),
    "amazon.titan-image-generator-v1": Model("Titan Image Generator G1", end=date(2025, 6, 30)),
}
# Types, and what is wrong with a member, in the words of the validator of JSON schemas.
_TYPES = {
    "str": "String", "int": "Integer", "float": "BigDecimal", "bool": "Boolean", "null": "Null", "array": "JSONArray",
    "object": "JSONObject",
}  # fmt: skip
_WORDS = {
    "unknown": "#: extraneous key [{path}] is not permitted",
    "missing": "#: required key [{path}] not found",
    "type": "#/{path}: expected type: {expected}, found: {detail}",
    "enum": "#/{path}: {value} is not a valid enum value",
    "ge": "#/{path}: {value} is not greater or equal to {detail}",
    "le": "#/{path}: {value} is not less or equal to {detail}",
    "min_length": "#/{path}: expected minLength: {detail}, actual: 0",
    "max_length": "#/{path}: expected maxLength: {detail}",
}
_Text = Annotated[str, Meta(min_length=1, max_length=10_000)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """A request for an image."""

    prompt: _Text
    aspect_ratio: AspectRatio | UnsetType = UNSET
    output_format: Literal["png", "jpeg"] = "png"
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    negative_prompt: _Text | UnsetType = UNSET


class ModeBody(Body):
    """A request to a model that may start from an image."""

    mode: Literal["text-to-image", "image-to-image"] = "text-to-image"
    image: str | UnsetType = UNSET
    strength: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET


def _error(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    shown = {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/", **(headers or {})}
    return json_response(status, {"message": message, **more}, shown)


def _malformed(problem: str) -> Refusal:
    message = f"Malformed input request: {problem}, please reformat your input and try again."
    return Refusal(_error(400, "ValidationException", message))


def _invalid(message: str) -> Refusal:
    return Refusal(_error(400, "ValidationException", message))


def _decoded(value: Any) -> bytes | None:
    """The bytes of a base64 text; None where it isn't one."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except binascii.Error:
        return None


def _no_access(reason: str) -> Response:
    message = (
        f"Model access is denied due to {reason} Your AWS Marketplace subscription for this model cannot be completed "
        "at this time. If you recently fixed this issue, try again after 2 minutes."
    )
    return _error(403, "AccessDeniedException", message)


class Bedrock(Provider):
    """`https://bedrock-runtime.{region}.amazonaws.com` and `https://bedrock.…`, here both below `/bedrock`."""

    name = "bedrock"
    errors = answers(
        without=(
            "no_credit_429",
            "no_credit_403",
            "no_credit_412",
            "region_unsupported",
            "account_blocked",
            "refused_words",
            "refused_after_work",
            "validation_list",
            "validation_issues",
        )
    )
    playable = COMMON_FAULTS | BASE64_FAULTS | {*errors, "inference_error", "no_subscription", "refused_image"}
    early = EARLY_FAULTS | {"no_subscription", "refused_image"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.routes = [
            route("POST", "/model/(?P<model>[^/]+)/invoke", self.invoke, model_in_path=True),
            route("GET", "/foundation-models", self.list_models),
            route("GET", "/foundation-models/(?P<model>[^/]+)", self.get_model),
        ]

    def handle(self, exchange: Exchange) -> Response:
        response = super().handle(exchange)
        token = new_id(length=32)
        request_id = "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))
        response.headers.setdefault("x-amzn-RequestId", request_id)
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        return json_response(404, {}, {"x-amzn-ErrorType": "UnknownOperationException"})

    def error(self, exchange: Exchange, words: Words) -> Response:
        if words.status == 400:
            return _error(400, "ValidationException", words.message)
        # A status that Bedrock does not have comes from before it, and names no exception.
        return json_response(words.status, {"message": words.message})

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        match fault.name:
            case "throttled":
                message = "Too many requests, please wait before trying again."
                return _error(429, "ThrottlingException", message, retry_after(fault))
            case "quota_exhausted":
                return _no_access("INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided..")
            case "no_subscription":
                return _no_access(
                    "IAM user or service role is not authorized to perform the required AWS Marketplace actions "
                    "(aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model. "
                    "Refer to the Amazon Bedrock documentation for further details."
                )
            case "refused" | "refused_image":
                what = "prompt" if fault.name == "refused" else "input image"
                return json_response(200, {"finish_reasons": [f"Filter reason: {what}"]})
            case "retired":
                return self._ended()
            case "bad_key":
                return self._wrong_key()
            case "bad_parameter":
                return _malformed("#/aspect_ratio: 7:3 is not a valid enum value").response
            case "unavailable":
                message = "Bedrock is unable to process your request."
                return _error(503, "ServiceUnavailableException", message)
        message = "The system encountered an unexpected error during processing. Try your request again."
        return _error(500, "InternalServerException", message)

    def invoke(self, exchange: Exchange, path: dict[str, str]) -> Response:
        region = self._check_authorization(exchange)
        model = path["model"]
        exchange.identify(model)
        traits = self._check_model(model, region)
        body = self._read(exchange, ModeBody if traits.modes else Body)
        reference = self._reference(body)
        size = reference.size if reference else RATIOS[body.aspect_ratio or "1:1"]
        self.refuse_early(exchange, edits=reference is not None)

        seed = body.seed or seed_for(model, body.prompt)
        if exchange.meets("refused_output", "no_image", "inference_error"):
            reason = {"refused_output": "Filter reason: output image", "inference_error": "Inference error"}
            exchange.wait_for_image(model)
            document = {"seeds": [seed], "finish_reasons": [reason.get(exchange.fault.name if exchange.fault else "")]}
            return json_response(200, {**document, "images": []}, self._latency(exchange))
        thumbnails = [reference.thumbnail] if reference else []
        image_format = FORMATS[body.output_format]
        encoded = exchange.draw_image(model, body.prompt, size, image_format, seed=seed, references=thumbnails)
        exchange.wait_for_image(model)
        images = [exchange.base64(encoded)]
        document = {"seeds": [seed], "finish_reasons": [None], "images": images}
        return json_response(200, document, self._latency(exchange))

    def list_models(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_authorization(exchange)
        wanted = exchange.request.args.get("byOutputModality", "IMAGE")
        live = [model for model in MODELS if not self._is_over(model)] if wanted == "IMAGE" else []
        return json_response(200, {"modelSummaries": [self._describe(model) for model in live]})

    def get_model(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_authorization(exchange)
        model = exchange.model = path["model"]
        if model not in MODELS or self._is_over(model):
            message = "Could not resolve the foundation model from the provided model identifier."
            raise Refusal(_error(404, "ResourceNotFoundException", message))
        return json_response(200, {"modelDetails": self._describe(model)})

    @staticmethod
    def _latency(exchange: Exchange) -> dict[str, str]:
        return {"X-Amzn-Bedrock-Invocation-Latency": str(max(1, round(exchange.age() * 1000)))}

    def _check_authorization(self, exchange: Exchange) -> str | None:
        """The region of the signature; None with a key, which tells none."""
        request = exchange.request
        header = request.headers.get("authorization", "")
        if not header:
            raise Refusal(_error(403, "MissingAuthenticationTokenException", "Missing Authentication Token"))
        if request.bearer:
            if is_bad_key(request.bearer):
                message = "Authentication failed: Please make sure your API Key is valid."
                raise Refusal(_error(403, "AccessDeniedException", message))
            return None
        match = _SIGNATURE.fullmatch(header)
        if not match or "x-amz-date" not in request.headers:
            message = (
                "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters, and "
                "X-Amz-Date."
            )
            raise Refusal(_error(403, "IncompleteSignatureException", message))
        if match["service"] != "bedrock":
            message = (
                f"Credential should be scoped to correct service: 'bedrock'. It is scoped to '{match['service']}'."
            )
            raise Refusal(_error(403, "InvalidSignatureException", message))
        if is_bad_key(match["key"]):
            raise Refusal(self._wrong_key())
        return match["region"]

    def _check_model(self, model: str, region: str | None) -> Model:
        traits = MODELS.get(model)
        if traits is None:
            message = "Could not resolve the foundation model from the provided model identifier."
            raise Refusal(_error(404, "ResourceNotFoundException", message))
        if self._is_over(model):
            raise Refusal(self._ended())
        if traits.legacy:
            message = (
                "Access denied. This Model is marked by provider as Legacy and you have not been actively using the "
                "model in the last 30 days. Please upgrade to an active model on Amazon Bedrock"
            )
            raise Refusal(_error(403, "AccessDeniedException", message))
        if region not in (None, HOME_REGION):
            raise _invalid("The provided model identifier is invalid.")
        return traits

    def _is_over(self, model: str) -> bool:
        end = MODELS[model].end
        return end is not None and end <= self.stage.today()

    @staticmethod
    def _read(exchange: Exchange, kind: type[Body]) -> Body:
        request = exchange.request
        # The content type may be left out, and is then JSON.
        if request.mimetype not in (JSON, ""):
            raise _invalid("The provided content type is invalid or not supported for this model.")
        if request.headers.get("accept", "*/*").partition(";")[0].strip() not in (JSON, "*/*"):
            raise _invalid("The provided accept type is invalid or not supported for this model.")
        try:
            body = read_json(request.get_data())
        except ValueError as error:
            raise _malformed("expected a JSON object") from error
        data = _decoded(body.get("image")) if isinstance(body, dict) else None
        exchange.body = body if data is None else {**body, "image": shown(data)}
        try:
            return read_body(body, kind)
        except InvalidBody as invalid:
            problem = invalid.problems[0]._asdict()
            words = {name: _TYPES.get(problem[name], problem[name]) for name in ("expected", "detail")}
            raise _malformed(_WORDS[problem["kind"]].format(**problem | words)) from None

    @staticmethod
    def _reference(body: Body) -> Reference | None:
        """The image to start from."""
        if not isinstance(body, ModeBody) or body.mode == "text-to-image":
            if isinstance(body, ModeBody) and (body.image, body.strength) != (UNSET, UNSET):
                raise _invalid("image and strength are allowed only with mode image-to-image.")
            return None
        if body.aspect_ratio is not UNSET:
            raise _invalid("aspect_ratio is not allowed with mode image-to-image.")
        if body.strength is UNSET:
            raise _malformed("#: required key [strength] not found")
        data = _decoded(body.image)
        reference = read_reference(data) if data else None
        if reference is None:
            raise _malformed("#/image: expected a base64-encoded image")
        if min(reference.size) < MIN_SIDE:
            raise _invalid(f"image: each side must have at least {MIN_SIDE} pixels.")
        return reference

    @staticmethod
    def _describe(model: str) -> dict[str, Any]:
        traits = MODELS[model]
        return {
            "modelArn": f"arn:aws:bedrock:{HOME_REGION}::foundation-model/{model}",
            "modelId": model,
            "modelName": traits.name,
            "providerName": "Stability AI" if model.startswith("stability") else "Amazon",
            "inputModalities": ["TEXT", "IMAGE"] if traits.modes else ["TEXT"],
            "outputModalities": ["IMAGE"],
            "customizationsSupported": [],
            "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": {"status": "LEGACY" if traits.legacy else "ACTIVE"},
        }

    @staticmethod
    def _ended() -> Response:
        message = (
            "This model version has reached the end of its life. Please refer to the AWS documentation for more "
            "details."
        )
        return _error(404, "ResourceNotFoundException", message)

    @staticmethod
    def _wrong_key() -> Response:
        return _error(403, "UnrecognizedClientException", "The security token included in the request is invalid.")


PROTOCOL = Bedrock
