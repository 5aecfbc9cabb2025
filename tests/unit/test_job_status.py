"""What a caller sees of a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pixelprompt.errors import JobNotFound
from pixelprompt.images import ImageStorage
from pixelprompt.job_status import JobStatus
from pixelprompt.jobs import JobManager

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
        self.status = JobStatus(self.jobs, images, self.finish, clock=lambda: self.now)

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
    world.now = CREATED + 1200 - 1
    world.status.get(world.id)
    assert world.finished == []
    world.now += 2
    world.status.get(world.id)
    assert world.finished == [(world.id, 1)]
    for name in "AB":
        world.jobs.mark_model_error(world.id, name, "No.")
    world.status.get(world.id)
    assert world.finished == [(world.id, 1)]


def test_the_age_of_a_retry_is_that_of_its_run(s3: Any) -> None:
    world = World(s3)
    for name in "AB":
        world.jobs.mark_model_error(world.id, name, "No.")
    world.now = CREATED + 5000
    world.jobs.begin_run(world.id, 1, {}, 1)
    world.now += 1199
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
