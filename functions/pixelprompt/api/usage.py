"""``GET /usage``: what callers have made, what it was charged, what was refused, and what their budgets have left."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Required, TypedDict, cast, get_args

from msgspec import Meta, Struct, field

from pixelprompt.errors import InvalidParameter
from pixelprompt.identity import Identity
from pixelprompt.limits.api_keys import ApiKey
from pixelprompt.limits.budget import Budget, Left
from pixelprompt.limits.usage import CallUsage, JobUsage, Refusals, UsageLog
from pixelprompt.models.cost import dollars

MAX_DAYS = 92
By = Literal["day", "key", "model"]

_Dollars = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=0)]
_Day = Annotated[str, Meta(examples=["2026-11-29"], extra_json_schema={"format": "date"})]


class UsageKey(TypedDict):
    """An API key."""

    id: Annotated[str, Meta(description="Its id, which stays when it is rotated.", examples=["5f3a9c01"])]
    name: Annotated[str | None, Meta(description="Its name; null unless an admin asks.", examples=["team"])]


class UsageDollars(TypedDict):
    """US dollars, also by how they are known."""

    amount: Annotated[_Dollars, Meta(description="All of them.", examples=[1.2])]
    reported: Annotated[_Dollars, Meta(description="Reported by providers.", examples=[0.2])]
    computed: Annotated[_Dollars, Meta(description="Computed from the catalogue's prices.", examples=[0.9])]
    reserved: Annotated[
        _Dollars,
        Meta(
            description="Charged to the budgets at the reserved price, because the cost is unknown; so is each call of "
            "a text model, and each check of a prompt by one.",
            examples=[0.1],
        ),
    ]


class UsageEntry(TypedDict, total=False):
    """What was used on a day, with an API key, or by a model; or altogether."""

    day: Annotated[_Day, Meta(description="The day, where the entries are days.")]
    key: Annotated[UsageKey | None, Meta(description="The API key, where the entries are keys; null without one.")]
    model: Annotated[
        str | None,
        Meta(
            description="Name of the model, where the entries are models; null for what no image model did: calls of "
            "text models, checks of prompts, and refusals.",
            examples=["GPT Image 2"],
        ),
    ]
    jobs: Required[Annotated[_Count, Meta(description="Jobs of which a run has ended.", examples=[3])]]
    images: Required[Annotated[_Count, Meta(description="Images.", examples=[12])]]
    calls: Required[
        Annotated[
            _Count,
            Meta(
                description="Calls of text models: to enhance prompts, to check those and what comes of them, and to "
                "check those of jobs that were refused or reserved nothing.",
                examples=[2],
            ),
        ]
    ]
    dollars: Required[UsageDollars]
    unknownCosts: Required[
        Annotated[_Count, Meta(description="Number of unknown costs that `dollars` lacks.", examples=[0])]
    ]
    refusals: Required[
        Annotated[
            dict[str, int],
            Meta(description="Number of refused requests by `error`.", examples=[{"BUDGET_EXCEEDED": 2}]),
        ]
    ]


class BudgetLeft(TypedDict):
    """What a budget has left."""

    scope: Annotated[
        Literal["key", "deployment"],
        Meta(description="Whose it is: the caller's API key's, or everybody's.", examples=["key"]),
    ]
    window: Annotated[Literal["day", "month"], Meta(description="What it is for, in UTC.", examples=["day"])]
    limit: Annotated[_Dollars, Meta(description="US dollars of the budget.", examples=[5.0])]
    left: Annotated[_Dollars, Meta(description="US dollars that are neither spent nor reserved.", examples=[3.2])]
    renewsAt: Annotated[
        str,
        Meta(
            description="When it renews. ISO 8601, in UTC.",
            examples=["2026-11-30T00:00:00Z"],
            extra_json_schema={"format": "date-time"},
        ),
    ]


_Period = TypedDict(
    "_Period",
    {
        "from": Annotated[_Day, Meta(description="The first day, UTC.")],
        "to": Annotated[_Day, Meta(description="The last day, UTC.")],
    },
)


class Usage(_Period):
    """The usage of a period; a job counts for the day on which it was created."""

    by: Annotated[By, Meta(description="What each entry stands for.", examples=["day"])]
    entries: Annotated[
        list[UsageEntry],
        Meta(description="What was used: days in their order; keys and models by their dollars, most first."),
    ]
    total: UsageEntry
    budgets: Annotated[list[BudgetLeft], Meta(description="What the caller's budgets have left.")]
    confirmAbove: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="A page asks before it sends a job that may cost more than this share of what a budget has "
            "left.",
            examples=[0.25],
        ),
    ]


class Query(Struct, frozen=True):
    """What a caller wants to see."""

    first_day: date
    last_day: date
    by: By = "day"

    @classmethod
    def from_query(cls, query: Mapping[str, str], today: date) -> "Query":
        """Read the parameters of a query string.

        Raises
        ------
        InvalidParameter
        """
        last_day = _day(query, "to", today)
        first_day = _day(query, "from", last_day.replace(day=1))
        if first_day > last_day:
            raise InvalidParameter(f"`from` must not be after `to`, which is {last_day.isoformat()}.", parameter="from")
        if (last_day - first_day).days >= MAX_DAYS:
            raise InvalidParameter(f"From `from` to `to` must be at most {MAX_DAYS} days.", parameter="from")
        by = query.get("by", "day")
        if by not in get_args(By):
            raise InvalidParameter(f"`by` must be one of {', '.join(get_args(By))}.", parameter="by")
        return cls(first_day, last_day, cast(By, by))


class _Sum(Struct):
    """Sums; amounts in millionths of a US dollar."""

    jobs: int = 0
    images: int = 0
    calls: int = 0
    reported: int = 0
    computed: int = 0
    reserved: int = 0
    unknown: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def amount(self) -> int:
        return self.reported + self.computed + self.reserved

    def add(self, other: Any) -> None:
        """Add what another sum, or the usage of a model, has."""
        for name in ("images", "reported", "computed", "reserved", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def entry(self) -> UsageEntry:
        return {
            "jobs": self.jobs,
            "images": self.images,
            "calls": self.calls,
            "dollars": {
                "amount": dollars(self.amount),
                "reported": dollars(self.reported),
                "computed": dollars(self.computed),
                "reserved": dollars(self.reserved),
            },
            "unknownCosts": self.unknown,
            "refusals": dict(sorted(self.refusals.items())),
        }


class UsageReports:
    """Reports usage to callers.

    Parameters
    ----------
    keys : gives all API keys; only called for admins
    limits : the budgets of a caller
    left : what budgets have left
    confirm_above : see ``Usage``
    clock : epoch seconds
    """

    def __init__(
        self,
        log: UsageLog,
        *,
        keys: Callable[[], Iterable[ApiKey]],
        limits: Callable[[Identity], Sequence[Budget]],
        left: Callable[[Sequence[Budget]], Iterable[Left]],
        confirm_above: float,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._keys = keys
        self._limits = limits
        self._left = left
        self._confirm_above = confirm_above
        self._clock = clock

    def report(self, query: Mapping[str, str], caller: Identity) -> Usage:
        """The JSON of ``GET /usage``: of everybody for an admin, else the caller's own.

        Raises
        ------
        InvalidParameter
        StorageError : DynamoDB cannot be read
        """
        asked = Query.from_query(query, datetime.fromtimestamp(self._clock(), UTC).date())
        records = self._log.read(asked.first_day, asked.last_day, None if caller.is_admin else caller.owner)
        sums, jobs = _summed(records, asked.by)
        total = _Sum(jobs=jobs, calls=sum(part.calls for part in sums.values()))
        for part in sums.values():
            total.add(part)
            total.refusals.update(part.refusals)
        return {
            "from": asked.first_day.isoformat(),
            "to": asked.last_day.isoformat(),
            "by": asked.by,
            "entries": self._entries(sums, asked.by, caller),
            "total": total.entry(),
            "budgets": self._budgets(caller),
            "confirmAbove": self._confirm_above,
        }

    def _entries(self, sums: Mapping[str, _Sum], by: By, caller: Identity) -> list[UsageEntry]:
        if by == "day":
            return [{"day": day, **sums[day].entry()} for day in sorted(sums)]
        names = sorted(sums, key=lambda name: (-sums[name].amount, name))
        if by == "model":
            return [{"model": name or None, **sums[name].entry()} for name in names]
        known = self._key_names() if caller.is_admin else {}
        return [{"key": {"id": id, "name": known.get(id)} if id else None, **sums[id].entry()} for id in names]

    def _key_names(self) -> dict[str, str]:
        """By id; the newest of a key that was rotated."""
        return {key.id: key.name for key in sorted(self._keys(), key=lambda key: key.created_at)}

    def _budgets(self, caller: Identity) -> list[BudgetLeft]:
        budgets = {budget.scope: budget for budget in self._limits(caller)}
        return [_left(budgets[left.scope], left) for left in (self._left([*budgets.values()]) if budgets else ())]


def _summed(records: Iterable[JobUsage | CallUsage | Refusals], by: By) -> tuple[Mapping[str, _Sum], int]:
    """What was used by day, by id of an API key, or by model, of which either may be none (""); the number of jobs."""
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    jobs = 0
    for record in records:
        own = {"day": record.day, "key": record.key, "model": ""}[by]
        match record:
            case JobUsage(models=models, moderation=moderation):
                jobs += 1
                for model in models:
                    part = sums[model.model if by == "model" else own]
                    part.add(model)
                    part.jobs += by == "model"
                if by != "model":
                    sums[own].jobs += 1
                if moderation:
                    sums[own].reserved += moderation
            case CallUsage(amount=amount):
                sums[own].calls += 1
                sums[own].reserved += amount or 0
                sums[own].unknown += amount is None
            case Refusals(codes=codes):
                sums[own].refusals.update(codes)
    return sums, jobs


def _left(budget: Budget, left: Left) -> BudgetLeft:
    limit = budget.daily if left.window == "day" else budget.monthly
    shown = {
        "scope": left.scope.partition("/")[0],
        "window": left.window,
        "limit": dollars(limit or 0),
        "left": dollars(left.amount),
        "renewsAt": f"{datetime.fromtimestamp(left.renews_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    return cast(BudgetLeft, shown)


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    text = query.get(name)
    if text is None:
        return default
    try:
        # Python reads other forms of ISO 8601 as well.
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidParameter(f"`{name}` must be a day such as 2026-11-29.", parameter=name)
