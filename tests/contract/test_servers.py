"""Answers that only some servers give: odd envelopes, gateways, other ways to hand over an image."""

import base64
import io
import time
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt.providers.base import Generated, Model, ProviderError
from tests.canned import Answer, Asked, Canned
from tests.contract.calls import ask, ask_simulator, images, orders
from tests.contract.table import MODELS, PATHS

COMPATIBLE = MODELS["compatible"]
KEY = "test-key-0123456789"


def png() -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (8, 4), "red").save(buffer, "PNG")
    return buffer.getvalue()


# In base64 it has padding, and a character that URL-safe base64 replaces.
PNG = png() + b"\xff"
ENCODED = base64.b64encode(PNG).decode()
assert ENCODED.endswith("=") and set(ENCODED) & set("+/")


def failure(model: Model, status: int, content: Any, headers: dict[str, str] | None = None) -> ProviderError:
    """The outcome of an answer that is no image, after one request."""
    with Canned(Answer(status, content, headers or {})) as server:
        answer = ask(model, server.url, key=KEY)
    assert isinstance(answer, ProviderError), answer
    assert len(server.asked) == 1
    assert KEY not in str(answer)
    return answer


@pytest.mark.parametrize("provider", ["openai", "gemini", "stability", "recraft", "compatible"])
@pytest.mark.parametrize(
    ("status", "code", "safe"),
    [
        (502, "provider_unavailable", False),
        (504, "unknown_outcome", False),
        (524, "unknown_outcome", False),
        (529, "provider_unavailable", True),
    ],
)
def test_what_gateways_answer(provider: str, status: int, code: str, safe: bool) -> None:
    page = b"<html><head><title>Error</title></head><body>cloudflare</body></html>"
    answer = failure(MODELS[provider], status, page, {"Content-Type": "text/html"})
    assert (answer.code, answer.safe_to_repeat) == (code, safe)
    assert answer.billable == ("no" if safe else "unknown")


@pytest.mark.parametrize("provider", sorted(MODELS))
@pytest.mark.parametrize("status", [302, 307])
def test_no_order_follows_a_redirect(provider: str, status: int) -> None:
    with Canned(Answer(200)) as other:
        failure(MODELS[provider], status, b"", {"Location": f"{other.url}/elsewhere"})
    assert other.asked == []


@pytest.mark.parametrize(
    ("provider", "status", "content", "code", "billable"),
    [
        ("openai", 403, {"error": {"message": "Your organization must be verified."}}, "bad_credentials", "no"),
        ("openai", 400, {"error": {"code": "billing_hard_limit_reached", "message": "x"}}, "quota_exhausted", "no"),
        ("openai", 408, b"", "unknown_outcome", "unknown"),
        ("openai", 400, b"<html>Bad Request</html>", "invalid_request", "no"),
        (
            "openai",
            400,
            {"error": {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "output"}}},
            "refused",
            "unknown",
        ),
        ("gemini", 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, "bad_credentials", "no"),
        ("gemini", 400, {"error": {"code": 400, "status": "FAILED_PRECONDITION"}}, "quota_exhausted", "no"),
        ("stability", 403, {"name": "permission_denied", "errors": ["Not for you."]}, "bad_credentials", "no"),
        ("stability", 413, {"name": "payload_too_large", "errors": ["Too big."]}, "invalid_request", "no"),
        ("stability", 422, {"name": "invalid_language", "errors": ["English only."]}, "invalid_request", "no"),
        ("stability", 410, {"name": "gone", "errors": []}, "model_retired", "no"),
        ("recraft", 400, {"code": "not_enough_credits", "message": "Not enough credits"}, "quota_exhausted", "no"),
        ("recraft", 403, {"code": "forbidden", "message": "x"}, "bad_credentials", "no"),
        ("bfl", 401, {"detail": "x"}, "bad_credentials", "no"),
        ("bfl", 200, {"id": "1"}, "no_image", "unknown"),
        ("compatible", 200, {"error": {"message": "out of memory"}}, "no_image", "unknown"),
        ("compatible", 200, {"data": [None, "x", {}]}, "no_image", "unknown"),
        ("compatible", 200, {"data": "a picture of a fox"}, "no_image", "unknown"),
        ("compatible", 200, [], "no_image", "unknown"),
        ("compatible", 200, {"data": [{"b64_json": "*"}]}, "no_image", "unknown"),
        ("compatible", 400, {"error": {"code": "content_policy_violation", "message": "x"}}, "refused", "no"),
        ("compatible", 403, {"error": {"message": "x", "metadata": {"reasons": ["sexual"]}}}, "refused", "no"),
        ("compatible", 429, {"error": {"code": "insufficient_quota", "message": "x"}}, "quota_exhausted", "no"),
        ("compatible", 400, {"error": "Model flux-9 does not exist"}, "model_retired", "no"),
        ("compatible", 408, b"", "unknown_outcome", "unknown"),
        ("compatible", 413, b"too large", "invalid_request", "no"),
    ],
)
def test_answers_that_only_some_give(provider: str, status: int, content: Any, code: str, billable: str) -> None:
    answer = failure(MODELS[provider], status, content)
    assert (answer.code, answer.billable) == (code, billable)


