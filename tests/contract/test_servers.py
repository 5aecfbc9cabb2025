"""Answers that only some servers give: odd envelopes, gateways, other ways to hand over an image."""

import base64
import io
import time
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt.models.model import Generated, Model, ProviderError
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
        (
            "gemini",
            400,
            {"error": {"status": "FAILED_PRECONDITION", "message": "Free tier is not available in your country."}},
            "quota_exhausted",
            "no",
        ),
        (
            "gemini",
            400,
            {"error": {"status": "FAILED_PRECONDITION", "message": "Precondition check failed."}},
            "invalid_request",
            "no",
        ),
        ("gemini", 429, b"\xff\xfe", "rate_limited", "no"),
        ("gemini", 503, b"\xff\xfe", "provider_unavailable", "no"),
        ("openai", 429, b"\xff\xfe", "rate_limited", "no"),
        ("bedrock", 503, b"\xff\xfe", "provider_unavailable", "no"),
        ("openai", 200, {"error": {"code": "insufficient_quota", "message": "x"}}, "quota_exhausted", "no"),
        ("bfl", 403, {"detail": "Spending limit reached"}, "quota_exhausted", "no"),
        ("compatible", 403, {"error": {"message": "Not for you."}}, "bad_credentials", "no"),
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


# Details that contradict the total.
CONTRADICTORY: list[Any] = [{"image_tokens": 1, "text_tokens": 0}, {"text_tokens": -900}, {"image_tokens": 9000}, []]


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ({"cost": 0.04, "prompt_tokens": 9, "completion_tokens": 0}, {"inputTextTokens": 9}, 0.04),
        ({"cost_in_usd_ticks": 200_000_000}, None, 0.02),
        ({"input_tokens": 5, "output_tokens": 1000}, {"inputTextTokens": 5, "outputImageTokens": 1000}, None),
        (
            {
                "input_tokens": 300,
                "input_tokens_details": {"text_tokens": 44, "image_tokens": 256},
                "output_tokens": 1100,
                "output_tokens_details": {"text_tokens": 44, "image_tokens": 1056},
            },
            {"inputTextTokens": 44, "inputImageTokens": 256, "outputTextTokens": 44, "outputImageTokens": 1056},
            None,
        ),
        (
            {"output_tokens": 1100, "output_tokens_details": {"text_tokens": 44}},
            {"outputTextTokens": 44, "outputImageTokens": 1056},
            None,
        ),
        *(
            ({"output_tokens": 1756, "output_tokens_details": details}, {"outputImageTokens": 1756}, None)
            for details in CONTRADICTORY
        ),
        ({"output_tokens": -5, "input_tokens": -5}, None, None),
        ({"cost": 0}, None, 0),
        ({"cost": 0, "cost_in_usd_ticks": 400_000_000}, None, 0.04),
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


@pytest.mark.parametrize("fault", ["refused", "refused_output"])
def test_a_refusal_with_http_200_keeps_its_cost(simulator: Simulator, fault: str) -> None:
    """The image is withheld in the list's entry, or the list is empty."""
    grok = replace(COMPATIBLE, id="grok-imagine-image-2.0", dialect="xai")
    simulator.set_fault(grok.id, fault)
    answer = ask_simulator(simulator, grok)
    assert isinstance(answer, ProviderError)
    assert (answer.code, answer.billable, answer.cost) == ("refused", "unknown", 0.04)


@pytest.mark.parametrize(
    ("provider", "content", "cost"),
    [
        ("recraft", {"credits": 35, "data": []}, 0.035),
        ("compatible", {"data": [], "usage": {"cost": 0.04}}, 0.04),
        ("compatible", {"data": [{"b64_json": "*"}], "usage": {"cost_in_usd_ticks": 100_000_000}}, 0.01),
        ("compatible", {"data": [], "usage": {"cost": True}}, None),
    ],
)
def test_a_cost_without_an_image_is_kept(provider: str, content: Any, cost: float | None) -> None:
    answer = failure(MODELS[provider], 200, content)
    assert (answer.code, answer.billable, answer.cost) == ("no_image", "unknown", cost)


@pytest.mark.parametrize(("fault", "cost"), [("refused_output", 0.03), ("no_image", 0.03), ("task_failed", None)])
def test_an_order_of_bfl_that_was_worked_on_keeps_its_cost(
    simulator: Simulator, fault: str, cost: float | None
) -> None:
    """Nobody says that a task that failed is charged for."""
    simulator.set_fault(MODELS["bfl"].id, fault)
    answer = ask_simulator(simulator, MODELS["bfl"])
    assert isinstance(answer, ProviderError) and answer.billable != "no" and answer.cost == cost


