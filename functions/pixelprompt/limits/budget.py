"""Budgets: what a job may cost at most is reserved before the job exists, and settled when it has ended.

A scope is what has a budget: the deployment, or an API key. Its item of a month has a number for the month and one for
each day, UTC: what is committed, that is spent or reserved. Each open reservation is an attribute of its own beside
them. To reserve is one write, on the condition that both numbers have room; so what is committed never exceeds the
budget, at any concurrency. To settle replaces the reserved amount by what was charged, in the day and month that
reserved it; the attribute goes with the same write, so that it happens once.

A reserved amount is shared out among the rows of a run. A row claims its share before its provider is asked, in an item
of the run, which settling closes first: who claims later gets nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pixelprompt.errors import StorageError
from pixelprompt.identity import KeyLimits
from pixelprompt.observability import log_failure
from pixelprompt.storage.ledger import BUDGETS, RESERVATIONS, Item, ItemKey, Ledger

# The scope of all callers together.
DEPLOYMENT = "deployment"
# Numbers of months stay for a year and a month, claims for longer than an execution can be redriven (14 days).
_MONTH_DAYS, _CLAIM_DAYS = 400, 30
_MICRO = Decimal("0.000001")
_OPEN, _DAY = "open/", "day/"


class Budget(Struct, frozen=True):
    """The most that a scope may spend in a UTC calendar day and month, in millionths of a US dollar."""

    scope: str
    daily: int | None = None
    monthly: int | None = None

    @property
    def has_limit(self) -> bool:
        """Whether it limits anything."""
        return self.daily is not None or self.monthly is not None


def of_key(key: KeyLimits) -> Budget:
    """The budget of an API key."""
    return Budget(f"key/{key.id}", key.daily, key.monthly)


class Left(Struct, frozen=True):
    """What a budget has left: in millionths of a US dollar until the epoch second ``renews_at``."""

    scope: str
    window: str
    amount: int
    renews_at: float


class Reservation(Struct, frozen=True):
    """An amount reserved for one run of a job, by scopes, in the window of a day such as ``2026-11-29``.

    ``id`` is random: of several requests that reserve for the same run, each has a reservation of its own. ``least`` is
    charged even where the run does not begin with this one.
    """

    id: str
    job_id: str
    run: int
    day: str
    amount: int
    scopes: tuple[str, ...]
    least: int = 0

    @property
    def attribute(self) -> str:
        """The name of its attribute in the items of its scopes."""
        return f"{_OPEN}{self.job_id}/{self.run}/{self.id}"


class OpenReservation(Struct, frozen=True):
    """A reservation of one scope that is not settled, since an epoch second."""

    reservation: Reservation
    since: float


class Budgets:
    """Reserves and settles amounts.

    Parameters
    ----------
    clock : epoch seconds
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def reserve(
        self, job_id: str, run: int, amount: int, budgets: Sequence[Budget], *, least: int = 0
    ) -> Reservation | Left:
        """Reserve an amount in each budget, one after the other; where one has less left, in none of them.

        Returns
        -------
        the reservation, or what is left where that is too little

        Raises
        ------
        StorageError : DynamoDB kept failing; what may still be reserved is released by the sweep, but for ``least``
        """
        now = self._clock()
        reservation = Reservation(secrets.token_hex(4), job_id, run, _day_of(now), amount, (), least)
        for budget in budgets:
            try:
                reserved = self._reserve(reservation, budget, now)
            except StorageError:
                # What the others have reserved need not wait for the sweep.
                self.give_back(reservation)
                raise
            if isinstance(reserved, Left):
                self.give_back(reservation)
                return reserved
            reservation = reserved
        return reservation

    def settle(self, reservation: Reservation, charged: int) -> bool:
        """Replace the reserved amount by what was charged. False: it was settled before.

        Raises
        ------
        StorageError : DynamoDB kept failing; some scopes may be settled
        """
        settled = [
            self._ledger.update(
                _scope_key(scope, reservation.day),
                "REMOVE #open ADD #day :more, #month :more",
                {":more": _dollars(charged - reservation.amount)},
                "attribute_exists(#open)",
                names=_names(reservation),
            )
            is None
            for scope in reservation.scopes
        ]
        return any(settled)

    def give_back(self, reservation: Reservation, charged: int = 0) -> None:
        """Settle a reservation whose run does not begin; where that fails, the sweep does it."""
        try:
            self.settle(reservation, charged)
        except StorageError as error:
            log_failure("A reservation could not be released; the sweep does it.", error)

    def claim(self, job_id: str, run: int, index: int) -> bool:
        """Claim a row's share before its provider is asked; False where the run is settled.

        Raises
        ------
        StorageError : DynamoDB kept failing; the share may be claimed
        """
        refused = self._ledger.update(
            _run_key(job_id, run),
            "SET #row = :now, expiresAt = :expiresAt",
            {":now": _number(int(self._clock())), ":expiresAt": self._expiry(_CLAIM_DAYS)},
            "attribute_not_exists(closed)",
            names={"#row": f"row/{index}"},
        )
        return refused is None

    def close(self, job_id: str, run: int) -> frozenset[int]:
        """Let no row claim its share any more; the indices of those that have.

        Raises
        ------
        StorageError : DynamoDB kept failing
        """
        item = self._ledger.change(
            _run_key(job_id, run),
            "SET closed = if_not_exists(closed, :now), expiresAt = :expiresAt",
            {":now": _number(int(self._clock())), ":expiresAt": self._expiry(_CLAIM_DAYS)},
        )
        return frozenset(int(name.removeprefix("row/")) for name in item if name.startswith("row/"))

    def left(self, budgets: Iterable[Budget]) -> list[Left]:
        """What each budget has left in each of its windows.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        now = self._clock()
        listed = list(budgets)
        items = self._ledger.read([_scope_key(budget.scope, _day_of(now)) for budget in listed])
        return [left for item, budget in zip(items, listed, strict=True) for left in _left(item, budget, now)]

    def open(self) -> Iterator[OpenReservation]:
        """The reservations of this month and the last that are not settled, one for each scope.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        last = now.replace(day=1) - timedelta(days=1)
        for month in (f"{last:%Y-%m}", f"{now:%Y-%m}"):
            for item in self._ledger.query(BUDGETS, f"{month}/"):
                scope = item["sk"]["S"].partition("/")[2]
                for name in item:
                    if name.startswith(_OPEN):
                        yield _open_reservation(name, item, scope)

    def _reserve(self, reservation: Reservation, budget: Budget, now: float) -> Reservation | Left:
        """Reserve in one scope more; what it has left where that is too little."""
        key = _scope_key(budget.scope, reservation.day)
        limits = [
            (name, limit)
            for name, limit in (("day", budget.daily), ("month", budget.monthly))
            # What costs nothing fits even where more is committed than the budget has.
            if limit is not None and reservation.amount
        ]
        if any(limit < reservation.amount for _, limit in limits):
            (item,) = self._ledger.read([key])
            return _least_left(item, budget, now)
        conditions = [f"(attribute_not_exists(#{name}) OR #{name} <= :{name})" for name, _ in limits]
        found = self._ledger.update(
            key,
            "SET #open = :open, expiresAt = :expiresAt ADD #day :amount, #month :amount",
            {
                **{f":{name}": _dollars(limit - reservation.amount) for name, limit in limits},
                ":amount": _dollars(reservation.amount),
                ":open": _open_entry(reservation, now),
                ":expiresAt": self._expiry(_MONTH_DAYS),
            },
            " AND ".join(["attribute_not_exists(#open)", *conditions]),
            names=_names(reservation),
        )
        # It is there already where the response to an earlier attempt was lost.
        if found is None or reservation.attribute in found:
            return replace(reservation, scopes=(*reservation.scopes, budget.scope))
        return _least_left(found, budget, now)

    def _expiry(self, days: int) -> Mapping[str, str]:
        return _number(int(self._clock()) + days * 86400)


