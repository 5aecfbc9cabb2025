"""The model-based filter, asked over sockets."""

import json

import pytest

from local.simulator import Simulator
from pixelprompt.deadline import Deadline
from pixelprompt.errors import ConfigurationError, InappropriateContent, ServiceUnavailable
from pixelprompt.moderation import MODEL_CATEGORY, UNAVAILABLE, ContentFilter, Verdict
from pixelprompt.moderation_model import MODES, content_filter, refusal
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.registry import ModelRegistry

FORBIDDEN = "a forbidden-by-simulator scene"


class Secrets:
    """Secrets Manager with a key for OpenAI, or none."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.text = json.dumps(keys)

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        return {"SecretString": self.text}


def make(
    simulator: Simulator, mode: str, keys: dict[str, str] | None = None, deadline: Deadline | None = None
) -> ContentFilter:
    secrets = Secrets({"OPENAI_API_KEY": "k"} if keys is None else keys)
    provider_keys = ProviderKeys(secrets, "keys", {"openai": f"{simulator.url}/openai/v1"})
    return content_filter(mode, ModelRegistry.load, provider_keys, deadline or Deadline())


@pytest.mark.parametrize("mode", MODES)
def test_the_keyword_filter_always_comes_first(simulator: Simulator, mode: str) -> None:
    simulator.clear_requests()
    assert make(simulator, mode).verdict("a n.u.d.e portrait") == Verdict(True, "sexual")
    assert simulator.requests == []


@pytest.mark.parametrize("mode", ["model", "openai"])
def test_the_model_judges_what_the_keywords_let_through(simulator: Simulator, mode: str) -> None:
    judge = make(simulator, mode)
    simulator.clear_requests()
    assert judge.verdict("a red fox") == Verdict(False)
    (request,) = simulator.requests
    # The moderation endpoint writes no answer.
    assert request.body.get("max_completion_tokens") == (2000 if mode == "model" else None)
    assert judge.verdict(FORBIDDEN) == Verdict(True, MODEL_CATEGORY)


def test_without_a_model_only_keywords_count(simulator: Simulator) -> None:
    assert make(simulator, "keyword").verdict(FORBIDDEN) == Verdict(False)


@pytest.mark.parametrize("mode", ["model", "openai"])
@pytest.mark.parametrize("fault", ["unavailable", "throttled", "dropped", "bad_key"])
def test_what_cannot_be_judged_does_not_pass(simulator: Simulator, mode: str, fault: str) -> None:
    simulator.set_fault("gpt-5.4-mini" if mode == "model" else "omni-moderation-latest", fault)
    try:
        verdict = make(simulator, mode).verdict("a red fox")
    finally:
        simulator.clear_faults()
    assert verdict == Verdict(True, UNAVAILABLE)
    error = refusal(verdict)
    assert isinstance(error, ServiceUnavailable) and error.headers["Retry-After"] == "5"


@pytest.mark.parametrize("mode", ["model", "openai"])
def test_without_a_key_nothing_passes(simulator: Simulator, mode: str) -> None:
    assert make(simulator, mode, keys={}).verdict("a red fox").category == UNAVAILABLE


def test_a_blocked_prompt_is_the_callers_to_change() -> None:
    error = refusal(Verdict(True, "sexual"))
    assert isinstance(error, InappropriateContent) and error.details == {"category": "sexual"}


def test_an_unknown_mode_is_a_wrong_setting(simulator: Simulator) -> None:
    with pytest.raises(ConfigurationError, match="keyword, model, openai"):
        make(simulator, "magic")
