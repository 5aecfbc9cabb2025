"""Prompt enhancement: what is asked, what is made of the answer, and what is cached."""

import time
from typing import Any

import pytest

from local.simulator import Simulator
from pixelprompt import providers
from pixelprompt.enhancement import Enhancement, EnhancementCache, enhance_prompt, read_answer, unchanged
from pixelprompt.providers.base import Credentials, Model

BUCKET = "test-bucket"
MODEL = Model("GPT-5.4 mini", "openai", "gpt-5.4-mini")


@pytest.fixture
def credentials(simulator: Simulator) -> Credentials:
    return Credentials("test-key", f"{simulator.url}/openai/v1")


def test_a_short_prompt_becomes_a_long_one_in_one_request(simulator: Simulator, credentials: Credentials) -> None:
    answer = enhance_prompt("red cat", MODEL, credentials).answer()
    assert set(answer) == {"original", "enhanced", "short_prompt", "long_prompt"}
    assert answer["original"] == "red cat"
    assert answer["enhanced"] == answer["long_prompt"]
    assert len(answer["long_prompt"].split()) > 40
    assert len("red cat") < len(answer["short_prompt"]) < len(answer["long_prompt"])
    assert "cat" in answer["long_prompt"]
    (request,) = simulator.requests
    (message,) = request.body["messages"]
    assert "red cat" in message["content"] and "90 to 100 tokens" in message["content"]


@pytest.mark.parametrize(
    ("text", "short", "long"),
    [
        ("Short: A cat.\nLong: A red cat\nin the sun.", "A cat.", "A red cat in the sun."),
        ('short: "A cat."\n\nLONG: “A red cat.”\n', "A cat.", "A red cat."),
        ("A red cat in the sun.", "cat", "A red cat in the sun."),
    ],
)
def test_both_versions_are_read(text: str, short: str, long: str) -> None:
    assert read_answer("cat", text) == Enhancement("cat", short, long)


def test_a_blank_answer_leaves_the_prompt() -> None:
    assert read_answer("cat", "  \n ").answer()["warning"]


@pytest.mark.parametrize("fault", ["throttled", "bad_key", "unavailable", "dropped", "retired", "bad_json"])
def test_a_failing_model_leaves_the_prompt_with_a_warning(
    simulator: Simulator, credentials: Credentials, fault: str
) -> None:
    simulator.set_fault(MODEL.id, fault)
    answer = enhance_prompt("cat", MODEL, credentials).answer()
    assert answer["enhanced"] == "cat"
    assert MODEL.name in answer["warning"]
    assert len(simulator.requests) == 1


def test_a_slow_model_is_not_waited_for(simulator: Simulator, credentials: Credentials) -> None:
    simulator.set_fault(MODEL.id, "slow", seconds=60)
    started = time.monotonic()
    assert enhance_prompt("cat", MODEL, credentials, time_limit=0.5).warning
    assert time.monotonic() - started < 20


def test_an_image_only_model_leaves_the_prompt(monkeypatch: pytest.MonkeyPatch, credentials: Credentials) -> None:
    monkeypatch.delattr(providers.adapter("openai"), "complete")
    assert "PROMPT_MODEL_INDEX" in (enhance_prompt("cat", MODEL, credentials).warning or "")


def test_without_a_model_or_a_key_the_prompt_stays() -> None:
    assert enhance_prompt("cat", None).answer()["warning"]
    assert "OPENAI_API_KEY" in (enhance_prompt("cat", MODEL).warning or "")


class TestCache:
    def test_the_same_prompt_is_paid_for_once(self, s3: Any) -> None:
        made: list[str] = []

        def make() -> Enhancement:
            made.append("once")
            return Enhancement("cat", "A cat.", "A red cat.")

        cache = EnhancementCache(s3, BUCKET)
        assert cache.get("cat", MODEL, make) == EnhancementCache(s3, BUCKET).get("cat", MODEL, make)
        assert made == ["once"]
        cache.get("dog", MODEL, make)
        cache.get("cat", Model("Other", "openai", "other"), make)
        assert len(made) == 3

    def test_a_warning_is_not_kept(self, s3: Any) -> None:
        cache = EnhancementCache(s3, BUCKET)
        assert cache.get("cat", MODEL, lambda: unchanged("cat", "No.")).warning
        assert not cache.get("cat", MODEL, lambda: Enhancement("cat", "A cat.", "A red cat.")).warning

    def test_a_cache_out_of_reach_costs_only_the_saving(self, s3: Any) -> None:
        cache = EnhancementCache(s3, "no-such-bucket")
        assert cache.get("cat", MODEL, lambda: Enhancement("cat", "A cat.", "A red cat.")).long == "A red cat."
