"""Each adapter over real sockets, through the real SDK, against a server that speaks the provider's wire format."""

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt.providers import PROVIDERS, adapter
from pixelprompt.providers.base import ERROR_CODES, Credentials, Generated, ImageRequest, Model, ProviderError

MODELS = {
    "openai": Model("GPT Image 2", "openai", "gpt-image-2", 10, {"size": "1024x1024", "quality": "low"}),
    "gemini": Model("Nano Banana 2.1", "gemini", "gemini-nano-banana-2.1", 10, {"aspect_ratio": "1:1"}),
}
PATHS = {"openai": "/openai/v1", "gemini": "/gemini"}
TEXT_MODELS = {
    "openai": Model("GPT-5.4 mini", "openai", "gpt-5.4-mini"),
    "gemini": Model("Gemini 3.5 Flash", "gemini", "gemini-3.5-flash"),
}
PROTOCOLS = sorted(MODELS)


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(latency=(0, 0)) as running:
        yield running


@pytest.fixture
def simulator(server: Simulator) -> Iterator[Simulator]:
    server.clear_requests()
    yield server
    server.clear_faults()


def ask(simulator: Simulator, protocol: str, *, key: str = "test-key", seconds: float = 10, model: str = "") -> Any:
    known = MODELS[protocol]
    asked = Model(known.name, protocol, model or known.id, known.time_limit, known.parameters)
    credentials = Credentials(key, simulator.url + PATHS[protocol])
    return adapter(protocol).generate(ImageRequest("a red fox in snow"), asked, credentials, time.time() + seconds)


def creations(simulator: Simulator) -> list[Any]:
    """The requests that ask for an image."""
    return [request for request in simulator.requests if request.method == "POST"]


def test_every_protocol_is_tested() -> None:
    assert set(MODELS) == set(PROVIDERS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_arrives_whole(simulator: Simulator, protocol: str) -> None:
    answer = ask(simulator, protocol)
    assert isinstance(answer, Generated)
    (image,) = answer.images
    with Picture.open(io.BytesIO(image.data)) as picture:
        picture.load()
        assert picture.size == (image.width, image.height) == (1024, 1024)
        assert Picture.MIME[picture.format or ""] == image.mime_type
    assert answer.request_id
    assert answer.usage and answer.usage["outputImageTokens"] > 0
    assert len(creations(simulator)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "code", "retryable", "billable", "safe_to_repeat"),
    [
        ("throttled", "rate_limited", True, "no", True),
        ("quota_exhausted", "quota_exhausted", False, "no", False),
        ("refused", "refused", False, "no", False),
        ("retired", "model_retired", False, "no", False),
        ("bad_key", "bad_credentials", False, "no", False),
        ("bad_parameter", "invalid_request", False, "no", False),
        ("server_error", "provider_unavailable", True, "unknown", False),
        ("unavailable", "provider_unavailable", True, "no", True),
        ("dropped", "unknown_outcome", True, "unknown", False),
        ("no_image", "no_image", True, "unknown", False),
        ("text_only", "no_image", True, "unknown", False),
        ("not_an_image", "no_image", True, "unknown", False),
        ("bad_json", "no_image", True, "unknown", False),
    ],
)
def test_a_fault_becomes_an_error_after_one_request(
    simulator: Simulator, protocol: str, fault: str, code: str, retryable: bool, billable: str, safe_to_repeat: bool
) -> None:
    simulator.set_fault(MODELS[protocol].id, fault)
    answer = ask(simulator, protocol)
    assert isinstance(answer, ProviderError), answer
    found = (answer.code, answer.retryable, answer.billable, answer.safe_to_repeat)
    assert found == (code, retryable, billable, safe_to_repeat)
    assert len(creations(simulator)) == 1
    assert set(answer.row()) == {"error", "errorCode", "retryable", "billable"}
    assert "test-key" not in str(answer) and "Traceback" not in str(answer)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_providers_own_delay_is_kept(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "throttled", retry_after=7)
    assert ask(simulator, protocol).retry_after == 7
    simulator.set_fault(MODELS[protocol].id, "throttled")
    assert ask(simulator, protocol).retry_after is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_provider_that_is_too_slow_has_an_unknown_outcome(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "slow", seconds=30)
    started = time.monotonic()
    answer = ask(simulator, protocol, seconds=1)
    assert time.monotonic() - started < 5
    assert (answer.code, answer.billable) == ("unknown_outcome", "unknown")
    assert len(creations(simulator)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_label_of_an_image_is_not_believed(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "wrong_mime")
    (image,) = ask(simulator, protocol).images
    with Picture.open(io.BytesIO(image.data)) as picture:
        assert Picture.MIME[picture.format or ""] == image.mime_type


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_withheld_image_is_a_refusal(simulator: Simulator, protocol: str) -> None:
    simulator.set_fault(MODELS[protocol].id, "refused_output")
    assert ask(simulator, protocol).code == "refused"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_key_is_not_repeated_to_the_caller(simulator: Simulator, protocol: str) -> None:
    answer = ask(simulator, protocol, key="bad-key-1234567890")
    assert answer.code == "bad_credentials"
    assert "1234567890" not in str(answer)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_model_counts_as_retired(simulator: Simulator, protocol: str) -> None:
    assert ask(simulator, protocol, model="no-such-model").code == "model_retired"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_provider_that_cannot_be_reached_was_not_asked(protocol: str) -> None:
    credentials = Credentials("test-key", "http://127.0.0.1:9" + PATHS[protocol])
    answer = adapter(protocol).generate(ImageRequest("a fox"), MODELS[protocol], credentials, time.time() + 5)
    assert (answer.code, answer.safe_to_repeat, answer.billable) == ("provider_unavailable", True, "no")


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
def test_a_text_model_answers_in_words(simulator: Simulator, protocol: str) -> None:
    credentials = Credentials("test-key", simulator.url + PATHS[protocol])
    text = adapter(protocol).complete("Describe a red fox", TEXT_MODELS[protocol], credentials, time.time() + 10)
    assert isinstance(text, str) and "fox" in text


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
@pytest.mark.parametrize(("fault", "code"), [("throttled", "rate_limited"), ("bad_key", "bad_credentials")])
def test_a_text_model_that_fails_says_why(simulator: Simulator, protocol: str, fault: str, code: str) -> None:
    simulator.set_fault(TEXT_MODELS[protocol].id, fault)
    credentials = Credentials("test-key", simulator.url + PATHS[protocol])
    answer = adapter(protocol).complete("Describe a fox", TEXT_MODELS[protocol], credentials, time.time() + 10)
    assert isinstance(answer, ProviderError) and answer.code == code


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_code_has_a_sentence(code: str) -> None:
    assert str(ProviderError(code)).endswith(".")


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefgh12345678", "AIzaSyA1234567890abcdefghijk", "Bearer abcdefghijkl.mnop", "x-key: 0123456789abcdef"],
)
def test_nothing_like_a_key_is_passed_on(secret: str) -> None:
    assert secret.split()[-1] not in str(ProviderError("invalid_request", f"Wrong key {secret} given."))
