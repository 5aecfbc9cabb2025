"""Recraft: raster and vector images, prompt enhancement and the account."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from xml.sax.saxutils import escape

from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.bodies import InvalidBody, read_body
from local.simulator.drawing import ImageFormat, palette_of, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import EncodedImage, Exchange, Refusal, Shelf, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, URL_FAULTS, Fault
from local.simulator.messages import FORM, JSON, is_bad_key, json_response, new_id, read_form, read_json
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import TYPES, Reference, logged_form, read_reference

T = TypeVar("T", bound=Struct)
URL_LIFETIME = 24 * 3600.0
# Of a reference image: bytes, pixels, and the shortest and the longest side in pixels.
MAX_FILE, MAX_PIXELS, MIN_SIDE, MAX_SIDE = 10_000_000, 16_000_000, 256, 4096
# The fields of a form that are JSON.
_NESTED = frozenset({"controls", "text_layout"})
FORMATS: dict[str, ImageFormat] = {"webp": "webp", "png": "png"}
RATIOS = ["1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "6:10", "14:10", "10:14", "16:9", "9:16"]
_V4_SIZES = (
    "1024x1024", "1536x768", "768x1536", "1280x832", "832x1280", "1216x896", "896x1216", "1152x896", "896x1152",
    "832x1344", "1280x896", "896x1280", "1344x768", "768x1344",
)  # fmt: skip
_V3_SIZES = (
    "1024x1024", "1365x1024", "1024x1365", "1536x1024", "1024x1536", "1820x1024", "1024x1820", "2048x1024",
    "1024x2048", "1434x1024", "1024x1434", "1280x1024", "1024x1280", "1707x1024", "1024x1707",
)  # fmt: skip


class Controls(Struct, forbid_unknown_fields=True):
    """The looks of an image; the last two are known to recraftv3 alone."""

    colors: Any = UNSET
    background_color: Any = UNSET
    artistic_level: Annotated[int, Meta(ge=0, le=5)] | UnsetType = UNSET
    no_text: Any = UNSET


class Named(Struct):
    """What must be known of a request before anything else of it is checked."""

    model: str | None = None


class Order(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request for images may have."""

    prompt: Annotated[str, Meta(min_length=1, max_length=10_000)]
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=6)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    image_format: Literal["webp", "png"] | None = None
    random_seed: int | None = None
    style: str | None = None
    style_id: str | None = None
    negative_prompt: str | None = None
    controls: Controls | None = None
    text_layout: list[Any] | None = None


class Body(Order):
    """A request for images by a prompt alone."""

    size: str | None = None


class EditBody(Order):
    """The form of a request for images that start from another one."""

    strength: Annotated[float, Meta(ge=0, le=1)]


class EnhanceBody(Struct):
    """A request for a better prompt."""

    prompt: Annotated[str, Meta(min_length=1, max_length=2000)]


