"""What is recorded of usage, and how it is read."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from pixelprompt.errors import BudgetExceeded, InvalidParameter, RateLimitExceeded
from pixelprompt.limits.usage import CallUsage, JobUsage, ModelUsage, Refusals, UsageLog
from pixelprompt.storage import clients
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER, LEDGER_SCHEMA

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
DAY = date(2026, 11, 29)
OWNER, OTHER = "a" * 32, "b" * 32
Metrics = Callable[[], list[dict[str, Any]]]


class Bench:
    """A log with a clock that is set by hand."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.now = NOON
        self.log = UsageLog(Ledger(client, LEDGER), lambda: self.now)

    def read(self, first: date = DAY, last: date = DAY, owner: str | None = None) -> list[Any]:
        return [*self.log.read(first, last, owner)]


@pytest.fixture
def bench(dynamodb: Any) -> Bench:
    return Bench(dynamodb)


def usage(**more: Any) -> JobUsage:
    models = (ModelUsage("GPT Image 2", 2, 0, 80_000), ModelUsage("Recraft V3", 1, 40_000, 0, 10_000, 1))
    given = {"job_id": "j", "day": "2026-11-29", "updated_at": "2026-11-29T12:00:00.000Z", "models": models}
    return JobUsage(**{**given, **more})


@pytest.mark.parametrize("more", [{}, {"owner": OWNER}, {"owner": OWNER, "key": "5f", "moderation": 9}, {"models": ()}])
def test_a_job_is_read_as_it_is_recorded(bench: Bench, more: dict[str, Any]) -> None:
    bench.log.record_job(usage(**more))
    assert bench.read() == [usage(**more)]


def test_the_same_state_of_a_job_counts_once(bench: Bench) -> None:
    for _ in range(2):
        bench.log.record_job(usage())
    assert bench.read() == [usage()]


@given(st.permutations(range(4)))
@settings(max_examples=24)
def test_the_latest_state_of_a_job_counts_in_whatever_order_they_come(order: list[int]) -> None:
    states = [
        usage(updated_at=f"2026-11-29T12:00:00.{n:03}Z", models=(ModelUsage("m", n),), moderation=n) for n in range(4)
    ]
    with mock_aws():
        client = clients.client("dynamodb")
        client.create_table(TableName=LEDGER, **LEDGER_SCHEMA)
        bench = Bench(client)
        for number in order:
            bench.log.record_job(states[number])
        assert bench.read() == [states[3]]


@pytest.mark.parametrize(
    "record",
    [lambda log: log.record_job(usage()), lambda log: log.record_call("", "", "c", 500)],
    ids=["job", "call"],
)
def test_a_lost_response_counts_nothing_twice(bench: Bench, record: Any) -> None:
    lost: list[Any] = []

    def lose(**_: Any) -> None:
        if not lost:
            lost.append(1)
            raise ReadTimeoutError(endpoint_url="dynamodb")

    bench.client.meta.events.register("before-parse.dynamodb.UpdateItem", lose)
    record(bench.log)
    # Whatever the SDK has not repeated, a caller may.
    record(bench.log)
    assert lost and len(bench.read()) == 1


def test_a_job_counts_for_the_day_of_its_creation_however_late_it_ends(bench: Bench) -> None:
    bench.now += 86400 * 3
    bench.log.record_job(usage())
    assert bench.read() == [usage()]
    assert bench.read(date(2026, 11, 30), date(2026, 12, 2)) == []


def test_a_call_and_a_refusal_count_for_the_day_on_which_they_happen(bench: Bench) -> None:
    bench.now = datetime(2026, 11, 29, 23, 59, 59, 999999, tzinfo=UTC).timestamp()
    bench.log.record_call(OWNER, "5f", "c1", 500)
    bench.log.record_refusal(OWNER, "5f", "BUDGET_EXCEEDED")
    bench.now += 1
    bench.log.record_call(OWNER, "5f", "c2", 700)
    bench.log.record_refusal("", "", "RATE_LIMIT_EXCEEDED")
    first = [
        CallUsage(day="2026-11-29", key="5f", amount=500),
        Refusals(day="2026-11-29", key="5f", codes={"BUDGET_EXCEEDED": 1}),
    ]
    assert bench.read() == first
    assert bench.read(DAY, date(2026, 11, 30)) == [
        *first,
        Refusals(day="2026-11-30", codes={"RATE_LIMIT_EXCEEDED": 1}),
        CallUsage(day="2026-11-30", key="5f", amount=700),
    ]


