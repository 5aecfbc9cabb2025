"""A hostile server harms its own row only, whatever it returns in whichever field."""

import io
import itertools
import json
import math
import os
import random
import re
import time
from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from local import demo, terminal
from local.cloud import CloudError, Response
from local.report import logs
from pixelprompt import redaction
from pixelprompt.errors import ConfigurationError
from pixelprompt.generation.item import ROW_LIMIT, limited
from pixelprompt.jobs import schema
from pixelprompt.jobs.schema import ResultFields
from pixelprompt.models import catalogue
from pixelprompt.models.cost import UNKNOWN
from pixelprompt.models.model import Credentials, Generated, Image, Model, ProviderError, Waiting
from pixelprompt.models.provider import url_host
from pixelprompt.prompts.enhancement import enhance_prompt
from pixelprompt.providers import response as provider_response
from pixelprompt.storage.documents import DocumentStore
from tests.canned import Answer, Asked, Canned
from tests.conftest import BUCKET
from tests.contract.table import MODELS
from tests.outcomes import outcome
from tests.security.jobs import ENCODED, GOOD, KEY, PNG, Job, row_of, strict

PROVIDERS = sorted(MODELS)
STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202etxt\u2066\u200b\U000e0041\ud800"
HARMFUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def image_with(**fields: Any) -> Answer:
    return Answer(content={"data": [{"b64_json": ENCODED}], **fields})


@pytest.mark.parametrize("cost", ["NaN", "1e999", "-5000", "1e18", "true", '"1"'])
def test_an_impossible_cost_is_unknown(s3: Any, cost: str) -> None:
    body = f'{{"data": [{{"b64_json": "{ENCODED}"}}], "usage": {{"cost": {cost}}}}}'.encode()
    row = row_of(s3, "compatible", Answer(content=body))
    assert (row["status"], row["cost"]["amount"]) == ("completed", None)


def test_a_possible_cost_stays(s3: Any) -> None:
    assert row_of(s3, "compatible", image_with(usage={"cost": 0.04}))["cost"]["amount"] == 0.04


def test_an_impossible_number_is_logged(s3: Any, log: io.StringIO) -> None:
    row_of(s3, "compatible", image_with(usage={"cost": 1e18}))
    (line,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line.get("field") == "cost"]
    assert line["level"] == "WARNING"


@pytest.mark.parametrize("seed", [-1, 2**70, True, 1.5, "7", [7]])
def test_an_impossible_seed_is_unknown(s3: Any, seed: Any) -> None:
    row = row_of(s3, "stability", Answer(content={"image": ENCODED, "seed": seed}))
    assert row["status"] == "completed"
    assert "seed" not in row["images"][0]


@pytest.mark.parametrize("count", [-1, 10**15, True, 1.5])
def test_an_impossible_token_count_is_unknown(s3: Any, count: Any) -> None:
    row = row_of(s3, "openai", image_with(usage={"input_tokens": 10, "output_tokens": count}))
    assert row["status"] == "completed"
    assert set(row.get("usage", {})) <= {"inputTextTokens"}


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -5.0, 1e300])
def test_an_impossible_pause_is_the_usual_one(seconds: float) -> None:
    waiting = provider_response.accept(lambda: Waiting(seconds, "token"), KEY, images=1)
    assert isinstance(waiting, Waiting)
    assert 0 < waiting.seconds < 10

    def throttled() -> Waiting:
        raise ProviderError("rate_limited", retry_after=seconds)

    error = outcome(provider_response.accept, throttled, KEY, images=1)
    assert isinstance(error, ProviderError) and error.retry_after is None


def test_a_request_id_of_megabytes_is_none(s3: Any) -> None:
    assert "requestId" not in row_of(s3, "compatible", image_with(id="x" * 7_000_000))
    assert "requestId" not in row_of(s3, "gemini", Answer(content=gemini(responseId="x" * 7_000_000)))


