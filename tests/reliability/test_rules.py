"""The pure rules, for any order and repetition of events, and for clocks that disagree."""

import copy
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelprompt.jobs.document import (
    FINAL_ROW,
    add_images,
    closing_rows,
    complete_row,
    fail_row,
    finish_rows,
    images_result,
    job_status,
    new_document,
    start_row,
)
from pixelprompt.jobs.schema import Job, ModelResult
from pixelprompt.limits.limiter import DAY, HOUR
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.models.model import Failure
from pixelprompt.storage.documents import widest_pause
from pixelprompt.storage.keys import StoredImage

NOW = "2026-11-23T12:00:00.000Z"
ROWS = 3
ORDER = {"pending": 0, "in_progress": 1, "error": 2, "cancelled": 2, "completed": 3}
FAILURE: Failure = {
    "error": "The provider refused this prompt.",
    "errorCode": "refused",
    "retryable": False,
    "billable": "no",
}

Event = tuple[str, int]


def image(index: int, number: int = 0) -> StoredImage:
    """Where an image of a row lies."""
    stem = f"g/Model-{index}-1" + (f"-{number + 1}" if number else "")
    return {"imageKey": f"group-images/{stem}.json", "binaryKey": f"images/{stem}.png"}


def document() -> Job:
    """A job of three rows."""
    models = [{"name": f"Model {index}", "provider": "openai"} for index in range(ROWS)]
    return new_document("0b8f9a52-0000-4000-8000-000000000000", "a red fox", {}, models, NOW)


def apply(rows: list[ModelResult], event: Event) -> bool:
    """Let an event happen to a row; whether it changed it."""
    kind, index = event
    row = rows[index]
    if kind == "start":
        return start_row(row, NOW)
    if kind == "first image":
        return add_images(row, images_result([image(index)]))
    if kind == "complete":
        return complete_row(row, images_result([image(index), image(index, 1)]), NOW)
    return fail_row(row, FAILURE, NOW)


events = st.tuples(st.sampled_from(["start", "first image", "complete", "fail"]), st.integers(0, ROWS - 1))
histories = st.lists(events, max_size=25)


@given(histories)
def test_a_row_only_moves_forward_and_no_image_is_lost(history: list[Event]) -> None:
    rows = document()["results"]
    for event in history:
        before = copy.deepcopy(rows)
        changed = apply(rows, event)
        assert changed == (rows != before)
        for old, new in zip(before, rows, strict=True):
            assert ORDER[new["status"]] >= ORDER[old["status"]]
            assert all(kept in new.get("images", []) for kept in old.get("images", []))
            if old["status"] in FINAL_ROW and new != old:
                assert new["status"] == "completed"


@given(histories, st.data())
def test_a_repeated_event_changes_nothing(history: list[Event], data: st.DataObject) -> None:
    rows = document()["results"]
    for event in history:
        apply(rows, event)
    settled = copy.deepcopy(rows)
    for event in data.draw(st.lists(st.sampled_from(history), max_size=20)) if history else []:
        assert not apply(rows, event)
    assert rows == settled


@given(histories, st.randoms(use_true_random=False))
def test_any_order_of_the_same_events_ends_in_the_same_rows(history: list[Event], random: Any) -> None:
    """Each row's end is its image if there is one, else its error; who came first does not matter."""
    shuffled = [*history]
    random.shuffle(shuffled)
    ends = []
    for order in (history, shuffled):
        rows = document()["results"]
        for event in order:
            apply(rows, event)
        finish_rows(rows, {}, {}, NOW)
        ends.append([(row["status"], row["status"] == "completed" and row["images"]) for row in rows])
    assert ends[0] == ends[1]


def happened(history: list[Event], row: ModelResult, kind: str) -> bool:
    """Whether such an event was the row's."""
    return (kind, row["index"]) in history


@given(histories, st.sets(st.integers(0, ROWS - 1)), st.sets(st.integers(0, ROWS - 1)))
def test_the_end_of_a_job_closes_every_row_and_keeps_every_image(
    history: list[Event], in_s3: set[int], told: set[int]
) -> None:
    job = document()
    rows = job["results"]
    for event in history:
        apply(rows, event)
    stored = {f"Model {index}": [image(index)] for index in in_s3}
    outcomes = {index: {"state": "done", "row": images_result([image(index)])} for index in told}
    finish_rows(rows, outcomes, stored, NOW)
    assert {row["status"] for row in rows} <= FINAL_ROW
    assert job_status(rows) in {"completed", "partial", "failed"}
    for row in rows:
        if row["index"] in in_s3 | told or happened(history, row, "complete"):
            assert row["status"] == "completed"
            assert image(row["index"]) in row["images"]
        elif row["status"] == "error":
            assert row["error"]
    settled = copy.deepcopy(rows)
    assert not finish_rows(rows, outcomes, stored, NOW)
    assert rows == settled


