"""Calls of text models within the budgets."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pixelprompt.errors import BudgetExceeded, StorageError
from pixelprompt.limits.budget import DEPLOYMENT, Budget, Budgets
from pixelprompt.limits.spending import CallBudget
from pixelprompt.limits.usage import CallUsage, UsageLog
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER

CENT = 10_000


class Bench:
    def __init__(self, dynamodb: Any) -> None:
        ledger = Ledger(dynamodb, LEDGER)
        self.budgets = Budgets(ledger)
        self.usage = UsageLog(ledger)
        self.limits = [Budget(DEPLOYMENT, daily=3 * CENT)]

    def budget(self, price: Callable[[str], int | None] = lambda text: CENT) -> CallBudget:
        return CallBudget(self.budgets, lambda caller: self.limits, price, self.usage)

    def left(self) -> int:
        (left,) = self.budgets.left(self.limits)
        return left.amount


@pytest.fixture
def bench(dynamodb: Any) -> Bench:
    return Bench(dynamodb)


def test_a_call_is_reserved_while_it_lasts_and_then_charged(bench: Bench) -> None:
    with bench.budget().reserved("a fox"):
        assert (bench.left(), len(list(bench.budgets.open()))) == (2 * CENT, 1)
    assert (bench.left(), list(bench.budgets.open())) == (2 * CENT, [])


def test_one_that_fails_is_charged_as_well(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError), bench.budget().reserved("a fox"):
        1 / 0  # noqa: B018
    assert (bench.left(), list(bench.budgets.open())) == (2 * CENT, [])


def test_the_longer_the_text_the_more_it_may_cost(bench: Bench) -> None:
    with pytest.raises(BudgetExceeded) as caught, bench.budget(lambda text: len(text) * CENT).reserved("a fox"):
        raise AssertionError
    assert caught.value.message.startswith("This request may cost $0.05. This deployment has $0.03 left")
    assert "models" not in caught.value.details and bench.left() == 3 * CENT


def test_what_is_free_reserves_nothing(bench: Bench) -> None:
    with bench.budget(lambda text: 0).reserved("a fox"):
        assert list(bench.budgets.open()) == []


def test_a_call_of_unknown_price_is_refused(bench: Bench) -> None:
    with pytest.raises(BudgetExceeded, match="unknownPriceCeiling"), bench.budget(lambda text: None).reserved("a fox"):
        raise AssertionError


def test_a_call_that_could_not_be_charged_keeps_what_it_reserved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bool:
        raise StorageError("DynamoDB is gone.")

    monkeypatch.setattr(bench.budgets, "settle", fail)
    with bench.budget().reserved("a fox"):
        pass
    (entry,) = bench.budgets.open()
    # The sweep finds no job of this ID, and charges the least.
    assert entry.reservation.least == entry.reservation.amount == CENT
    assert bench.left() == 2 * CENT


def test_a_call_of_unknown_price_counts_as_an_unknown_cost_where_there_is_no_budget(bench: Bench) -> None:
    bench.limits = []
    with bench.budget(lambda text: None).reserved("a fox"):
        pass
    today = datetime.now(UTC).date()
    (call,) = bench.usage.read(today, today, "")
    assert isinstance(call, CallUsage) and call.amount is None
