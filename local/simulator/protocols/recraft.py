"""Recraft: raster and vector images, prompt enhancement and the account."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local.simulator import prose
from local.simulator.drawing import ImageFormat, palette_of, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import EncodedImage, Exchange, Refusal, Shelf, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, URL_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, read_json
from local.simulator.provider import Provider, route

URL_LIFETIME = 24 * 3600.0
FORMATS: dict[str, ImageFormat] = {"webp": "webp", "png": "png"}
RATIOS = ["1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "6:10", "14:10", "10:14", "16:9", "9:16"]
_V4_SIZES = [
    "1024x1024",
    "1536x768",
    "768x1536",
    "1280x832",
    "832x1280",
    "1216x896",
    "896x1216",
    "1152x896",
    "896x1152",
    "832x1344",
    "1280x896",
    "896x1280",
    "1344x768",
    "768x1344",
]
_V3_SIZES = [
    "1024x1024",
    "1365x1024",
    "1024x1365",
    "1536x1024",
    "1024x1536",
    "1820x1024",
    "1024x1820",
    "2048x1024",
    "1024x2048",
    "1434x1024",
    "1024x1434",
    "1280x1024",
    "1024x1280",
    "1707x1024",
    "1024x1707",
]


@dataclass(frozen=True)
class Model:
    """What a model takes; `units` is its price per image, 1000 to the dollar."""

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
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "prompt": str,
    "model": str,
    "n": int,
    "size": str,
    "response_format": str,
    "image_format": str,
    "random_seed": int,
    "style": str,
    "style_id": str,
    "negative_prompt": str,
    "controls": dict,
    "text_layout": list,
}
_CONTROLS = {"colors", "background_color", "artistic_level", "no_text"}


def _error(status: int, code: str, message: str) -> Response:
    return json_response(status, {"code": code, "message": message})


def _invalid(message: str, code: str = "invalid_request_parameter") -> Refusal:
    return Refusal(_error(400, code, message))


class Recraft(Provider):
    """`https://external.api.recraft.ai/v1`, here below `/recraft/v1`."""

    name = "recraft"
    errors = answers(wrong_path=Words(404, "Not found"))
    # There is no refusal of an output here, and 429 never says when to come again.
    playable = (COMMON_FAULTS - {"refused_output"}) | BASE64_FAULTS | URL_FAULTS | {*errors, "redirect_private"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._shelf = Shelf(URL_LIFETIME)
        self.routes = [
            route("POST", "/v1/images/generations", self.generate),
            route("POST", "/v1/images/generations/(?P<kind>raster|vector)", self.generate),
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
            case "refused":
                return _error(
                    400, "content_policy_violation", "The prompt violates our content policy and was rejected"
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
        body = self._read(exchange)
        name = body.get("model") or "recraftv4_1"
        if not isinstance(name, str):
            raise _invalid("model: must be a string")
        exchange.identify(name)
        if name not in MODELS:
            raise _invalid(f"model: unsupported value {name!r}", "invalid_model")
        model = MODELS[name]
        if path.get("kind") not in (None, "vector" if model.vector else "raster"):
            raise _invalid(f"Model {name} does not produce {path['kind']} images", "invalid_image_type")
        size = self._check_body(body, name, model)
        self.refuse_early(exchange)

        count = body.get("n") or 1
        prompt, seed = body["prompt"], body.get("random_seed")
        first = seed_for(name, prompt) if seed is None else seed
        image_format = FORMATS[body.get("image_format") or "webp"]
        pictures = []
        for number in range(0 if exchange.meets("no_image") else count):
            if model.vector and not exchange.meets("not_an_image", "wrong_mime", "oversized"):
                drawing = _vector(name, prompt, first + number, size).encode()
                pictures.append(EncodedImage(drawing, "image/svg+xml", size, first + number))
            else:
                pictures.append(
                    exchange.draw_image(
                        name, prompt, size, image_format, seed=first + number, lossless=image_format == "webp"
                    )
                )
        exchange.wait_for_image(name)
        data: list[dict[str, Any]] = []
        for picture in pictures:
            entry: dict[str, Any] = {"image_id": new_id()}
            if body.get("response_format") == "b64_json":
                entry["b64_json"] = exchange.base64(picture)
            else:
                entry["url"] = self._shelf.put(exchange, picture)
            data.append(entry)
        return json_response(200, {"created": int(time.time()), "credits": model.units * count, "data": data})

    def enhance(self, exchange: Exchange, path: dict[str, str]) -> Response:
        body = self._read(exchange)
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not 1 <= len(prompt) <= 2000:
            raise _invalid("prompt: must be 1 to 2000 characters")
        return json_response(200, {"enhanced_prompt": prose.describe(prompt, "recraft"), "credits": 4})

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

    @staticmethod
    def _check_body(body: Mapping[str, Any], name: str, model: Model) -> tuple[int, int]:
        """The size in pixels."""
        old = model.generation < 4
        for field, value in body.items():
            if field not in _FIELDS:
                raise _invalid(f"{field}: unknown parameter")
            if value is not None and (not isinstance(value, _FIELDS[field]) or isinstance(value, bool)):
                raise _invalid(f"{field}: wrong type")
        limit = 1_000 if old else 10_000
        prompt = body.get("prompt")
        if not prompt or len(prompt) > limit:
            raise _invalid(f"prompt: must be 1 to {limit} characters")
        if not 1 <= (1 if body.get("n") is None else body["n"]) <= 6:
            raise _invalid("n: must be between 1 and 6")
        for field, choices in (("response_format", ["url", "b64_json"]), ("image_format", list(FORMATS))):
            if body.get(field) is not None and body[field] not in choices:
                raise _invalid(f"{field}: must be one of {', '.join(choices)}")
        for field in ("negative_prompt", "style"):
            if body.get(field) is not None and not old:
                raise _invalid(f"{field}: is not supported by {name}")
        if body.get("style_id") is not None and not (old or model.styles):
            raise _invalid(f"style_id: is not supported by {name}")
        if model.styles and not body.get("style_id"):
            raise _invalid(f"style_id: is required by {name}")
        if body.get("text_layout") is not None and model.generation != 3:
            raise _invalid(f"text_layout: is not supported by {name}")
        controls = body.get("controls") or {}
        for field in controls:
            if field not in _CONTROLS or (field in ("artistic_level", "no_text") and model.generation != 3):
                raise _invalid(f"controls.{field}: is not supported by {name}")
        if controls.get("artistic_level", 0) not in range(6):
            raise _invalid("controls.artistic_level: must be between 0 and 5")

        text = body.get("size")
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
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette]
    deep, middle, light, accent, pale = colours
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{middle}"/>',
        f'<stop offset="0.6" stop-color="{light}"/><stop offset="1" stop-color="{pale}"/></linearGradient></defs>',
        f'<rect width="{width}" height="{height}" fill="url(#sky)"/>',
        f'<circle cx="{width * chance.uniform(0.3, 0.7):.0f}" cy="{height * 0.36:.0f}" r="{min(size) * 0.12:.0f}" '
        f'fill="{accent}"/>',
    ]
    for layer, colour in enumerate((light, middle, deep)):
        y = height * (0.55 + 0.13 * layer)
        bends = [y + height * chance.uniform(-0.1, 0.1) for _ in range(4)]
        parts.append(
            f'<path d="M0 {bends[0]:.0f} C {width / 3:.0f} {bends[1]:.0f} {width * 2 / 3:.0f} {bends[2]:.0f} {width} '
            f'{bends[3]:.0f} V {height} H 0 Z" fill="{colour}"/>'
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
