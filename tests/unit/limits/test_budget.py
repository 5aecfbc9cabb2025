"""Budgets: what is committed never exceeds them, whatever is lost, repeated or late."""

import io
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from moto import mock_aws
from msgspec.structs import replace

from pixelprompt.errors import StorageError
from pixelprompt.limits.budget import DEPLOYMENT, Budget, Budgets, Left, Reservation
from pixelprompt.models.cost import dollars, micros
from pixelprompt.storage import clients
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER, LEDGER_SCHEMA

JOB = "0bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
TEN = Budget(DEPLOYMENT, daily=micros(10))
KEY = Budget("key/a", daily=micros(3))


class Bench:
    """Budgets with a clock that is set by hand."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.now = NOON
        self.calls: list[str] = []
        client.meta.events.register("before-call.dynamodb", lambda model, **_: self.calls.append(model.name))
        self.budgets = Budgets(Ledger(client, LEDGER), clock=lambda: self.now)

    def reserve(self, amount: float, *budgets: Budget, job: str = JOB, run: int = 1) -> Reservation | Left:
        return self.budgets.reserve(job, run, micros(amount), budgets or (TEN,))

    def reserved(self, amount: float, *budgets: Budget, job: str = JOB, run: int = 1) -> Reservation:
        reservation = self.reserve(amount, *budgets, job=job, run=run)
        assert isinstance(reservation, Reservation)
        return reservation

    def item(self, month: str = "2026-11", scope: str = DEPLOYMENT) -> dict[str, Any]:
        key = {"pk": {"S": "budget"}, "sk": {"S": f"{month}/{scope}"}}
        found: dict[str, Any] = self.client.get_item(TableName=LEDGER, Key=key).get("Item", {})
        return found

    def committed(self, name: str = "month", month: str = "2026-11", scope: str = DEPLOYMENT) -> Decimal:
        return Decimal(self.item(month, scope).get(name, {"N": "0"})["N"])

    def is_open(self, scope: str = DEPLOYMENT, month: str = "2026-11") -> bool:
        return any(name.startswith("open/") for name in self.item(month, scope))


@pytest.fixture
def bench(dynamodb: Any) -> Bench:
    return Bench(dynamodb)


@pytest.mark.parametrize(
    ("amount", "expected"), [(0.35, 350_000), (0.0000001, 1), (0.1 + 0.2, 300_001), (10, 10_000_000)]
)
def test_an_amount_is_rounded_up_to_millionths(amount: float, expected: int) -> None:
    assert micros(amount) == expected
    assert dollars(micros(amount)) >= amount


def test_jobs_pass_until_the_budget_has_no_room(bench: Bench) -> None:
    results = [bench.reserve(0.35, job=f"job-{number}") for number in range(40)]
    reserved = [result for result in results if isinstance(result, Reservation)]
    assert len(reserved) == 28
    assert bench.committed() == bench.committed("day/30") == Decimal("9.8")
    assert results[-1] == Left(DEPLOYMENT, "day", 200_000, datetime(2026, 12, 1, tzinfo=UTC).timestamp())


def test_a_reservation_is_one_write_and_a_refusal_too(bench: Bench) -> None:
    bench.reserve(9)
    assert bench.calls == ["UpdateItem"]
    assert isinstance(bench.reserve(2, job="other"), Left)
    assert bench.calls == ["UpdateItem", "UpdateItem"]


def test_what_is_exactly_left_passes_and_no_millionth_more(bench: Bench) -> None:
    bench.reserved(9.999999)
    assert bench.reserve(0.000002, job="b") == Left(DEPLOYMENT, "day", 1, datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    bench.reserved(0.000001, job="c")
    assert bench.committed() == 10


def test_a_job_that_no_budget_could_ever_pay_is_refused(bench: Bench) -> None:
    refused = bench.reserve(11)
    assert refused == Left(DEPLOYMENT, "day", 10_000_000, datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert bench.item() == {}


def test_what_costs_nothing_passes_even_beyond_the_budget(bench: Bench) -> None:
    bench.budgets.settle(bench.reserved(9), micros(12))
    bench.budgets.settle(bench.reserved(0, job="b"), 0)
    assert bench.committed() == 12 and not bench.is_open()


def test_the_next_day_has_its_own_room_and_the_month_goes_on(bench: Bench) -> None:
    budget = Budget(DEPLOYMENT, daily=micros(10), monthly=micros(15))
    bench.now = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    bench.reserved(9, budget)
    assert isinstance(bench.reserve(4, budget, job="b"), Left)
    bench.now += 1
    bench.reserved(4, budget, job="b")
    assert (bench.committed("day/29"), bench.committed("day/30"), bench.committed()) == tuple(map(Decimal, (9, 4, 13)))
    refused = bench.reserve(4, budget, job="c")
    assert refused == Left(DEPLOYMENT, "month", 2_000_000, datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    bench.now += 86400
    bench.reserved(4, budget, job="c")
    assert (bench.committed(), bench.committed(month="2026-12")) == (Decimal(13), Decimal(4))


def test_what_was_charged_goes_to_the_day_that_reserved_it(bench: Bench) -> None:
    bench.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()
    reservation = bench.reserved(5)
    bench.now += 60
    bench.budgets.settle(reservation, micros(3.25))
    assert (bench.committed("day/30"), bench.committed()) == (Decimal("3.25"), Decimal("3.25"))
    assert bench.item("2026-12") == {}
    assert not bench.is_open()


def test_a_reservation_is_settled_once(bench: Bench) -> None:
    reservation = bench.reserved(5)
    for _ in range(3):
        bench.budgets.settle(reservation, micros(1))
    assert bench.committed() == 1


def test_what_is_charged_beyond_the_reserved_amount_counts(bench: Bench) -> None:
    bench.budgets.settle(bench.reserved(9), micros(12))
    assert bench.committed() == 12
    assert bench.reserve(0.01, job="b") == Left(DEPLOYMENT, "day", 0, datetime(2026, 12, 1, tzinfo=UTC).timestamp())


def test_a_key_without_room_leaves_the_deployment_alone(bench: Bench) -> None:
    refused = bench.reserve(4, KEY, TEN)
    assert isinstance(refused, Left) and (refused.scope, refused.amount) == ("key/a", 3_000_000)
    assert bench.item() == {}


def test_a_deployment_without_room_gives_the_key_its_amount_back(bench: Bench) -> None:
    bench.reserved(9)
    refused = bench.reserve(2, KEY, TEN, job="b")
    assert isinstance(refused, Left) and (refused.scope, refused.amount) == (DEPLOYMENT, 1_000_000)
    assert bench.committed(scope="key/a") == 0
    assert not bench.is_open("key/a")


def test_a_deployment_that_cannot_be_asked_gives_the_key_its_amount_back(bench: Bench) -> None:
    def fail(params: Any, **_: Any) -> None:
        if params["Key"]["sk"]["S"].endswith(DEPLOYMENT):
            raise ReadTimeoutError(endpoint_url="dynamodb")

    bench.client.meta.events.register("provide-client-params.dynamodb.UpdateItem", fail)
    with pytest.raises(StorageError):
        bench.reserve(2, KEY, TEN)
    assert bench.committed(scope="key/a") == 0
    assert not bench.is_open("key/a")


def test_both_scopes_are_settled(bench: Bench) -> None:
    bench.budgets.settle(bench.reserved(2, KEY, TEN), micros(0.5))
    assert bench.committed() == bench.committed(scope="key/a") == Decimal("0.5")


def test_an_attempt_whose_response_was_lost_reserves_once(bench: Bench) -> None:
    pauses = [0]
    bench.client.meta.events.register("needs-retry.dynamodb", lambda **_: pauses.pop() if pauses else None)
    bench.reserved(2)
    assert not pauses
    assert bench.committed() == 2


def test_a_claim_needs_an_open_run(bench: Bench) -> None:
    assert bench.budgets.claim(JOB, 1, 0)
    # An attempt that is repeated.
    assert bench.budgets.claim(JOB, 1, 0)
    assert bench.budgets.claim(JOB, 1, 7)
    assert bench.budgets.close(JOB, 1) == {0, 7}
    assert not bench.budgets.claim(JOB, 1, 0)
    assert not bench.budgets.claim(JOB, 1, 3)
    assert bench.budgets.close(JOB, 1) == {0, 7}
    # The next run has claims of its own.
    assert bench.budgets.claim(JOB, 2, 0)


def test_a_run_that_nobody_claimed_can_be_closed(bench: Bench) -> None:
    assert bench.budgets.close(JOB, 1) == frozenset()
    assert not bench.budgets.claim(JOB, 1, 0)


def test_open_reservations_are_listed_for_the_sweep(bench: Bench) -> None:
    first = bench.reserved(1, KEY, TEN)
    bench.budgets.settle(bench.reserved(1, job="settled"), 0)
    bench.now = datetime(2026, 12, 1, 0, 0, 5, tzinfo=UTC).timestamp()
    bench.reserved(2, job="b", run=3)
    found = [(replace(entry.reservation, id=""), entry.since) for entry in bench.budgets.open()]
    november, amount = "2026-11-30", micros(1)
    assert found == [
        (Reservation("", JOB, 1, november, amount, (DEPLOYMENT,)), NOON),
        (Reservation("", JOB, 1, november, amount, ("key/a",)), NOON),
        (Reservation("", "b", 3, "2026-12-01", micros(2), (DEPLOYMENT,)), bench.now),
    ]
    assert first.scopes == ("key/a", DEPLOYMENT)
    for entry in [*bench.budgets.open()]:
        bench.budgets.settle(entry.reservation, 0)
    assert list(bench.budgets.open()) == []
    assert bench.committed() == bench.committed(month="2026-12") == 0


def test_what_is_left_is_one_read(bench: Bench) -> None:
    budgets = [KEY, Budget(DEPLOYMENT, daily=micros(10), monthly=micros(100))]
    bench.reserved(2, *budgets)
    bench.calls.clear()
    tomorrow, december = (datetime(2026, 12, 1, tzinfo=UTC).timestamp(),) * 2
    assert bench.budgets.left(budgets) == [
        Left("key/a", "day", micros(1), tomorrow),
        Left(DEPLOYMENT, "day", micros(8), tomorrow),
        Left(DEPLOYMENT, "month", micros(98), december),
    ]
    assert bench.calls == ["BatchGetItem"]


def test_each_request_has_a_reservation_of_its_own(bench: Bench) -> None:
    first, again = bench.reserved(2, KEY), bench.reserved(0.5, KEY, TEN)
    assert (bench.committed(), bench.committed(scope="key/a")) == (Decimal("0.5"), Decimal("2.5"))
    bench.budgets.settle(first, 0)
    assert (bench.committed(), bench.committed(scope="key/a")) == (Decimal("0.5"), Decimal("0.5"))
    bench.budgets.settle(again, micros(0.25))
    assert bench.committed() == bench.committed(scope="key/a") == Decimal("0.25")


def test_a_release_that_fails_is_left_to_the_sweep(bench: Bench, log: io.StringIO) -> None:
    bench.reserved(9)

    def fail(params: Any, **_: Any) -> None:
        if params["UpdateExpression"].startswith("REMOVE"):
            raise ReadTimeoutError(endpoint_url="dynamodb")

    bench.client.meta.events.register("provide-client-params.dynamodb.UpdateItem", fail)
    assert isinstance(bench.reserve(2, KEY, TEN, job="b"), Left)
    assert "the sweep does it" in log.getvalue()
    assert bench.is_open("key/a")


class Spender(RuleBasedStateMachine):
    """Requests of any amounts on any days, which die anywhere, and ends of jobs in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.mock = mock_aws()
        self.mock.start()
        self.client = clients.client("dynamodb")
        self.client.create_table(TableName=LEDGER, **LEDGER_SCHEMA)
        self.bench = Bench(self.client)
        self.charged: Counter[str] = Counter()
        self.open: list[Reservation] = []
        self.jobs = 0

    @rule(amount=st.integers(1, 4_000_000), is_kept=st.booleans())
    def reserve(self, amount: int, is_kept: bool) -> None:
        self.jobs += 1
        reserved = self.bench.budgets.reserve(f"job-{self.jobs}", 1, amount, (KEY, TEN))
        if isinstance(reserved, Reservation) and is_kept:
            self.open.append(reserved)

    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        if self.open:
            reservation = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            charged = int(reservation.amount * share)
            for _ in range(2):
                self.bench.budgets.settle(reservation, charged)
            self.charged[reservation.day] += charged

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.bench.now += hours * 3600

    @invariant()
    def never_committed_more(self) -> None:
        for item in self.client.scan(TableName=LEDGER)["Items"]:
            limit = 10 if item["sk"]["S"].endswith(DEPLOYMENT) else 3
            days = [Decimal(value["N"]) for name, value in item.items() if name.startswith("day/")]
            assert all(0 <= day <= limit for day in days)
            assert sum(days) == Decimal(item["month"]["N"])

    def teardown(self) -> None:
        for entry in [*self.bench.budgets.open()]:
            kept = [r for r in self.open if r.attribute == entry.reservation.attribute]
            self.bench.budgets.settle(entry.reservation, 0)
            assert not kept or kept[0].amount == entry.reservation.amount
        for day, charged in self.charged.items():
            committed = self.bench.committed(f"day/{day[8:]}", day[:7])
            if day[:7] == f"{datetime.fromtimestamp(self.bench.now, UTC):%Y-%m}":
                assert committed * 1_000_000 == charged
        self.mock.stop()


TestSpender = Spender.TestCase
TestSpender.settings = settings(max_examples=10, stateful_step_count=15)
