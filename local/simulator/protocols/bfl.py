"""Black Forest Labs: a request is submitted, polled, and its image fetched from a signed URL."""

from __future__ import annotations

import binascii
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, defstruct
from PIL import Image
from werkzeug.wrappers import Response

from local.simulator.bodies import InvalidBody, Problem, read_body
from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Shelf, Stage
from local.simulator.faults import COMMON_FAULTS, URL_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, read_json, retry_after
from local.simulator.provider import EARLY_FAULTS, Provider, route
from local.simulator.references import Reference, read_reference, shown

FORMATS: dict[str, ImageFormat] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}
SAMPLE_LIFETIME = 600.0
LATE_TASK_SECONDS = 1.5
THROTTLED_POLLS = 2
MAX_TASKS = 2000
FLUX_3_EDGES = {"768sq": 768, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}
MAX_PIXELS = 4_194_304
# What a model charges a reference image by.
MEGAPIXEL = 1024 * 1024
# Of a reference image: shortest side and area in pixels, and length in base64.
LEAST_SIDE, FLUX_3_LEAST_SIDE, FLUX_3_MAX_PIXELS, FLUX_3_MAX_TEXT = 64, 256, 16_000_000, 20_000_000
# pydantic's names of the problems, and its words.
_KINDS = {
    "unknown": ("extra_forbidden", "Extra inputs are not permitted"),
    "missing": ("missing", "Field required"),
    "ge": ("greater_than_equal", "Input should be greater than or equal to {}"),
    "le": ("less_than_equal", "Input should be less than or equal to {}"),
    "multiple_of": ("multiple_of", "Input should be a multiple of {}"),
    "min_length": ("too_short", "List should have at least {} item after validation"),
    "max_length": ("too_long", "List should have at most {} items after validation"),
    "enum": ("enum", "Input should be {}"),
}
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "array": "list"}

_Edge = Annotated[int, Meta(ge=64, le=4096, multiple_of=16)] | None
_Flux1Edge = Annotated[int, Meta(ge=256, le=1440, multiple_of=32)] | None
_Flux3Ratio = Literal[
    "auto", "21:9", "2:1", "16:9", "3:2", "7:5", "4:3", "5:4", "1:1", "4:5", "3:4", "5:7", "2:3", "9:16", "1:2", "9:21",
]  # fmt: skip


def _body(tolerance: int, *formats: str, **members: Any) -> type[Struct]:
    """The type of a request: the members that every model has, and these; all but the prompt may be left out."""
    shared: dict[str, Any] = {
        "output_format": Literal["jpeg", "png", *formats] | None,
        "safety_tolerance": Annotated[int, Meta(ge=0, le=tolerance)] | None,
    }
    optional = [(name, kind, None) for name, kind in {**shared, **members}.items()]
    return defstruct("Body", [("prompt", str), *optional], forbid_unknown_fields=True)


def _inputs(count: int) -> dict[str, Any]:
    return dict.fromkeys(["input_image", *(f"input_image_{number}" for number in range(2, count + 1))], str | None)


class Model(NamedTuple):
    """The type of a model's requests, and its credits for an image, of $0.01 each; some go by the resolution.

    `reference` are the credits for each megapixel of a reference image.
    """

    body: type[Struct]
    cost: float | Mapping[str, float]
    reference: float = 0
    # Of a request that names none: pixels, or the ratio and the side of a square with as many pixels.
    size: tuple[int, int] = (1024, 1024)
    ratio: tuple[str, int] = ("1:1", 1024)


