"""Stability AI REST v2beta: Stable Image ultra, core and sd3, and the balance."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wrappers import Response

from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage, image_size
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, retry_after
from local.simulator.provider import Provider, route

MAX_SEED = 4_294_967_294
MAX_REQUEST = 10 * 1024 * 1024
RATIOS = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "5:4": (1088, 896),
    "4:5": (896, 1088),
    "2:3": (832, 1216),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
STYLE_PRESETS = (
    "3d-model",
    "analog-film",
    "anime",
    "cinematic",
    "comic-book",
    "digital-art",
    "enhance",
    "fantasy-art",
    "isometric",
    "line-art",
    "low-poly",
    "modeling-compound",
    "neon-punk",
    "origami",
    "photographic",
    "pixel-art",
    "tile-texture",
)
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
SD3_MODELS = ("sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash")
_FIELDS = {"prompt", "negative_prompt", "aspect_ratio", "seed", "output_format", "style_preset"}
# Besides the fields proper, `none` is the empty file entry that Stability's own samples send to get a multipart body.
_EXTRA_FIELDS = {
    "ultra": {"image", "strength", "none"},
    "core": {"none"},
    "sd3": {"model", "mode", "image", "strength", "cfg_scale", "none"},
}


def _error(status: int, name: str, *errors: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(status, {"id": new_id(), "name": name, "errors": list(errors)}, headers)


def _bad_request(*errors: str) -> Refusal:
    return Refusal(_error(400, "bad_request", *errors))


class Stability(Provider):
    """`https://api.stability.ai`, here below `/stability`.

    On the wire, ultra and core are named by the path alone; sd3's model is a field, `sd3.5-large` where it is left out.
    """

    name = "stability"
    errors = answers()
    playable = COMMON_FAULTS | BASE64_FAULTS | {*errors}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        base = "/v2beta/stable-image/generate"
        self.routes = [
            route("POST", f"{base}/(?P<model>ultra|core)", self.generate, model_in_path=True),
            route("POST", f"{base}/sd3", self.generate),
            route("GET", "/v1/user/balance", self.balance),
        ]

    def handle(self, exchange: Exchange) -> Response:
        response = super().handle(exchange)
        response.headers.setdefault("x-request-id", new_id())
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        return _error(404, "not_found", "The requested resource was not found.")

    def error(self, exchange: Exchange, words: Words) -> Response:
        return _error(words.status, words.name, words.message)

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        match fault.name:
            case "throttled":
                message = (
                    "You have exceeded the rate limit of 150 requests within a 10 second period, and have been "
                    "timed out for "
                    "60 seconds."
                )
                return _error(429, "rate_limit_exceeded", message, headers=retry_after(fault))
            case "quota_exhausted":
                message = (
                    "You lack sufficient credits to make this request. Please purchase more credits and try again."
                )
                return _error(402, "payment_required", message)
            case "refused":
                message = (
                    "Your request was flagged by our content moderation system, as a result your request was "
                    "denied and you "
                    "were not charged."
                )
                return _error(403, "content_moderation", message)
            case "retired":
                return _error(404, "not_found", "This model is no longer available.")
            case "bad_key":
                return _error(401, "unauthorized", "Incorrect API key provided.")
            case "bad_parameter":
                return _error(400, "bad_request", "aspect_ratio: must be one of the supported values")
            case "unavailable":
                return _error(
                    503, "service_unavailable", "The service is temporarily unavailable. Please try again later."
                )
        return _error(500, "internal_error", "An unexpected server error has occurred, please try again later.")

    def generate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        endpoint = path.get("model", "sd3")
        self._check_key(exchange)
        as_json = self._wants_json(exchange)
        fields, files = self._read(exchange)
        model = fields.get("model", SD3_MODELS[0]) if endpoint == "sd3" else endpoint
        exchange.identify(model)
        size, image_format = self._check_fields(endpoint, fields, files)
        self.refuse_early(exchange)

        prompt = fields["prompt"]
        # The name in the image: a bare "ultra" would mean little there.
        title = model if endpoint == "sd3" else f"stable-image-{model}"
        seed = int(fields.get("seed") or 0) or seed_for(title, prompt)
        filtered = exchange.meets("refused_output")
        reason = "CONTENT_FILTERED" if filtered else "SUCCESS"
        picture = exchange.draw_image(title, prompt, size, image_format, seed=seed, blurred=filtered)
        exchange.wait_for_image(model)
        empty = exchange.meets("no_image")
        if as_json:
            document: dict[str, Any] = {"finish_reason": reason, "seed": seed}
            if not empty:
                document = {"image": exchange.base64(picture), **document}
            return json_response(200, document)
        headers = {"Content-Type": picture.mime_type, "finish-reason": reason, "seed": str(seed)}
        return Response(b"" if empty else picture.data, 200, headers)

    def balance(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        return json_response(200, {"credits": 1234.5})

    @staticmethod
    def _check_key(exchange: Exchange) -> None:
        key = exchange.request.bearer
        if not key:
            raise Refusal(
                _error(401, "unauthorized", "authorization: missing or malformed; send 'Bearer' and your API key")
            )
        if is_bad_key(key):
            raise Refusal(_error(401, "unauthorized", "Incorrect API key provided."))

    @staticmethod
    def _wants_json(exchange: Exchange) -> bool:
        accept = exchange.request.headers.get("accept", "image/*").partition(";")[0].strip().lower()
        if accept not in (JSON, "image/*", "*/*"):
            raise _bad_request("accept: must be one of: image/*, application/json")
        return accept == JSON

    @staticmethod
    def _read(exchange: Exchange) -> tuple[dict[str, str], dict[str, bytes]]:
        """The text fields and the files of the form."""
        request = exchange.request
        if len(request.get_data()) > MAX_REQUEST:
            raise Refusal(_error(413, "payload_too_large", "The request is larger than 10 MiB."))
        mime_type, options = parse_options_header(request.headers.get("content-type", ""))
        if mime_type != "multipart/form-data":
            exchange.body = request.get_data().decode("utf-8", "replace")
            raise _bad_request("content-type: must be multipart/form-data")
        try:
            parser = FormDataParser(silent=False)
            _, form, uploads = parser.parse(io.BytesIO(request.get_data()), mime_type, len(request.get_data()), options)
        except (ValueError, HTTPException) as error:
            raise _bad_request("body: could not be read as multipart/form-data") from error
        fields = {name: value for name, value in form.items() if name not in ("image", "none")}
        files = {name: upload.read() for name, upload in uploads.items() if name != "none"}
        if "image" in form:
            raise _bad_request("image: must be a file")
        shown = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
        exchange.body = {**fields, **shown}
        return fields, files

    @staticmethod
    def _check_fields(
        endpoint: str, fields: Mapping[str, str], files: Mapping[str, bytes]
    ) -> tuple[tuple[int, int], ImageFormat]:
        """The size in pixels and the format."""
        problems = []
        for name in (*fields, *files):
            if name not in _FIELDS | _EXTRA_FIELDS[endpoint]:
                problems.append(f"{name}: unknown field")
        if not fields.get("prompt", "").strip():
            problems.append("prompt: is required")
        for name in ("prompt", "negative_prompt"):
            if len(fields.get(name, "")) > 10_000:
                problems.append(f"{name}: must be at most 10000 characters")
        for name, choices in (
            ("aspect_ratio", tuple(RATIOS)),
            ("output_format", tuple(FORMATS)),
            ("style_preset", STYLE_PRESETS),
            ("model", SD3_MODELS),
            ("mode", ("text-to-image", "image-to-image")),
        ):
            if name in fields and fields[name] not in choices:
                problems.append(f"{name}: must be one of: {', '.join(choices)}")
        for name, low, high in (("seed", 0, MAX_SEED), ("strength", 0, 1), ("cfg_scale", 1, 10)):
            if name not in fields:
                continue
            try:
                value: float = int(fields[name]) if name == "seed" else float(fields[name])
            except ValueError:
                problems.append(f"{name}: must be a number")
                continue
            if not low <= value <= high:
                problems.append(f"{name}: must be between {low} and {high}")
        size: tuple[int, int] | None = RATIOS.get(fields.get("aspect_ratio", "1:1"))
        edits = fields.get("mode") == "image-to-image" if endpoint == "sd3" else "image" in files
        if edits:
            size = image_size(files.get("image", b""))
            if size is None:
                problems.append("image: must be an image file")
            if "strength" not in fields:
                problems.append("strength: is required with an image")
            if "aspect_ratio" in fields and endpoint == "sd3":
                problems.append("aspect_ratio: is not allowed with mode image-to-image")
        elif "image" in files or "strength" in fields:
            problems.append("image, strength: are allowed only with mode image-to-image")
        if problems or size is None:
            raise _bad_request(*problems)
        return size, FORMATS[fields.get("output_format", "png")]


PROTOCOL = Stability
