"""Prompt enhancement: what is asked, what is made of the answer, what is cached, and how often it may be asked."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import enhance
from local.simulator import Simulator
from pixelprompt import providers
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.models.model import Credentials, Model
from pixelprompt.prompts.enhancement import Enhancement, EnhancementCache, enhance_prompt, read_answer, unchanged
from pixelprompt.storage import clients
from pixelprompt.storage.keys import ENHANCE_LIMIT_KEY, RATE_LIMIT_KEY
from tests import built

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
    instruction, message = request.body["messages"]
    assert instruction["role"] == "system" and "90 to 100 tokens" in instruction["content"]
    assert message == {"role": "user", "content": "<prompt>red cat</prompt>"}


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


class TestLimits:
    """The entry point under limits of two requests for an address and three in all."""

    @pytest.fixture(autouse=True)
    def _deployment(
        self, s3: Any, simulator: Simulator, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        clients.client("secretsmanager").create_secret(Name="keys", SecretString='{"OPENAI_API_KEY": "k"}')
        for name, value in {
            "BUCKET_NAME": BUCKET,
            "PROVIDER_SECRET": "keys",
            "PROVIDER_ENDPOINTS": json.dumps({"openai": credentials.base_url}),
            "ENHANCE_LIMIT": "3",
            "ENHANCE_IP_LIMIT": "2",
            "IP_INCLUDE": "203.0.113.0/24",
        }.items():
            monkeypatch.setenv(name, value)
        built.forget()
        yield
        built.forget()

    def post(self, prompt: str = "a cat", address: str = "198.51.100.1", **body: Any) -> tuple[int, Any, Any]:
        """Status, headers and body of the answer."""
        event = {
            "rawPath": "/enhance",
            "requestContext": {"http": {"method": "POST", "sourceIp": address}},
            "body": json.dumps({"prompt": prompt, **body}),
        }
        answer = enhance.handler(event, type("Context", (), {"function_name": "enhance"})())
        return answer["statusCode"], answer["headers"], json.loads(answer["body"])

    def counted(self, s3: Any) -> int:
        """How many requests lie in the windows."""
        return len(json.loads(s3.get_object(Bucket=BUCKET, Key=ENHANCE_LIMIT_KEY)["Body"].read())["global_requests"])

    def test_over_the_limit_of_an_address_nothing_is_asked_or_recorded(self, s3: Any, simulator: Simulator) -> None:
        assert [self.post(prompt)[0] for prompt in ("a cat", "a dog")] == [200, 200]
        assert len(simulator.requests) == 2
        status, headers, body = self.post("a heron")
        assert (status, body["error"], body["scope"]) == (429, "RATE_LIMIT_EXCEEDED", "ip")
        assert int(headers["Retry-After"]) == body["retryAfter"] > 80_000
        assert len(simulator.requests) == self.counted(s3) == 2
        assert self.post(address="198.51.100.2")[0] == 200

    def test_over_the_limit_of_all_every_address_is_refused(self) -> None:
        assert [self.post(address=f"198.51.100.{last}")[0] for last in (1, 2, 3)] == [200] * 3
        status, _, body = self.post(address="198.51.100.4")
        assert (status, body["scope"]) == (429, "global")
        assert 3_000 < body["retryAfter"] <= 3_600

    def test_an_answer_from_the_cache_counts(self, simulator: Simulator) -> None:
        assert [self.post()[0] for _ in range(3)] == [200, 200, 429]
        assert len(simulator.requests) == 1

    def test_the_limits_come_before_moderation_and_after_the_prompt(
        self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODERATION", "model")
        assert [self.post(prompt)[2]["error"] for prompt in ("", "x" * 501)] == ["PROMPT_REQUIRED", "PROMPT_TOO_LONG"]
        # What the word list blocks is not counted.
        assert [self.post("a naked woman")[2]["error"] for _ in range(3)] == ["INAPPROPRIATE_CONTENT"] * 3
        assert simulator.requests == []
        assert [self.post()[0] for _ in range(3)] == [200, 200, 429]
        simulator.clear_requests()
        assert self.post("a naked woman")[2]["error"] == "RATE_LIMIT_EXCEEDED"
        assert simulator.requests == []

    def test_the_allow_list_passes_uncounted(self, s3: Any) -> None:
        assert [self.post(address="203.0.113.9")[0] for _ in range(5)] == [200] * 5
        assert s3.list_objects_v2(Bucket=BUCKET, Prefix="rate-limit/")["KeyCount"] == 0

    def test_the_address_in_the_body_counts_only_where_it_is_trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert [self.post(ip=f"192.0.2.{last}")[0] for last in (1, 2, 3)] == [200, 200, 429]
        monkeypatch.setenv("TRUST_BODY_IP", "true")
        monkeypatch.setenv("ENHANCE_LIMIT", "100")
        built.forget()
        assert [self.post(ip=f"192.0.2.{last}")[0] for last in (1, 1, 1, 2)] == [200, 200, 429, 200]
        assert self.post(ip="nonsense")[2]["parameter"] == "ip"

    def test_the_limits_of_jobs_are_others(self, s3: Any) -> None:
        assert [self.post()[0] for _ in range(3)] == [200, 200, 429]
        assert not RateLimiter(s3, BUCKET, 1, 1).check("198.51.100.1").limited
        before = s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)["ETag"]
        assert self.post(address="198.51.100.2")[0] == 200
        assert s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)["ETag"] == before
