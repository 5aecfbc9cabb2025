"""What is read from a job document as its usage."""

import io
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelprompt.jobs.charges import Shares, charge, share_out
from pixelprompt.jobs.document import cancel_row, complete_row, fail_row, new_document, reopen_rows, start_row
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.usage import job_usage, measure, record
from pixelprompt.limits.budget import Reservation
from pixelprompt.limits.usage import ModelUsage, UsageLog
from pixelprompt.models.cost import UNKNOWN, micros, reported
from pixelprompt.models.model import ProviderError
from pixelprompt.observability import begin
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER

NOW, LATER = "2026-11-29T23:59:59.999Z", "2026-11-30T00:10:00.000Z"
Metrics = Callable[[], list[dict[str, Any]]]


def job(*shares: int, moderation: int = 0, models: int = 0) -> Job:
    rows = [{"name": f"model {index}", "provider": "openai"} for index in range(len(shares) or models)]
    document = new_document("job", "a fox", {}, rows, NOW)
    if shares:
        reserve(document, dict(enumerate(shares)), moderation)
    return document


def reserve(document: Job, shares: dict[int, int], moderation: int = 0) -> None:
    amount = sum(shares.values()) + moderation
    share_out(document, Shares(Reservation("id", "job", 1, "2026-11-29", amount, (), moderation), shares))


def done(row: Any, cost: Any, images: int = 1, now: str = NOW) -> None:
    stored = [{"imageKey": f"i{number}", "binaryKey": f"b{number}"} for number in range(images)]
    complete_row(row, {"imageKey": "i0", "images": stored, "cost": cost}, now)


def computed(amount: float) -> Any:
    return {**reported(amount), "basis": "computed"}


def charged(document: Job) -> int:
    return sum(micros(reservation.get("charged", 0.0)) for reservation in document.get("reservations", []))


def dollars(document: Job) -> int:
    usage = job_usage(document)
    return usage.moderation + sum(model.reported + model.computed + model.reserved for model in usage.models)


def test_a_job_that_reserves_nothing_has_its_known_costs() -> None:
    document = job(models=4)
    first, second, third, fourth = document["results"]
    done(first, reported(0.04), images=2)
    done(second, computed(0.02))
    done(third, UNKNOWN)
    fail_row(fourth, ProviderError("refused", billable="no").row(), NOW)
    usage = job_usage(document)
    assert (usage.job_id, usage.day, usage.owner, usage.key, usage.updated_at) == ("job", "2026-11-29", "", "", NOW)
    assert usage.moderation == 0
    assert usage.models == (
        ModelUsage("model 0", 2, reported=40_000),
        ModelUsage("model 1", 1, computed=20_000),
        ModelUsage("model 2", 1, unknown=1),
        ModelUsage("model 3"),
    )


@pytest.mark.parametrize("is_first_reserved", [True, False])
def test_the_run_of_a_caller_without_a_budget_counts_beside_one_that_has_reserved(is_first_reserved: bool) -> None:
    document = job(*([50_000] if is_first_reserved else []), models=1)
    (row,) = document["results"]
    row["cost"] = reported(0.03)
    fail_row(row, {**ProviderError("no_image", billable="yes").row(), "cost": reported(0.03)}, NOW)
    charge(document, 1, {0})
    reopen_rows(document, [row], LATER)
    if not is_first_reserved:
        reserve(document, {0: 50_000})
    before = dollars(document)
    done(row, computed(0.02), now=LATER)
    charge(document, 2, {0})
    assert before == 30_000
    assert job_usage(document).models == (ModelUsage("model 0", 1, reported=30_000, computed=20_000),)


def test_a_job_belongs_to_its_owner_and_key() -> None:
    document: Any = {**job(models=1), "owner": "a" * 32, "apiKey": "5f"}
    usage = job_usage(document)
    assert (usage.owner, usage.key) == ("a" * 32, "5f")


def test_an_unknown_cost_is_charged_at_the_reserved_price() -> None:
    document = job(50_000, 50_000, moderation=9_000)
    done(document["results"][0], UNKNOWN)
    done(document["results"][1], computed(0.04))
    charge(document, 1, {0, 1})
    usage = job_usage(document)
    assert usage.models == (
        ModelUsage("model 0", 1, reserved=50_000),
        ModelUsage("model 1", 1, computed=40_000),
    )
    assert usage.moderation == 9_000
    assert dollars(document) == charged(document) == 99_000


def test_before_a_run_is_charged_it_has_no_dollars() -> None:
    document = job(50_000, moderation=9_000)
    done(document["results"][0], reported(0.04))
    assert dollars(document) == 0
    assert job_usage(document).models == (ModelUsage("model 0", 1),)


