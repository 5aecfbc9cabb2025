"""The rules at their bounds: rows, windows, keys, sizes, costs, settings, and what storage does with a failure."""

import gc
import io
import json
import random
import threading
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from PIL import Image as Picture

from pixelprompt import cold_start
from pixelprompt.deadline import interrupted_after
from pixelprompt.errors import (
    ConfigurationError,
    InvalidParameter,
    PermissionDenied,
    RateLimitExceeded,
    StorageError,
)
from pixelprompt.generation.invocation import Calls
from pixelprompt.generation.item import ROW_LIMIT, Item, limited
from pixelprompt.generation.run import backoff
from pixelprompt.jobs import document as rules
from pixelprompt.jobs.progress import Progress
from pixelprompt.jobs.request import read_models
from pixelprompt.limits import limiter, rate_limit
from pixelprompt.limits.limiter import DAY, HOUR, Decision
from pixelprompt.models import cost, sizes
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import Receipt, as_made, receipt, seed_of_call
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.settings import Settings
from pixelprompt.storage import keys
from pixelprompt.storage.documents import Document, DocumentStore, is_transient, iso, widest_pause
from pixelprompt.storage.image_format import ImageFormat, image_format

BUCKET = "test-bucket"
JOB = "3f2b8c1e-1234-4234-8234-123456789012"
START, END = "2026-11-28T09:30:00.000Z", "2026-11-28T09:30:01.237Z"
COST = {"amount": 0.04, "currency": "USD", "basis": "computed"}


def row(status: str, **fields: Any) -> Any:
    return {"index": 0, "model": "M", "provider": "openai", "status": status, **fields}


def error(code: str, status: int = 400) -> ClientError:
    metadata = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "GetObject")


# --- rows -------------------------------------------------------------------------------------------------------------


def test_seconds_are_rounded_and_never_negative() -> None:
    assert rules.seconds_between(START, END) == 1.24
    assert rules.seconds_between(END, START) == 0.0


def test_writers_are_reckoned_from_lost_races() -> None:
    job: Any = {"results": [row("pending")] * 9 + [row("completed")] * 3}
    assert [rules.closing_rows(job, losses) for losses in range(3)] == [1, 8, 9]
    assert rules.starting_rows(job, 1) == 18


def test_a_start_of_a_cancelled_row_says_that_it_may_have_been_billed() -> None:
    cancelled = row("cancelled", billable="no")
    assert rules.start_row(cancelled, START)
    assert cancelled == row("cancelled", billable="unknown", cost=cost.UNKNOWN)
    assert not rules.start_row(cancelled, START)


@pytest.mark.parametrize(
    ("before", "billable", "has_cost"),
    [
        (row("pending"), "no", False),
        (row("in_progress", startedAt=START), "unknown", True),
        (row("in_progress", startedAt=START, images=[{"imageKey": "k"}]), "yes", True),
    ],
)
def test_a_cancelled_row_says_what_it_may_have_cost(before: Any, billable: str, has_cost: bool) -> None:
    assert rules.cancel_row(before, END)
    assert (before["status"], before["billable"], before["completedAt"]) == ("cancelled", billable, END)
    assert before.get("cost") == (cost.UNKNOWN if has_cost else None)
    assert before.get("duration") == (1.24 if has_cost else None)
    assert not rules.cancel_row(before, END)


@pytest.mark.parametrize(("billable", "expected"), [("no", None), ("unknown", cost.UNKNOWN), ("yes", cost.UNKNOWN)])
def test_a_failed_row_has_a_cost_where_it_may_be_billed(billable: str, expected: Any) -> None:
    failed = row("pending")
    assert rules.fail_row(failed, {"error": "Broken.", "billable": billable, "requestId": None}, END)
    assert (failed["status"], failed.get("cost"), "requestId" in failed) == ("error", expected, False)


