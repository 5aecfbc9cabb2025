"""The model-based filter, asked over sockets."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from local.simulator import Simulator
from pixelprompt import services
from pixelprompt.deadline import Deadline
from pixelprompt.errors import ConfigurationError, InappropriateContent, ServiceUnavailable
from pixelprompt.models import overlay
from pixelprompt.models.provider import KeyHosts
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.moderation.classifier import MODES, content_filter, refusal, yes_no_classifier
from pixelprompt.prompts.moderation.filter import MODEL_CATEGORY, UNAVAILABLE, ContentFilter, Verdict
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.storage import clients

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


def make_for(simulator: Simulator, model: str, keys: dict[str, str] | None = None) -> ContentFilter:
    """A filter that asks this text model."""
    secrets = Secrets({"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k"} if keys is None else keys)
    endpoints = {"openai": f"{simulator.url}/openai/v1", "gemini": f"{simulator.url}/gemini"}
    registry = ModelRegistry.load(prompt_model=model)
    return content_filter("model", lambda: registry, ProviderKeys(secrets, "keys", endpoints), Deadline())


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


@pytest.mark.parametrize("provider", ["openai", "gemini"])
@pytest.mark.parametrize("fault", ["refused", "refused_output", "refused_legal"])
def test_who_refuses_to_judge_a_prompt_has_judged_it(simulator: Simulator, provider: str, fault: str) -> None:
    model = {"openai": "gpt-5.4-mini", "gemini": "gemini-3.5-flash"}[provider]
    simulator.set_fault(model, fault)
    verdict = make_for(simulator, model).verdict("a red fox")
    assert verdict == Verdict(True, MODEL_CATEGORY)
    assert isinstance(refusal(verdict), InappropriateContent)


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        ("I'm sorry, but I can't help with that.", MODEL_CATEGORY),
        ("I’m sorry, I cannot assist with this request.", MODEL_CATEGORY),
        ("Sorry, no.", MODEL_CATEGORY),
        ("I can't judge that.", MODEL_CATEGORY),
        ("I am unable to process this.", MODEL_CATEGORY),
        ("Yes.", MODEL_CATEGORY),
        ("No, I can't see anything wrong.", UNAVAILABLE),
        ("It depends.", UNAVAILABLE),
        ("", UNAVAILABLE),
    ],
)
def test_a_refusal_in_words_is_a_judgement_too(answer: str, category: str | None) -> None:
    judge = ContentFilter(classifier=yes_no_classifier(lambda *question: answer))
    assert judge.verdict("a red fox").category == category


def test_the_text_model_that_the_operator_chose_judges(simulator: Simulator) -> None:
    """With a key for Gemini only, the first text model could not be asked."""
    judge = make_for(simulator, "gemini-3.5-flash", {"GEMINI_API_KEY": "k"})
    simulator.clear_requests()
    assert judge.verdict("a red fox") == Verdict(False)
    assert judge.verdict(FORBIDDEN) == Verdict(True, MODEL_CATEGORY)
    assert {request.provider for request in simulator.requests} == {"gemini"}


@pytest.mark.parametrize("function", ["submit", "enhance"])
def test_both_functions_ask_the_model_that_the_setting_names(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[Any] = []

    def live_registry(*_: Any, prompt_model: str, key_hosts: Any) -> Any:
        named.extend([prompt_model, key_hosts])
        return SimpleNamespace(key_hosts=KeyHosts(key_hosts))

    monkeypatch.setattr(overlay, "LiveRegistry", live_registry)
    monkeypatch.setenv("KEY_HOSTS", '{"MY_KEY": ["my.example"]}')
    monkeypatch.setattr(clients, "request_client", lambda *_: None)
    for name in ("BUCKET_NAME", "PROVIDER_SECRET", "STATE_MACHINE_ARN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PROMPT_MODEL_INDEX", "Gemini 3.5 Flash")
    (services.submission if function == "submit" else services.enhancer)()
    assert named == ["Gemini 3.5 Flash", {"MY_KEY": ["my.example"]}]


@pytest.mark.parametrize("mode", ["model", "openai"])
def test_without_a_key_nothing_passes(simulator: Simulator, mode: str) -> None:
    assert make(simulator, mode, keys={}).verdict("a red fox").category == UNAVAILABLE


def test_a_blocked_prompt_is_the_callers_to_change() -> None:
    error = refusal(Verdict(True, "sexual"))
    assert isinstance(error, InappropriateContent) and error.details == {"category": "sexual"}


def test_an_unknown_mode_is_a_wrong_setting(simulator: Simulator) -> None:
    with pytest.raises(ConfigurationError, match="keyword, model, openai"):
        make(simulator, "magic")