@dataclass(frozen=True)
class Model:
    """A model's limits; `units` is its price per image, 1000 to the dollar."""

    units: float
    generation: int = 4
    pro: bool = False
    vector: bool = False
    styles: bool = False

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The sizes in pixels it can make."""
        factor = 2 if self.pro else 1
        texts = _V4_SIZES if self.generation == 4 else _V3_SIZES
        return [(int(w) * factor, int(h) * factor) for w, h in (text.split("x") for text in texts)]


MODELS = {
    "recraftv4_1": Model(35),
    "recraftv4_1_flash": Model(7),
    "recraftv4_1_pro": Model(210, pro=True),
    "recraftv4_1_utility": Model(35),
    "recraftv4_1_utility_pro": Model(210, pro=True),
    "recraftv4_1_vector": Model(80, vector=True),
    "recraftv4_1_pro_vector": Model(300, pro=True, vector=True),
    "recraftv4": Model(40),
    "recraftv4_pro": Model(250, pro=True),
    "recraftv4_vector": Model(80, vector=True),
    "recraftv4_pro_vector": Model(300, pro=True, vector=True),
    "recraftv4_styles": Model(40, styles=True),
    "recraftv3": Model(40, generation=3),
    "recraftv3_vector": Model(80, generation=3, vector=True),
    "recraftv2": Model(22, generation=2),
    "recraftv2_vector": Model(44, generation=2, vector=True),
}


def _error(status: int, code: str, message: str) -> Response:
    return json_response(status, {"code": code, "message": message})


def _invalid(message: str, code: str = "invalid_request_parameter") -> Refusal:
    return Refusal(_error(400, code, message))


def _typed(body: Mapping[str, Any], kind: type[T], *, strict: bool = True) -> T:
    try:
        return read_body(body, kind, strict=strict)
    except InvalidBody as invalid:
        problem = invalid.problems[0]
        raise _invalid(f"{problem.path}: {problem.reason}") from None


class Recraft(Provider):
    """`https://external.api.recraft.ai/v1`, here below `/recraft/v1`."""

    name = "recraft"
    errors = answers(wrong_path=Words(404, "Not found"))
    # There is no refusal of an output here, and 429 never says when to come again.
    playable = (
        (COMMON_FAULTS - {"refused_output"})
        | BASE64_FAULTS
        | URL_FAULTS
        | {*errors, "redirect_private", "refused_image"}
    )
    early = EARLY_FAULTS | {"refused_image"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._shelf = Shelf(URL_LIFETIME)
        self.routes = [
            route("POST", "/v1/images/generations", self.generate),
            route("POST", "/v1/images/generations/(?P<kind>raster|vector)", self.generate),
            route("POST", "/v1/images/imageToImage", self.edit),
            route("POST", "/v1/prompts/enhance", self.enhance),
            route("GET", "/v1/users/me", self.account),
            route("GET", "/delivery/(?P<name>[^/]+)", self._shelf.fetch),
        ]

    def handle(self, exchange: Exchange) -> Response:
        response = super().handle(exchange)
        response.headers.setdefault("x-recraft-requestid", new_id())
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        return _error(404, "not_found", "Not found")

    def error(self, exchange: Exchange, words: Words) -> Response:
        return _error(words.status, words.name, words.message)

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        match fault.name:
            case "throttled":
                return _error(
                    429, "rate_limit_exceeded", "Rate limit exceeded: 5 requests per second, 100 images per minute"
                )
            case "quota_exhausted":
                return _error(402, "not_enough_credits", "Not enough credits to process the request")
            case "refused" | "refused_image":
                what = "prompt" if fault.name == "refused" else "image"
                return _error(
                    400, "content_policy_violation", f"The {what} violates our content policy and was rejected"
                )
            case "retired":
                return _error(400, "invalid_model", f"Model {exchange.model} is no longer supported")
            case "bad_key":
                return _error(401, "unauthorized", "Invalid API token")
            case "bad_parameter":
                return _error(400, "invalid_request_parameter", "size: unsupported value")
            case "unavailable":
                return _error(503, "service_unavailable", "Service is temporarily unavailable")
        return _error(500, "internal_error", "Internal server error")

    def generate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        document = self._read(exchange)
        name, model = self._identify(exchange, document)
        if path.get("kind") not in (None, "vector" if model.vector else "raster"):
            raise _invalid(f"Model {name} does not produce {path['kind']} images", "invalid_image_type")
        body = _typed(document, Body)
        self._check_support(body, name, model)
        return self._make_images(exchange, name, model, body, self._size(body.size, name, model))

    def edit(self, exchange: Exchange, path: dict[str, str]) -> Response:
        """Images that start from another; of the two forms of this request only multipart is there."""
        fields, files = self._read_form(exchange)
        name, model = self._identify(exchange, fields)
        body = _typed(fields, EditBody, strict=False)
        self._check_support(body, name, model)
        reference = self._reference(files)
        return self._make_images(exchange, name, model, body, reference.size, [reference])

    @staticmethod
    def _identify(exchange: Exchange, document: Mapping[str, Any]) -> tuple[str, Model]:
        name = _typed(document, Named).model or "recraftv4_1"
        exchange.identify(name)
        if name not in MODELS:
            raise _invalid(f"model: unsupported value {name!r}", "invalid_model")
        return name, MODELS[name]

    def _make_images(
        self,
        exchange: Exchange,
        name: str,
        model: Model,
        body: Order,
        size: tuple[int, int],
        references: Sequence[Reference] = (),
    ) -> Response:
        self.refuse_early(exchange, edits=bool(references))

        count, prompt = body.n or 1, body.prompt
        first = seed_for(name, prompt) if body.random_seed is None else body.random_seed
        image_format = FORMATS[body.image_format or "webp"]
        encoded_images = []
        for number in range(0 if exchange.meets("no_image") else count):
            if model.vector and not exchange.meets("not_an_image", "wrong_mime", "oversized"):
                drawing = _vector(name, prompt, first + number, size).encode()
                encoded_images.append(EncodedImage(drawing, "image/svg+xml", size, first + number))
            else:
                encoded_images.append(
                    exchange.draw_image(
                        name,
                        prompt,
                        size,
                        image_format,
                        seed=first + number,
                        lossless=image_format == "webp",
                        references=[reference.thumbnail for reference in references],
                    )
                )
        exchange.wait_for_image(name)
        data: list[dict[str, Any]] = []
        for encoded in encoded_images:
            entry: dict[str, Any] = {"image_id": new_id()}
            if body.response_format == "b64_json":
                entry["b64_json"] = exchange.base64(encoded)
            else:
                entry["url"] = self._shelf.put(exchange, encoded)
            data.append(entry)
        return json_response(200, {"created": int(time.time()), "credits": model.units * count, "data": data})

    def enhance(self, exchange: Exchange, path: dict[str, str]) -> Response:
        body = _typed(self._read(exchange), EnhanceBody)
        return json_response(200, {"enhanced_prompt": prose.describe(body.prompt, "recraft"), "credits": 4})

    def account(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        return json_response(200, {"id": "simulated", "name": "Simulated", "email": "", "credits": 12_345})

    @staticmethod
    def _check_key(exchange: Exchange) -> None:
        key = exchange.request.bearer
        if not key or is_bad_key(key):
            message = "Invalid API token" if key else "Authorization header with a Bearer token is required"
            raise Refusal(_error(401, "unauthorized", message))

    def _read(self, exchange: Exchange) -> dict[str, Any]:
        self._check_key(exchange)
        request = exchange.request
        if request.mimetype != JSON:
            exchange.body = request.get_data().decode("utf-8", "replace")
            raise Refusal(_error(415, "unsupported_media_type", "Content-Type must be application/json"))
        try:
            body = exchange.body = read_json(request.get_data())
        except ValueError as error:
            raise _invalid("The request body is not valid JSON", "invalid_json") from error
        if not isinstance(body, dict):
            raise _invalid("The request body must be an object", "invalid_json")
        return body

    def _read_form(self, exchange: Exchange) -> tuple[dict[str, Any], list[tuple[str, FileStorage]]]:
        """The fields of the form, and its files."""
        self._check_key(exchange)
        if exchange.request.mimetype != FORM:
            raise Refusal(_error(415, "unsupported_media_type", "Content-Type must be multipart/form-data"))
        try:
            fields, files = read_form(exchange.request)
            exchange.body = logged_form(fields, files)
            nested = {name: read_json(value.encode()) for name, value in fields.items() if name in _NESTED}
        except ValueError as error:
            raise _invalid("The form could not be read", "invalid_form") from error
        return {**fields, **nested}, files

    @staticmethod
    def _reference(files: Sequence[tuple[str, FileStorage]]) -> Reference:
        """The image to start from."""
        for name, _ in files:
            if name != "image":
                raise _invalid(f"{name}: unknown parameter")
        if len(files) != 1:
            raise _invalid("image: must be a single file" if files else "image: is required")
        ((_, file),) = files
        data = file.read()
        if len(data) >= MAX_FILE:
            raise _invalid("image: must be smaller than 10 MB")
        reference = read_reference(data) if file.mimetype in TYPES.values() else None
        if reference is None or reference.mime_type != file.mimetype:
            raise _invalid("image: must be a PNG, JPG, or WEBP image")
        width, height = reference.size
        if width * height > MAX_PIXELS or not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE:
            raise _invalid(f"image: must have at most 16 MP, with sides of {MIN_SIDE} to {MAX_SIDE} pixels")
        return reference

    @staticmethod
    def _check_support(body: Order, name: str, model: Model) -> None:
        """Refuse what other models have."""
        old, controls = model.generation < 4, body.controls or Controls()
        if old and len(body.prompt) > 1000:
            raise _invalid("prompt: must have a length of at most 1000")
        if model.styles and not body.style_id:
            raise _invalid(f"style_id: is required by {name}")
        for field, value, known in (
            ("negative_prompt", body.negative_prompt, old),
            ("style", body.style, old),
            ("style_id", body.style_id, old or model.styles),
            ("text_layout", body.text_layout, model.generation == 3),
            ("controls.artistic_level", controls.artistic_level, model.generation == 3),
            ("controls.no_text", controls.no_text, model.generation == 3),
        ):
            if value not in (None, UNSET) and not known:
                raise _invalid(f"{field}: is not supported by {name}")

    @staticmethod
    def _size(text: str | None, name: str, model: Model) -> tuple[int, int]:
        """The size in pixels."""
        sizes = model.sizes
        if text is None:
            return sizes[0]
        if text in RATIOS:
            wide, high = (int(part) for part in text.split(":"))
            return min(sizes, key=lambda size: abs(size[0] / size[1] - wide / high))
        for size in sizes:
            if text == f"{size[0]}x{size[1]}":
                return size
        raise _invalid(f"size: unsupported value {text!r} for {name}")


def _vector(model: str, prompt: str, seed: int, size: tuple[int, int]) -> str:
    """A vector image: a sun over hills, with the prompt and the watermark."""
    palette, chance = palette_of(model, prompt), random.Random(f"{model}\n{prompt}\n{seed}")
    width, height = size
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in palette]
    deep, middle, light, accent, pale = colors
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{middle}"/>',
        f'<stop offset="0.6" stop-color="{light}"/><stop offset="1" stop-color="{pale}"/></linearGradient></defs>',
        f'<rect width="{width}" height="{height}" fill="url(#sky)"/>',
        f'<circle cx="{width * chance.uniform(0.3, 0.7):.0f}" cy="{height * 0.36:.0f}" r="{min(size) * 0.12:.0f}" '
        f'fill="{accent}"/>',
    ]
    for layer, color in enumerate((light, middle, deep)):
        y = height * (0.55 + 0.13 * layer)
        bends = [y + height * chance.uniform(-0.1, 0.1) for _ in range(4)]
        parts.append(
            f'<path d="M0 {bends[0]:.0f} C {width / 3:.0f} {bends[1]:.0f} {width * 2 / 3:.0f} {bends[2]:.0f} {width} '
            f'{bends[3]:.0f} V {height} H 0 Z" fill="{color}"/>'
        )
    font = 'font-family="sans-serif" fill="#ffffff"'
    shown = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    parts.append(
        f'<text x="{width * 0.05:.0f}" y="{height * 0.93:.0f}" font-size="{width // 32}" {font}>{escape(shown)}</text>'
    )
    parts.append(
        f'<text x="{width * 0.95:.0f}" y="{height * 0.06:.0f}" font-size="{width // 50}" text-anchor="end" {font}>'
        f"simulated · {escape(model)}</text></svg>"
    )
    return "".join(parts)


PROTOCOL = Recraft