def gemini(**fields: Any) -> dict[str, Any]:
    part = {"inlineData": {"mimeType": "image/png", "data": ENCODED}}
    return {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], **fields}


@pytest.mark.parametrize("provider", ["openai", "compatible", "recraft"])
@pytest.mark.parametrize("n", [1, 2])
def test_more_images_than_asked_for_are_dropped(s3: Any, log: io.StringIO, provider: str, n: int) -> None:
    answer = Answer(content={"data": [{"b64_json": ENCODED}] * 4000})
    row = row_of(s3, provider, answer, n=n)
    assert len(row["images"]) == n
    stored = s3.list_objects_v2(Bucket=BUCKET, Prefix="images/")["KeyCount"]
    assert stored == n
    assert "more images than it was asked for" in log.getvalue()


def test_not_every_url_of_a_long_list_is_fetched(s3: Any) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            host = f"http://{asked.headers['host']}"
            return Answer(content={"data": [{"url": f"{host}/{n}.png"} for n in range(4000)]})
        return Answer(content=PNG)

    with Canned(answer) as server:
        row = Job(s3, "compatible", server.url, beside=0).run()
        assert len(row["images"]) == 1
        assert len(server.asked) < 5


@pytest.mark.parametrize("url", ["/v1/get_result?id={}", "/{}?id=1"])
def test_a_resume_token_without_end_fails_its_row(s3: Any, url: str) -> None:
    def answer(asked: Asked) -> Answer:
        host = f"http://{asked.headers['host']}"
        return Answer(content={"id": "1", "polling_url": host + url.format("x" * 20_000)})

    row = row_of(s3, "bfl", answer)
    assert (row["status"], row["errorCode"], row["billable"]) == ("error", "unknown_outcome", "unknown")
    assert "token is too long" in row["error"]


def test_a_row_is_limited_and_keeps_its_images() -> None:
    image: schema.Image = {"imageKey": "i" * 200, "binaryKey": "b" * 200}
    row: ResultFields = {"images": [image] * 4, "cost": UNKNOWN, "used": {"size": "x" * 9000}, "applied": {"seed": 1}}
    assert limited(row) == {"images": [image] * 4, "cost": UNKNOWN, "applied": {"seed": 1}}
    applied = {"negativePrompt": "\N{FOX FACE}" * 1000}
    assert len(json.dumps(limited({**row, "applied": applied}))) < ROW_LIMIT


def test_a_long_negative_prompt_costs_a_row_nothing_else(log: io.StringIO) -> None:
    applied = {"negativePrompt": "\N{FOX FACE}" * 1000, "seed": 1}
    row: ResultFields = {
        "images": [],
        "usage": {"outputTextTokens": 1},
        "used": {"size": "1x1"},
        "requestId": "r",
        "applied": applied,
    }
    assert limited(row) == {**row, "applied": {"seed": 1}}
    assert "The row is too large" in log.getvalue()


@pytest.mark.parametrize(
    "large",
    [
        {"applied": {"x": "x" * 9000}},
        {"adjusted": {"x": {"requested": "x" * 9000, "used": "x"}}},
        {"ignored": {"x": "x" * 9000}},
    ],
    ids=lambda large: next(iter(large)),
)
def test_a_receipt_is_dropped_as_a_whole(large: ResultFields) -> None:
    receipt: ResultFields = {"applied": {}, "adjusted": {}, "ignored": {}, **large}
    assert limited({"images": [], **receipt, "missing": {"images": 1}}) == {"images": [], "missing": {"images": 1}}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("text", ["x" * 5_000_000, "\N{FOX FACE} " * 100_000, STEERING * 1000, '"\\' * 100_000])
def test_an_error_message_is_short_and_harmless(s3: Any, provider: str, text: str) -> None:
    row = row_of(s3, provider, Answer(400, {"error": {"message": text, "code": text}, "message": text}))
    assert row["status"] == "error"
    assert len(row["error"]) <= 300
    assert len(json.dumps(row["error"])) <= 1200
    assert not HARMFUL.search(row["error"])