def test_a_completed_row_forgets_its_error() -> None:
    late = row("error", error="Broken.", errorCode="internal", retryable=True, billable="unknown")
    assert rules.complete_row(late, {"imageKey": "k"}, END)
    assert late == row("completed", imageKey="k", billable="yes", cost=cost.UNKNOWN, completedAt=END)


def test_a_row_that_runs_again_keeps_what_it_has_cost() -> None:
    again = row("error", error="Broken.", cost=COST, earlierCosts=[COST], duration=1.0, run=1, images=[])
    assert rules.reopen_row(again)
    assert again == row("pending", earlierCosts=[COST, COST], images=[])
    assert not rules.reopen_row(again)
    assert rules.row_costs(row("completed", cost=COST, earlierCosts=[COST])) == [COST, COST]


def test_images_are_only_added_to_an_open_row_that_has_fewer() -> None:
    one, two = ({"imageKey": "k", "images": [{"imageKey": "k"}] * number} for number in (1, 2))
    shown = row("in_progress", images=one["images"])
    assert not rules.add_images(shown, one) and rules.add_images(shown, two)  # type: ignore[arg-type]
    assert len(shown["images"]) == 2
    assert not rules.add_images(row("completed"), one)  # type: ignore[arg-type]


def test_an_earlier_run_closes_rows_only_with_images() -> None:
    rows = [row("pending"), {**row("pending"), "index": 1}]
    outcomes = {0: {"state": "failed", "row": {"error": "Broken."}}, 1: {"state": "done", "row": {"imageKey": "k"}}}
    assert rules.keep_images(rows, outcomes, END)
    assert [each["status"] for each in rows] == ["pending", "completed"]
    assert not rules.keep_images(rows, outcomes, END)


def test_numbers_have_their_noun() -> None:
    assert [rules.counted(number, "model") for number in (0, 1, 2)] == ["0 models", "1 model", "2 models"]


def test_optional_fields_leave_a_row_that_is_too_large_until_it_fits(log: Any) -> None:
    small: Any = row("completed", used={"a": 1})
    assert limited(small) is small and not log.getvalue()
    long = "x" * ROW_LIMIT
    assert limited({**small, "requestId": "r", "used": {"a": long}}) == row("completed", requestId="r")
    assert json.loads(log.getvalue().splitlines()[-1])["dropped"] == ["used"]
    shortened = limited({**small, "applied": {"negativePrompt": long, "seed": 7}})
    assert shortened == {**small, "applied": {"seed": 7}}
    everything: Any = {
        **small,
        "usage": {"n": 1},
        "requestId": "r",
        "applied": {"a": long},
        "ignored": {},
        "imageKey": "k",
    }
    assert limited(everything) == row("completed", imageKey="k")


@pytest.mark.parametrize(("wanted", "adjusted"), [("jpeg", None), ("png", {"requested": "png", "used": "jpeg"})])
def test_a_row_tells_the_format_of_its_image(wanted: str, adjusted: Any) -> None:
    image: Any = {"imageKey": "group-images/x.json", "binaryKey": "images/x.jpg", "width": 64, "height": 64}
    calls = Calls(Item(JOB, 0, "M", 1, "a red fox", START, {}), Progress(images={0: [image]}))
    made = calls.row(None, Receipt(applied={"outputFormat": wanted}))
    assert made.get("adjusted", {}).get("outputFormat") == adjusted
    assert (made["imageKey"], made["cost"], "missing" in made) == (image["imageKey"], cost.UNKNOWN, False)


def test_a_pause_is_at_least_a_second() -> None:
    item = Item(JOB, 2, "M", 3, "a red fox", START, {})
    assert item.wait(0.2, None, 9.87654) == {
        "state": "wait", "index": 2, "model": "M", "waitSeconds": 1.0, "attempt": 4, "resume": None, "deadline": 9.877,
        "receipt": None,
    }  # fmt: skip
    assert item.wait(2.345, "r", 1.0)["waitSeconds"] in (2.3, 2.4)