@given(st.floats(0, 60), st.integers(0, 40), st.integers(1, 40))
def test_pauses_are_bounded_and_widen_with_open_rows_and_lost_races(
    round_trip: float, open_rows: int, losses: int
) -> None:
    job, larger = document(), document()
    row: ModelResult = {**job["results"][0], "status": "in_progress"}
    job["results"], larger["results"] = [row] * open_rows, [row] * (open_rows + 1)
    contenders = closing_rows(job, losses)
    assert contenders <= open_rows
    assert contenders <= closing_rows(job, losses + 1)
    assert contenders <= closing_rows(larger, losses)
    assert 0 <= widest_pause(round_trip, contenders) <= 10
    assert widest_pause(round_trip, contenders) <= widest_pause(round_trip, contenders + 1)


class MemoryS3:
    """One object with S3's conditional writes."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.version = 0

    def get_object(self, **_: str) -> dict[str, Any]:
        """The object, or the error for a missing one."""
        if self.body is None:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.body), "ETag": f'"{self.version}"'}

    def put_object(self, *, Body: bytes, IfMatch: str = "", IfNoneMatch: str = "", **_: str) -> dict[str, str]:
        """Write if the condition holds."""
        if (IfNoneMatch and self.body is not None) or (IfMatch and IfMatch != f'"{self.version}"'):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.body = Body
        self.version += 1
        return {"ETag": f'"{self.version}"'}

    @property
    def value(self) -> dict[str, Any]:
        """The object, parsed."""
        value: dict[str, Any] = json.loads(self.body or b'{"global_requests": [], "ip_requests": {}}')
        return value


def clock_at(moment: float) -> Callable[[], float]:
    """A clock that stands still."""
    return lambda: moment


requests = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.3, 60.0, HOUR / 3, DAY / 3]), st.floats(-2, 2), st.sampled_from("abc")),
    max_size=40,
)


@settings(max_examples=200)
@given(requests, st.integers(1, 5), st.integers(1, 4))
def test_no_window_ever_holds_more_than_its_limit_though_clocks_disagree(
    arrivals: list[tuple[float, float, str]], global_limit: int, ip_limit: int
) -> None:
    s3, now = MemoryS3(), 1_763_900_000.0
    passed: list[tuple[float, str]] = []
    for elapsed, skew, letter in arrivals:
        now += elapsed
        address = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "2001:db8::1"}[letter]
        before = Counter(s3.value["global_requests"])
        limiter = RateLimiter(s3, "bucket", global_limit, ip_limit, clock=clock_at(now + skew))
        limited = limiter.check(address).limited
        new = [*(Counter(s3.value["global_requests"]) - before).elements()]
        assert len(new) == (0 if limited else 1)
        passed += [(at, letter) for at in new]
    for (at, letter), length in itertools.product(passed, (HOUR, DAY)):
        within = [who for then, who in passed if at - length < then <= at]
        assert len(within) <= global_limit if length == HOUR else within.count(letter) <= ip_limit


@settings(max_examples=10)
@given(st.integers(1, 20))
def test_requests_of_one_moment_are_told_apart(limit: int) -> None:
    """A request never takes another one of the same instant for its own."""
    limiter = RateLimiter(MemoryS3(), "bucket", 10_000, limit, clock=lambda: 1_763_900_000.0)
    assert sum(not limiter.check("192.0.2.1").limited for _ in range(400)) == limit


@given(requests)
def test_the_document_holds_nothing_that_has_left_its_window(arrivals: list[tuple[float, float, str]]) -> None:
    s3, now = MemoryS3(), 1_763_900_000.0
    for elapsed, _, letter in arrivals:
        now += elapsed
        limiter = RateLimiter(s3, "bucket", 1000, 1000, clock=clock_at(now))
        assert not limiter.check(f"192.0.2.{ord(letter)}").limited
        value = s3.value
        assert all(then > now - HOUR for then in value["global_requests"])
        assert all(times for times in value["ip_requests"].values())
        assert all(then > now - DAY for times in value["ip_requests"].values() for then in times)