_SEED = {"seed": Annotated[int, Meta(ge=0, le=2**32 - 1)] | None}
_STEPS = {
    "steps": Annotated[int, Meta(ge=1, le=50)] | None,
    "guidance": Annotated[float, Meta(ge=1.5, le=10)] | None,
}
_IMAGES = Annotated[list[str], Meta(min_length=1, max_length=10)] | None
_FLUX_3 = {"aspect_ratio": _Flux3Ratio | None, "images": _IMAGES, "grounding": bool}
_FLUX_2 = {**_SEED, "width": _Edge, "height": _Edge, **_inputs(4)}
_FLUX_2_LARGE = {**_FLUX_2, **_inputs(8)}
_FLUX_1 = {**_SEED, "width": _Flux1Edge, "height": _Flux1Edge, "prompt_upsampling": bool, "image_prompt": str | None}
_RATIO = {**_SEED, "aspect_ratio": str | None, "prompt_upsampling": bool}
_ULTRA = {
    "raw": bool,
    "image_prompt": str | None,
    "image_prompt_strength": Annotated[float, Meta(ge=0, le=1)] | None,
}

_FLUX_3_BODY = _body(4, **_FLUX_3, resolution=Literal["768sq", "1k", "1.5k", "2k", "4k"] | None)
_FLUX_3_KLEIN_BODY = _body(4, **_FLUX_3, resolution=Literal["1k", "2k", "4k"] | None)
_FLUX_2_BODY = _body(5, "webp", **_FLUX_2_LARGE, disable_pup=bool)
_FLUX_2_KLEIN_BODY = _body(5, "webp", **_FLUX_2)
_KONTEXT_BODY = _body(6, **_RATIO, **_inputs(4))
MODELS = {
    "flux-3-image": Model(_FLUX_3_BODY, {"768sq": 4.1, "1k": 4.8, "1.5k": 7, "2k": 10, "4k": 60.7}),
    "flux-3-image-klein": Model(_FLUX_3_KLEIN_BODY, {"1k": 0.9, "2k": 1.4, "4k": 3.6}),
    "flux-2-max": Model(_FLUX_2_BODY, 7, 3),
    "flux-2-pro": Model(_FLUX_2_BODY, 3, 1.5),
    "flux-2-pro-preview": Model(_FLUX_2_BODY, 3, 1.5),
    "flux-2-flex": Model(_body(5, "webp", **_FLUX_2_LARGE, prompt_upsampling=bool, **_STEPS), 5, 5),
    "flux-2-klein-9b": Model(_FLUX_2_KLEIN_BODY, 1.5, 0.2),
    "flux-2-klein-4b": Model(_FLUX_2_KLEIN_BODY, 1.4, 0.1),
    "flux-pro-1.1": Model(_body(6, **_FLUX_1), 4, size=(1024, 768)),
    "flux-pro-1.1-ultra": Model(_body(6, **_RATIO, **_ULTRA), 6, ratio=("16:9", 2048)),
    "flux-kontext-pro": Model(_KONTEXT_BODY, 4),
    "flux-kontext-max": Model(_KONTEXT_BODY, 8),
    "flux-dev": Model(_body(6, **_FLUX_1, **_STEPS), 2.5, size=(1024, 768)),
}


@dataclass
class Task:
    """A request that has been accepted."""

    id: str
    key: str
    model: str
    prompt: str
    size: tuple[int, int]
    seed: int
    image_format: ImageFormat
    submitted: float
    ready_at: Callable[[], float]
    fault: Fault | None
    references: Sequence[Image.Image] = ()
    sample: str | None = None
    refused_polls: int = 0
    lock: Lock = field(default_factory=Lock)

    def meets(self, *names: str) -> bool:
        """Whether the submission met one of these faults."""
        return self.fault is not None and self.fault.name in names


