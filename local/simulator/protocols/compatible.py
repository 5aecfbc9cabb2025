"""OpenAI-compatible endpoints: several flavors of the same idea.

The beginning of the model id tells most of them apart, the path OpenRouter, and the way to send the key Azure.
"""

from __future__ import annotations

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.bodies import InvalidBody, Named, read_body
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import UNTYPED_QUOTA, Words, answers
from local.simulator.exchange import EncodedImage, Exchange, Refusal, Shelf, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, URL_FAULTS, Fault
from local.simulator.messages import (
    FORM,
    JSON,
    Request,
    is_bad_key,
    json_response,
    new_id,
    read_form,
    read_json,
    retry_after,
)
from local.simulator.protocols.openai import (
    FACTORS,
    FACTORS_2_5,
    MAX_EDGE,
    MAX_PIXELS,
    MAX_REFERENCES,
    MIN_PIXELS,
    image_tokens,
    reference_tokens,
)
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import TYPES, Reference, data_url, logged_form, logged_json, read_reference

URL_LIFETIME = 3600.0
DEFAULT_SIZE = "1024x1024"
TICKS_PER_CENT = 100_000_000
UNKNOWN_PREFIX = "unknown"
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
RATIOS = {
    "1:1": (1024, 1024), "16:9": (1344, 768), "9:16": (768, 1344), "4:3": (1152, 864), "3:4": (864, 1152),
    "3:2": (1216, 832), "2:3": (832, 1216), "2:1": (1440, 720), "1:2": (720, 1440), "21:9": (1536, 640),
    "19.5:9": (1472, 680), "9:19.5": (680, 1472), "20:9": (1520, 684), "9:20": (684, 1520),
}  # fmt: skip

# What OpenRouter has beside those: its models differ, and it passes on what any of them takes.
OPENROUTER_RATIOS = {
    **RATIOS, "5:4": (1120, 896), "4:5": (896, 1120), "9:21": (640, 1536), "4:1": (2048, 512), "1:4": (512, 2048),
    "8:1": (2944, 368), "1:8": (368, 2944),
}  # fmt: skip
OPENROUTER_MODELS = (
    "bytedance-seed/seedream-5-5", "bytedance-seed/seedream-4.5", "microsoft/mai-image-2.6", "qwen/qwen-image-3",
    "meta/muse-image", "black-forest-labs/flux-3-image", "openai/gpt-image-2", "google/gemini-nano-banana-2.1",
    "recraft/recraft-v4.1", "x-ai/grok-imagine-image-2.0",
)  # fmt: skip
# Dollars for an image by model and resolution, where it is not the usual price.
SLUG_PRICES = {("bytedance-seed/seedream-5-5", "1K"): 0.02, ("bytedance-seed/seedream-5-5", "2K"): 0.035}
# Dollars for a reference image, and how many a model accepts, where it is not the usual number.
SLUG_REFERENCE_PRICES = {"bytedance-seed/seedream-5-5": 0.008}
SLUG_REFERENCES, SLUG_MAX_REFERENCES = {"qwen/qwen-image-3": 3}, 10
XAI_MAX_REFERENCES = 3
MINIMAX_MODELS = ("MiniMax-H3-Image", "MiniMax-H3-Image-Highspeed")
OPENROUTER_PATH = "/v1/images"
AZURE_PREFIX = "/openai/v1/"

# HTTP status and words of each fault and error of this module; the flavors differ in what is around it.
_FAILURES = {
    "bad_parameter": (400, "Invalid parameter: size"),
    "refused": (400, "Your request was rejected: the prompt violates the content policy."),
    "no_key": (401, "You didn't provide an API key."),
    "bad_key": (401, "Incorrect API key provided."),
    "quota_exhausted": (402, "Insufficient credits."),
    "retired": (404, "The model does not exist or is no longer available."),
    "no_route": (404, "Not found"),
    "throttled": (429, "Rate limit exceeded, please try again later."),
    "server_error": (500, "Internal server error"),
    "unavailable": (503, "The service is temporarily unavailable."),
}

