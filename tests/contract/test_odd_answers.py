"""Answers of another shape than the protocol's: no adapter raises, no image that was paid for is lost."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.providers import adapter
from tests.canned import Answer, Asked, Canned
from tests.contract.table import MODELS
from tests.contract.test_servers import ENCODED, KEY, PNG
from tests.outcomes import outcome

TEXT_MODEL = Model("Text", "openai", "text")


def generate(
    provider: str, answer: Answer | Callable[[Asked], Answer], *, order: bool = False
) -> Generated | Waiting | ProviderError:
    """One call; with ``order``, a poll of one that was taken already."""
    with Canned(answer) as server:
        return call(provider, server, order=order)


def call(provider: str, server: Canned, *, order: bool) -> Generated | Waiting | ProviderError:
    token = json.dumps({"url": f"{server.url}/get?id=1", "at": time.time(), "cost": 3}) if order else None
    request = ImageRequest("a red fox", resume=token)
    credentials = Credentials(KEY, f"{server.url}/v1")
    return outcome(adapter(provider).generate, request, MODELS[provider], credentials, time.time() + 10)


def image_at(content: Any) -> Callable[[Asked], Answer]:
    """A server that answers with this, and serves an image at every URL."""
    return lambda asked: Answer(200, PNG) if asked.method == "GET" else Answer(200, content)


VALUES: list[Any] = [None, 5, -1, 10**400, True, "", "x", [], [None], ["x"], {}, {"a": 1}, [[[]]], [{"x": {}}]]
SHAPES: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: {"error": value},
    lambda value: {"error": {"code": value, "message": value, "details": value, "metadata": value, "type": value}},
    lambda value: {"detail": [{"loc": value, "msg": value}], "errors": value, "name": value},
    lambda value: {"data": value, "images": value, "usage": value, "credits": value, "seed": value},
    lambda value: {"data": [{"b64_json": value, "url": value, "revised_prompt": value}], "usage": {"cost": value}},
    lambda value: {"candidates": value, "promptFeedback": value, "usageMetadata": value},
    lambda value: {
        "candidates": [{"content": {"parts": [{"inlineData": value, "text": value}]}, "finishReason": value}]
    },
    lambda value: {"images": [value], "finish_reasons": [value], "seeds": [value], "message": value, "__type": value},
    lambda value: {"image": value, "finish_reason": value, "seed": value},
    lambda value: {
        "id": value,
        "polling_url": value,
        "cost": value,
        "status": value,
        "result": value,
        "details": value,
    },
    lambda value: {"status": "Ready", "result": {"sample": value, "seed": value, "prompt": value}},
    lambda value: {"status": "Request Moderated", "details": {"Moderation Reasons": [value]}},
    lambda value: {"choices": value, "results": value},
    lambda value: {"choices": [{"message": value, "finish_reason": value}], "results": [{"flagged": value}]},
]


BROKEN = [b"", b"[" * 5000, b"\xff\xfe", b"null", b"<p>x"]
# The same code reads a body whatever its status; only what its texts then mean depends on that. Hence each of the other
# statuses meets every shape, and every value, but not every pair of them.
WHOLE = (200, 400)
OTHERS = (201, 403, 404, 429, 503)


def bodies(status: int) -> list[Any]:
    """The odd bodies that come with a status: all of them, or of the pairs a fifth, which together are all of them."""
    odd = [
        shape(value)
        for row, shape in enumerate(SHAPES)
        for column, value in enumerate(VALUES)
        if status in WHOLE or (row + column) % len(OTHERS) == OTHERS.index(status)
    ]
    return odd + BROKEN


@pytest.mark.parametrize("provider", sorted(MODELS))
@pytest.mark.parametrize("status", sorted(WHOLE + OTHERS))
def test_no_member_of_another_type_breaks_an_adapter(provider: str, status: int) -> None:
    """Every call of the provider, with every member of its answers replaced."""
    odd = bodies(status)
    remaining = iter(odd)
    with Canned(lambda asked: Answer(status, next(remaining))) as server:
        credentials = Credentials(KEY, server.url)
        for body in odd:
            answer = outcome(
                adapter(provider).generate, ImageRequest("x"), MODELS[provider], credentials, time.time() + 30
            )
            assert isinstance(answer, ProviderError | Waiting | Generated), body
            if isinstance(answer, ProviderError):
                assert 10 < len(str(answer)) <= 300, body
                assert not {"{", "}"} & set(str(answer)) and KEY not in str(answer), (body, str(answer))


@pytest.mark.parametrize("status", [200, 404])
def test_no_answer_to_a_poll_breaks_an_order(status: int) -> None:
    with Canned(Answer()) as server:
        for shape in SHAPES:
            for value in VALUES:
                server.answer = Answer(status, shape(value))
                answer = call("bfl", server, order=True)
                assert isinstance(answer, Waiting | ProviderError), (value, answer)


@pytest.mark.parametrize("provider", ["openai", "gemini"])
@pytest.mark.parametrize("status", [200, 400, 429])
def test_no_answer_breaks_a_text_model(provider: str, status: int) -> None:
    odd = [*bodies(status), b"<html>busy</html>"]
    remaining = iter(odd)
    with Canned(lambda asked: Answer(status, next(remaining))) as server:
        for body in odd:
            answer = outcome(
                adapter(provider).complete, "x", TEXT_MODEL, Credentials(KEY, server.url), time.time() + 30
            )
            assert isinstance(answer, ProviderError | str) and answer != "", body


def test_only_true_or_false_is_a_verdict() -> None:
    """What is neither must not count as harmless."""
    verdicts: list[Any] = [True, False, None, 0, 1, "false", "true", [], {}]
    for flagged in verdicts:
        content = {"results": [{"flagged": flagged}]}
        with Canned(Answer(200, content)) as server:
            answer = outcome(
                adapter("openai").is_flagged, "x", TEXT_MODEL, Credentials(KEY, server.url), time.time() + 10
            )
        assert answer is flagged if isinstance(flagged, bool) else isinstance(answer, ProviderError)
    others: list[Any] = [b"<html>", None, {}, {"results": []}, {"results": {}}, {"results": [None]}, {"results": [{}]}]
    for other in others:
        with Canned(Answer(200, other)) as server:
            answer = outcome(
                adapter("openai").is_flagged, "x", TEXT_MODEL, Credentials(KEY, server.url), time.time() + 10
            )
        assert isinstance(answer, ProviderError)


@pytest.mark.parametrize("delay", ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "1e300", "-5", "9" * 400])
@pytest.mark.parametrize("provider", sorted(MODELS))
def test_a_delay_of_any_kind_is_read(provider: str, delay: str) -> None:
    answer = generate(provider, Answer(429, {}, {"Retry-After": delay}))
    assert isinstance(answer, ProviderError) and answer.code == "rate_limited"
    assert 0 <= (answer.retry_after or 0) <= 3600
    if provider == "bfl":
        poll = generate("bfl", Answer(429, {}, {"Retry-After": delay}), order=True)
        assert isinstance(poll, Waiting) and poll.seconds <= 20, "the order is asked for again in time"


@pytest.mark.parametrize("cost", [b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 500])
@pytest.mark.parametrize("provider", ["compatible", "recraft"])
def test_a_cost_that_is_no_amount_is_unknown(provider: str, cost: bytes) -> None:
    content = json.dumps({"data": [{"b64_json": ENCODED}], "credits": "N", "usage": {"cost": "N"}}).encode()
    answer = generate(provider, Answer(200, content.replace(b'"N"', cost)))
    assert isinstance(answer, Generated) and answer.cost is None


@pytest.mark.parametrize("host", ["a" * 64 + ".localhost", "a..localhost", "a..b", "xn--" + "9" * 80])
@pytest.mark.parametrize("provider", ["openai", "recraft", "compatible", "bfl"])
def test_a_host_that_cannot_be_is_an_error(provider: str, host: str) -> None:
    url = f"http://{host}/i.png"
    content = {"data": [{"url": url}], "status": "Ready", "result": {"sample": url}}
    answer = generate(provider, Answer(200, content), order=provider == "bfl")
    assert isinstance(answer, ProviderError) and answer.code == "no_image"


@pytest.mark.parametrize(
    "content",
    [
        {"data": "ok", "images": [{"b64_json": ENCODED}]},
        {"data": {"id": 1}, "images": [{"b64_json": ENCODED}]},
        {"data": [{"id": 1}], "images": [{"b64_json": ENCODED}]},
        {"data": ["/i.png"]},
        {"images": ["i.png"]},
        {"data": [{"url": " /i.png "}]},
        {"data": [{"image_url": "/i.png"}]},
        {"data": {"image_urls": ["/i.png"]}},
        {"data": {"images": [{"b64_json": ENCODED}]}},
        {"output": {"results": [{"url": "/i.png"}]}},
        {"output": ["/i.png"]},
        {"b64_json": ENCODED},
        [{"b64_json": ENCODED}],
        {"data": [{"url": "data:image/png;base64;charset=utf-8," + ENCODED}]},
        {"data": [{"b64_json": "base64," + ENCODED}]},
        json.dumps({"data": [{"b64_json": ENCODED, "revised_prompt": "Z"}]}).encode().replace(b"Z", b"two\nlines"),
        json.dumps({"data": [{"b64_json": ENCODED, "revised_prompt": "Z"}]}).encode().replace(b"Z", b"\xe4\xb8"),
        json.dumps({"data": [{"b64_json": ENCODED}], "seed": "Z"}).encode().replace(b'"Z"', b"9" * 5000),
        json.dumps({"data": [{"b64_json": ENCODED}]}).encode() + b"\0",
        PNG,
    ],
)
@pytest.mark.parametrize("provider", ["openai", "recraft", "compatible"])
def test_an_image_in_another_place_is_kept(provider: str, content: Any) -> None:
    answer = generate(provider, image_at(content))
    assert isinstance(answer, Generated), answer
    assert [image.data for image in answer.images] == [PNG]


@pytest.mark.parametrize(
    "candidates",
    [
        [{"content": {"parts": [{"inlineData": {"data": ENCODED}}, {"inlineData": {"data": "AAAA"}}]}}],
        [
            {
                "content": {
                    "parts": [{"inlineData": {"data": ENCODED}, "thought": True}, {"inlineData": {"data": "AAAA"}}]
                }
            }
        ],
        [{"content": {}}, {"content": {"parts": [{"inlineData": {"data": ENCODED}}]}}],
    ],
)
def test_gemini_has_one_good_image_among_others(candidates: Any) -> None:
    answer = generate("gemini", Answer(200, {"candidates": candidates}))
    assert isinstance(answer, Generated) and answer.images[0].data == PNG


@pytest.mark.parametrize(
    ("counted", "tokens"),
    [
        # Two pictures in one answer, and thoughts.
        (
            {
                "promptTokenCount": 8,
                "candidatesTokenCount": 2260,
                "thoughtsTokenCount": 300,
                "candidatesTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 1120},
                    {"modality": "TEXT", "tokenCount": 20},
                    {"modality": "IMAGE", "tokenCount": 1120},
                ],
            },
            {"inputTextTokens": 8, "outputTextTokens": 320, "outputImageTokens": 2240},
        ),
        ({"promptTokenCount": 8, "candidatesTokenCount": 1120}, {"inputTextTokens": 8, "outputImageTokens": 1120}),
        (
            {"candidatesTokenCount": 1140, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 20}]},
            {"outputTextTokens": 20, "outputImageTokens": 1120},
        ),
        (
            {"candidatesTokenCount": 1120, "thoughtsTokenCount": -500, "promptTokenCount": -1},
            {"outputImageTokens": 1120},
        ),
        (
            {"candidatesTokenCount": 1120, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 9000}]},
            {"outputImageTokens": 1120},
        ),
        (
            {"candidatesTokenCount": 1120, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": -5000}]},
            {"outputImageTokens": 1120},
        ),
        (
            {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]},
            {"outputImageTokens": 1120},
        ),
        ({"candidatesTokenCount": 0}, None),
    ],
)
def test_gemini_counts_what_it_draws_writes_and_thinks(counted: Any, tokens: Any) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": ENCODED}}
    candidate = {"content": {"parts": [picture, picture]}, "finishReason": "STOP"}
    answer = generate("gemini", Answer(200, {"candidates": [candidate], "usageMetadata": counted}))
    assert isinstance(answer, Generated) and len(answer.images) == 1
    assert answer.usage == tokens


@pytest.mark.parametrize(
    "content",
    [{"images": ["*", ENCODED]}, {"images": [None, ENCODED]}, {"images": [ENCODED], "finish_reasons": ["SUCCESS"]}],
)
def test_bedrock_has_one_good_image_among_others(content: Any) -> None:
    answer = generate("bedrock", Answer(200, content))
    assert isinstance(answer, Generated) and answer.images[0].data == PNG


@pytest.mark.parametrize("result", [{"sample": "/i.png"}, {"url": "/i.png"}])
@pytest.mark.parametrize("state", ["Ready", "ready"])
def test_bfl_may_spell_it_in_another_way(result: Any, state: str) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(200, PNG) if asked.path == "/i.png" else Answer(200, {"status": state, "result": result})

    assert isinstance(generate("bfl", answer, order=True), Generated)


@pytest.mark.parametrize("unit", ["model ", "credit ", "exceeded ", "violate ", "a" * 40 + " "])
def test_a_long_error_takes_no_time(unit: str) -> None:
    """It would outlast every deadline: patterns are only looked for in its beginning."""
    content = {"error": {"message": unit * (4_000_000 // len(unit))}}
    started = time.monotonic()
    assert isinstance(generate("compatible", Answer(400, content)), ProviderError)
    # A search through the whole takes 6 s on a fast machine.
    assert time.monotonic() - started < 5


def test_parameters_that_cannot_be_sent_are_an_error() -> None:
    model = replace(MODELS["gemini"], parameters={"seed": 1})
    answer = outcome(
        adapter("gemini").generate, ImageRequest("x"), model, Credentials(KEY, "http://127.0.0.1:1"), time.time() + 2
    )
    assert isinstance(answer, ProviderError) and answer.code == "invalid_request"