def _left(item: Item, budget: Budget, now: float) -> list[Left]:
    day = _day_of(now)
    windows = (("day", f"{_DAY}{day[8:]}", budget.daily), ("month", "month", budget.monthly))
    return [
        Left(budget.scope, window, max(0, limit - _committed(item, name)), _renewal(now, window))
        for window, name, limit in windows
        if limit is not None
    ]


def _least_left(item: Item, budget: Budget, now: float) -> Left:
    """Of a budget's windows the one that has least left, for the longest time."""
    return min(_left(item, budget, now), key=lambda left: (left.amount, -left.renews_at))


def _committed(item: Item, name: str) -> int:
    return int(Decimal(item[name]["N"]) / _MICRO) if name in item else 0


def _renewal(now: float, window: str) -> float:
    """The epoch second at which the next window begins."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        return (today + timedelta(days=1)).timestamp()
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()


def _open_entry(reservation: Reservation, now: float) -> dict[str, Any]:
    amount, least = _dollars(reservation.amount), _dollars(reservation.least)
    return {"M": {"amount": amount, "least": least, "since": _number(int(now)), "day": {"S": reservation.day}}}


def _open_reservation(name: str, item: Item, scope: str) -> OpenReservation:
    entry = item[name]["M"]
    job_id, run, own = name.removeprefix(_OPEN).split("/")
    amount, least = (int(Decimal(entry[part]["N"]) / _MICRO) for part in ("amount", "least"))
    reservation = Reservation(own, job_id, int(run), entry["day"]["S"], amount, (scope,), least)
    return OpenReservation(reservation, float(entry["since"]["N"]))


def _names(reservation: Reservation) -> dict[str, str]:
    return {"#open": reservation.attribute, "#day": f"{_DAY}{reservation.day[8:]}", "#month": "month"}


def _scope_key(scope: str, day: str) -> ItemKey:
    return ItemKey(BUDGETS, f"{day[:7]}/{scope}")


def _run_key(job_id: str, run: int) -> ItemKey:
    return ItemKey(f"{RESERVATIONS}{job_id}", str(run))


def _day_of(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


def _dollars(amount: int) -> dict[str, str]:
    return {"N": str(amount * _MICRO)}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