def test_refusals_are_counted_by_code(bench: Bench) -> None:
    for code in ("BUDGET_EXCEEDED", "MODEL_NOT_ALLOWED", "BUDGET_EXCEEDED"):
        bench.log.record_refusal(OWNER, "5f", code)
    (found,) = bench.read()
    assert found.codes == {"BUDGET_EXCEEDED": 2, "MODEL_NOT_ALLOWED": 1}


def test_an_owner_sees_nothing_of_another(bench: Bench) -> None:
    for owner in ("", OWNER, OTHER):
        bench.log.record_job(usage(owner=owner, job_id=f"job of {owner}"))
        bench.log.record_call(owner, "", f"call of {owner}", len(owner) + 1)
        bench.log.record_refusal(owner, "", f"CODE_{owner}")
    for owner in ("", OWNER, OTHER):
        call, job, refusals = bench.read(owner=owner)
        assert (call.amount, job.owner, refusals.codes) == (len(owner) + 1, owner, {f"CODE_{owner}": 1})
    # Nor by a name with which another begins.
    assert bench.read(owner=OWNER[:31]) == []
    assert len(bench.read()) == 9


def test_a_day_of_many_jobs_is_read_to_its_end(bench: Bench) -> None:
    key = {"pk": {"S": "usage/2026-11-29"}}
    bench.log.record_job(usage(models=tuple(ModelUsage(f"Model {number}", 1, 0, 40_000) for number in range(9))))
    (item,) = bench.client.scan(TableName=LEDGER)["Items"]
    for start in range(0, 3000, 25):
        puts = [
            {"PutRequest": {"Item": {**item, **key, "sk": {"S": f"{OWNER}/job/{number:04}"}}}}
            for number in range(start, start + 25)
        ]
        bench.client.batch_write_item(RequestItems={LEDGER: puts})
    queries: list[Any] = []
    bench.client.meta.events.register("before-call.dynamodb.Query", lambda **_: queries.append(1))
    found = bench.read(owner=OWNER)
    assert [record.job_id for record in found] == [f"{number:04}" for number in range(3000)]
    assert len(queries) > 1


def test_records_expire_after_a_year_and_a_month(bench: Bench) -> None:
    bench.log.record_job(usage())
    bench.log.record_call("", "", "c", 1)
    bench.log.record_refusal("", "", "BUDGET_EXCEEDED")
    items = bench.client.scan(TableName=LEDGER)["Items"]
    assert {item["expiresAt"]["N"] for item in items} == {str(int(NOON) + 400 * 86400)} and len(items) == 3


def test_what_cannot_be_recorded_is_logged(bench: Bench, log: io.StringIO) -> None:
    bench.client.delete_table(TableName=LEDGER)
    bench.log.record_job(usage())
    bench.log.record_call("", "", "c", 1)
    bench.log.record_refusal("", "", "BUDGET_EXCEEDED")
    assert log.getvalue().count("Usage could not be recorded.") == 3


def test_only_refusals_are_counted_and_every_error_goes_on(bench: Bench) -> None:
    for error in (BudgetExceeded("no"), RateLimitExceeded("no"), InvalidParameter("no"), ValueError("no")):
        with pytest.raises(type(error)), bench.log.counting_refusals(OWNER, "5f"):
            raise error
    with bench.log.counting_refusals(OWNER, "5f"):
        pass
    (found,) = bench.read()
    assert found.codes == {"BUDGET_EXCEEDED": 1, "RATE_LIMIT_EXCEEDED": 1}


def test_only_what_no_other_metric_counts_is_measured(bench: Bench, metrics: Metrics) -> None:
    for code in ("BUDGET_EXCEEDED", "RATE_LIMIT_EXCEEDED", "INAPPROPRIATE_CONTENT", "MODEL_NOT_ALLOWED"):
        bench.log.record_refusal("", "", code)
    bench.log.record_call("", "", "c", 1500)
    assert metrics() == [
        {"Refusals": 1, "errorCode": "BUDGET_EXCEEDED"},
        {"Refusals": 1, "errorCode": "MODEL_NOT_ALLOWED"},
        {"ReservedDollars": 0.0015},
    ]
