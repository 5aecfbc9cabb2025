"""What a job has reserved of the budgets, and what is charged to them: rules on its document.

A run reserves an amount before it begins, and each of its rows has a share of it. When the run ends, each row is
charged once: what its images cost, or where that is unknown its share; nothing only if its provider was certainly not
paid.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from pixelprompt.jobs.document import run_of_row
from pixelprompt.jobs.schema import Job, ModelResult, RunReservation
from pixelprompt.models.cost import dollars, micros

if TYPE_CHECKING:
    from pixelprompt.limits.budget import Reservation

# Where nobody knows which rows have claimed their share.
ANY_ROW = range(sys.maxsize)


class Shares(Struct, frozen=True):
    """A run's reservation, and what its rows have of it, by index, in millionths of a US dollar.

    What the reservation has beside them is for the check of the prompt.
    """

    reservation: Reservation
    amounts: Mapping[int, int]


def share_out(document: Job, shares: Shares) -> None:
    """Show what the present run of a job has reserved."""
    for row in document["results"]:
        if row["index"] in shares.amounts and run_of_row(document, row) == document["run"]:
            row["reserved"] = dollars(shares.amounts[row["index"]])
    reserved = shares.reservation
    shown = RunReservation(
        id=reserved.id,
        run=document["run"],
        day=reserved.day,
        amount=dollars(reserved.amount),
        scopes=[*reserved.scopes],
    )
    if reserved.least:
        shown["moderation"] = dollars(reserved.least)
    document["reservations"] = [*document.get("reservations", []), shown]


def reservation_of(document: Job, run: int) -> RunReservation | None:
    """What a run has reserved, if it has."""
    return next((found for found in document.get("reservations", []) if found["run"] == run), None)


def charge(document: Job, run: int, claimed: Collection[int]) -> bool:
    """Charge the rows of a run that has ended. False: it has reserved nothing, or is charged already.

    Parameters
    ----------
    claimed : indices of the rows that have claimed their share, and may so have asked their provider
    """
    reservation = reservation_of(document, run)
    if reservation is None or "charged" in reservation:
        return False
    charged = micros(reservation.get("moderation", 0.0))
    for row in document["results"]:
        if run_of_row(document, row) == run and "reserved" in row:
            amount = _charge(row) if row["index"] in claimed else 0
            row["charged"] = dollars(micros(row.get("charged", 0.0)) + amount)
            charged += amount
    reservation["charged"] = dollars(charged)
    return True


def cost_more_than_reserved(document: Job, run: int) -> list[str]:
    """The names of a run's models that cost more than their share."""
    return [
        row["model"]
        for row in document["results"]
        if run_of_row(document, row) == run
        and (row.get("cost", {}).get("amount") or 0.0) > row.get("reserved", math.inf)
    ]


def _charge(row: ModelResult) -> int:
    """What a row that has claimed its share is charged, in millionths of a US dollar."""
    cost = row.get("cost", {}).get("amount")
    if cost is not None:
        return micros(cost)
    # A row that is cancelled before its start was recorded says that it cost nothing, but its provider may be at work.
    if row.get("billable") == "no" and row["status"] == "error":
        return 0
    return micros(row["reserved"])