References = Sequence[Reference]
File = tuple[str, FileStorage]
_Number = Annotated[int, Meta(ge=1, le=10)]
_SmallNumber = Annotated[int, Meta(ge=1, le=4)]
_Edge = Annotated[int, Meta(ge=64, le=1792, multiple_of=16)]


class Body(Named, forbid_unknown_fields=True, kw_only=True):
    """A request for images."""

    prompt: Annotated[str, Meta(min_length=1)]


class SizedBody(Body):
    """A request with a size in pixels, as MiniMax has it."""

    n: _Number = 1
    size: str = DEFAULT_SIZE
    response_format: Literal["url", "b64_json"] = "url"
    user: str = ""


class PlainBody(SizedBody):
    """A request to a plain endpoint."""

    response_format: Literal["url", "b64_json"] = "b64_json"
    quality: str = ""


class LocalAIBody(SizedBody, forbid_unknown_fields=False):
    """A request to LocalAI, which may have anything else."""

    seed: int | UnsetType = UNSET


class XAIBody(Body):
    """A request to xAI."""

    n: _Number = 1
    aspect_ratio: str = "1:1"
    resolution: Literal["1k", "2k"] = "1k"
    quality: Literal["low", "medium"] = "low"
    response_format: Literal["url", "b64_json"] = "url"
    user: str = ""


class XAIImage(Struct, forbid_unknown_fields=True):
    """A reference image of xAI."""

    url: str
    type: Literal["image_url"] = "image_url"


class XAIEditBody(XAIBody):
    """A request to xAI with one reference image or several."""

    quality: Literal["low", "medium"] = "medium"
    image: XAIImage | UnsetType = UNSET
    images: Annotated[list[XAIImage], Meta(min_length=1)] | UnsetType = UNSET


class ImageURL(Struct):
    """An address of OpenRouter."""

    url: str


class InputReference(Struct):
    """A reference image of OpenRouter."""

    type: Literal["image_url"]
    image_url: ImageURL


class OpenRouterBody(Body):
    """A request to OpenRouter."""

    n: _Number = 1
    aspect_ratio: str | UnsetType = UNSET
    resolution: Literal["512", "768", "1K", "1.5K", "2K", "4K"] | UnsetType = UNSET
    size: str | UnsetType = UNSET
    quality: str = ""
    output_format: Literal["png", "jpeg", "webp"] = "png"
    background: str = ""
    output_compression: int = 100
    input_references: list[InputReference] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stream: bool = False
    provider: dict[str, Any] | UnsetType = UNSET
    user: str = ""
    session_id: str = ""


class TogetherBody(Body):
    """A request to Together."""

    n: _SmallNumber = 1
    width: _Edge = 1024
    height: _Edge = 768
    steps: int = 20
    seed: int | UnsetType = UNSET
    negative_prompt: str = ""
    response_format: Literal["url", "base64"] = "url"
    output_format: Literal["jpeg", "png"] = "jpeg"


class SiliconFlowBody(Body):
    """A request to SiliconFlow."""

    image_size: str = DEFAULT_SIZE
    batch_size: _SmallNumber = 1
    seed: int | UnsetType = UNSET
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    negative_prompt: str = ""


class AzureBody(Body):
    """A request to Azure."""

    n: _Number = 1
    size: str = "auto"
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max"] = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Meta(ge=0, le=100)] = 100
    background: Literal["auto", "transparent", "opaque"] = "auto"
    moderation: Literal["auto", "low"] = "auto"
    user: str = ""


B = TypeVar("B", bound=Body)


