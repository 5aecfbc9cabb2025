"""Stability AI REST v2beta: Stable Image ultra, core and sd3, and the balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from local.simulator.bodies import InvalidBody, read_body
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import FORM, JSON, is_bad_key, json_response, new_id, read_form, retry_after
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import TYPES, Reference, logged_form, read_reference

MAX_SEED = 4_294_967_294
MAX_REQUEST = 10 * 1024 * 1024
# Side of a reference image in pixels.
MIN_SIDE = 64
RATIOS = {
    "1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832), "5:4": (1088, 896),
    "4:5": (896, 1088), "2:3": (832, 1216), "9:16": (768, 1344), "9:21": (640, 1536),
}  # fmt: skip
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
SD3_MODEL: Final = "sd3.5-large"
AspectRatio = Literal["1:1", "16:9", "21:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21"]
_Prompt = Annotated[str, Meta(max_length=10_000)]


class Core(Struct, forbid_unknown_fields=True, kw_only=True):
    """The form of a request for an image."""

    prompt: Annotated[_Prompt, Meta(pattern=r"\S")]
    negative_prompt: _Prompt | None = None
    aspect_ratio: AspectRatio | None = None
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    output_format: Literal["png", "jpeg", "webp"] = "png"
    style_preset: (
        Literal[
            "3d-model", "analog-film", "anime", "cinematic", "comic-book", "digital-art", "enhance", "fantasy-art",
            "isometric", "line-art", "low-poly", "modeling-compound", "neon-punk", "origami", "photographic",
            "pixel-art", "tile-texture",
        ]
        | None
    ) = None  # fmt: skip


class Ultra(Core):
    """A form that may come with an image to start from."""

    strength: Annotated[float, Meta(ge=0, le=1)] | None = None


class SD3(Ultra):
    """The form of Stable Diffusion 3.5, which also names the model."""

    model: Literal["sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash"] = SD3_MODEL
    mode: Literal["text-to-image", "image-to-image"] = "text-to-image"
    cfg_scale: Annotated[float, Meta(ge=1, le=10)] | None = None


FORMS = {"core": Core, "ultra": Ultra, "sd3": SD3}


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
    playable = COMMON_FAULTS | BASE64_FAULTS | {*errors, "refused_image"}
    early = EARLY_FAULTS | {"refused_image"}

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
                    "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed "
                    "out for 60 seconds."
                )
                return _error(429, "rate_limit_exceeded", message, headers=retry_after(fault))
            case "quota_exhausted":
                message = (
                    "You lack sufficient credits to make this request. Please purchase more credits and try again."
                )
                return _error(402, "payment_required", message)
            case "refused" | "refused_image":
                message = (
                    "Your request was flagged by our content moderation system, as a result your request was denied "
                    "and you were not charged."
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
        model = fields.get("model", SD3_MODEL) if endpoint == "sd3" else endpoint
        exchange.identify(model)
        try:
            form = read_body(fields, FORMS[endpoint], strict=False)
        except InvalidBody as invalid:
            raise _bad_request(*(f"{problem.path}: {problem.reason}" for problem in invalid.problems)) from None
        reference = self._reference(form, files)
        size, image_format = self._size(form, reference), FORMATS[form.output_format]
        self.refuse_early(exchange, edits=reference is not None)

        prompt = form.prompt
        # The name in the image: a bare "ultra" would mean little there.
        title = model if endpoint == "sd3" else f"stable-image-{model}"
        seed = form.seed or seed_for(title, prompt)
        filtered = exchange.meets("refused_output")
        reason = "CONTENT_FILTERED" if filtered else "SUCCESS"
        thumbnails = [reference.thumbnail] if reference else []
        encoded = exchange.draw_image(
            title, prompt, size, image_format, seed=seed, blurred=filtered, references=thumbnails
        )
        exchange.wait_for_image(model)
        empty = exchange.meets("no_image")
        if as_json:
            document: dict[str, Any] = {"finish_reason": reason, "seed": seed}
            if not empty:
                document = {"image": exchange.base64(encoded), **document}
            return json_response(200, document)
        headers = {"Content-Type": encoded.mime_type, "finish-reason": reason, "seed": str(seed)}
        return Response(b"" if empty else encoded.data, 200, headers)

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
    def _read(exchange: Exchange) -> tuple[dict[str, str], list[tuple[str, FileStorage]]]:
        """The text fields and the files of the form."""
        request = exchange.request
        if len(request.get_data()) > MAX_REQUEST:
            raise Refusal(_error(413, "payload_too_large", "The request is larger than 10 MiB."))
        if request.mimetype != FORM:
            exchange.body = request.get_data().decode("utf-8", "replace")
            raise _bad_request("content-type: must be multipart/form-data")
        try:
            form, uploads = read_form(request)
        except ValueError as error:
            raise _bad_request("body: could not be read as multipart/form-data") from error
        # `none` is the empty file entry that Stability's own samples send to get a multipart body.
        fields = {name: value for name, value in form.items() if name != "none"}
        files = [(name, upload) for name, upload in uploads if name != "none"]
        exchange.body = logged_form(fields, files)
        if "image" in fields:
            raise _bad_request("image: must be a file")
        return fields, files

    @staticmethod
    def _reference(form: Core, files: Sequence[tuple[str, FileStorage]]) -> Reference | None:
        """The image to start from."""
        for name, _ in files:
            if name != "image" or not isinstance(form, Ultra):
                raise _bad_request(f"{name}: unknown parameter")
        if not files:
            return None
        if len(files) > 1:
            raise _bad_request("image: must be a single file")
        ((_, file),) = files
        if file.mimetype not in TYPES.values():
            raise _bad_request(f"image: must have one of the content types {', '.join(TYPES.values())}")
        reference = read_reference(file.read())
        if reference is None or reference.mime_type != file.mimetype:
            raise _bad_request("image: must be a valid image file")
        if min(reference.size) < MIN_SIDE:
            raise _bad_request(f"image: each side must have at least {MIN_SIDE} pixels")
        return reference

    @staticmethod
    def _size(form: Core, reference: Reference | None) -> tuple[int, int]:
        """The size in pixels."""
        size = RATIOS[form.aspect_ratio or "1:1"]
        if not isinstance(form, Ultra):
            return size
        edits = form.mode == "image-to-image" if isinstance(form, SD3) else reference is not None
        if not edits:
            if reference is not None or form.strength is not None:
                raise _bad_request("image, strength: are allowed only with mode image-to-image")
            return size
        if reference is None:
            raise _bad_request("image: is required with mode image-to-image")
        if form.strength is None:
            raise _bad_request("strength: is required with an image")
        if isinstance(form, SD3) and form.aspect_ratio is not None:
            raise _bad_request("aspect_ratio: is not allowed with mode image-to-image")
        return reference.size


PROTOCOL = Stability