def test_a_revised_prompt_is_limited_and_harmless(s3: Any) -> None:
    body = {"data": [{"b64_json": ENCODED, "revised_prompt": f"a fox{STEERING} " * 100_000}]}
    row = row_of(s3, "openai", Answer(content=body))
    record = strict(s3.get_object(Bucket=BUCKET, Key=row["imageKey"])["Body"].read())
    assert record["revisedPrompt"].startswith("a fox")
    assert len(record["revisedPrompt"]) <= provider_response.MAX_REVISED_PROMPT
    assert not HARMFUL.search(record["revisedPrompt"])


def test_an_enhanced_prompt_is_limited_and_harmless() -> None:
    words = f"Short: a fox{STEERING}\nLong: " + f"a red fox{STEERING} {KEY}" * 10_000
    model = Model("Text", "openai", "text")
    with Canned(Answer(content={"choices": [{"message": {"content": words}}]})) as server:
        enhanced = enhance_prompt("a fox", model, Credentials(KEY, server.url))
    assert enhanced.warning is None
    assert enhanced.short.startswith("a fox")
    assert len(enhanced.long) <= provider_response.MAX_ANSWER
    assert not HARMFUL.search(enhanced.short + enhanced.long)
    assert KEY not in enhanced.long


def test_what_is_legitimate_stays_visible() -> None:
    text = "Ein Fuchs,\nein\tFuchs 👩‍🚀 می‌خواهم 狐 café"
    assert redaction.visible(text) == text
    assert redaction.visible("a\u2028b\r\nc", lines=False) == "a b c"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_document_is_never_written_with_what_json_lacks(s3: Any, value: float) -> None:
    store = DocumentStore(s3, BUCKET)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write("a.json", {"cost": value})
    s3.put_object(Bucket=BUCKET, Key="b.json", Body=json.dumps({"cost": value}))
    found = store.read("b.json")
    assert found is not None
    assert found.value == {"cost": None}


def test_nothing_of_a_job_or_a_log_steers_a_terminal() -> None:
    hostile = {STEERING: [f"a fox{STEERING}", 1, None]}
    assert not HARMFUL.search(json.dumps(terminal.safe(hostile), ensure_ascii=False))
    assert not HARMFUL.search(terminal.shown(f"a fox{STEERING}", "utf-8"))
    body = json.dumps({"message": STEERING}).encode()
    rejecting: Any = SimpleNamespace(request=lambda *_: Response(400, {}, body))
    with pytest.raises(CloudError) as rejected:
        demo.submit(rejecting, "a fox")
    assert not HARMFUL.search(str(rejected.value))
    _, line = logs.readable("generate", 0.0, json.dumps({"message": f"a fox{STEERING}", "model": STEERING}))
    assert not HARMFUL.search(line)


# --- any JSON value in any field --------------------------------------------------------------------------------------