def _detail(status: int, detail: Any, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(status, {"detail": detail}, headers)


def _problem(kind: str, name: str, message: str, value: Any, **context: Any) -> dict[str, Any]:
    problem = {"type": kind, "loc": ["body", name], "msg": message, "input": value}
    return {**problem, "ctx": context} if context else problem


def _unfit(name: str, message: str, value: Any) -> Refusal:
    return Refusal(_detail(422, [_problem("value_error", name, f"Value error, {message}", value)]))


def _worded(problem: Problem) -> dict[str, Any]:
    """A problem as pydantic words it."""
    if not problem.path:
        message = "Input should be a valid dictionary or object to extract fields from"
        return {"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": problem.value}
    if problem.kind == "type" and not problem.choices:
        kind, message = f"{problem.expected}_type", f"Input should be a valid {_TYPES[problem.expected]}"
        return _problem(
            kind.replace("str_", "string_").replace("array_", "list_"), problem.path, message, problem.value
        )
    kind, message = _KINDS["enum" if problem.choices else problem.kind]
    choices = " or ".join(f"'{choice}'" for choice in problem.choices)
    context = {problem.kind: float(problem.detail)} if problem.kind in ("ge", "le", "multiple_of") else {}
    return _problem(kind, problem.path, message.format(choices or problem.detail), problem.value, **context)


class BFL(Provider):
    """`https://api.bfl.ai`, here below `/bfl`; a polling URL leads back to the simulator."""

    name = "bfl"
    errors = answers()
    playable = (
        COMMON_FAULTS
        | URL_FAULTS
        | {
            *errors,
            "redirect_private",
            "late_task",
            "odd_status",
            "poll_throttled",
            "task_failed",
            "polling_without_id",
            "refused_image",
        }
    )
    # A refusal shows in the polled status, not when the request is submitted.
    early = EARLY_FAULTS - {"refused"}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._lock = Lock()
        self._shelf = Shelf(SAMPLE_LIFETIME)
        self.routes = [
            route("GET", "/v1/get_result", self.poll),
            route("GET", "/v1/credits", self.credits),
            route("GET", "/delivery/(?P<name>[^/]+)", self._shelf.fetch),
            route("POST", "/v1/(?P<model>[^/]+)", self.submit, model_in_path=True),
        ]

    def no_such_route(self, exchange: Exchange) -> Response:
        return _detail(404, "Not Found")

    def error(self, exchange: Exchange, words: Words) -> Response:
        return _detail(words.status, words.message)

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        match fault.name:
            case "throttled":
                return _detail(429, "Too many active tasks: the limit is 24.", retry_after(fault))
            case "quota_exhausted":
                return _detail(402, "Insufficient credits. Please add credits to your account.")
            case "retired":
                return _detail(404, "Not Found")
            case "bad_key":
                return _detail(403, "Not authenticated - Invalid Authentication")
            case "bad_parameter":
                message = "Input should be greater than or equal to 64"
                return _detail(422, [_problem("greater_than_equal", "width", message, 1, ge=64)])
            case "unavailable":
                return _detail(503, "Service temporarily unavailable")
        return _detail(500, "Internal Server Error")

    def submit(self, exchange: Exchange, path: dict[str, str]) -> Response:
        key = self._check_key(exchange)
        model = path["model"]
        exchange.identify(model)
        exchange.makes_image = True
        if model not in MODELS:
            raise Refusal(_detail(404, "Not Found"))
        traits = MODELS[model]
        body = self._read(exchange, traits.body)
        references = [_reference(name, text) for name, text in _given(body)]
        size = _size(body, traits, references)
        self.refuse_early(exchange, edits=bool(references))

        seed = getattr(body, "seed", None)
        task = Task(
            id=new_id(),
            key=hashlib.sha256(key.encode()).hexdigest(),
            model=model,
            prompt=body.prompt,
            size=size,
            seed=seed_for(model, body.prompt) if seed is None else seed,
            image_format=FORMATS[body.output_format or "jpeg"],
            submitted=exchange.request.received,
            ready_at=partial(exchange.ready_at, model),
            fault=exchange.fault,
            references=[reference.thumbnail for reference in references],
        )
        with self._lock:
            self._tasks[task.id] = task
            while len(self._tasks) > MAX_TASKS:
                self._tasks.popitem(last=False)
        query = "" if exchange.meets("polling_without_id") else f"?id={task.id}"
        cost = traits.cost[body.resolution or "1k"] if isinstance(traits.cost, Mapping) else traits.cost
        areas = [reference.size[0] * reference.size[1] for reference in references]
        document = {
            "id": task.id,
            "polling_url": f"{exchange.request.provider_url}/v1/get_result{query}",
            "cost": cost + traits.reference * sum(math.ceil(area / MEGAPIXEL) for area in areas),
            "input_mp": round(sum(areas) / 1_000_000, 2),
            "output_mp": round(size[0] * size[1] / 1_000_000, 2),
        }
        return json_response(200, document)

    def poll(self, exchange: Exchange, path: dict[str, str]) -> Response:
        key = self._check_key(exchange)
        task_id = exchange.request.args.get("id")
        if not task_id:
            problem = {"type": "missing", "loc": ["query", "id"], "msg": "Field required", "input": None}
            raise Refusal(_detail(422, [problem]))
        with self._lock:
            task = self._tasks.get(task_id)
        if task is None or task.key != hashlib.sha256(key.encode()).hexdigest():
            return self._state(404, task_id, "Task not found")
        exchange.model, exchange.fault, exchange.makes_image = task.model, task.fault, True
        age = time.time() - task.submitted
        if task.meets("late_task"):
            patience = task.fault.seconds if task.fault and task.fault.seconds is not None else LATE_TASK_SECONDS
            if age < patience:
                return self._state(404, task.id, "Task not found")
        if task.meets("poll_throttled"):
            with task.lock:
                task.refused_polls += 1
                if task.refused_polls <= THROTTLED_POLLS and task.fault:
                    return _detail(429, "Rate limit exceeded: poll less often.", retry_after(task.fault))
        if task.meets("refused") or (task.references and task.meets("refused_image")):
            return self._state(200, task.id, "Request Moderated", details={"Moderation Reasons": ["Violence"]})
        if task.sample is None and time.time() < task.ready_at():
            return self._running(task, age)
        if task.meets("refused_output"):
            return self._state(200, task.id, "Content Moderated", details={"Moderation Reasons": ["Nudity"]})
        if task.meets("task_failed"):
            return self._state(200, task.id, "Error", details={"error": "The task could not be completed."})
        return self._finished(exchange, task)

    def credits(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        return json_response(200, {"credits": 1234.5})

    def _finished(self, exchange: Exchange, task: Task) -> Response:
        with task.lock:
            if task.sample is None and not task.meets("no_image"):
                encoded = exchange.draw_image(
                    task.model,
                    task.prompt,
                    task.size,
                    task.image_format,
                    seed=task.seed,
                    references=task.references,
                )
                task.sample = self._shelf.put(exchange, encoded)
        ready = task.ready_at()
        result = {
            "sample": task.sample,
            "prompt": task.prompt,
            "seed": task.seed,
            "start_time": task.submitted,
            "end_time": ready,
            "duration": ready - task.submitted,
        }
        return self._state(200, task.id, "Ready", result=result)

    def _running(self, task: Task, age: float) -> Response:
        share = min(0.99, age / max(0.001, task.ready_at() - task.submitted))
        if share < 0.15:
            return self._state(200, task.id, "Pending")
        if task.meets("odd_status"):
            return self._state(200, task.id, "Rearranging", progress=share)
        if share < 0.35:
            return self._state(200, task.id, "Reasoning")
        return self._state(200, task.id, "Generating", progress=round(share, 2))

    @staticmethod
    def _state(status: int, task_id: str, name: str, **more: Any) -> Response:
        blank = {"result": None, "progress": None, "details": None, "preview": None}
        return json_response(status, {"id": task_id, "status": name, **blank, **more})

    @staticmethod
    def _check_key(exchange: Exchange) -> str:
        key = exchange.request.headers.get("x-key", "")
        if not key:
            raise Refusal(_detail(403, "Not authenticated"))
        if is_bad_key(key):
            raise Refusal(_detail(403, "Not authenticated - Invalid Authentication"))
        return key

    @staticmethod
    def _read(exchange: Exchange, kind: type[Struct]) -> Any:
        request = exchange.request
        text = request.get_data().decode("utf-8", "replace")
        body: Any = text
        if request.mimetype == JSON:
            try:
                body = read_json(request.get_data())
            except ValueError as error:
                problem = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
                raise Refusal(_detail(422, [problem])) from error
        exchange.body = body
        if isinstance(body, dict):
            exchange.body = {name: _logged(value) if _holds_images(name) else value for name, value in body.items()}
        if isinstance(body, dict) and {"webhook_url", "webhook_secret"} & set(body):
            raise Refusal(json_response(501, {"simulator": "Webhooks are not simulated: poll the polling_url."}))
        try:
            return read_body(body, kind)
        except InvalidBody as invalid:
            raise Refusal(_detail(422, [*map(_worded, invalid.problems)])) from None


def _holds_images(name: str) -> bool:
    """Whether a member of the body holds reference images."""
    return name in ("images", "image_prompt") or name.startswith("input_image")


def _logged(value: Any) -> Any:
    """Reference images as the request log keeps them: without their bytes."""
    if isinstance(value, list):
        return [*map(_logged, value)]
    data = _decoded(value) if isinstance(value, str) else None
    return value if data is None else shown(data)


def _decoded(text: str) -> bytes | None:
    """The bytes of a base64 text; None where it isn't one."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def _given(body: Any) -> Iterator[tuple[str, str]]:
    """The reference images of a request, each with the name of its member."""
    for name in body.__struct_fields__:
        value = getattr(body, name) if _holds_images(name) else None
        if value:
            yield from ((name, text) for text in ([value] if isinstance(value, str) else value))


def _reference(name: str, text: str) -> Reference:
    """A reference image; addresses of images are not followed."""
    if text.startswith(("http://", "https://")):
        raise Refusal(json_response(501, {"simulator": "Images are not fetched: send them in base64."}))
    data = _decoded(text)
    reference = None if data is None else read_reference(data)
    if reference is None:
        raise _unfit(name, "the image could not be decoded", None)
    newest = name == "images"
    least, largest = (FLUX_3_LEAST_SIDE, FLUX_3_MAX_PIXELS) if newest else (LEAST_SIDE, MAX_PIXELS)
    if newest and len(text) > FLUX_3_MAX_TEXT:
        raise _unfit(name, "the image is larger than 20 MB", None)
    if min(reference.size) < least or reference.size[0] * reference.size[1] > largest:
        raise _unfit(name, f"the image must have sides of at least {least} pixels and at most {largest} pixels", None)
    return reference


def _size(body: Any, model: Model, references: Sequence[Reference]) -> tuple[int, int]:
    """The size in pixels; that of the first reference image where the request names none."""
    if not hasattr(body, "aspect_ratio"):
        usual_width, usual_height = model.size
        if references:
            usual_width, usual_height = (max(LEAST_SIDE, side // 16 * 16) for side in references[0].size)
        width, height = body.width or usual_width, body.height or usual_height
        if width * height > MAX_PIXELS:
            raise _unfit("width", "the image exceeds 4 megapixels", width)
        return width, height
    usual, edge = model.ratio
    text = usual if body.aspect_ratio is None else body.aspect_ratio
    ratio = _ratio(text)
    if hasattr(body, "resolution"):
        # "auto" is a square.
        ratio, edge = ratio or 1.0, FLUX_3_EDGES[body.resolution or "1k"]
    elif ratio is not None and not 9 / 21 <= ratio <= 21 / 9:
        ratio = None
    if ratio is None:
        raise _unfit("aspect_ratio", "the aspect ratio must be between 21:9 and 9:21", text)
    root = math.sqrt(ratio)
    return max(16, round(edge * root / 16) * 16), max(16, round(edge / root / 16) * 16)


def _ratio(text: str) -> float | None:
    """Width by height; None where the text isn't a ratio."""
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        return None
    return int(parts[0]) / int(parts[1])


PROTOCOL = BFL
