"""Toy: images and the list of models."""

from typing import Any

from werkzeug.wrappers import Response

from local.simulator.drawing import seed_for
from local.simulator.errors import Words, answers
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, Fault
from local.simulator.messages import is_bad_key, json_response, new_id, read_json, retry_after
from local.simulator.provider import Provider, route

MODELS = ("toy-1",)
# The answers that have no words in ``answers``.
WORDS = {
    "throttled": Words(429, "Too many requests."),
    "quota_exhausted": Words(402, "Your account has no credit left."),
    "refused": Words(400, "The prompt violates our content policy.", "content_policy_violation"),
    "retired": Words(404, "The model has been retired.", "model_not_found"),
    "bad_key": Words(401, "The API key is invalid."),
    "bad_parameter": Words(400, "seed: must be a whole number."),
    "server_error": Words(500, "Something broke."),
    "unavailable": Words(503, "The service is unavailable."),
}


class Toy(Provider):
    """`https://api.toy.example/v1`, here below `/toy/v1`."""

    name = "toy"
    errors = answers()
    playable = (COMMON_FAULTS - {"refused_output"}) | BASE64_FAULTS | {*errors}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.routes = [route("POST", "/v1/images", self.generate), route("GET", "/v1/models", self.models)]

    def handle(self, exchange: Exchange) -> Response:
        response = super().handle(exchange)
        response.headers.setdefault("x-request-id", new_id())
        return response

    def no_such_route(self, exchange: Exchange) -> Response:
        return self.error(exchange, Words(404, "Page not found."))

    def error(self, exchange: Exchange, words: Words) -> Response:
        return json_response(words.status, {"error": {"code": words.name, "message": words.message}})

    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        response = self.error(exchange, WORDS[fault.name])
        response.headers.update(retry_after(fault))
        return response

    def generate(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        body = exchange.body = read_json(exchange.request.get_data())
        model, prompt, seed = body["model"], body["prompt"], body.get("seed")
        exchange.identify(model)
        if model not in MODELS:
            raise Refusal(self.error(exchange, WORDS["retired"]))
        self.refuse_early(exchange)
        seed = seed_for(model, prompt) if seed is None else seed
        drawn = exchange.draw_image(model, prompt, (512, 512), "png", seed=seed)
        exchange.wait_for_image(model)
        document: dict[str, Any] = {"seed": seed}
        if not exchange.meets("no_image"):
            document["image"] = exchange.base64(drawn)
        return json_response(200, document)

    def models(self, exchange: Exchange, path: dict[str, str]) -> Response:
        self._check_key(exchange)
        return json_response(200, {"models": [{"name": name} for name in MODELS]})

    def _check_key(self, exchange: Exchange) -> None:
        key = exchange.request.bearer
        if not key or is_bad_key(key):
            raise Refusal(self.error(exchange, WORDS["bad_key"]))


PROTOCOL = Toy
