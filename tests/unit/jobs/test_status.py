"""What a caller sees of a job."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pixelprompt.deadline import Deadline
from pixelprompt.errors import InvalidParameter, JobNotFound
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Reference
from pixelprompt.jobs.status import PAUSE, JobStatus, Wait, is_version
from pixelprompt.jobs.store import JobManager
from pixelprompt.settings import MAX_JOB_SECONDS
from pixelprompt.storage.images import ImageStorage

BUCKET = "test-bucket"
CREATED = 1_763_900_000.0
IMAGES = [{"imageKey": "group-images/g/A-1.json", "binaryKey": "images/g/A-1.png"}]


class World:
    """A job of two models, a clock set by hand, and the calls of the finish Lambda."""

    def __init__(self, s3: Any, domain: str = "") -> None:
        self.now = CREATED + 5
        self.finished: list[tuple[str, int]] = []
        self.jobs = JobManager(s3, BUCKET, clock=lambda: datetime.fromtimestamp(self.now, UTC))
        self.now = CREATED
        models = [{"name": name, "provider": "openai"} for name in "AB"]
        self.id = self.jobs.create_job("a fox", {}, models)
        images = ImageStorage(s3, BUCKET, domain)
        # Whether the job's execution runs, and the moments at which somebody has looked.
        self.running = True
        self.look_error: Exception | None = None
        self.name = self.id
        self.looks: list[float] = []
        self.deadline = Deadline(clock=lambda: self.now)
        self.status = JobStatus(
            self.jobs,
            images,
            self.finish,
            self.is_running,
            deadline=self.deadline,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        # What happens while somebody waits, by the second.
        self.events: dict[float, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.events.pop(self.now - CREATED, lambda: None)()

    def is_running(self, name: str) -> bool:
        assert name == self.name
        self.looks.append(self.now - CREATED)
        if self.look_error:
            raise self.look_error
        return self.running

    def finish(self, job_id: str, run: int) -> None:
        self.finished.append((job_id, run))


def test_each_image_has_an_address(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    world.jobs.mark_model_complete(world.id, "A", {"imageKey": IMAGES[0]["imageKey"], "images": IMAGES})
    document, _ = world.status.get(world.id)
    assert document["results"][0]["imageUrl"] == "https://d1.cloudfront.net/images/g/A-1.png"
    assert document["results"][0]["images"][0]["imageUrl"] == document["results"][0]["imageUrl"]
    assert "imageUrl" not in document["results"][1]
    stored = world.jobs.get_job_status(world.id)
    assert stored is not None and "imageUrl" not in stored["results"][0]


def test_an_earlier_image_that_was_edited_has_an_address(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    earlier: Reference = {
        "index": 0, "source": "imageKey", "imageKey": "group-images/h/B-1.json", "fromGallery": "h",
        "binaryKey": "images/h/B-1.png", "width": 40, "height": 30,
    }  # fmt: skip
    others: list[Reference] = [
        {"index": 1, "source": "uploadId", "sha256": "ab", "size": 5},
        {"index": 2, "source": "url", "host": "images.example"},
        {"index": 3, "source": "data", "error": "It is empty."},
        # Not looked for yet, as in a document of a job that has just begun.
        {"index": 4, "source": "imageKey", "imageKey": "group-images/h/B-1.json", "fromGallery": "h"},
    ]
    world.jobs.record_references(world.id, [earlier, *others])
    shown = world.status.get(world.id)[0]["references"]
    assert shown == [{**earlier, "imageUrl": "https://d1.cloudfront.net/images/h/B-1.png"}, *others]
    stored = world.jobs.get_job_status(world.id)
    assert stored is not None and stored["references"] == [earlier, *others]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, {"steps": 28, "guidance": 5, "control": 1.0}),
        ({"steps": 3, "seed": 7}, {"steps": 3, "guidance": 5, "control": 1.0, "seed": 7}),
    ],
)
def test_parameters_that_were_not_given_are_shown_with_their_defaults(
    s3: Any, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    world = World(s3)
    job_id = world.jobs.create_job("a fox", given, [{"name": "A", "provider": "openai"}])
    assert world.status.get(job_id)[0]["parameters"] == shown
    stored = world.jobs.get_job_status(job_id)
    assert stored is not None and stored["parameters"] == given


@pytest.mark.parametrize("job_id", ["nonsense", "../x", "00000000-0000-4000-8000-000000000000", ""])
def test_an_unknown_job_is_not_found(s3: Any, job_id: str) -> None:
    with pytest.raises(JobNotFound):
        World(s3).status.get(job_id)


def test_the_etag_changes_with_the_document(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    first = world.status.get(world.id)[1]
    assert world.status.get(world.id)[1] == first
    world.jobs.mark_model_started(world.id, "A")
    assert world.status.get(world.id)[1] != first


def test_no_cached_answer_outlives_its_presigned_urls(s3: Any) -> None:
    world = World(s3)
    first = world.status.get(world.id)[1]
    world.now += 3600
    assert world.status.get(world.id)[1] != first


def test_a_job_that_is_open_for_too_long_is_finished(s3: Any) -> None:
    world = World(s3)
    world.now = CREATED + MAX_JOB_SECONDS - 1
    world.status.get(world.id)
    assert world.finished == []
    world.now += 2
    world.status.get(world.id)
    assert world.finished == [(world.id, 1)]
    for name in "AB":
        world.jobs.mark_model_error(world.id, name, "No.")
    world.status.get(world.id)
    assert world.finished == [(world.id, 1)]


def test_a_run_that_was_never_started_is_finished_when_two_looks_have_found_no_execution(s3: Any) -> None:
    world = World(s3)
    world.running = False
    for seconds in (1, 29, 30, 31, 35, 39.9):
        world.now = CREATED + seconds
        world.status.get(world.id)
    assert (world.looks, world.finished) == ([30], [])
    world.now = CREATED + 40
    world.status.get(world.id)
    assert (world.looks, world.finished) == ([30, 40], [(world.id, 1)])


def test_a_retry_that_was_never_started_is_finished_though_other_models_have_their_images(s3: Any) -> None:
    world = World(s3)
    world.jobs.mark_model_complete(world.id, "A", {"imageKey": IMAGES[0]["imageKey"], "images": IMAGES})
    world.jobs.mark_model_error(world.id, "B", "No.")
    document, _ = world.jobs.begin_run(world.id, NextRun(earlier=1, stored={}, images_wanted=1))
    assert document["status"] == "in_progress"
    world.running, world.name = False, f"{world.id}-r2"
    for seconds in (30, 40):
        world.now = CREATED + seconds
        world.status.get(world.id)
    assert (world.looks, world.finished) == ([30, 40], [(world.id, 2)])


def test_a_run_that_waits_for_its_first_model_is_left_alone(s3: Any) -> None:
    world = World(s3)
    for seconds in range(30, 100, 5):
        # Step Functions has forgotten it for a moment, and then knows it.
        world.running = seconds != 50
        world.now = CREATED + seconds
        world.status.get(world.id)
    assert world.looks == list(range(30, 100, 10))
    assert world.finished == []


def test_a_run_that_cannot_be_looked_for_is_left_alone(s3: Any) -> None:
    world = World(s3)
    world.look_error = OSError("no network")
    for seconds in range(30, 100, 5):
        world.now = CREATED + seconds
        assert world.status.get(world.id)[0]["status"] == "pending"
    assert world.finished == []


def test_a_run_that_has_begun_is_not_looked_for(s3: Any) -> None:
    world = World(s3)
    world.jobs.mark_model_started(world.id, "A")
    world.now = CREATED + 100
    world.status.get(world.id)
    assert world.looks == []


def test_who_waits_is_answered_before_the_deadline(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    _, etag = world.status.get(world.id)
    world.deadline.begin(5)
    assert world.status.get(world.id, Wait(20, etag))[1] == etag
    assert world.now <= CREATED + 5 - PAUSE
    world.deadline.begin(0.5)
    assert world.status.get(world.id, Wait(20, etag))[1] == etag


def test_the_age_of_a_retry_is_that_of_its_run(s3: Any) -> None:
    world = World(s3)
    for name in "AB":
        world.jobs.mark_model_error(world.id, name, "No.")
    world.now = CREATED + 5000
    world.jobs.begin_run(world.id, NextRun(earlier=1, stored={}, images_wanted=1))
    world.now += MAX_JOB_SECONDS - 1
    world.status.get(world.id)
    assert world.finished == []
    world.now += 2
    world.status.get(world.id)
    assert world.finished == [(world.id, 2)]


def test_one_read_of_s3_is_enough(s3: Any) -> None:
    world = World(s3)
    calls: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    world.status.get(world.id)
    assert calls == ["GetObject"]


@pytest.mark.parametrize(
    ("header", "matched"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ("", False), ('"b"', False), ("a", False)],
)
def test_if_none_match(header: str, matched: bool) -> None:
    assert is_version(header, '"a"') == matched


def test_who_waits_is_answered_when_the_document_changes(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    _, etag = world.status.get(world.id)
    world.events[3] = lambda: world.jobs.mark_model_started(world.id, "A")
    document, changed = world.status.get(world.id, Wait(20, etag))
    assert (world.now, document["status"]) == (CREATED + 3, "in_progress")
    assert changed != etag
    assert world.status.get(world.id, Wait(20, etag))[1] == changed, "it has changed already"
    assert world.now == CREATED + 3


def test_without_a_version_the_present_one_counts(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    world.events[2] = lambda: world.jobs.mark_model_started(world.id, "A")
    assert world.status.get(world.id, Wait(20))[0]["status"] == "in_progress"
    assert world.now == CREATED + 2


@pytest.mark.parametrize(
    ("seconds", "reads"), [(0, [0]), (0.9, [0]), (1, [0, 1]), (1.5, [0, 1]), (2.5, [0, 1, 2]), (3, [0, 1, 2, 3])]
)
def test_who_waits_in_vain_is_answered_in_time_and_no_two_reads_are_less_than_a_second_apart(
    s3: Any, seconds: float, reads: list[float]
) -> None:
    world = World(s3, "d1.cloudfront.net")
    _, etag = world.status.get(world.id)
    moments: list[float] = []
    s3.meta.events.register("before-call.s3", lambda **_: moments.append(world.now - CREATED))
    document, unchanged = world.status.get(world.id, Wait(seconds, etag))
    assert (document["status"], unchanged) == ("pending", etag)
    assert (moments, world.now) == (reads, CREATED + reads[-1])


def test_a_job_that_has_ended_is_not_waited_for(s3: Any) -> None:
    world = World(s3, "d1.cloudfront.net")
    for name in "AB":
        world.jobs.mark_model_error(world.id, name, {"error": "No.", "errorCode": "internal"})
    _, etag = world.status.get(world.id)
    assert world.status.get(world.id, Wait(20, etag))[1] == etag
    assert world.now == CREATED


@pytest.mark.parametrize(
    ("query", "header", "expected"),
    [
        ({}, "", Wait(0, "")),
        ({}, '"a"', Wait(0, '"a"')),
        ({"wait": "20"}, '"a"', Wait(20, '"a"')),
        ({"wait": "2.5", "since": '"b-1"'}, '"a"', Wait(2.5, '"b-1"')),
        ({"wait": "600", "since": "b"}, "", Wait(20, '"b"')),
        ({"wait": "2", "since": 'W/"b-1"'}, '"a"', Wait(2, '"b-1"')),
        ({"wait": "2", "since": ""}, '"a"', Wait(2, '"a"')),
    ],
)
def test_what_a_query_asks_for(query: dict[str, str], header: str, expected: Wait) -> None:
    assert Wait.from_query(query, header, 20) == expected


@pytest.mark.parametrize(
    "query",
    [
        *({"wait": text} for text in ("soon", "-1", "", "1e9", "nan")),
        {"since": "x" * 101},
        {"since": "a b"},
        {"since": 'w/"b"'},
    ],
)
def test_a_wrong_query_is_told(query: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter) as error:
        Wait.from_query(query, "", 20)
    assert error.value.details == {"parameter": next(iter(query))}


def test_where_waiting_is_not_allowed_the_answer_comes_at_once() -> None:
    assert Wait.from_query({"wait": "20"}, "", 0).seconds == 0
