"""Whatever dies on the way from a reservation to the end of a job: after the sweep, committed is what was charged."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import MagicMock

import pytest

from pixelprompt.errors import StorageError
from pixelprompt.jobs.charges import Shares
from pixelprompt.jobs.finish import Completion, FinishRequest
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.settlement import Settlement, Sweep
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.budget import DEPLOYMENT, Budget, Budgets, Reservation
from pixelprompt.limits.usage import UsageLog
from pixelprompt.models.cost import reported
from pixelprompt.models.model import ProviderError
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.ledger import Ledger
from tests.conftest import BUCKET, LEDGER

JOB = "0bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
LONGEST_JOB = 1800.0
MODELS = [{"name": f"model {index}", "provider": "openai"} for index in range(3)]
SHARES = dict.fromkeys(range(3), 50_000)


class Bench:
    """A job of three models of $0.05 each, and what may become of it."""

    def __init__(self, s3: Any, dynamodb: Any) -> None:
        self.dynamodb = dynamodb
        self.now = NOON
        self.jobs = JobManager(s3, BUCKET, clock=lambda: datetime.fromtimestamp(self.now, UTC))
        ledger = Ledger(dynamodb, LEDGER)
        self.budgets = Budgets(ledger, clock=lambda: self.now)
        self.usage = UsageLog(ledger, lambda: self.now)
        self.completion = Completion(self.jobs, ImageStorage(s3, BUCKET), Settlement(self.budgets, self.usage))
        self.executions: set[tuple[str, int]] = set()
        self.sweeper = Sweep(
            self.budgets,
            self.usage,
            self.jobs.get_job_status,
            lambda job_id, run: self.completion.finish(FinishRequest(job_id, run=run)),
            lambda job_id, run: (job_id, run) in self.executions,
            longest_job=LONGEST_JOB,
            clock=lambda: self.now,
        )

    def reserve(self, run: int = 1) -> Reservation:
        reserved = self.budgets.reserve(JOB, run, sum(SHARES.values()), [Budget(DEPLOYMENT, daily=10_000_000)])
        assert isinstance(reserved, Reservation)
        return reserved

    def create(self) -> None:
        shares = Shares(self.reserve(), SHARES)
        self.jobs.create("a fox", {}, MODELS, job_id=JOB, shares=shares)

    def claim(self, *indices: int, run: int = 1) -> list[bool]:
        return [self.budgets.claim(JOB, run, index) for index in indices]

    def complete(self, index: int, cost: float) -> None:
        self.jobs.mark_model_complete(JOB, f"model {index}", {"imageKey": "i", "cost": reported(cost)})

    def finish(self, run: int = 1) -> Job:
        return self.completion.finish(FinishRequest(JOB, run=run))

    def sweep(self) -> int:
        self.now += LONGEST_JOB + 1
        return self.sweeper.sweep()

    def committed(self) -> Decimal:
        key = {"pk": {"S": "budget"}, "sk": {"S": f"2026-11/{DEPLOYMENT}"}}
        item = self.dynamodb.get_item(TableName=LEDGER, Key=key).get("Item", {"month": {"N": "0"}})
        assert not [name for name in item if name.startswith("open/")]
        return Decimal(item["month"]["N"])

    def charged(self) -> list[float]:
        return [row.get("charged", 0.0) for row in self.jobs.require(JOB)["results"]]


@pytest.fixture
def bench(s3: Any, dynamodb: Any) -> Bench:
    return Bench(s3, dynamodb)


def test_a_job_is_charged_what_it_cost_when_it_ends(bench: Bench) -> None:
    bench.create()
    bench.claim(0, 1)
    bench.complete(0, 0.04)
    bench.jobs.mark_model_error(JOB, "model 1", ProviderError("unknown_outcome").row())
    job = bench.finish()
    assert bench.charged() == [0.04, 0.05, 0.0]
    (reservation,) = job["reservations"]
    assert reservation == {
        "id": reservation["id"],
        "run": 1,
        "day": "2026-11-29",
        "amount": 0.15,
        "scopes": [DEPLOYMENT],
        "charged": 0.09,
    }
    assert bench.committed() == Decimal("0.09")
    assert bench.sweep() == 0


def test_after_the_end_of_a_job_nobody_claims_a_share(bench: Bench) -> None:
    bench.create()
    bench.claim(0)
    bench.finish()
    assert bench.claim(0, 1) == [False, False]


def test_a_job_that_is_finished_twice_is_charged_once(bench: Bench) -> None:
    bench.create()
    bench.claim(0)
    bench.complete(0, 0.04)
    for _ in range(3):
        bench.finish()
    assert bench.committed() == Decimal("0.04")


def test_a_request_that_dies_after_its_reservation_costs_nothing(bench: Bench) -> None:
    bench.reserve()
    assert bench.sweeper.sweep() == 0
    assert bench.sweep() == 1
    assert bench.committed() == 0


def test_a_request_that_dies_before_the_start_costs_nothing(bench: Bench) -> None:
    bench.create()
    assert bench.sweep() == 1
    assert bench.committed() == 0
    assert bench.charged() == [0.0] * 3
    assert bench.claim(0) == [False]


def test_a_lambda_that_dies_after_its_claim_is_charged_its_share(bench: Bench) -> None:
    bench.create()
    bench.claim(1)
    assert bench.sweep() == 1
    assert (bench.committed(), bench.charged()) == (Decimal("0.05"), [0.0, 0.05, 0.0])


def test_a_job_whose_end_could_not_be_charged_is_charged_by_the_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create()
    bench.claim(0)
    bench.complete(0, 0.04)

    def fail(*_: Any, **__: Any) -> Any:
        raise StorageError("DynamoDB is gone.")

    with monkeypatch.context() as broken:
        broken.setattr(bench.budgets, "settle", fail)
        bench.finish()
    assert bench.sweep() == 1
    assert (bench.committed(), bench.charged()) == (Decimal("0.04"), [0.04, 0.0, 0.0])


def test_a_job_whose_claims_could_not_be_closed_ends_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create()
    bench.claim(0)
    bench.complete(0, 0.04)

    def fail(*_: Any, **__: Any) -> Any:
        raise StorageError("DynamoDB is gone.")

    with monkeypatch.context() as broken:
        broken.setattr(bench.budgets, "close", fail)
        assert bench.finish()["status"] == "partial"
    assert bench.sweep() == 1
    assert (bench.committed(), bench.charged()) == (Decimal("0.04"), [0.04, 0.0, 0.0])


@pytest.mark.parametrize(("was_started", "charged"), [(False, "0"), (True, "0.15")])
def test_of_a_job_that_is_gone_everything_counts_if_it_was_started(
    bench: Bench, was_started: bool, charged: str
) -> None:
    bench.reserve()
    bench.executions |= {(JOB, 1)} if was_started else set()
    bench.sweep()
    assert bench.committed() == Decimal(charged)


def test_a_retry_that_dies_after_its_reservation_costs_nothing(bench: Bench) -> None:
    bench.create()
    bench.claim(0)
    bench.complete(0, 0.04)
    bench.finish()
    bench.reserve(run=2)
    assert bench.sweep() == 1
    assert bench.committed() == Decimal("0.04")
    # The next one can be made.
    assert bench.reserve(run=2).amount == 150_000
    assert bench.claim(0, run=2) == [True]


def test_a_run_that_is_retried_before_its_end_was_charged_is_charged_by_the_retry(bench: Bench) -> None:
    bench.create()
    bench.claim(0, 1)
    bench.complete(0, 0.04)
    bench.jobs.cancel(JOB)
    claimed = bench.budgets.close(JOB, 1)
    shares = Shares(bench.reserve(run=2), SHARES)
    bench.jobs.begin_run(JOB, NextRun(earlier=1, stored={}, images_wanted=1, claimed=claimed, shares=shares))
    bench.claim(1, 2, run=2)
    bench.complete(1, 0.03)
    # The end of the first run comes late.
    bench.finish(run=1)
    bench.complete(2, 0.02)
    bench.finish(run=2)
    assert bench.charged() == [0.04, 0.08, 0.02]
    assert bench.committed() == Decimal("0.14")
    assert bench.sweep() == 0


def test_a_reservation_of_another_day_than_that_of_the_job_is_released(bench: Bench) -> None:
    bench.now = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    bench.reserve()
    bench.now += 2
    bench.create()
    bench.claim(0)
    bench.complete(0, 0.04)
    bench.finish()
    assert bench.sweep() == 1
    assert list(bench.budgets.open()) == []
    assert bench.committed() == Decimal("0.04")


def test_one_that_cannot_be_settled_does_not_keep_the_others_from_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "1bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"
    bench.reserve()
    bench.budgets.reserve(other, 1, 10, [Budget(DEPLOYMENT, daily=10_000_000)])
    settle = bench.budgets.settle

    def fail(entry: Any, *rest: Any) -> None:
        if entry.job_id == JOB:
            raise StorageError("DynamoDB is gone.")
        settle(entry, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(bench.budgets, "settle", fail)
        assert bench.sweep() == 1
    assert bench.sweep() == 1
    assert bench.committed() == 0


def test_a_model_that_cost_more_than_its_share_is_counted(bench: Bench, log: io.StringIO) -> None:
    bench.create()
    bench.claim(0, 1, 2)
    bench.complete(0, 0.08)
    bench.complete(1, 0.01)
    bench.complete(2, 0.05)
    bench.finish()
    bench.finish()
    # The whole run has cost less than it had reserved.
    assert bench.charged() == [0.08, 0.01, 0.05] and bench.committed() == Decimal("0.14")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (warning,) = [line for line in lines if line.get("level") == "WARNING"]
    assert warning["models"] == ["model 0"]


def test_what_is_charged_at_least_stays_charged_where_the_job_never_began(bench: Bench) -> None:
    bench.budgets.reserve(JOB, 1, 150_000, [Budget(DEPLOYMENT, daily=10_000_000)], least=9_000)
    assert bench.sweep() == 1
    assert bench.committed() == Decimal("0.009")


def test_a_run_that_cannot_be_finished_yet_is_left_to_the_next_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create()
    bench.claim(0)
    with monkeypatch.context() as broken:
        broken.setattr(bench.budgets, "close", MagicMock(side_effect=StorageError("DynamoDB is gone.")))
        assert bench.sweep() == 0
    assert bench.sweep() == 1
    assert bench.committed() == Decimal("0.05")