def test_siliconflow_has_names_of_its_own(simulator: Simulator) -> None:
    model = replace(COMPATIBLE, id="siliconflow-kolors", dialect="siliconflow")
    made = images(simulator, model, n=2, steps=20, guidance=7.5, seed=5, aspect_ratio="16:9", resolution="1K")
    (order,) = orders(simulator)
    assert order.body == {
        "model": model.id,
        "prompt": "a red fox in snow",
        "image_size": "1472x832",
        "batch_size": 2,
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "seed": 5,
    }
    assert [(image.width, image.height) for image in made.images] == [(1472, 832)] * 2
    assert images(simulator, model).images[0].seed is not None, "it says which seed it used"


@pytest.mark.parametrize("status", [200, 201, 203])
@pytest.mark.parametrize("provider", ["compatible", "recraft", "stability"])
def test_an_image_may_be_the_whole_answer(provider: str, status: int) -> None:
    with Canned(Answer(status, PNG, {"Content-Type": "image/png"})) as server:
        answer = ask(MODELS[provider], server.url)
    assert isinstance(answer, Generated) and answer.images[0].data == PNG


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"url": "/image.png"}], "seed": 7},
        {"images": [ENCODED]},
        {"images": ["data:image/png;base64," + ENCODED]},
        {"data": {"b64_json": ENCODED}},
        {"data": [], "images": [{"image": ENCODED}]},
        {"data": [{"b64_json": "*", "url": "/image.png"}]},
    ],
)
def test_a_list_of_images_comes_in_many_shapes(content: Any) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(200, PNG) if asked.method == "GET" else Answer(content=content)

    with Canned(answer) as server:
        found = ask(COMPATIBLE, f"{server.url}/v1")
    assert isinstance(found, Generated), found
    assert [image.data for image in found.images] == [PNG]
    assert found.images[0].seed == content.get("seed")


@pytest.mark.parametrize(
    ("model_id", "fields", "path"),
    [
        ("openrouter/flux-2-pro", {"dialect": "openrouter"}, "/compatible/v1/images"),
        ("openrouter/flux-2-pro", {"path": "/images"}, "/compatible/v1/images"),
        ("localai-flux", {}, "/compatible/v1/images/generations"),
    ],
)
def test_the_path_is_the_servers(simulator: Simulator, model_id: str, fields: dict[str, str], path: str) -> None:
    images(simulator, replace(COMPATIBLE, id=model_id, **fields))
    (order,) = orders(simulator)
    assert order.path == path


def test_several_servers_by_their_own_addresses() -> None:
    with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as one, Canned(Answer(429)) as two:
        first = replace(COMPATIBLE, base_url=f"{one.url}/v1/")
        second = replace(COMPATIBLE, base_url=two.url)
        assert isinstance(ask(first, str(first.base_url)), Generated)
        assert isinstance(ask(second, str(second.base_url)), ProviderError)
    assert [asked.path for asked in one.asked + two.asked] == ["/v1/images/generations", "/images/generations"]


def test_a_server_without_a_key_gets_none(simulator: Simulator) -> None:
    images(simulator, replace(COMPATIBLE, id="localai-flux"), key=None)
    (order,) = orders(simulator)
    assert "authorization" not in order.headers


def test_a_model_without_an_address_is_not_asked() -> None:
    answer = ask(COMPATIBLE, None)
    assert isinstance(answer, ProviderError) and answer.code == "invalid_request" and "baseUrl" in str(answer)


def test_a_multipart_form_with_nothing_but_fields(simulator: Simulator) -> None:
    sd3 = replace(MODELS["stability"], id="sd3.5-large-turbo", path=None)
    images(simulator, sd3, seed=0)
    (order,) = orders(simulator)
    assert order.path == "/stability/v2beta/stable-image/generate/sd3"
    assert order.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert order.headers["accept"] == "application/json"
    assert order.body == {"prompt": "a red fox in snow", "model": "sd3.5-large-turbo", "seed": "0"}


@pytest.mark.parametrize("status", [200, 201, 206])
def test_gemini_behind_a_proxy_may_write_like_python(status: int) -> None:
    """Names with underscores, reasons in lower case, and another status for success."""
    parts = [{"inline_data": {"mime_type": "image/png", "data": ENCODED}}]
    content = {"candidates": [{"content": {"parts": parts}, "finish_reason": "stop"}]}
    with Canned(Answer(status, content)) as server:
        answer = ask(MODELS["gemini"], server.url)
    assert isinstance(answer, Generated) and answer.images[0].data == PNG
    assert failure(MODELS["gemini"], status, {"candidates": [{"finish_reason": "image_safety"}]}).code == "refused"
    assert failure(MODELS["gemini"], status, {"prompt_feedback": {"block_reason": "safety"}}).code == "refused"


def test_gemini_is_never_given_less_than_ten_seconds_to_answer(simulator: Simulator) -> None:
    for seconds in (2, 30):
        images(simulator, MODELS["gemini"], seconds=seconds)
    first, second = orders(simulator)
    assert int(first.headers["x-server-timeout"]) == 10 and 20 <= int(second.headers["x-server-timeout"]) <= 30


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
