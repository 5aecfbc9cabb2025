"""Black Forest Labs: a request is submitted, polled, and its image fetched from a signed URL."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

from werkzeug.wrappers import Response

from local.simulator.drawing import ImageFormat, seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Shelf, Stage
from local.simulator.faults import COMMON_FAULTS, URL_FAULTS, Fault
from local.simulator.messages import JSON, is_bad_key, json_response, new_id, read_json, retry_after
from local.simulator.provider import EARLY_FAULTS, Provider, route

FORMATS: dict[str, ImageFormat] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}
SAMPLE_LIFETIME = 600.0
LATE_TASK_SECONDS = 1.5
THROTTLED_POLLS = 2
MAX_TASKS = 2000
FLUX_3_RATIOS = [
    "auto",
    "21:9",
    "2:1",
    "16:9",
    "3:2",
    "7:5",
    "4:3",
    "5:4",
    "1:1",
    "4:5",
    "3:4",
    "5:7",
    "2:3",
    "9:16",
    "1:2",
    "9:21",
]
FLUX_3_EDGES = {"768sq": 768, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}


@dataclass(frozen=True)
class Model:
    """What a model takes.

    Parameters
    ----------
    fields
        Names beyond `prompt`, `output_format` and `safety_tolerance`.
    cost
        Credits per image, of $0.01; by resolution where that matters: there is no other one then.
    step, shortest, longest
        What width and height must be a multiple of, and their bounds in pixels.
    default
        Pixels where no size is given.
    formats
        What `output_format` may be.
    """

    fields: frozenset[str]
    cost: float | Mapping[str, float]
    tolerance: int
    step: int = 16
    shortest: int = 64
    longest: int = 4096
    max_pixels: int = 4_194_304
    default: tuple[int, int] = (1024, 1024)
    ratio_edge: int = 1024
    needs: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("jpeg", "png")

    def charge(self, body: Mapping[str, Any]) -> float:
        """Credits for an image."""
        return self.cost if isinstance(self.cost, int | float) else self.cost[body.get("resolution") or "1k"]


def _inputs(count: int) -> frozenset[str]:
    return frozenset({"input_image", *(f"input_image_{number}" for number in range(2, count + 1))})


_SIZED = frozenset({"width", "height", "seed"})
_FLUX_2 = _SIZED | _inputs(8)
_FLUX_1 = _SIZED | {"prompt_upsampling", "image_prompt"}
_RATIO = frozenset({"aspect_ratio", "seed", "prompt_upsampling"})


def _flux_1(fields: frozenset[str], cost: float) -> Model:
    return Model(fields, cost, 6, step=32, shortest=256, longest=1440, default=(1024, 768))


def _flux_2(fields: frozenset[str], cost: float) -> Model:
    return Model(fields, cost, 5, formats=("jpeg", "png", "webp"))


_FLUX_3 = frozenset({"aspect_ratio", "resolution", "images", "grounding"})
MODELS = {
    "flux-3-image": Model(_FLUX_3, {"768sq": 4.1, "1k": 4.8, "1.5k": 7, "2k": 10, "4k": 60.7}, 4),
    "flux-3-image-klein": Model(_FLUX_3, {"1k": 0.9, "2k": 1.4, "4k": 3.6}, 4),
    "flux-2-max": _flux_2(_FLUX_2 | {"disable_pup"}, 7),
    "flux-2-pro": _flux_2(_FLUX_2 | {"disable_pup"}, 3),
    "flux-2-pro-preview": _flux_2(_FLUX_2 | {"disable_pup"}, 3),
    "flux-2-flex": _flux_2(_FLUX_2 | {"prompt_upsampling", "steps", "guidance"}, 5),
    "flux-2-klein-9b": _flux_2(_SIZED | _inputs(4), 1.5),
    "flux-2-klein-4b": _flux_2(_SIZED | _inputs(4), 1.4),
    "flux-pro-1.1": _flux_1(_FLUX_1, 4),
    "flux-pro-1.1-ultra": Model(_RATIO | {"raw", "image_prompt", "image_prompt_strength"}, 6, 6, ratio_edge=2048),
    "flux-kontext-pro": Model(_RATIO | _inputs(4), 4, 6),
    "flux-kontext-max": Model(_RATIO | _inputs(4), 8, 6),
    "flux-dev": _flux_1(_FLUX_1 | {"steps", "guidance"}, 2.5),
    "flux-pro-1.0-fill": Model(frozenset({"image", "mask", "seed", "steps", "guidance"}), 5, 6, needs=("image",)),
    "flux-pro-1.0-expand": Model(
        frozenset({"image", "top", "bottom", "left", "right", "seed", "steps", "guidance"}), 5, 6, needs=("image",)
    ),
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
        body = self._read(exchange)
        size = self._check_body(body, MODELS[model])
        self.refuse_early(exchange)

        seed = body.get("seed")
        task = Task(
            id=new_id(),
            key=hashlib.sha256(key.encode()).hexdigest(),
            model=model,
            prompt=body["prompt"],
            size=size,
            seed=seed_for(model, body["prompt"]) if seed is None else seed,
            image_format=FORMATS[body.get("output_format") or "jpeg"],
            submitted=exchange.request.received,
            ready_at=partial(exchange.ready_at, model),
            fault=exchange.fault,
        )
        with self._lock:
            self._tasks[task.id] = task
            while len(self._tasks) > MAX_TASKS:
                self._tasks.popitem(last=False)
        query = "" if exchange.meets("polling_without_id") else f"?id={task.id}"
        document = {
            "id": task.id,
            "polling_url": f"{exchange.request.provider_url}/v1/get_result{query}",
            "cost": MODELS[model].charge(body),
            "input_mp": 0,
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
        if task.meets("refused"):
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
                picture = exchange.draw_image(task.model, task.prompt, task.size, task.image_format, seed=task.seed)
                task.sample = self._shelf.put(exchange, picture)
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
    def _read(exchange: Exchange) -> dict[str, Any]:
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
        if not isinstance(body, dict):
            message = "Input should be a valid dictionary or object to extract fields from"
            problem = {"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": body}
            raise Refusal(_detail(422, [problem]))
        return body

    @staticmethod
    def _check_body(body: Mapping[str, Any], model: Model) -> tuple[int, int]:
        """The size in pixels."""
        problems = []
        if {"webhook_url", "webhook_secret"} & set(body):
            raise Refusal(json_response(501, {"simulator": "Webhooks are not simulated: poll the polling_url."}))
        known = {"prompt", "output_format", "safety_tolerance"} | model.fields
        for name, value in body.items():
            if name not in known:
                problems.append(_problem("extra_forbidden", name, "Extra inputs are not permitted", value))
        for name in ("prompt", *model.needs):
            if name not in body:
                problems.append(_problem("missing", name, "Field required", dict(body)))
            elif not isinstance(body[name], str):
                problems.append(_problem("string_type", name, "Input should be a valid string", body[name]))

        def whole(name: str, low: float, high: float, kind: type = int) -> float | None:
            value = body.get(name)
            if value is None or name not in model.fields | {"safety_tolerance"}:
                return None
            accepted = (int, float) if kind is float else int
            if isinstance(value, bool) or not isinstance(value, accepted):
                problems.append(_problem("int_type", name, "Input should be a valid integer", value))
                return None
            if value < low:
                message = f"Input should be greater than or equal to {low}"
                problems.append(_problem("greater_than_equal", name, message, value, ge=low))
            elif value > high:
                message = f"Input should be less than or equal to {high}"
                problems.append(_problem("less_than_equal", name, message, value, le=high))
            return float(value)

        whole("safety_tolerance", 0, model.tolerance)
        whole("seed", 0, 2**32 - 1)
        whole("steps", 1, 50)
        whole("guidance", 1.5, 10, float)
        width, height = whole("width", model.shortest, model.longest), whole("height", model.shortest, model.longest)
        for name, edge in (("width", width), ("height", height)):
            if edge is not None and edge % model.step:
                message = f"Input should be a multiple of {model.step}"
                problems.append(_problem("multiple_of", name, message, edge, multiple_of=model.step))
        size = (int(width or model.default[0]), int(height or model.default[1]))
        if size[0] * size[1] > model.max_pixels:
            problems.append(_problem("value_error", "width", "Value error, the image exceeds 4 megapixels", size[0]))
        for name in ("raw", "prompt_upsampling", "disable_pup", "grounding"):
            if name in model.fields and not isinstance(body.get(name, True), bool):
                problems.append(_problem("bool_type", name, "Input should be a valid boolean", body[name]))
        if (image_format := body.get("output_format")) not in (None, *model.formats):
            choices = " or ".join(f"'{name}'" for name in model.formats)
            problems.append(_problem("enum", "output_format", f"Input should be {choices}", image_format))
        if "aspect_ratio" in model.fields:
            size = BFL._ratio_size(body, model, problems)
        if problems:
            raise Refusal(_detail(422, problems))
        return size

    @staticmethod
    def _ratio_size(body: Mapping[str, Any], model: Model, problems: list[dict[str, Any]]) -> tuple[int, int]:
        edge = model.ratio_edge
        if "resolution" in model.fields:
            resolution = body.get("resolution") or "1k"
            known = tuple(model.cost) if isinstance(model.cost, Mapping) else tuple(FLUX_3_EDGES)
            if resolution not in known:
                choices = ", ".join(f"'{name}'" for name in known)
                problems.append(_problem("enum", "resolution", f"Input should be one of {choices}", resolution))
                return model.default
            edge = FLUX_3_EDGES[resolution]
        text = body.get("aspect_ratio")
        if text is None:
            text = "16:9" if "raw" in model.fields else "1:1"
        ratio = _ratio(text)
        wrong = (
            text not in FLUX_3_RATIOS
            if "resolution" in model.fields
            else ratio is None or not 9 / 21 <= ratio <= 21 / 9
        )
        if wrong:
            message = "Value error, the aspect ratio must be between 21:9 and 9:21"
            problems.append(_problem("value_error", "aspect_ratio", message, text))
            return model.default
        root = math.sqrt(ratio or 1.0)
        return max(16, round(edge * root / 16) * 16), max(16, round(edge / root / 16) * 16)


def _ratio(text: Any) -> float | None:
    """Width by height; None where the text is no ratio."""
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        return None
    return int(parts[0]) / int(parts[1])


PROTOCOL = BFL