def test_an_error_page_becomes_a_short_sentence() -> None:
    page = f"<html><style>p {{}}</style><body><h1>Bad</h1>\n<p>no such size; your key is {KEY}</p></body></html>"
    answer = failure(COMPATIBLE, 400, page.encode(), {"Content-Type": "text/html"})
    assert str(answer) == "The provider responded with HTTP 400: Bad no such size; your key is [hidden]"
    assert len(str(failure(COMPATIBLE, 400, b"x" * 100_000))) <= 300


@pytest.mark.parametrize(
    "item",
    [
        {"b64_json": ENCODED},
        {"base64": ENCODED},
        {"b64_json": ENCODED.translate(str.maketrans("+/", "-_"))},
        {"b64_json": ENCODED.rstrip("=")},
        {"b64_json": base64.encodebytes(PNG).decode()},
        {"url": f"data:image/jpeg;base64,{ENCODED}"},
        {"b64_json": None, "url": "{server}/image"},
    ],
    ids=["b64_json", "base64", "URL-safe", "unpadded", "in lines", "data address", "address"],
)
def test_an_image_may_come_in_several_ways(item: dict[str, Any]) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(200, PNG, {"Content-Type": "text/plain"})
        url = str(item.get("url")).replace("{server}", server.url)
        return Answer(content={"data": [None, {**item, **({"url": url} if "url" in item else {})}]})

    with Canned(answer) as server:
        found = ask(COMPATIBLE, server.url, key=KEY)
    assert isinstance(found, Generated), found
    (image,) = found.images
    assert (image.data, image.mime_type, image.width, image.height) == (PNG, "image/png", 8, 4)
    assert all("authorization" not in asked.headers for asked in server.asked if asked.method == "GET")


def test_an_image_that_is_not_there_at_once_is_fetched_again() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(content={"data": [{"url": f"{server.url}/image"}]})
        return Answer(503) if len(server.asked) < 3 else Answer(200, PNG)

    with Canned(answer) as server:
        assert isinstance(ask(COMPATIBLE, server.url), Generated)
    assert [asked.method for asked in server.asked] == ["POST", "GET", "GET"]


def test_the_good_images_of_several_are_kept() -> None:
    data = [{"b64_json": "*"}, {"b64_json": ENCODED}, {"b64_json": base64.b64encode(b"<html>").decode()}]
    for provider in ("openai", "recraft", "compatible"):
        with Canned(Answer(content={"data": data})) as server:
            answer = ask(MODELS[provider], server.url, n=3)
        assert isinstance(answer, Generated) and [image.data for image in answer.images] == [PNG]


def test_a_refusal_of_some_images_keeps_the_others() -> None:
    data = [{"b64_json": ENCODED, "respect_moderation": False}, {"b64_json": ENCODED, "respect_moderation": True}]
    with Canned(Answer(content={"data": data})) as server:
        answer = ask(COMPATIBLE, server.url, n=2)
    assert isinstance(answer, Generated) and len(answer.images) == 1


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ({"cost": 0.04, "prompt_tokens": 9, "completion_tokens": 0}, {"inputTextTokens": 9}, 0.04),
        ({"cost_in_usd_ticks": 200_000_000}, None, 0.02),
        ({"input_tokens": 5, "output_tokens": 1000}, {"inputTextTokens": 5, "outputImageTokens": 1000}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None, None),
        (None, None, None),
        ("much", None, None),
    ],
)
def test_what_is_not_said_of_the_cost_is_unknown(usage: Any, tokens: Any, cost: float | None) -> None:
    with Canned(Answer(content={"data": [{"b64_json": ENCODED}], "usage": usage})) as server:
        answer = ask(COMPATIBLE, server.url)
    assert isinstance(answer, Generated)
    assert (answer.usage, answer.cost) == (tokens, cost)


def test_a_refusal_with_http_200(simulator: Simulator) -> None:
    grok = replace(COMPATIBLE, id="grok-imagine-image-2.0", dialect="xai")
    simulator.set_fault(grok.id, "refused")
    answer = ask_simulator(simulator, grok)
    assert isinstance(answer, ProviderError) and answer.code == "refused"


