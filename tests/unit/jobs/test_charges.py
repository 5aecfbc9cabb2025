"""What the rows of a run are charged when it has ended."""

from typing import Any

import pytest

from pixelprompt.jobs.charges import Shares, charge, reservation_of, share_out
from pixelprompt.jobs.document import cancel_row, complete_row, fail_row, new_document, reopen_rows, start_row
from pixelprompt.jobs.schema import Job
from pixelprompt.limits.budget import Reservation
from pixelprompt.models.cost import reported
from pixelprompt.models.model import ProviderError

NOW = "2026-11-29T12:00:00.000Z"
DAY = "2026-11-29"


def reserved(day: str, amounts: dict[int, int]) -> Shares:
    return Shares(Reservation("id", "job", 1, day, sum(amounts.values()), ()), amounts)


def job(*shares: int) -> Job:
    models = [{"name": f"model {index}", "provider": "openai"} for index in range(len(shares))]
    document = new_document("job", "a fox", {}, models, NOW)
    share_out(document, reserved(DAY, dict(enumerate(shares))))
    return document


def done(row: Any) -> None:
    complete_row(row, {"imageKey": "i", "cost": reported(0.04)}, NOW)


def done_at_an_unknown_cost(row: Any) -> None:
    complete_row(row, {"imageKey": "i"}, NOW)


def refused(row: Any) -> None:
    fail_row(row, ProviderError("refused", billable="no").row(), NOW)


def refused_at_a_cost(row: Any) -> None:
    fail_row(row, {**ProviderError("refused", billable="yes").row(), "cost": reported(0.01)}, NOW)


def lost(row: Any) -> None:
    fail_row(row, ProviderError("unknown_outcome").row(), NOW)


def cancelled_before_its_start_was_recorded(row: Any) -> None:
    cancel_row(row, NOW)


def cancelled_at_work(row: Any) -> None:
    start_row(row, NOW)
    cancel_row(row, NOW)


@pytest.mark.parametrize(
    ("end", "charged"),
    [
        (done, 0.04),
        (done_at_an_unknown_cost, 0.05),
        (refused, 0.0),
        (refused_at_a_cost, 0.01),
        (lost, 0.05),
        (cancelled_before_its_start_was_recorded, 0.05),
        (cancelled_at_work, 0.05),
    ],
)
def test_a_row_that_claimed_its_share_is_charged_unless_it_was_certainly_free(end: Any, charged: float) -> None:
    document = job(50_000)
    end(document["results"][0])
    assert charge(document, 1, {0})
    assert document["results"][0]["charged"] == charged
    assert document["reservations"] == [
        {"id": "id", "run": 1, "day": DAY, "amount": 0.05, "scopes": [], "charged": charged}
    ]


@pytest.mark.parametrize("end", [refused, lost, cancelled_before_its_start_was_recorded, cancelled_at_work])
def test_a_row_that_did_not_claim_its_share_is_free(end: Any) -> None:
    document = job(50_000)
    end(document["results"][0])
    assert charge(document, 1, ())
    assert document["results"][0]["charged"] == 0


def test_a_run_is_charged_once(end: Any = done) -> None:
    document = job(50_000, 70_000)
    for row in document["results"]:
        end(row)
    assert charge(document, 1, {0, 1})
    assert not charge(document, 1, ())
    assert document["reservations"] == [
        {"id": "id", "run": 1, "day": DAY, "amount": 0.12, "scopes": [], "charged": 0.08}
    ]


def test_what_has_reserved_nothing_is_not_charged() -> None:
    document = new_document("job", "a fox", {}, [{"name": "a", "provider": "openai"}], NOW)
    assert not charge(document, 1, {0})
    assert "charged" not in document["results"][0]
    assert reservation_of(document, 1) is None


def test_runs_add_up_and_a_row_that_did_not_run_again_is_left_alone() -> None:
    document = job(50_000, 70_000, 10_000)
    first, second, third = document["results"]
    done(first)
    lost(second)
    lost(third)
    charge(document, 1, {0, 1, 2})
    reopen_rows(document, [second], NOW)
    share_out(document, reserved("2026-11-30", {1: 80_000}))
    assert second["reserved"] == 0.08
    done(second)
    assert charge(document, 2, {1})
    assert [row["charged"] for row in document["results"]] == [0.04, 0.11, 0.01]
    assert [found["charged"] for found in document["reservations"]] == [0.12, 0.04]
    assert sum(row["charged"] for row in document["results"]) == pytest.approx(0.16)
