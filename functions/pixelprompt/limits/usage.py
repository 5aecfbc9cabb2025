"""What was made, what it was charged, and what was refused: items of the ledger, by UTC day and owner.

A job counts for the day on which it was created, with all its runs: its item is replaced by each later state of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from pixelprompt.errors import RequestError, StorageError
from pixelprompt.models.cost import dollars
from pixelprompt.observability import log_failure, record
from pixelprompt.storage.ledger import USAGE, Item, ItemKey, Ledger

# Errors that say what a caller may have, not that the request is wrong.
REFUSALS = frozenset({"BUDGET_EXCEEDED", "RATE_LIMIT_EXCEEDED", "INAPPROPRIATE_CONTENT", "MODEL_NOT_ALLOWED"})
# Of these, the ones that no other metric counts.
_MEASURED = frozenset({"BUDGET_EXCEEDED", "MODEL_NOT_ALLOWED"})
# Like the numbers of budgets: a year and a month.
_DAYS = 400
_NO_OWNER = "-"
_REFUSED = "refused"


class ModelUsage(Struct, frozen=True, array_like=True):
    """A model's part of a job: its images, and in millionths of a US dollar what they were charged, by basis.

    Attributes
    ----------
    reserved : charged at the reserved price, because the cost is unknown
    unknown : number of unknown costs that are not charged
    """

    model: str
    images: int = 0
    reported: int = 0
    computed: int = 0
    reserved: int = 0
    unknown: int = 0


class JobUsage(Struct, frozen=True, kw_only=True):
    """A job.

    Attributes
    ----------
    day : on which it was created, such as ``2026-11-29``
    key : id of its caller's API key; empty without one
    updated_at : ISO 8601, of the job document that this is read from
    moderation : charged for the check of its prompt, in millionths of a US dollar
    """

    job_id: str
    day: str
    owner: str = ""
    key: str = ""
    updated_at: str
    models: tuple[ModelUsage, ...] = ()
    moderation: int = 0


class CallUsage(Struct, frozen=True, kw_only=True):
    """A call of a text model, and what it was charged, in millionths of a US dollar; None: its price is unknown."""

    day: str
    key: str = ""
    amount: int | None


class Refusals(Struct, frozen=True, kw_only=True):
    """How many requests of an owner were refused on a day, by error code."""

    day: str
    key: str = ""
    codes: Mapping[str, int]


_MODELS = msgspec.json.Decoder(tuple[ModelUsage, ...])


class UsageLog:
    """Records usage, and reads it. What cannot be recorded is logged: callers have done what matters more.

    Parameters
    ----------
    clock : epoch seconds
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def record_job(self, usage: JobUsage) -> None:
        """Record the state of a job, unless a later one is there."""
        place = _place(usage.day, usage.owner, f"job/{usage.job_id}")
        values = {
            "updatedAt": {"S": usage.updated_at},
            # One text is read five times as fast as lists and maps of DynamoDB's.
            "models": {"S": msgspec.json.encode(usage.models).decode()},
            "moderation": _number(usage.moderation),
        }
        self._write(place, usage.key, values, condition="attribute_not_exists(#updatedAt) OR #updatedAt <= :updatedAt")

    def record_call(self, owner: str, key: str, id: str, amount: int | None) -> None:
        """Record a call of a text model, which has a name of its own; repeated, it counts once."""
        record({"ReservedDollars": dollars(amount or 0)})
        values = {} if amount is None else {"amount": _number(amount)}
        self._write(_place(self._today(), owner, f"call/{id}"), key, values)

    def record_refusal(self, owner: str, key: str, code: str) -> None:
        """Count a refused request; one whose response is lost may count twice."""
        if code in _MEASURED:
            record({"Refusals": 1}, errorCode=code)
        self._write(_place(self._today(), owner, _REFUSED), key, {}, count=f"{_REFUSED}/{code}")

    @contextmanager
    def counting_refusals(self, owner: str, key: str) -> Iterator[None]:
        """Count it where a request is refused within."""
        try:
            yield
        except RequestError as error:
            if error.code in REFUSALS:
                self.record_refusal(owner, key, error.code)
            raise

    def read(self, first_day: date, last_day: date, owner: str | None) -> Iterator[JobUsage | CallUsage | Refusals]:
        """What an owner, or with None everybody, has used from one day to another.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        prefix = "" if owner is None else f"{owner or _NO_OWNER}/"
        for number in range((last_day - first_day).days + 1):
            day = (first_day + timedelta(number)).isoformat()
            for item in self._ledger.query(f"{USAGE}{day}", prefix):
                yield _read(day, item)

    def _write(
        self, place: ItemKey, key: str, values: Mapping[str, Any], *, condition: str | None = None, count: str = ""
    ) -> None:
        expires_at = _number(int(self._clock()) + _DAYS * 86400)
        attributes = {**values, **({"key": {"S": key}} if key else {}), "expiresAt": expires_at}
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in attributes)
        names = {f"#{name}": name for name in attributes}
        given = {f":{name}": value for name, value in attributes.items()}
        if count:
            update += " ADD #count :one"
            names["#count"], given[":one"] = count, _number(1)
        try:
            self._ledger.update(place, update, given, condition, names=names)
        except StorageError as error:
            log_failure("Usage could not be recorded.", error)

    def _today(self) -> str:
        return f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d}"


def _place(day: str, owner: str, name: str) -> ItemKey:
    return ItemKey(f"{USAGE}{day}", f"{owner or _NO_OWNER}/{name}")


def _read(day: str, item: Item) -> JobUsage | CallUsage | Refusals:
    owner, kind, *rest = item["sk"]["S"].split("/", 2)
    key = item.get("key", {"S": ""})["S"]
    if kind == "job":
        return JobUsage(
            job_id=rest[0],
            day=day,
            owner="" if owner == _NO_OWNER else owner,
            key=key,
            updated_at=item["updatedAt"]["S"],
            models=_MODELS.decode(item["models"]["S"]),
            moderation=int(item["moderation"]["N"]),
        )
    if kind == "call":
        return CallUsage(day=day, key=key, amount=int(item["amount"]["N"]) if "amount" in item else None)
    codes = {name.partition("/")[2]: int(value["N"]) for name, value in item.items() if name.startswith(f"{_REFUSED}/")}
    return Refusals(day=day, key=key, codes=codes)


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