def test_runs_add_up_and_images_of_a_failed_row_count() -> None:
    document = job(50_000, 70_000)
    first, second = document["results"]
    done(first, reported(0.04))
    second["images"] = [{"imageKey": "i", "binaryKey": "b"}]
    fail_row(second, ProviderError("unknown_outcome").row(), NOW)
    charge(document, 1, {0, 1})
    reopen_rows(document, [second], LATER)
    reserve(document, {1: 80_000})
    done(second, computed(0.06), images=2, now=LATER)
    charge(document, 2, {1})
    assert job_usage(document).models == (
        ModelUsage("model 0", 1, reported=40_000),
        ModelUsage("model 1", 2, computed=60_000, reserved=70_000),
    )
    assert job_usage(document).day == "2026-11-29"
    assert dollars(document) == charged(document)


def test_an_image_that_came_after_its_run_was_charged_costs_what_was_charged() -> None:
    document = job(50_000)
    (row,) = document["results"]
    start_row(row, NOW)
    cancel_row(row, NOW)
    charge(document, 1, {0})
    done(row, reported(0.06))
    assert job_usage(document).models == (ModelUsage("model 0", 1, reported=50_000),)


ENDS = st.sampled_from(["reported", "computed", "unknown", "refused", "lost", "cancelled", "cancelled at work"])


def end(row: Any, how: str, amount: int) -> None:
    if how == "refused":
        fail_row(row, ProviderError("refused", billable="no").row(), NOW)
    elif how == "lost":
        fail_row(row, ProviderError("unknown_outcome").row(), NOW)
    elif how.startswith("cancelled"):
        if how == "cancelled at work":
            start_row(row, NOW)
        cancel_row(row, NOW)
    else:
        costs = {"reported": reported(amount / 1e6), "computed": computed(amount / 1e6), "unknown": UNKNOWN}
        done(row, costs[how])


@given(st.data(), st.integers(0, 9_999), st.integers(1, 4))
def test_the_dollars_of_a_job_are_what_its_runs_were_charged(data: st.DataObject, moderation: int, runs: int) -> None:
    amounts = st.integers(0, 3_000_000)
    document = job(*data.draw(st.lists(amounts, min_size=1, max_size=4)), moderation=moderation)
    rerun = [*document["results"]]
    for run in range(1, runs + 1):
        for row in rerun:
            end(row, data.draw(ENDS), data.draw(amounts))
        charge(document, run, data.draw(st.sets(st.sampled_from([row["index"] for row in rerun]))))
        assert dollars(document) == charged(document)
        rerun = reopen_rows(document, document["results"], NOW)
        if not rerun:
            break
        assert dollars(document) == charged(document)
        reserve(document, {row["index"]: data.draw(amounts) for row in rerun})


def test_a_job_is_recorded(dynamodb: Any) -> None:
    log = UsageLog(Ledger(dynamodb, LEDGER))
    document = job(models=2)
    record(document, log)
    assert [*log.read(date(2026, 11, 29), date(2026, 11, 29), "")] == [job_usage(document)]


def test_a_document_that_cannot_be_read_is_logged(dynamodb: Any, log: io.StringIO) -> None:
    document: Any = {"jobId": "job"}
    record(document, UsageLog(Ledger(dynamodb, LEDGER)))
    assert "could not be recorded" in log.getvalue()


def test_a_run_is_measured_by_what_it_has_made_itself(metrics: Metrics) -> None:
    document = job(50_000, 70_000, 10_000, moderation=1_000)
    first, second, third = document["results"]
    done(first, reported(0.04), images=2)
    fail_row(second, ProviderError("unknown_outcome").row(), NOW)
    done(third, UNKNOWN)
    charge(document, 1, {0, 1, 2})
    measure(document)
    assert metrics() == [
        {"Images": 2, "model": "model 0"},
        {"Images": 1, "model": "model 2"},
        {"ReservedDollars": 0.081},
    ]
    reopen_rows(document, [second], LATER)
    reserve(document, {1: 80_000})
    done(second, reported(0.06), now=LATER)
    charge(document, 2, {1})
    measure(document)
    assert metrics() == [{"Images": 1, "model": "model 1"}, {"ReservedDollars": 0.0}]


def test_a_run_that_reserves_nothing_has_no_reserved_dollars(metrics: Metrics) -> None:
    document = job(models=1)
    done(document["results"][0], UNKNOWN)
    measure(document)
    assert metrics() == [{"Images": 1, "model": "model 0"}]


def test_the_key_stands_beside_a_measurement_and_is_no_dimension(capsys: pytest.CaptureFixture[str]) -> None:
    begin(job_id="job")
    document: Any = {**job(models=1), "apiKey": "5f"}
    done(document["results"][0], UNKNOWN)
    measure(document)
    line = json.loads(capsys.readouterr().out)
    assert line["key"] == "5f"
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert [sorted(names) for names in directive["Dimensions"]] == [["model", "service"]]