TEMPLATES: dict[str, Any] = {
    "openai": {
        "created": 1, "size": "1024x1024", "quality": "low", "output_format": "png",
        "data": [{"b64_json": ENCODED, "revised_prompt": "a fox"}],
        "usage": {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"image_tokens": 2}},
    },
    "gemini": gemini(
        responseId="r-1",
        usageMetadata={"promptTokenCount": 1, "candidatesTokenCount": 2,
                       "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}]},
        promptFeedback={"safetyRatings": []},
    ),
    "bedrock": {"images": [ENCODED], "seeds": [1], "finish_reasons": [None]},
    "stability": {"image": ENCODED, "seed": 1, "finish_reason": "SUCCESS"},
    "bfl": {"id": "1", "polling_url": "/v1/get_result?id=1", "cost": 4, "status": "Ready",
            "result": {"sample": "/image.png", "prompt": "a fox", "seed": 1}},
    "recraft": {"data": [{"b64_json": ENCODED}], "credits": 40},
    "compatible": {"id": "1", "data": [{"b64_json": ENCODED, "revised_prompt": "a fox"}], "seed": 1,
                   "usage": {"cost": 0.1, "cost_in_usd_ticks": 1, "input_tokens": 1}},
}  # fmt: skip
ERRORS: list[Any] = [
    {"error": {"message": "no", "type": "x", "code": "y", "details": [{"retryDelay": "3s", "violations": [{}]}]}},
    {"detail": [{"loc": ["body", "n"], "msg": "bad"}], "errors": {"n": ["bad"]}, "message": "no", "name": "x"},
]
# Written as 1e999, which Python cannot.
HUGE = "huge-number"
NASTY: list[Any] = [
    None, True, False, 0, -1, -5000, 2**63, 2**200, -(2**64), 1e300, math.nan, math.inf, -math.inf, HUGE, 0.1,
    "", "x", "NaN", "x" * 300_000, "\N{FOX FACE}" * 3000, STEERING * 50, KEY, f"Authorization: Bearer {KEY}",
    '"' * 2000, "\\" * 2000, "\x00", "../../../etc/passwd", "data:image/png;base64,AAAA", "http://[", "http://127.0.0.1:1/",
    "9" * 5000, [], {}, [[[[[]]]]], [None] * 5000, {"": {"": {}}}, ENCODED, [ENCODED] * 50,
]  # fmt: skip


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a JSON value, its own first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(place for name, item in inner for place in paths(item, (*before, name)))]


