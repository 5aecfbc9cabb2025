"""One job for one idempotency key."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pixelprompt.deadline import REQUEST_SECONDS
from pixelprompt.errors import (
    IdempotencyConflict,
    InappropriateContent,
    InvalidParameter,
    RateLimitExceeded,
    ServiceUnavailable,
    StorageError,
)
from pixelprompt.jobs.idempotency import IdempotencyRecords, body_hash, read_key
from pixelprompt.jobs.schema import Estimate, JobStarted
from pixelprompt.jobs.store import JobManager
from pixelprompt.jobs.submit import Submission
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.models.model import Model
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.moderation.filter import ContentFilter
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.storage.keys import RATE_LIMIT_KEY as RATE_LIMIT
from pixelprompt.storage.keys import idempotency_key
from pixelprompt.storage.references import ReferenceStorage
from tests.unit.jobs.test_submit import Executions, Secrets, start_error, started

BUCKET = "test-bucket"
IP = "192.0.2.1"
BODY = {"prompt": "a fox"}
REGISTRY = ModelRegistry([Model("Painter", "openai", "painter-1")])


class World:
    """Submits with a clock set by hand; ``sleep`` may be replaced to let something happen meanwhile."""

    def __init__(
        self,
        s3: Any,
        ip_limit: int = 50,
        *,
        limiter: RateLimiter | None = None,
        content_filter: ContentFilter | None = None,
    ) -> None:
        self.s3 = s3
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.executions = Executions()
        self.jobs = JobManager(s3, BUCKET, patience=0.3, clock=lambda: self.now)
        self.records = IdempotencyRecords(s3, BUCKET, clock=lambda: self.now)
        self.slept: list[float] = []
        self.sleep: Callable[[float], None] = self.slept.append
        self.limiter = limiter or RateLimiter(s3, BUCKET, 100, ip_limit, clock=lambda: self.now.timestamp())
        self.submission = Submission(
            self.jobs,
            self.limiter,
            content_filter or ContentFilter(),
            lambda: REGISTRY,
            ProviderKeys(Secrets(OPENAI_API_KEY="a"), "keys"),
            self.executions,
            self.records,
            lambda: ReferenceStorage(s3, BUCKET),
            trust_body_ip=True,
            sleep=lambda seconds: self.sleep(seconds),
        )

    def submit(self, key: str = "k", body: Any = None, ip: str = IP) -> tuple[JobStarted, bool]:
        response, replayed = self.submission.submit_once(body or BODY, ip, "c", key)
        return started(response), replayed

    def estimate(self, body: dict[str, Any]) -> tuple[Estimate, bool]:
        response, replayed = self.submission.submit_once({**body, "dryRun": True}, IP, "c", "k")
        assert "dryRun" in response
        return response, replayed

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    @property
    def charged(self) -> int:
        try:
            document = json.loads(self.s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return 0
        return len(document["ip_requests"].get(IP, []))

    @property
    def documents(self) -> int:
        return int(self.s3.list_objects_v2(Bucket=BUCKET, Prefix="jobs/")["KeyCount"])


@pytest.fixture
def world(s3: Any) -> World:
    return World(s3)


@pytest.mark.parametrize("key", ["a", "x" * 255, '~ !"', "550e8400-e29b-41d4-a716-446655440000"])
def test_a_key_is_printable_ascii(key: str) -> None:
    assert read_key({"idempotency-key": key}) == key
    assert read_key({}) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ", "a\tb", "a\nb", "a\x7f"])
def test_anything_else_is_refused(key: str) -> None:
    with pytest.raises(InvalidParameter):
        read_key({"idempotency-key": key})


def test_the_record_of_a_key_tells_nothing_of_it() -> None:
    names = {idempotency_key(caller, key) for caller in ("192.0.2.1", "192.0.2.2") for key in ("../../a", "b")}
    assert len(names) == 4
    assert all(len(name) == len("idempotency/.json") + 64 for name in names)


def test_the_order_of_members_is_no_difference() -> None:
    assert body_hash({"a": 1, "b": [1, 2]}) == body_hash({"b": [1, 2], "a": 1})
    assert len({body_hash(body) for body in ({"a": 1}, {"a": "1"}, {"a": True}, {"a": None}, {})}) == 5


def test_a_repeat_answers_with_the_same_job_and_costs_nothing(world: World) -> None:
    first, replayed = world.submit()
    assert not replayed
    world.jobs.mark_model_started(first["jobId"], "Painter")
    for _ in range(3):
        assert world.submit() == (first, True)
    assert (world.charged, world.documents, len(world.executions.started)) == (1, 1, 1)


def test_a_new_job_takes_five_requests_one_after_another(world: World) -> None:
    world.limiter.check("192.0.2.2")
    requests: list[str] = []
    world.s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    world.submit()
    # And StartExecution.
    assert requests == ["GetObject", "PutObject", "PutObject", "PutObject"]


def test_another_body_is_a_conflict(world: World) -> None:
    world.submit()
    with pytest.raises(IdempotencyConflict) as refused:
        world.submit(body={"prompt": "a wolf"})
    assert refused.value.status == 409
    assert (world.charged, world.documents) == (1, 1)


def test_keys_belong_to_their_callers(world: World) -> None:
    first = world.submit()[0]["jobId"]
    assert world.submit(ip="192.0.2.2")[0]["jobId"] != first
    assert world.submit("other")[0]["jobId"] != first


def test_a_key_counts_for_24_hours(world: World) -> None:
    first = world.submit()[0]["jobId"]
    world.later(hours=24, seconds=-1)
    assert world.submit()[0]["jobId"] == first
    world.later(seconds=1)
    second, replayed = world.submit(body={"prompt": "a wolf"})
    assert second["jobId"] != first and not replayed
    assert world.submit(body={"prompt": "a wolf"}) == (second, True)


def test_a_refusal_by_the_limit_leaves_the_key_free(s3: Any) -> None:
    world = World(s3, ip_limit=1)
    world.submit("first")
    for _ in range(2):
        with pytest.raises(RateLimitExceeded):
            world.submit()
    world.later(hours=25)
    assert not world.submit()[1]
    assert world.charged == 1


def test_a_refusal_by_moderation_leaves_the_key_free_for_another_prompt(world: World) -> None:
    with pytest.raises(InappropriateContent):
        world.submit(body={"prompt": "a naked woman"})
    assert not world.submit()[1]
    assert (world.documents, len(world.executions.started)) == (1, 1)


def test_a_job_that_cannot_be_started_leaves_the_key_free(world: World) -> None:
    world.executions.error = start_error("ThrottlingException", 400)
    with pytest.raises(ServiceUnavailable) as refused:
        world.submit()
    failed = world.jobs.get_job_status(refused.value.details["jobId"])
    assert failed is not None and failed["status"] == "failed"
    world.executions.error = None
    job, replayed = world.submit()
    assert job["jobId"] != failed["jobId"] and not replayed


def test_a_wrong_request_writes_no_record(world: World) -> None:
    with pytest.raises(InvalidParameter):
        world.submit(body={"prompt": "a fox", "steps": "banana"})
    assert world.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_a_dry_run_makes_no_job_and_takes_no_key(world: World) -> None:
    answer, replayed = world.estimate(BODY)
    assert answer["dryRun"] and not replayed
    assert world.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


class TestHalfWayDeath:
    def test_before_the_document_the_repeat_makes_the_job_once_the_dead_one_cannot_live(self, world: World) -> None:
        claim = world.records.claim(IP, "k", body_hash(BODY))
        with pytest.raises(ServiceUnavailable) as refused:
            world.submit()
        assert 5 < sum(world.slept) < 10
        assert refused.value.headers["Retry-After"]
        assert (world.charged, world.documents) == (0, 0)
        world.later(seconds=REQUEST_SECONDS)
        job, replayed = world.submit()
        assert job["jobId"] == claim.job_id and not replayed
        assert (world.charged, len(world.executions.started)) == (1, 1)
        assert world.submit() == (job, True)

    def test_before_the_execution_the_repeat_starts_it_and_charges_nothing(self, world: World) -> None:
        class Died(BaseException):
            """The Lambda is gone."""

        world.executions.error = Died()  # type: ignore[assignment]
        with pytest.raises(Died):
            world.submit()
        world.executions.error = None
        world.later(seconds=2)
        job, replayed = world.submit()
        ((name, given),) = world.executions.started
        document = world.jobs.get_job_status(job["jobId"])
        assert document is not None and replayed
        assert name == job["jobId"] == given["jobId"]
        assert given["late"] is True
        models = [item["model"] for item in given["models"]]
        assert (given["createdAt"], models, given["run"]) == (document["createdAt"], ["Painter"], 1)
        assert (world.charged, world.documents) == (1, 1)

    def test_an_execution_that_runs_already_is_no_failure(self, world: World) -> None:
        first, _ = world.submit()
        world.executions.error = start_error("ExecutionAlreadyExists", 400)
        assert world.submit() == (first, True)

    def test_a_failure_of_s3_hands_the_job_to_the_repeat_at_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise StorageError("S3 is down.")

        with monkeypatch.context() as broken:
            broken.setattr(world.jobs, "create", fail)
            with pytest.raises(StorageError):
                world.submit()
        job, replayed = world.submit()
        assert not replayed and world.slept == []
        assert (world.documents, len(world.executions.started)) == (1, 1)
        assert world.submit()[0] == job

    def test_of_two_that_take_over_one_succeeds(self, world: World) -> None:
        world.records.claim(IP, "k", body_hash(BODY))
        world.later(seconds=REQUEST_SECONDS + 1)
        claims = [world.records.claim(IP, "k", body_hash(BODY)) for _ in range(2)]
        assert [claim.is_abandoned for claim in claims] == [True, True]
        assert [world.records.take_over(claim) for claim in claims] == [True, False]


def test_the_loser_waits_for_the_winners_job(world: World) -> None:
    claim = world.records.claim(IP, "k", body_hash(BODY))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            rows = [{"name": "Painter", "provider": "openai"}]
            world.jobs.create_job("a fox", {}, rows, job_id=claim.job_id)

    world.sleep = nap
    job, replayed = world.submit()
    assert (job["jobId"], replayed, len(naps)) == (claim.job_id, True, 2)
    assert world.charged == 0


def test_when_the_winner_is_refused_the_loser_takes_its_own_turn(world: World) -> None:
    claim = world.records.claim(IP, "k", body_hash(BODY))
    world.sleep = lambda _: world.records.release(claim)
    job, replayed = world.submit()
    assert job["jobId"] != claim.job_id and not replayed
    assert (world.charged, world.documents) == (1, 1)


def test_a_cancelled_job_is_not_started_by_a_repeat(world: World) -> None:
    first, _ = world.submit()
    world.jobs.cancel(first["jobId"])
    assert world.submit() == (first, True)
    assert len(world.executions.started) == 1