def test_backoff_doubles_up_to_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: set[tuple[float, float]] = set()

    def highest(low: float, high: float) -> float:
        bounds.add((low, high))
        return high

    monkeypatch.setattr(random, "uniform", highest)
    assert [backoff(attempt) for attempt in (1, 2, 3, 4, 5, 60)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert bounds == {(0.5, 1.0)}


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_request_leaves_its_window_at_its_end() -> None:
    now = 10 * DAY
    times = {
        "global_requests": [now - HOUR, now - HOUR + 1],
        "ip_requests": {"a": [now - DAY, now - DAY + 1], "b": [1.0]},
    }
    assert rate_limit.prune(times, now) == {
        "global_requests": [now - HOUR + 1], "ip_requests": {"a": [now - DAY + 1]},
    }  # fmt: skip
    assert rate_limit.latest(times, 5.0) == now - HOUR + 1
    assert rate_limit.latest({}, 5.0) == 5.0


def test_the_longer_of_two_waits_is_said() -> None:
    everyone, own = [100.0, 300.0, 200.0], [50.0, 100.0]
    ip = partial(limiter.OwnWindow, "192.0.2.1", "ip", length=DAY)
    key = limiter.OwnWindow("key/ada", "key", 2, HOUR)
    assert limiter.decide(everyone, own, 1000.0, 4, ip(limit=3)) == limiter.PASS
    assert limiter.decide(everyone, own, 1000.0, 2, ip(limit=3)) == Decision(True, "global", 200 + HOUR - 1000)
    assert limiter.decide(everyone, own, 1000.0, 2, ip(limit=2)) == Decision(True, "ip", 50 + DAY - 1000)
    assert limiter.decide(everyone, own, 1000.0, 4, key) == Decision(True, "key", 50 + HOUR - 1000)
    assert limiter.decide(everyone, [], 1000.0, 9, ip(limit=0)) == Decision(True, "ip", DAY)


def test_writers_of_a_window_double_to_a_bound() -> None:
    assert [rate_limit.contenders(losses) for losses in (0, 1, 2, 6, 7)] == [2, 4, 8, 128, 128]


@pytest.mark.parametrize(
    ("decision", "sentence", "seconds"),
    [
        (Decision(True, "global", 12.1), "This deployment reached its hourly request limit. Try again in 13 s.", 13),
        (Decision(True, "ip", 0.0), "Your IP address reached its daily request limit. Try again in 1 s.", 1),
        (Decision(True, "busy", 2.0), "Too many concurrent requests. Try again in 2 s.", 2),
    ],
)
def test_a_refusal_says_when_to_come_again(decision: Decision, sentence: str, seconds: int) -> None:
    limiter.refuse_limited(limiter.PASS)
    with pytest.raises(RateLimitExceeded) as caught:
        limiter.refuse_limited(decision)
    assert str(caught.value) == sentence
    assert caught.value.headers == {"Retry-After": str(seconds)}


# --- storage ----------------------------------------------------------------------------------------------------------


def test_keys_lead_back_to_what_they_were_made_of() -> None:
    name = keys.stem_in_job(JOB, START, "Painter")
    assert name == "2026-11-28-09-30-00-3f2b8c1e/Painter-1795858200000"
    second = f"{name}-2"
    assert keys.stem("2026-11-28-09-30-00-3f2b8c1e", "Painter", 1795858200000, 1) == second
    assert [keys.number_of(name, {"imageKey": keys.record_key(each), "binaryKey": ""}) for each in (name, second)] == [
        0,
        1,
    ]
    assert keys.model_of(keys.image_key(second, "png")) == "Painter"
    listed = keys.index_key(1795858200000, keys.image_key(name, "png"))
    assert listed == f"gallery-index/8204141799999-{name}.png"
    folder = listed.removeprefix(keys.INDEX).partition("/")[0]
    assert keys.of_index_folder(folder) == (1795858200000, "2026-11-28-09-30-00-3f2b8c1e")
    assert [keys.resume_key("j", 3, run) for run in (1, 2)] == ["jobs/j/resume/3.json", "jobs/j/resume/3-r2.json"]
    assert keys.job_of_folder("jobs/j/") == "j"


def test_pauses_follow_round_trips_and_contenders() -> None:
    assert [widest_pause(0.1, number) for number in (0, 1, 3, 1000)] == [0.1, 0.1, pytest.approx(0.3), 10.0]
    assert widest_pause(5.0, 2) == 0.5


@pytest.mark.parametrize(
    ("cause", "transient"),
    [
        (error("InternalError", 500), True), (error("Other", 429), True), (error("SlowDown", 400), True),
        (error("AccessDenied", 403), False), (error("Other", 499), False),
        (EndpointConnectionError(endpoint_url="https://s3"), True), (NoCredentialsError(), False),
    ],
)  # fmt: skip
def test_some_failures_of_s3_pass(cause: Exception, transient: bool) -> None:
    failure = StorageError("Failed.")
    failure.__cause__ = cause
    assert is_transient(failure) is transient


class FailingS3:
    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def get_object(self, **_: Any) -> Any:
        raise self.failure


def test_a_read_says_what_s3_said() -> None:
    with pytest.raises(PermissionDenied, match=r"S3 refused GetObject on a/b.json"):
        DocumentStore(FailingS3(error("AccessDenied", 403)), BUCKET).read("a/b.json")
    with pytest.raises(StorageError, match=r"S3 returned InternalError to GetObject on a/b.json"):
        DocumentStore(FailingS3(error("InternalError", 500)), BUCKET).read("a/b.json")
    with pytest.raises(StorageError, match="NoCredentialsError"):
        DocumentStore(FailingS3(NoCredentialsError()), BUCKET).read("a/b.json")
    assert DocumentStore(FailingS3(error("NoSuchKey", 404)), BUCKET).read("a/b.json") is None


@pytest.mark.parametrize("body", ["[1]", "{", "null", "[" * 100_000])
def test_what_is_not_a_json_object_is_not_a_document(s3: Any, body: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.json", Body=body)
    with pytest.raises(StorageError, match=r"`a.json` in the bucket is not a JSON object"):
        DocumentStore(s3, BUCKET).read("a.json")


def test_a_document_is_created_and_replaced_once(s3: Any) -> None:
    documents = DocumentStore(s3, BUCKET)
    assert documents.create("a.json", {"n": 1}) and not documents.create("a.json", {"n": 2})
    read = documents.read("a.json")
    assert isinstance(read, Document) and read.value == {"n": 1}
    assert documents.replace("a.json", {"n": 3}, read.etag) and not documents.replace("a.json", {"n": 4}, read.etag)
    s3.put_object(Bucket=BUCKET, Key="a.json", Body='{"n": NaN, "m": "é"}')
    spoiled = documents.read("a.json")
    assert spoiled is not None and spoiled.value == {"n": None, "m": "é"}


def test_moments_are_written_in_utc() -> None:
    assert iso(datetime(2026, 11, 28, 9, 30, 0, 5678, tzinfo=UTC)) == "2026-11-28T09:30:00.005Z"


# --- models -----------------------------------------------------------------------------------------------------------


def test_costs_are_added_where_both_are_known() -> None:
    more: Any = {**COST, "amount": 0.01}
    assert cost.added(COST, None) == COST  # type: ignore[arg-type]
    assert cost.added(COST, more)["amount"] == 0.05
    assert cost.added(COST, cost.UNKNOWN) == cost.UNKNOWN == cost.added(cost.UNKNOWN, more)
    assert cost.total([more, cost.UNKNOWN, more]) == {"amount": 0.02, "currency": "USD", "known": 2, "unknown": 1}
    assert cost.total([]) == {"amount": None, "currency": "USD", "known": 0, "unknown": 0}
    assert cost.reported(1e-9)["amount"] == 1e-9
    assert cost.reported(0.12345678)["amount"] == 0.123457


def test_tokens_of_an_image_follow_from_its_size() -> None:
    assert cost.image_tokens(48, 1024, 1024) == 1756
    assert cost.image_tokens(48, 1536, 1024) == cost.image_tokens(48, 1024, 1536) == 1372


def test_tokens_are_priced_only_where_every_kind_has_a_price() -> None:
    model = Model("M", "openai", "m", price={"unit": "token", "outputImage": 0.00003, "inputText": 0.000005})
    usage = {"inputTextTokens": 100, "outputImageTokens": 1000, "inputImageTokens": 0}
    assert cost.computed(model, 1, {}, usage)["amount"] == 0.0305
    for lacking in (None, {}, {"inputTextTokens": 100}, {**usage, "outputTextTokens": 1}):
        assert cost.computed(model, 1, {}, lacking) == cost.UNKNOWN


def test_prices_by_resolution_and_quality() -> None:
    price = {"unit": "image", "amount": 0.04, "byQuality": {"low": 0.01}, "byResolution": {"2K": 0.08}}
    model = Model("M", "openai", "m", price=price)
    for used, amount in (
        ({}, 0.04), ({"n": 3}, 0.12), ({"resolution": "2K"}, 0.08), ({"quality": "low"}, 0.01),
        ({"quality": "high"}, None), ({"quality": "auto"}, 0.04), ({"resolution": "1K"}, 0.04),
    ):  # fmt: skip
        assert cost.estimate(model, used)["amount"] == amount
    assert cost.estimate(None, {}) == cost.UNKNOWN


def test_sizes_keep_within_their_limits() -> None:
    limits = sizes.PixelLimits(multiple_of=16, shortest=256, longest=1024)
    assert limits.nearest("1:1", "4K") == (1024, 1024)
    assert limits.nearest(None, None) == (1024, 1024)
    assert limits.nearest("2:1", "1K") == (1024, 512)
    assert limits.nearest("4:1", "512") == (1024, 256)
    assert limits.has_any()
    assert not sizes.PixelLimits(multiple_of=16, shortest=256, longest=1024, smallest=1025**2).has_any()
    assert sizes.FixedSizes([(512, 512), (1024, 1024), (1024, 512)]).nearest("1:1", "2K") == (1024, 1024)
    assert [sizes.side(text) for text in (None, "512", "2K")] == [1024, 512, 2048]
    assert [sizes.ratio(text) for text in (None, "19.5:9", "1:4")] == [1.0, 19.5 / 9, 0.25]
    with pytest.raises(ValueError, match="'2k'"):
        sizes.side("2k")


def test_values_become_the_nearest_that_a_model_supports() -> None:
    supports = {
        "seed": {"min": 10, "max": 19}, "steps": {"min": 10, "max": 50}, "quality": ["high", "low"],
        "aspectRatio": ["1:1", "16:9"], "resolution": ["1K", "4K"], "outputFormat": ["png"], "n": {"max": 2},
    }  # fmt: skip
    given = {
        "seed": 23, "steps": 5, "quality": "medium", "aspectRatio": "3:2", "resolution": "512", "outputFormat": "webp",
        "n": 4, "guidance": 7,
    }  # fmt: skip
    made = receipt(given, supports)
    assert made.used() == {
        "seed": 13, "steps": 10, "quality": "low", "aspectRatio": "16:9", "resolution": "1K", "outputFormat": "png",
        "n": 2,
    }  # fmt: skip
    assert made.applied == {} and list(made.ignored) == ["guidance"]
    assert receipt({"seed": 19, "steps": 50, "n": 2}, supports).applied == {"seed": 19, "steps": 50, "n": 2}
    assert receipt({"outputCompression": 80}, {"outputCompression": True}).ignored.keys() == {"outputCompression"}
    assert seed_of_call(19, 1, Model("M", "openai", "m", supports=supports)) == 10
    anything = Model("M", "openai", "m", supports={"seed": True})
    assert [seed_of_call(seed, 1, anything) for seed in (41, 2**32 - 2, 2**32 - 1)] == [42, 2**32 - 1, 0]


def test_an_image_contradicts_a_receipt_once() -> None:
    promised = Receipt(applied={"aspectRatio": "1:1", "outputFormat": "png"})
    made = as_made(promised, [(1024, 512, "jpeg"), (512, 1024, "webp")])
    assert made.adjusted == {
        "aspectRatio": {"requested": "1:1", "used": "1024x512"}, "outputFormat": {"requested": "png", "used": "jpeg"},
    }  # fmt: skip
    assert made.applied == {} and promised.applied == {"aspectRatio": "1:1", "outputFormat": "png"}
    assert as_made(promised, [(1024, 1000, "png")]) == promised
    other = Receipt(adjusted={"outputFormat": {"requested": "webp", "used": "png"}})
    contradicted = as_made(other, [(64, 64, "jpeg"), (64, 64, "gif")])
    assert contradicted.adjusted == {"outputFormat": {"requested": "webp", "used": "jpeg"}}


def test_a_model_that_is_unknown_is_named() -> None:
    registry = ModelRegistry([Model("Painter", "openai", "painter-1")])
    assert read_models(None, registry) is None
    with pytest.raises(InvalidParameter, match=r"^Unknown model 'x'. Available: Painter.$"):
        read_models(["x"], registry)


def test_a_model_that_was_shut_down_names_its_replacement() -> None:
    retired = Model("Old", "openai", "old-1", shutdown="2026-01-31", replacement="new-1")
    registry = ModelRegistry([retired, Model("New", "openai", "new-1")], day=lambda: date(2026, 2, 1))
    with pytest.raises(
        InvalidParameter, match=r"^Old \(old-1\) was shut down on 2026-01-31. Use new-1 instead.$"
    ) as caught:
        read_models(["old-1"], registry)
    assert caught.value.details == {"parameter": "models", "shutdown": "2026-01-31", "replacement": "new-1"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("PNG", {}),
    ],
)
def test_formats_and_sizes_are_read_from_the_bytes(kind: str, options: Any) -> None:
    buffer = io.BytesIO()
    Picture.new("RGB", (96, 64), "red").save(buffer, kind, **options)
    data = buffer.getvalue()
    assert image_format(data) == ImageFormat(f"image/{kind.lower()}", 96, 64)
    assert image_format(data[: len(data) // 2]) is None


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_an_animation_and_its_alpha_channel_are_read(kind: str) -> None:
    frames = [Picture.new("RGBA", (40, 30), color) for color in ("#ff000080", "#00ff0080")]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=100)
    assert image_format(buffer.getvalue()) == ImageFormat(f"image/{kind.lower()}", 40, 30)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("BUCKET_NAME", " ", "bucket_name"), ("IP_LIMIT", "-1", "ip_limit"),
        ("IP_INCLUDE", "192.0.2.300", "ip_whitelist"),
        ("PROVIDER_ENDPOINTS", "[]", "provider_endpoints"), ("PROVIDER_ENDPOINTS", "{", "provider_endpoints"),
        ("PROVIDER_ENDPOINTS", '{"openai": "https://example.com"}', "provider_endpoints"),
        ("PROVIDER_ENDPOINTS", '{"openai": "http://[::1"}', "provider_endpoints"),
        ("KEY_HOSTS", '{"MY_KEY": ["https://my.example"]}', "key_hosts"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_when_it_is_read(name: str, value: str, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        getattr(Settings({name: value}), setting)


def test_a_cold_start_builds_its_services_and_hides_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build() -> None:
        built.append("services")
        raise ConfigurationError("A setting is missing.")

    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    cold_start.begin()
    cold_start.ready(build)
    assert gc.isenabled() and built == []
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    try:
        cold_start.begin()
        assert not gc.isenabled()
        cold_start.ready(build)
        assert gc.isenabled() and built == ["services"]
    finally:
        gc.enable()
        gc.unfreeze()


def test_other_threads_are_not_interrupted() -> None:
    passed: list[bool] = []

    def work() -> None:
        with interrupted_after(0.0):
            passed.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]