@pytest.mark.parametrize(
    ("model_id", "fields", "path"),
    [
        ("openrouter/flux-2-pro", {"dialect": "openrouter"}, "/compatible/v1/images"),
        ("openrouter/flux-2-pro", {"path": "/images"}, "/compatible/v1/images"),
        ("localai-flux", {}, "/compatible/v1/images/generations"),
    ],
)
def test_the_path_is_the_servers(simulator: Simulator, model_id: str, fields: dict[str, str], path: str) -> None:
    images(simulator, replace(COMPATIBLE, id=model_id, **fields))  # type: ignore[arg-type]
    (order,) = orders(simulator)
    assert order.path == path


def test_several_servers_by_their_own_addresses() -> None:
    with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as one, Canned(Answer(429)) as two:
        first = replace(COMPATIBLE, base_url=f"{one.url}/v1/")
        second = replace(COMPATIBLE, base_url=two.url)
        assert isinstance(ask(first, ""), Generated)
        assert isinstance(ask(second, ""), ProviderError)
    assert [asked.path for asked in one.asked + two.asked] == ["/v1/images/generations", "/images/generations"]


def test_a_server_without_a_key_gets_none(simulator: Simulator) -> None:
    images(simulator, replace(COMPATIBLE, id="localai-flux"), key=None)
    (order,) = orders(simulator)
    assert "authorization" not in order.headers


def test_a_model_without_an_address_is_not_asked() -> None:
    answer = ask(COMPATIBLE, "")
    assert isinstance(answer, ProviderError) and answer.code == "invalid_request" and "baseUrl" in str(answer)


def test_a_multipart_form_with_nothing_but_fields(simulator: Simulator) -> None:
    sd3 = replace(MODELS["stability"], id="sd3.5-large-turbo")
    images(simulator, sd3, seed=0)
    (order,) = orders(simulator)
    assert order.path == "/stability/v2beta/stable-image/generate/sd3"
    assert order.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert order.headers["accept"] == "application/json"
    assert order.body == {"prompt": "a red fox in snow", "model": "sd3.5-large-turbo", "seed": "0"}


@pytest.mark.parametrize("reason", ["NO_IMAGE", "IMAGE_OTHER", "OTHER", "MAX_TOKENS"])
def test_gemini_may_fail_without_refusing(reason: str) -> None:
    answer = failure(MODELS["gemini"], 200, {"candidates": [{"finishReason": reason, "index": 0}]})
    assert (answer.code, answer.retryable) == ("no_image", True) and reason in str(answer)


@pytest.mark.parametrize("reason", ["IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "SPII", "BLOCKLIST"])
def test_gemini_withholds_for_many_reasons(reason: str) -> None:
    answer = failure(MODELS["gemini"], 200, {"candidates": [{"finishReason": reason, "index": 0}]})
    assert answer.code == "refused" and reason in str(answer)


def test_gemini_shows_the_last_image_and_no_draft() -> None:
    blue = io.BytesIO()
    Picture.new("RGB", (4, 4), "blue").save(blue, "PNG")
    draft = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(blue.getvalue()).decode()}}
    final = {"inlineData": {"mimeType": "image/jpeg", "data": ENCODED}}
    parts = [{**draft, "thought": True}, draft, final, {"text": "Here."}, {**draft, "thought": True}]
    content = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    with Canned(Answer(content=content)) as server:
        answer = ask(MODELS["gemini"], server.url)
    assert isinstance(answer, Generated) and answer.images[0].data == PNG


@pytest.mark.parametrize(
    "content",
    [
        b"",
        [],
        {"candidates": None},
        {"candidates": [None, "x"]},
        {"candidates": [{"content": "x"}]},
        {"candidates": [{"content": {"parts": ["x", {"inlineData": []}, {"inlineData": {"data": 5}}, {"text": 5}]}}]},
        {"promptFeedback": [], "usageMetadata": "x", "candidates": {}},
        b"[" * 100_000,
    ],
)
def test_an_answer_of_gemini_in_another_shape_is_an_error(content: Any) -> None:
    answer = failure(MODELS["gemini"], 200, content)
    assert (answer.code, answer.billable) == ("no_image", "unknown")


def test_a_late_answer_is_not_waited_for(simulator: Simulator) -> None:
    simulator.set_latency(60, 60)
    started = time.monotonic()
    answer = ask(MODELS["openai"], simulator.url + PATHS["openai"], seconds=0.5)
    assert time.monotonic() - started < 20
    assert isinstance(answer, ProviderError) and answer.code == "unknown_outcome"
