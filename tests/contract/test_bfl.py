"""Black Forest Labs: an order is paid once, and asked for as often as it takes."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from local.simulator import Simulator
from pixelprompt.models.model import Credentials, Generated, Image, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.providers import bfl
from tests.canned import Answer, Asked, Canned
from tests.contract.calls import PROMPT, ask_simulator, digests, images, orders
from tests.contract.references import digest, encoded, pictures
from tests.contract.table import MODELS
from tests.outcomes import outcome

MODEL = MODELS["bfl"]
BFL = Model("FLUX", "bfl", "flux-2-pro")
CATALOGUE = ModelRegistry.load().get_all_models()


def supports(model_id: str) -> Mapping[str, Any]:
    """What a model of the catalogue supports; one that it does not have, nothing."""
    return next((model.supports for model in CATALOGUE if model.id == model_id), {})


ULTRA = replace(BFL, name="FLUX 1.1 Pro Ultra", id="flux-pro-1.1-ultra", supports=supports("flux-pro-1.1-ultra"))
KEY = "test-key"
REQUEST = ImageRequest(PROMPT)


def call(
    base_url: str | None,
    resume: str | None = None,
    key: str = KEY,
    seconds: float = 10,
    references: tuple[Image, ...] = (),
) -> Any:
    request = replace(REQUEST, resume=resume, references=references)
    credentials = Credentials(key, base_url or PROVIDERS["bfl"].base_url)
    return outcome(bfl.generate, request, MODEL, credentials, time.time() + seconds)


def polls(simulator: Simulator) -> list[Any]:
    return [request for request in simulator.requests if request.path.endswith("/get_result")]


def test_the_order_comes_first_and_its_token_fetches_the_image(simulator: Simulator) -> None:
    base = f"{simulator.url}/bfl"
    waiting = call(base)
    assert isinstance(waiting, Waiting) and waiting.seconds == 0.5
    assert [request.method for request in simulator.requests] == ["POST"]

    for _ in range(2):  # The token serves as often as it is needed.
        answer = call(base, waiting.resume)
        assert isinstance(answer, Generated)
        assert answer.cost == pytest.approx(0.03)
        assert answer.request_id and answer.request_id in waiting.resume
    assert len(orders(simulator)) == 1


def test_the_key_goes_to_the_provider_and_not_with_the_download(simulator: Simulator) -> None:
    images(simulator, MODEL, key=KEY)
    order, poll, sample = simulator.requests
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert order.headers["x-key"] == poll.headers["x-key"] == digest
    assert "/delivery/" in sample.path and "x-key" not in sample.headers


def test_a_token_holds_no_key(simulator: Simulator) -> None:
    assert KEY not in call(f"{simulator.url}/bfl").resume


def test_waits_grow_with_the_age_of_the_order(simulator: Simulator) -> None:
    simulator.set_latency(60, 60)
    base = f"{simulator.url}/bfl"
    token = call(base).resume
    pauses = [call(base, aged(token, seconds)).seconds for seconds in (1, 30, 120)]
    assert pauses == [0.5, 1.0, 2.0]


def aged(token: str, seconds: float) -> str:
    """The token of an order that is this old."""
    return json.dumps({**json.loads(token), "at": time.time() - seconds})


@pytest.mark.parametrize("fault", ["odd_status", "poll_throttled", "late_task"])
def test_whatever_a_poll_says_the_order_stands(simulator: Simulator, fault: str) -> None:
    simulator.set_fault(MODEL.id, fault, seconds=1)
    simulator.set_latency(1.5, 1.5)
    base = f"{simulator.url}/bfl"
    token = call(base).resume
    assert isinstance(call(base, token), Waiting)
    answer = ask_until(base, token)
    assert isinstance(answer, Generated)
    assert len(orders(simulator)) == 1


def ask_until(base: str, token: str) -> Any:
    end = time.time() + 60
    while isinstance(answer := call(base, token), Waiting) and time.time() < end:
        time.sleep(0.05)
    return answer


def test_a_throttled_poll_waits_longer(simulator: Simulator) -> None:
    base = f"{simulator.url}/bfl"
    for hint, pause in ((None, 5.0), (9, 9.0)):
        simulator.set_fault(MODEL.id, "poll_throttled", retry_after=hint)
        token = call(base).resume
        assert call(base, token).seconds == pause


def test_an_order_that_is_not_known_yet_may_turn_up(simulator: Simulator) -> None:
    base = f"{simulator.url}/bfl"
    simulator.set_fault(MODEL.id, "late_task", seconds=60)
    token = call(base).resume
    assert isinstance(call(base, token), Waiting)
    lost = call(base, aged(token, 30))
    assert isinstance(lost, ProviderError)
    assert (lost.code, lost.billable, lost.safe_to_repeat) == ("unknown_outcome", "unknown", False)


def test_a_failed_order_may_be_charged(simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "task_failed")
    answer = ask_simulator(simulator, MODEL)
    assert isinstance(answer, ProviderError)
    assert (answer.code, answer.billable, answer.safe_to_repeat) == ("provider_unavailable", "unknown", False)


def test_a_poll_that_gets_no_answer_loses_nothing(simulator: Simulator, closed_url: str) -> None:
    token = json.dumps({"url": f"{closed_url}/v1/get_result?id=1", "at": time.time(), "cost": 3})
    assert call(closed_url, token) == Waiting(2.0, json.dumps(json.loads(token), separators=(",", ":")))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_poll_that_fails_at_the_provider_loses_nothing(status: int) -> None:
    with Canned(Answer(status)) as server:
        token = json.dumps({"url": f"{server.url}/v1/get_result?id=1", "at": time.time(), "cost": 3})
        assert isinstance(call(server.url, token), Waiting)


def test_a_sample_that_is_not_there_yet_is_asked_for_again() -> None:
    ready = {"id": "1", "status": "Ready", "result": {"sample": "", "seed": 1}}

    def answer(asked: Asked) -> Answer:
        sample = f"{server.url}/sample.png"
        return Answer(503) if "sample" in asked.path else Answer(content={**ready, "result": {"sample": sample}})

    with Canned(answer) as server:
        token = json.dumps({"url": f"{server.url}/v1/get_result?id=1", "at": time.time(), "cost": None})
        assert isinstance(call(server.url, token), Waiting)


FOREIGN = [
    "https://evil.example/v1/get_result?id=1",
    "http://api.bfl.ai/v1/get_result?id=1",
    "https://bfl.ai.evil.example/",
    "https://evilbfl.ai/",
    "https://bfl.ai@evil.example/",
    "https://evil.example\\.bfl.ai/",
    "https://evil.example#.bfl.ai",
    "https://api.bfl.ai:8443/",
    "https://user:password@api.bfl.ai/",
    "https://blog.bfl.ai/",
    "https://bfl.ai/",
    "ftp://api.bfl.ai/",
    "//api.bfl.ai/",
    "https://[::1/",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_the_key_is_sent_to_no_other_host(url: str, no_connections: list[Any]) -> None:
    token = json.dumps({"url": url, "at": time.time(), "cost": 3})
    answer = call(None, token)
    assert isinstance(answer, ProviderError) and answer.code == "internal"
    assert no_connections == []


@pytest.mark.parametrize("host", ["api.bfl.ai", "api.eu.bfl.ai", "api.eu2.bfl.ai"])
def test_the_provider_has_many_hosts(host: str, no_connections: list[Any]) -> None:
    token = json.dumps({"url": f"https://{host}/v1/get_result?id=1", "at": time.time(), "cost": 3})
    assert isinstance(call(None, token), Waiting)
    assert no_connections == [(host, 443)]


@pytest.mark.parametrize("url", ["https://evil.example/poll", "https://api.bfl.ai/poll", "http://127.0.0.1:1/poll"])
def test_on_a_laptop_only_the_simulator_is_polled(url: str) -> None:
    with Canned(Answer(content={"id": "1", "polling_url": url})) as server:
        answer = call(server.url)
    assert isinstance(answer, ProviderError)
    assert (answer.code, answer.billable) == ("no_image", "unknown")
    assert len(server.asked) == 1


@pytest.mark.parametrize("token", ["", "x", "[]", "{}", '{"url": "https://api.bfl.ai/"}', '{"other": 1}'])
def test_a_broken_token_is_our_own_mistake(token: str) -> None:
    answer = call(None, token)
    assert isinstance(answer, ProviderError) and (answer.code, answer.billable) == ("internal", "unknown")


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ([{"loc": ["body", "width"], "msg": "Input should be a multiple of 16", "type": "x"}], "body.width: Input"),
        ("Prompt is too long", "Prompt is too long"),
    ],
)
def test_what_is_wrong_with_an_order_is_said(detail: Any, said: str) -> None:
    with Canned(Answer(422, {"detail": detail})) as server:
        answer = call(server.url)
    assert isinstance(answer, ProviderError) and answer.code == "invalid_request"
    assert said in str(answer)


def test_the_state_may_be_called_state() -> None:
    content = {"id": "1", "state": "Content Moderated", "details": {"Moderation Reasons": ["Nudity"]}}
    with Canned(Answer(content=content)) as server:
        token = json.dumps({"url": f"{server.url}/v1/get_result?id=1", "at": time.time(), "cost": 3})
        answer = call(server.url, token)
    assert isinstance(answer, ProviderError) and answer.code == "refused" and "Nudity" in str(answer)


class TestReferences:
    @pytest.mark.parametrize(
        ("name", "count", "members"),
        [
            ("flux-2-pro", 1, ["input_image"]),
            ("flux-2-pro", 3, ["input_image", "input_image_2", "input_image_3"]),
            ("flux-2-klein-4b", 4, ["input_image", "input_image_2", "input_image_3", "input_image_4"]),
            ("flux-kontext-pro", 2, ["input_image", "input_image_2"]),
            ("flux-3-image", 1, ["images"]),
            ("flux-3-image-klein", 10, ["images"]),
            ("flux-pro-1.1-ultra", 1, ["image_prompt"]),
        ],
    )
    def test_each_family_has_its_own_members(
        self, simulator: Simulator, name: str, count: int, members: list[str]
    ) -> None:
        given = pictures(count)
        simulator.set_fault(name, "no_image")
        ask_simulator(simulator, replace(BFL, id=name, supports=supports(name)), references=given)
        (order,) = orders(simulator)
        assert order.status == 200 and [*order.body] == ["prompt", *members]
        assert digests(order.body) == [digest(image) for image in given]

    @pytest.mark.parametrize(("strength", "sent"), [(0.0, 1.0), (0.3, 0.7), (0.9, 0.1), (1.0, 0.0)])
    def test_ultra_is_told_how_much_the_image_counts(self, simulator: Simulator, strength: float, sent: float) -> None:
        simulator.set_fault(ULTRA.id, "no_image")
        ask_simulator(simulator, ULTRA, references=pictures(1), strength=strength)
        assert orders(simulator)[0].body["image_prompt_strength"] == sent

    def test_ultra_has_no_use_for_a_second_image(self, simulator: Simulator) -> None:
        answer = ask_simulator(simulator, ULTRA, references=pictures(2))
        assert isinstance(answer, ProviderError) and (answer.code, answer.billable) == ("invalid_request", "no")
        assert not orders(simulator)

    def test_they_are_sent_once_and_the_token_is_small(self, simulator: Simulator) -> None:
        base, given = f"{simulator.url}/bfl", (encoded("jpeg", (640, 480)),)
        waiting = call(base, references=given)
        assert len(waiting.resume) < 300
        answer = call(base, waiting.resume)
        assert isinstance(answer, Generated)
        # Without a size, the image has that of the first reference.
        assert [(image.width, image.height) for image in answer.images] == [(640, 480)]
        assert [len(digests(request.body)) for request in simulator.requests if request.method == "POST"] == [1]

    @pytest.mark.parametrize(("given", "refused"), [(0, "this prompt"), (1, "the prompt or a reference image")])
    def test_a_refusal_names_what_was_given_to_whoever_asks(
        self, simulator: Simulator, given: int, refused: str
    ) -> None:
        simulator.set_fault(MODEL.id, "refused")
        waiting = call(f"{simulator.url}/bfl", references=pictures(given))
        answer = call(f"{simulator.url}/bfl", waiting.resume)
        assert str(answer) == f"The provider refused {refused} (Violence)."

    @pytest.mark.parametrize(("size", "dollars"), [((1024, 1024), 0.045), ((2048, 1024), 0.06)])
    def test_a_reference_is_charged_by_the_megapixel(
        self, simulator: Simulator, size: tuple[int, int], dollars: float
    ) -> None:
        simulator.set_fault(MODEL.id, "no_image")
        answer = ask_simulator(simulator, MODEL, references=(encoded("jpeg", size),))
        assert isinstance(answer, ProviderError) and answer.cost == pytest.approx(dollars)

    @pytest.mark.parametrize(
        ("name", "size"), [("flux-2-pro", (63, 500)), ("flux-2-pro", (2049, 2048)), ("flux-3-image", (255, 500))]
    )
    def test_an_image_of_a_wrong_size_is_refused(self, simulator: Simulator, name: str, size: tuple[int, int]) -> None:
        model = replace(BFL, id=name, supports=supports(name))
        answer = ask_simulator(simulator, model, references=(encoded("jpeg", size),))
        assert isinstance(answer, ProviderError) and answer.code == "invalid_request" and "pixels" in str(answer)