class Wrong(Exception):
    """A request that a flavor refuses; it finds the words."""

    def __init__(self, kind: str, message: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message


class Flavor(ABC, Generic[B]):
    """What distinguishes one compatible endpoint from another."""

    prefixes: ClassVar[tuple[str, ...]] = ()
    body: type[B]
    # Of a request to the path of edits; None where there is none.
    edit_body: type[B] | None = None
    # The type of that request: its reference images are files, or addresses in a JSON object.
    edit_type: ClassVar[str] = FORM
    # What the answer has where the request cannot say.
    response_format: ClassVar[str] = "b64_json"
    keyless: ClassVar[bool] = False
    size_field: ClassVar[str] = "size"
    count_field: ClassVar[str] = "n"
    # Where they are not those of `_FAILURES`.
    statuses: ClassVar[Mapping[str, int]] = {}
    messages: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        """An error in its envelope."""

    def failure(self, kind: str, message: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
        """One of the errors of this module."""
        status, words = _FAILURES[kind]
        message = message or self.messages.get(kind, words)
        return self.error(self.statuses.get(kind, status), kind, message, headers or {})

    def key(self, request: Request) -> str:
        """The key of the request, or nothing."""
        return request.bearer

    def check_route(self, request: Request, model: str) -> None:
        """Refuse a URL or a model that this endpoint does not have."""
        if model.startswith(UNKNOWN_PREFIX) or model in RETIRED:
            raise Wrong("retired", f"The model {model} does not exist or is no longer available.")

    def addresses(self, body: B) -> list[str]:
        """The addresses of the reference images in a JSON object."""
        return []

    def max_references(self, model: str) -> int:
        """How many reference images a model accepts."""
        return MAX_REFERENCES

    def shape(self, body: B, references: References) -> tuple[int, int]:
        """The size in pixels of the image, which may follow the reference images."""
        return self.size(body)

    def size(self, body: B) -> tuple[int, int]:
        """The size in pixels that the request asks for."""
        text = getattr(body, self.size_field)
        match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
        if not match or not all(64 <= int(edge) <= 4096 for edge in match.groups()):
            raise Wrong(
                "bad_parameter", f"Invalid {self.size_field} {text!r}: write WIDTHxHEIGHT, 64 to 4096 pixels each."
            )
        return int(match[1]), int(match[2])

    def image_format(self, body: B) -> ImageFormat:
        """The format of the image."""
        return "png"

    def entry(self, index: int, encoded: EncodedImage, image: dict[str, Any]) -> dict[str, Any]:
        """One item of `data`; `image` has the URL or the base64 text."""
        return image

    def document(self, body: B, data: list[Any], size: tuple[int, int], references: References) -> dict[str, Any]:
        """The answer around `data`."""
        return {"created": int(time.time()), "data": data}

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {}


def _counts(prompt: str, output: int, references: References = ()) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    words, seen = prose.count_tokens(prompt), sum(reference_tokens(reference.size) for reference in references)
    details = {"text_tokens": words, "image_tokens": seen}
    return {
        "input_tokens": words + seen,
        "input_tokens_details": details,
        "output_tokens": output,
        "total_tokens": words + seen + output,
    }


def _file(name: str, file: FileStorage) -> Reference:
    """The reference image in a part of a form."""
    if name not in ("image", "image[]"):
        raise Wrong("bad_parameter", f"Unknown parameter: '{name}'.")
    return _image(file.mimetype, file.read())


def _address(url: str) -> Reference:
    """The reference image in a data URL; other addresses are not followed."""
    if url.startswith(("http://", "https://")):
        raise Refusal(json_response(501, {"simulator": "Images are not fetched: send them as data URLs."}))
    found = data_url(url)
    if found is None:
        raise Wrong("bad_parameter", "Invalid image URL: it is no data URL of an image.")
    return _image(*found)


def _image(mime_type: str, data: bytes) -> Reference:
    reference = read_reference(data) if mime_type in TYPES.values() else None
    if reference is None or reference.mime_type != mime_type:
        raise Wrong("bad_parameter", "Invalid image: send a JPEG, PNG, or WebP image with its MIME type.")
    return reference


def _of_ratio(text: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    if text not in sizes:
        raise Wrong("bad_parameter", f"Invalid aspect_ratio {text!r}.")
    return sizes[text]


class Plain(Flavor[PlainBody]):
    """A plain endpoint behind a proxy, which answers in HTML when there is nothing behind it."""

    body = PlainBody
    edit_body = PlainBody

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        if kind == "unavailable":
            page = b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head></html>"
            return Response(page, 503, {"Content-Type": "text/html", **headers})
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": kind}
        return json_response(status, {"error": error}, headers)


class LocalAI(Flavor[LocalAIBody]):
    """LocalAI: no key, URLs by default, and no objection to parameters it does not know."""

    prefixes = ("localai-",)
    body = LocalAIBody
    keyless = True

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        return json_response(status, {"error": {"code": status, "message": message, "type": ""}}, headers)

    def entry(self, index: int, encoded: EncodedImage, image: dict[str, Any]) -> dict[str, Any]:
        return {"embedding": None, "index": index, **image}

    def document(
        self, body: LocalAIBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return {"id": new_id(), **super().document(body, data, size, references), "usage": usage}


class XAI(Flavor[XAIBody]):
    """xAI: a ratio instead of a size, and refusals that come with HTTP 200."""

    prefixes = ("grok-", "xai-")
    body = XAIBody
    edit_body = XAIEditBody
    edit_type = JSON
    # What an image costs. A medium one of 1k has no published price that is known here; this one is a guess.
    _cents: ClassVar[dict[tuple[str, str], int]] = {
        ("low", "1k"): 4,
        ("low", "2k"): 6,
        ("medium", "1k"): 6,
        ("medium", "2k"): 8,
    }

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        codes = {"bad_parameter": "Client specified an invalid argument", "throttled": "Too many requests"}
        return json_response(status, {"code": codes.get(kind, kind), "error": message}, headers)

    def addresses(self, body: XAIBody) -> list[str]:
        if not isinstance(body, XAIEditBody):
            return []
        if (body.image is UNSET) is (body.images is UNSET):
            raise Wrong("bad_parameter", "Send either image or images.")
        return [image.url for image in ([body.image] if body.image else body.images or [])]

    def max_references(self, model: str) -> int:
        return XAI_MAX_REFERENCES

    def shape(self, body: XAIBody, references: References) -> tuple[int, int]:
        if len(references) != 1:
            return self.size(body)
        # It has the shape of the image that it edits.
        (width, height), edge = references[0].size, 2048 if body.resolution == "2k" else 1024
        root = math.sqrt(min(4, max(0.25, width / height)))
        return round(edge * root / 16) * 16, round(edge / root / 16) * 16

    def size(self, body: XAIBody) -> tuple[int, int]:
        width, height = _of_ratio(body.aspect_ratio, RATIOS)
        return (width * 2, height * 2) if body.resolution == "2k" else (width, height)

    def image_format(self, body: XAIBody) -> ImageFormat:
        return "jpeg"

    def entry(self, index: int, encoded: EncodedImage, image: dict[str, Any]) -> dict[str, Any]:
        return {**image, "revised_prompt": "", "respect_moderation": True}

    def document(self, body: XAIBody, data: list[Any], size: tuple[int, int], references: References) -> dict[str, Any]:
        cents = self._cents[body.quality, body.resolution]
        return {"data": data, "usage": {"cost_in_usd_ticks": cents * TICKS_PER_CENT * max(1, len(data))}}


class OpenRouter(Flavor[OpenRouterBody]):
    """OpenRouter: slugs of others' models, base64 with its media type, and the cost in dollars."""

    prefixes = ("openrouter/", *OPENROUTER_MODELS)
    body = OpenRouterBody
    statuses: ClassVar[Mapping[str, int]] = {"refused": 403}
    _scales: ClassVar[dict[str, float]] = {"512": 0.5, "768": 0.75, "1K": 1, "1.5K": 1.5, "2K": 2, "4K": 4}

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        metadata = {"reasons": ["violence"]} if kind == "refused" else {}
        return json_response(status, {"error": {"code": status, "message": message, "metadata": metadata}}, headers)

    def check_route(self, request: Request, model: str) -> None:
        if model not in OPENROUTER_MODELS and not model.startswith("openrouter/"):
            raise Wrong("retired", f"No endpoints found for {model}.")

    def addresses(self, body: OpenRouterBody) -> list[str]:
        return [reference.image_url.url for reference in body.input_references or ()]

    def max_references(self, model: str) -> int:
        return SLUG_REFERENCES.get(model, SLUG_MAX_REFERENCES)

    def size(self, body: OpenRouterBody) -> tuple[int, int]:
        if body.stream:
            raise Wrong("bad_parameter", "Streaming is not supported for this model.")
        if body.size is not UNSET:
            if (body.aspect_ratio, body.resolution) != (UNSET, UNSET):
                raise Wrong("bad_parameter", "size cannot be combined with aspect_ratio or resolution.")
            return super().size(body)
        width, height = _of_ratio("1:1" if body.aspect_ratio is UNSET else body.aspect_ratio, OPENROUTER_RATIOS)
        scale = self._scales[body.resolution or "1K"]
        return round(width * scale), round(height * scale)

    def image_format(self, body: OpenRouterBody) -> ImageFormat:
        return FORMATS[body.output_format]

    def entry(self, index: int, encoded: EncodedImage, image: dict[str, Any]) -> dict[str, Any]:
        return {**image, "media_type": encoded.mime_type}

    def document(
        self, body: OpenRouterBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        each = SLUG_PRICES.get((body.model, body.resolution or "1K"), 0.04)
        tokens, more = prose.count_tokens(body.prompt), SLUG_REFERENCE_PRICES.get(body.model, 0) * len(references)
        cost = each * max(1, len(data)) + more
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens, "cost": cost}
        details = {"upstream_inference_cost": None}
        return {**super().document(body, data, size, references), "usage": {**usage, "cost_details": details}}


class Together(Flavor[TogetherBody]):
    """Together: width and height, and `base64` where others say `b64_json`."""

    prefixes = ("together-",)
    body = TogetherBody

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": kind}
        return json_response(status, {"id": new_id(), "error": error}, headers)

    def size(self, body: TogetherBody) -> tuple[int, int]:
        return body.width, body.height

    def image_format(self, body: TogetherBody) -> ImageFormat:
        return FORMATS[body.output_format]

    def entry(self, index: int, encoded: EncodedImage, image: dict[str, Any]) -> dict[str, Any]:
        return {"index": index, **image}

    def document(
        self, body: TogetherBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        return {"id": new_id(), "model": body.model, "object": "list", "data": data}


class SiliconFlow(Flavor[SiliconFlowBody]):
    """SiliconFlow: names of its own for size and number, URLs only, and errors that are known by a number."""

    prefixes = ("siliconflow-",)
    body = SiliconFlowBody
    response_format = "url"
    size_field = "image_size"
    count_field = "batch_size"
    statuses: ClassVar[Mapping[str, int]] = {"refused": 451}

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        return json_response(status, {"code": 20012, "message": message, "data": None}, headers)

    def document(
        self, body: SiliconFlowBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        return {"images": data, "timings": {"inference": 1.0}, "seed": _seed(body)}


class MiniMax(Flavor[SizedBody]):
    """MiniMax: OpenAI's sizes, more images in a call, and tokens."""

    prefixes = ("MiniMax-",)
    body = SizedBody

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        error = {"type": kind, "message": message, "http_code": str(status)}
        return json_response(status, {"type": "error", "error": error, "request_id": new_id()}, headers)

    def check_route(self, request: Request, model: str) -> None:
        if model not in MINIMAX_MODELS:
            raise Wrong("retired", f"unknown model '{model}'")

    def document(
        self, body: SizedBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        usage = _counts(body.prompt, round(size[0] * size[1] / 1024) * len(data))
        return {**super().document(body, data, size, references), "usage": usage}


class Azure(Flavor[AzureBody]):
    """Azure OpenAI: the parameters of OpenAI's own models, the key in a header of its own, a version in the query.

    The name of a deployment is its owner's choice, so any is there but those that begin with UNKNOWN_PREFIX.
    """

    body = AzureBody
    edit_body = AzureBody
    statuses: ClassVar[Mapping[str, int]] = {"quota_exhausted": 429}
    _denied = (
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource."
    )
    messages: ClassVar[Mapping[str, str]] = {
        "no_key": _denied,
        "bad_key": _denied,
        "no_route": "Resource not found",
        "retired": "The API deployment for this resource does not exist. If you created the deployment within the last "
        "5 minutes, please wait a moment and try again.",
        "refused": "Your request was rejected as a result of our safety system. Your prompt may contain text that is "
        "not allowed by our safety system.",
        "quota_exhausted": "You exceeded your current quota, please check your plan and billing details.",
        "throttled": "Requests to the ImageGenerations_Create Operation have exceeded the call rate limit of your "
        "current pricing tier. Please retry after some seconds.",
    }
    _codes: ClassVar[Mapping[str, str]] = {
        "retired": "DeploymentNotFound",
        "refused": "content_policy_violation",
        "quota_exhausted": "insufficient_quota",
        "bad_parameter": "invalid_value",
    }

    @staticmethod
    def is_asked(request: Request) -> bool:
        """Whether a request is meant for Azure."""
        return request.path.startswith(AZURE_PREFIX) or "api-key" in request.headers or "api-version" in request.args

    def error(self, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
        error: dict[str, Any] = {"code": self._codes.get(kind, str(status)), "message": message}
        if kind == "refused":
            results = {"violence": {"filtered": True, "severity": "high"}}
            error["inner_error"] = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": results}
        return json_response(status, {"error": error}, {**self.headers(), **headers})

    def key(self, request: Request) -> str:
        return request.headers.get("api-key", "")

    def check_route(self, request: Request, model: str) -> None:
        if not request.args.get("api-version"):
            raise Wrong("no_route")
        if model.startswith(UNKNOWN_PREFIX):
            raise Wrong("retired")

    def size(self, body: AzureBody) -> tuple[int, int]:
        if body.output_compression < 100 and body.output_format == "png":
            raise Wrong("bad_parameter", "Compression less than 100 is not supported for PNG output format.")
        if body.background == "transparent" and body.output_format == "jpeg":
            raise Wrong("bad_parameter", "Transparent background is not supported for output format 'jpeg'.")
        text = body.size
        match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", DEFAULT_SIZE if text == "auto" else text)
        width, height = (int(match[1]), int(match[2])) if match else (0, 1)
        if width % 16 or height % 16 or not 1 / 3 <= width / height <= 3:
            raise Wrong("bad_parameter", f"Invalid size '{text}'. Steps of 16 pixels, at most three times as long.")
        if max(width, height) > MAX_EDGE or not MIN_PIXELS <= width * height <= MAX_PIXELS:
            raise Wrong("bad_parameter", f"Invalid size '{text}'. It is beyond the limits of pixels.")
        return width, height

    def image_format(self, body: AzureBody) -> ImageFormat:
        return FORMATS[body.output_format]

    def document(
        self, body: AzureBody, data: list[Any], size: tuple[int, int], references: References
    ) -> dict[str, Any]:
        quality = body.quality.replace("auto", "high")
        tokens = image_tokens({**FACTORS_2_5, **FACTORS}[quality], size) * len(data)
        return {
            **super().document(body, data, size, references),
            "background": body.background.replace("auto", "opaque"),
            "output_format": body.output_format,
            "quality": quality,
            "size": f"{size[0]}x{size[1]}",
            "usage": _counts(body.prompt, tokens, references),
        }

    def headers(self) -> dict[str, str]:
        name = new_id()
        return {"apim-request-id": name, "x-request-id": name}


def _seed(body: Body) -> int:
    """The seed of the request, or else one that follows from it."""
    seed = getattr(body, "seed", UNSET)
    return seed_for(body.model, body.prompt) if seed is UNSET else int(seed)


AZURE, OPENROUTER, PLAIN = Azure(), OpenRouter(), Plain()
BY_NAME: tuple[Flavor[Any], ...] = (LocalAI(), XAI(), OPENROUTER, Together(), SiliconFlow(), MiniMax())
RETIRED = frozenset({"grok-imagine-image-quality", "grok-2-image"})
LISTED = (
    "localai-flux", "grok-imagine-image-2.0", "grok-imagine-image", "openrouter/flux-2-pro", "together-flux-schnell",
    "siliconflow-kolors", "plain-diffusion", *OPENROUTER_MODELS, *MINIMAX_MODELS,
)  # fmt: skip


def flavor_of(model: str, request: Request) -> Flavor[Any]:
    """The flavor that answers: OpenRouter on its own path, Azure, the one of the model id, or else a plain one."""
    if request.path == OPENROUTER_PATH:
        return OPENROUTER
    if Azure.is_asked(request):
        return AZURE
    return next((flavor for flavor in BY_NAME if model.startswith(flavor.prefixes)), PLAIN)


class Compatible(Provider):
    """Compatible endpoints, here all below `/compatible/v1`, Azure also below `/compatible/openai/v1` as at Azure.

    Ids that begin with UNKNOWN_PREFIX are not found.
    """

    name = "compatible"
    errors = answers(
        no_credit_429=Words(
            429,
            "Your team has either used all available credits or reached its monthly spending limit. To continue making "
            "API requests, please purchase more credits or raise your spending limit.",
            "rate_limit",
        ),
        no_credit_untyped=UNTYPED_QUOTA,
        wrong_path=Words(404, "Not Found"),
        data_policy=Words(
            404,
            "No endpoints found matching your data policy (Paid model training). Configure: "
            "https://openrouter.ai/settings/privacy",
        ),
    )
    playable = COMMON_FAULTS | BASE64_FAULTS | URL_FAULTS | {*errors, "text_only", "redirect_private", "refused_image"}
    early = EARLY_FAULTS | {"refused_image"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._shelf = Shelf(URL_LIFETIME)
        self.routes = [
            route("POST", "(/openai)?/v1/images/generations", self.generate),
            route("POST", "(/openai)?/v1/images/edits", self.edit),
            route("POST", OPENROUTER_PATH, self.generate),
            route("GET", "(/openai)?/v1/models", self.list_models),
            route("GET", "/delivery/(?P<name>[^/]+)", self._shelf.fetch),
        ]

    def no_such_route(self, exchange: Exchange) -> Response:
        return Response(b"404 page not found\n", 404, {"Content-Type": "text/plain; charset=utf-8"})

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        name = fault.name.replace("refused_image", "refused")
        kind = name if name in _FAILURES else "server_error"
        return self._flavor(exchange).failure(kind, headers=retry_after(fault))

    def error(self, exchange: Exchange, words: Words) -> Response:
        return self._flavor(exchange).error(words.status, words.name, words.message, {})

    @staticmethod
    def _flavor(exchange: Exchange) -> Flavor[Any]:
        return flavor_of(exchange.model or "", exchange.request)

    def list_models(self, exchange: Exchange, path: dict[str, str]) -> Response:
        entries = [{"id": model, "object": "model", "created": 1, "owned_by": "simulated"} for model in LISTED]
        return json_response(200, {"object": "list", "data": entries})

    def generate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        return self._handle(exchange, edits=False)

    def edit(self, exchange: Exchange, path: dict[str, str]) -> Response:
        """Images that follow others, which are files of a form or data URLs in a JSON object."""
        return self._handle(exchange, edits=True)

    def _handle(self, exchange: Exchange, *, edits: bool) -> Response:
        request = exchange.request
        model = ""
        fields, files = self._read(exchange)
        with suppress(InvalidBody):
            model = read_body(fields, Named).model
        flavor = flavor_of(model, request)
        try:
            self._check_key(exchange, flavor)
            kind, accepted = (flavor.edit_body, flavor.edit_type) if edits else (flavor.body, JSON)
            if kind is None:
                raise Wrong("no_route")
            if not model or request.mimetype != accepted:
                raise Wrong("bad_parameter", f"Send a request with a model, and Content-Type: {accepted}.")
            exchange.identify(model)
            flavor.check_route(request, model)
            body = read_body(fields, kind, strict=accepted == JSON)
            references = self._references(flavor, body, files)
            if edits and not references:
                raise Wrong("bad_parameter", "Missing required parameter: 'image'.")
            size, image_format = flavor.shape(body, references), flavor.image_format(body)
        except Wrong as wrong:
            raise Refusal(flavor.failure(wrong.kind, wrong.message)) from wrong
        except InvalidBody as invalid:
            problem = invalid.problems[0]
            words = f"Invalid '{problem.path}': {problem.reason}."
            if problem.kind == "unknown":
                words = f"Unknown parameter: '{problem.path}'."
            raise Refusal(flavor.failure("bad_parameter", words)) from None
        # xAI refuses in the answer's data, with HTTP 200.
        hidden = isinstance(flavor, XAI) and exchange.meets("refused", "refused_image")
        if not hidden:
            self.refuse_early(exchange, edits=bool(references))
        return self._answer(exchange, flavor, body, size, image_format, references)

    @staticmethod
    def _read(exchange: Exchange) -> tuple[Any, list[File]]:
        """The JSON value or the fields of a form, and the files; what cannot be read is a text."""
        request = exchange.request
        try:
            if request.mimetype == FORM:
                fields, files = read_form(request)
                exchange.body = logged_form(fields, files)
                return fields, files
            document = read_json(request.get_data())
            exchange.body = logged_json(document)
        except ValueError:
            document = exchange.body = request.get_data().decode("utf-8", "replace")
        return document, []

    @staticmethod
    def _references(flavor: Flavor[Any], body: Body, files: Sequence[File]) -> list[Reference]:
        addresses, most = flavor.addresses(body), flavor.max_references(body.model)
        if len(addresses) + len(files) > most:
            raise Wrong("bad_parameter", f"Too many images: {body.model} accepts {most}.")
        return [_file(name, file) for name, file in files] + [*map(_address, addresses)]

    def _answer(
        self,
        exchange: Exchange,
        flavor: Flavor[Any],
        body: Body,
        size: tuple[int, int],
        image_format: ImageFormat,
        references: References,
    ) -> Response:
        model, prompt, count = body.model, body.prompt, getattr(body, flavor.count_field)
        seed = _seed(body)
        refused = exchange.meets("refused") or (bool(references) and exchange.meets("refused_image"))
        empty = refused or exchange.meets("no_image", "text_only", "refused_output")
        encoded_images = [
            exchange.draw_image(
                model,
                prompt,
                size,
                image_format,
                seed=seed + number,
                references=[reference.thumbnail for reference in references],
            )
            for number in range(0 if empty else count)
        ]
        exchange.wait_for_image(model)
        data: list[Any] = []
        as_url = getattr(body, "response_format", flavor.response_format) == "url"
        for index, encoded in enumerate(encoded_images):
            image = {"url": self._shelf.put(exchange, encoded)} if as_url else {"b64_json": exchange.base64(encoded)}
            data.append(flavor.entry(index, encoded, image))
        if refused or exchange.meets("refused_output"):
            document = flavor.document(body, [], size, references)
            if not isinstance(flavor, XAI):
                raise Refusal(flavor.failure("refused"))
            if exchange.meets("refused_output"):
                return json_response(200, {**document, "respect_moderation": False})
            data = [{"url": "", "revised_prompt": "", "respect_moderation": False}]
        elif exchange.meets("text_only"):
            data = [{"revised_prompt": "I would rather describe this scene than draw it."}]
        elif exchange.meets("no_image") and isinstance(flavor, LocalAI):
            data = [None]
        return json_response(200, flavor.document(body, data, size, references), flavor.headers())

    @staticmethod
    def _check_key(exchange: Exchange, flavor: Flavor[Any]) -> None:
        key = flavor.key(exchange.request)
        if not key and not flavor.keyless:
            raise Wrong("no_key")
        if is_bad_key(key):
            raise Wrong("bad_key")


PROTOCOL = Compatible
