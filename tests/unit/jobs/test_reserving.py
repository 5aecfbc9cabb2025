"""What a run reserves, and what a caller hears whose job does not fit."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pixelprompt.errors import BudgetExceeded
from pixelprompt.jobs.document import new_document
from pixelprompt.jobs.reserving import Part, Reserving, RetryBudget
from pixelprompt.jobs.settlement import Settlement
from pixelprompt.limits.budget import DEPLOYMENT, Budget, Budgets
from pixelprompt.limits.usage import UsageLog
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import receipt
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER

NOW = datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp()


def part(index: int, dollars: float | None, n: int = 1) -> Part:
    price = None if dollars is None else {"unit": "image", "amount": dollars}
    return Part(index, f"model {index}", Model(f"model {index}", "openai", "id", price=price), {"n": n})


class Bench:
    def __init__(self, dynamodb: Any) -> None:
        self.now = NOW
        ledger = Ledger(dynamodb, LEDGER)
        self.budgets = Budgets(ledger, clock=lambda: self.now)
        self.usage = UsageLog(ledger, lambda: self.now)
        self.limits = [Budget(DEPLOYMENT, daily=1_000_000)]
        self.unknown_price: float | None = None

    def reserving(self) -> Reserving:
        return Reserving(
            self.budgets,
            lambda caller: self.limits,
            Settlement(self.budgets, self.usage),
            unknown_price=self.unknown_price,
            clock=lambda: self.now,
        )

    def reserve(self, *parts: Part, job: str = "job") -> Any:
        reserving = Reserving(
            self.budgets,
            lambda caller: self.limits,
            Settlement(self.budgets, self.usage),
            unknown_price=self.unknown_price,
            clock=lambda: self.now,
        )
        return reserving.reserve(job, 1, parts, "a fox")

    def refused(self, *parts: Part, job: str = "other") -> BudgetExceeded:
        with pytest.raises(BudgetExceeded) as caught:
            self.reserve(*parts, job=job)
        return caught.value


@pytest.fixture
def bench(dynamodb: Any) -> Bench:
    return Bench(dynamodb)


def test_each_row_has_the_price_of_its_images(bench: Bench) -> None:
    reserved = bench.reserve(part(0, 0.04, 2), part(3, 0.01))
    assert reserved.amounts == {0: 80_000, 3: 10_000}
    assert (reserved.reservation.day, reserved.reservation.amount) == ("2026-11-30", 90_000)


def test_who_does_not_fit_hears_what_would(bench: Bench) -> None:
    bench.reserve(part(0, 0.9))
    refused = bench.refused(part(0, 0.07), part(1, 0.2), part(2, 0.02), part(3, 0.01))
    assert refused.message == (
        "This job may cost $0.30. This deployment has $0.10 left of its budget for today, which renews at "
        "2026-12-01 00:00 UTC. Within it are: model 0, model 2, model 3."
    )
    assert refused.details == {
        "retryAfter": 3600, "scope": "deployment", "window": "day", "needed": 0.3, "left": 0.1,
        "renewsAt": "2026-12-01T00:00:00Z", "models": ["model 0", "model 2", "model 3"],
    }  # fmt: skip
    assert (refused.status, refused.code, refused.headers) == (402, "BUDGET_EXCEEDED", {"Retry-After": "3600"})
    # What it names does fit.
    bench.reserve(part(0, 0.07), part(2, 0.02), part(3, 0.01), job="other")


def test_what_is_said_to_fit_fits_into_every_budget(bench: Bench) -> None:
    bench.reserve(part(0, 0.95))
    bench.limits = [Budget("key/a", daily=200_000), *bench.limits]
    refused = bench.refused(part(0, 0.15), part(1, 0.1), part(2, 0.04))
    assert (refused.details["scope"], refused.details["left"]) == ("key", 0.2)
    assert refused.details["models"] == ["model 2"]
    bench.reserve(part(2, 0.04), job="other")


def test_after_the_window_turns_the_same_job_fits(bench: Bench) -> None:
    bench.reserve(part(0, 0.9))
    assert bench.refused(part(0, 0.9)).details["models"] == []
    bench.now += 3600
    bench.reserve(part(0, 0.9), job="other")


def test_what_no_price_is_known_of_is_refused_without_a_ceiling(bench: Bench) -> None:
    refused = bench.refused(part(0, 0.1), part(1, None))
    assert refused.details == {"unknown": ["model 1"], "models": ["model 0"]}
    bench.unknown_price = 0.25
    assert bench.reserve(part(0, 0.1), part(1, None, 2)).amounts == {0: 100_000, 1: 500_000}


def test_a_reservation_that_is_released_leaves_its_room(bench: Bench) -> None:
    reserving = bench.reserving()
    reserving.release(bench.reserve(part(0, 1.0)))
    bench.reserve(part(0, 1.0), job="other")


@pytest.mark.parametrize(
    ("most", "missing", "expected"), [(4, 4, 40_000), (4, 1, 10_000), (2, 4, 20_000), (2, 1, 10_000)]
)
def test_a_retry_reserves_no_more_images_than_the_model_makes(
    bench: Bench, most: int, missing: int, expected: int
) -> None:
    given = receipt({"n": 4}, {"n": {"max": most}})
    model = part(0, 0.01).model
    document = new_document("job", "a fox", {"n": 4}, [{"name": "model 0", "provider": "openai", **given.row()}], "now")
    budget = RetryBudget(bench.reserving(), Settlement(bench.budgets, bench.usage), lambda name: model)
    reserved = budget.reserve(document, document["results"], {0: missing})
    assert reserved and reserved.amounts == {0: expected}