def mutated(value: Any, chance: random.Random) -> Any:
    """A JSON value with a nasty one in one to three of its places."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 3)):
        place = chance.choice(paths(value))
        nasty = chance.choice(NASTY)
        if not place:
            # Seldom, or the server would say little else.
            value = nasty if chance.random() < 0.2 else value
            continue
        inner = value
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = nasty
    return value


def hostile_answer(provider: str, chance: random.Random) -> Answer:
    status = chance.choice([200] * 6 + [201, 400, 401, 402, 403, 404, 429, 500, 503])
    body = mutated(TEMPLATES[provider] if status < 300 else chance.choice(ERRORS), chance)
    text = json.dumps(body).replace(f'"{HUGE}"', "1e999")
    request_id = chance.choice(["r-1", "x" * 5000, KEY, f"Bearer {KEY[:14]}", "\x1b[2J"])
    pause = chance.choice(["1", "nan", "1e999", "-5", "x" * 500, "99999999999999999999"])
    return Answer(
        status,
        text.encode(),
        {
            "x-request-id": request_id,
            "x-recraft-requestid": request_id,
            "x-amzn-requestid": request_id,
            "Retry-After": pause,
        },
    )


def attack(s3: Any, provider: str, seed: int, *, beside: int = 8) -> str:
    """Run a job with a hostile server, and as many good models beside; the status of its row."""
    chance = random.Random(f"{provider} {seed}")

    def answer(asked: Asked) -> Answer:
        return Answer(content=PNG) if asked.path.endswith(".png") else hostile_answer(provider, chance)

    with Canned(answer) as server, Canned(GOOD) as good:
        n = chance.choice([1, 4]) if provider in ("openai", "compatible", "recraft") else 1
        job = Job(s3, provider, server.url, good.url, beside=beside, n=n)
        row = job.run()
        for place in range(1, len(job.names)):
            job.run(place)
    document = job.document()
    assert [r["status"] for r in document["results"][1:]] == ["completed"] * beside
    text = json.dumps(row, ensure_ascii=False)
    assert row["status"] in ("completed", "error")
    assert len(json.dumps(row)) < 2 * ROW_LIMIT
    assert len(row.get("images", [])) <= n
    assert not HARMFUL.search(text)
    assert not any(KEY[i : i + redaction.KEY_PART] in text for i in range(len(KEY) - redaction.KEY_PART + 1)), text
    amount = row.get("cost", {}).get("amount")
    assert amount is None or 0 <= amount <= n * provider_response.MAX_COST
    for image in row.get("images", []):
        strict(s3.get_object(Bucket=BUCKET, Key=image["imageKey"])["Body"].read())
    return str(row["status"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_value_in_any_field_harms_its_own_row_only(s3: Any, provider: str) -> None:
    # Eight good models beside take most of the time of a job, and two see as much of the hostile one.
    for seed in range(16):
        attack(s3, provider, seed, beside=2 if seed else 8)


@pytest.mark.skipif("FUZZ_SECONDS" not in os.environ, reason="takes as long as FUZZ_SECONDS says")
def test_for_as_long_as_asked(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    until, told, seed = time.monotonic() + float(os.environ["FUZZ_SECONDS"]), 0.0, random.randrange(10**9)
    counts: Counter[str] = Counter()
    for provider in itertools.cycle(PROVIDERS):
        if time.monotonic() > until:
            break
        seed += 1
        try:
            counts[f"{provider} {attack(s3, provider, seed)}"] += 1
        except BaseException:
            print(f"attack(s3, {provider!r}, {seed}) has failed")
            raise
        if time.monotonic() - told > 10:
            told = time.monotonic()
            with capsys.disabled():
                print(f"{counts.total()} hostile jobs so far, {until - told:.0f} s left", flush=True)
    with capsys.disabled():
        ended = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        print(f"{counts.total()} hostile jobs, all rows beside them completed: {ended}")


def test_no_adapter_result_passes_without_limits() -> None:
    image = Image(PNG, "image/png", 8, 4, seed=-1, revised_prompt=STEERING)
    found = provider_response.accept(
        lambda: Generated((image,) * 3, STEERING, {"x": True}, math.nan, {"size": "x" * 999}),
        KEY,
        images=1,
    )
    assert isinstance(found, Generated)
    assert (len(found.images), found.request_id, found.usage, found.cost) == (1, None, None, None)
    assert found.used == {"size": "x" * redaction.MAX_FACT}
    assert found.images[0].seed is None


HOSTILE = [
    "http://", "http://" + "-" * 253, "https://a/", "a@", "a@b.", "a.b@c.d.e.", "arn:a:", "org-", "project 1",
    "team a ",
    "in organization a b ", "account: ", "account ", "Organization Acme ", "sk-", "key-", "Bearer ", "x-api-key: ",
    "***",
    "a***", "* ", "a…", "..", "-.", "[a] ", "<a>", "last ", "ends with ", "%2D", "\u200d", "1234-", "1", "a", "_", "A1",
    "A" * 33 + " ", "\\xaa", "aa ", "data:image/", "\x1b[", "\x1b]", "\x9b0", "\n", "http://a?a=a&", "http://a/org/",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_keeps_the_processor_busy(text: str) -> None:
    for filled in (text * 10_000, f"a{text}" * 10_000, f"{text} " * 10_000, ("http://a/" + text) * 2000):
        message, answer = filled[:4000], filled[:10_000]
        began = time.process_time()
        redaction.scrub(message, KEY)
        ProviderError("invalid_request", message).hide(KEY)
        redaction.visible(answer)
        provider_response.accept_answer(partial(str, answer), KEY)
        # Each takes less than 0.1 s; a pattern of quadratic time takes more than a second.
        assert time.process_time() - began < 0.8


def test_an_overlay_nested_too_deeply_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    entry = {"name": "X", "provider": "openai", "id": "x", "parameters": nested}
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        catalogue.parse({"models": [entry], "textModels": []})


@pytest.mark.parametrize("host", ["ex\u017fample.com", "\u212aey.example"])
def test_letters_that_only_fold_to_ascii_are_not_of_a_host(host: str) -> None:
    assert url_host(f"https://{host}/") is None
