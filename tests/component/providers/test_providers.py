"""Adapters beyond the contract suite: text models, and the errors that all share."""

import subprocess
import sys
import time
from typing import Any

import pytest
from msgspec.structs import replace

from local.paths import ROOT
from local.simulator import Simulator
from pixelprompt.models.model import ERROR_CODES, Credentials, ErrorCode, Image, Model, ProviderError
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.providers import adapter
from tests.outcomes import outcome

FUNCTIONS = ROOT / "functions"
PATHS = {"openai": "/openai/v1", "gemini": "/gemini"}
TEXT_MODELS = {
    "openai": Model("GPT-5.4 mini", "openai", "gpt-5.4-mini"),
    "gemini": Model("Gemini 3.5 Flash", "gemini", "gemini-3.5-flash"),
}
MAX_TOKENS = {"openai": "max_completion_tokens", "gemini": "max_output_tokens"}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_an_adapter_is_imported_alone(provider: str) -> None:
    """Naming the providers loads no SDK, and loading one adapter loads no other's."""
    code = f"""
import sys
from local.paths import ROOT
import pixelprompt.providers as providers, pixelprompt.models.model
heavy = {{"httpx2", "openai", "google.genai", "boto3", "botocore"}}
assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
assert callable(providers.adapter({provider!r}).generate)
own = {{"openai": {{"openai"}}, "gemini": {{"google.genai"}}, "bedrock": {{"boto3", "botocore"}}}}
others = heavy - own.get({provider!r}, set()) - {{"httpx2"}}
assert not others & set(sys.modules), sorted(others & set(sys.modules))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(FUNCTIONS)}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
def test_a_text_model_answers_in_words(simulator: Simulator, protocol: str) -> None:
    credentials = Credentials("test-key", simulator.url + PATHS[protocol])
    text = outcome(
        adapter(protocol).complete, "Describe a red fox", TEXT_MODELS[protocol], credentials, time.time() + 10
    )
    assert isinstance(text, str) and "fox" in text


def most_tokens(protocol: str, body: Any) -> Any:
    """The most tokens of an answer that a recorded request names."""
    return body["max_completion_tokens"] if protocol == "openai" else body["generationConfig"]["maxOutputTokens"]


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
def test_a_text_model_is_asked_for_a_limited_answer(simulator: Simulator, protocol: str) -> None:
    credentials = Credentials("test-key", simulator.url + PATHS[protocol])
    model, name = TEXT_MODELS[protocol], MAX_TOKENS[protocol]
    simulator.clear_requests()
    outcome(adapter(protocol).complete, "Describe a fox", model, credentials, time.time() + 10)
    roomier = replace(model, parameters={name: 5000})
    assert isinstance(
        outcome(adapter(protocol).complete, "Describe a fox", roomier, credentials, time.time() + 10), str
    )
    assert [most_tokens(protocol, request.body) for request in simulator.requests] == [2000, 5000]


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
def test_an_answer_that_was_cut_off_is_no_answer(simulator: Simulator, protocol: str) -> None:
    credentials, name = Credentials("test-key", simulator.url + PATHS[protocol]), MAX_TOKENS[protocol]
    model = replace(TEXT_MODELS[protocol], parameters={name: 3})
    answer = outcome(adapter(protocol).complete, "Describe a fox", model, credentials, time.time() + 10)
    assert isinstance(answer, ProviderError) and f"than {name}=3 allows" in str(answer)


@pytest.mark.parametrize("protocol", sorted(TEXT_MODELS))
@pytest.mark.parametrize(("fault", "code"), [("throttled", "rate_limited"), ("bad_key", "bad_credentials")])
def test_a_text_model_that_fails_says_why(simulator: Simulator, protocol: str, fault: str, code: str) -> None:
    simulator.set_fault(TEXT_MODELS[protocol].id, fault)
    credentials = Credentials("test-key", simulator.url + PATHS[protocol])
    answer = outcome(adapter(protocol).complete, "Describe a fox", TEXT_MODELS[protocol], credentials, time.time() + 10)
    assert isinstance(answer, ProviderError) and answer.code == code


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_code_has_a_sentence(code: ErrorCode) -> None:
    assert str(ProviderError(code)).endswith(".")


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefgh12345678", "AIzaSyA1234567890abcdefghijk", "Bearer abcdefghijkl.mnop", "x-key: 0123456789abcdef"],
)
def test_nothing_like_a_key_is_passed_on(secret: str) -> None:
    assert secret.split()[-1] not in str(ProviderError("invalid_request", f"Wrong key {secret} given."))


def test_a_key_and_the_bytes_of_an_image_are_not_printed() -> None:
    secret = Credentials("sk-secret", "https://api.example")
    image = Image(b"\x89PNG-bytes", "image/png", 1, 1)
    for shown in (repr(secret), str([secret]), str([*secret.__rich_repr__()]), f"{secret}"):
        assert "sk-secret" not in shown and "api.example" in shown
    for shown in (repr(image), str({"image": image}), str([*image.__rich_repr__()])):
        assert "PNG-bytes" not in shown and "image/png" in shown
