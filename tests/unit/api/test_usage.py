"""``GET /usage``: who sees what, and how it is summed up."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.checks.api_description import description
from pixelprompt.api.usage import Query, UsageReports
from pixelprompt.errors import InvalidParameter
from pixelprompt.identity import ANYBODY, Identity, KeyLimits
from pixelprompt.limits.api_keys import ApiKey
from pixelprompt.limits.budget import DEPLOYMENT, Budget, Left
from pixelprompt.limits.usage import CallUsage, JobUsage, ModelUsage, Refusals

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 11, 29)
TEAM = Identity("key 5f", KeyLimits("5f", daily=5_000_000))
ADMIN = Identity("key 01", KeyLimits("01", is_admin=True))
DESCRIPTION = description()


class Log:
    """A log that holds these records, by owner."""

    def __init__(self, records: Iterable[tuple[str, Any]]) -> None:
        self.records = [*records]
        self.asked: list[Any] = []

    def read(self, first_day: date, last_day: date, owner: str | None) -> Iterable[Any]:
        self.asked.append((first_day, last_day, owner))
        return [record for of, record in self.records if owner in (None, of)]


class Bench:
    """Reports on such a log."""

    def __init__(self, *records: tuple[str, Any], limits: Sequence[Budget] = (), left: Sequence[Left] = ()) -> None:
        self.log = Log(records)
        self.names_asked = 0
        log: Any = self.log
        self.reports = UsageReports(
            log,
            keys=self.keys,
            limits=lambda caller: limits,
            left=lambda budgets: left,
            confirm_above=0.25,
            clock=lambda: NOW,
        )

    def keys(self) -> list[ApiKey]:
        self.names_asked += 1
        return [
            ApiKey(id="5f", name="team, renamed", hash="y", created_at=2),
            ApiKey(id="5f", name="team", hash="x", created_at=1, is_disabled=True),
        ]

    def report(self, caller: Identity = ADMIN, **query: str) -> Any:
        return self.reports.report(query, caller)


def job(*models: ModelUsage, day: str = "2026-11-29", key: str = "", moderation: int = 0, id: str = "j") -> JobUsage:
    return JobUsage(job_id=id, day=day, key=key, updated_at="", models=models, moderation=moderation)


RECORDS = (
    (TEAM.owner, job(ModelUsage("A", 2, 200_000, 0, 50_000), ModelUsage("B", 1, 0, 900_000), key="5f", moderation=9)),
    (TEAM.owner, job(ModelUsage("B", 0, unknown=1), key="5f", day="2026-11-28", id="k")),
    (TEAM.owner, CallUsage(day="2026-11-29", key="5f", amount=1_000)),
    (TEAM.owner, Refusals(day="2026-11-29", key="5f", codes={"BUDGET_EXCEEDED": 2})),
    ("someone", job(ModelUsage("C", 4, 0, 5_000_000), day="2026-11-27", id="l")),
    ("someone", Refusals(day="2026-11-29", codes={"BUDGET_EXCEEDED": 1, "RATE_LIMIT_EXCEEDED": 3})),
)


def numbers(entry: Any) -> tuple[Any, ...]:
    return (entry["jobs"], entry["images"], entry["calls"], entry["dollars"]["amount"], entry["unknownCosts"])


def test_an_admin_sees_everything_by_day() -> None:
    report = Bench(*RECORDS).report()
    assert (report["from"], report["to"], report["by"]) == ("2026-11-01", "2026-11-29", "day")
    assert [(entry["day"], *numbers(entry)) for entry in report["entries"]] == [
        ("2026-11-27", 1, 4, 0, 5.0, 0),
        ("2026-11-28", 1, 0, 0, 0.0, 1),
        ("2026-11-29", 1, 3, 1, 1.151009, 0),
    ]
    today = report["entries"][-1]
    assert today["dollars"] == {"amount": 1.151009, "reported": 0.2, "computed": 0.9, "reserved": 0.051009}
    assert today["refusals"] == {"BUDGET_EXCEEDED": 3, "RATE_LIMIT_EXCEEDED": 3}
    assert numbers(report["total"]) == (3, 7, 1, 6.151009, 1)
    assert report["total"]["refusals"] == {"BUDGET_EXCEEDED": 3, "RATE_LIMIT_EXCEEDED": 3}
    assert report["confirmAbove"] == 0.25


def test_a_call_of_unknown_price_is_an_unknown_cost() -> None:
    report = Bench(("someone", CallUsage(day="2026-11-29", amount=None))).report()
    assert numbers(report["total"]) == (0, 0, 1, 0.0, 1)


def test_models_come_by_their_dollars_and_what_no_model_did_beside_them() -> None:
    report = Bench(*RECORDS).report(by="model")
    assert [(entry["model"], *numbers(entry)) for entry in report["entries"]] == [
        ("C", 1, 4, 0, 5.0, 0),
        ("B", 2, 1, 0, 0.9, 1),
        ("A", 1, 2, 0, 0.25, 0),
        (None, 0, 0, 1, 0.001009, 0),
    ]
    assert numbers(report["total"]) == (3, 7, 1, 6.151009, 1)


def test_keys_come_by_their_dollars_with_their_present_names() -> None:
    bench = Bench(*RECORDS, ("gone", job(ModelUsage("A", 1, 1), key="77", id="m")))
    report = bench.report(by="key")
    assert [(entry["key"], entry["jobs"]) for entry in report["entries"]] == [
        (None, 1),
        ({"id": "5f", "name": "team, renamed"}, 2),
        ({"id": "77", "name": None}, 1),
    ]
    assert bench.names_asked == 1


@pytest.mark.parametrize("by", ["day", "model"])
def test_names_of_keys_are_not_read_where_nobody_sees_them(by: str) -> None:
    bench = Bench(*RECORDS)
    bench.report(by=by)
    bench.report(TEAM, by="key")
    assert bench.names_asked == 0


def test_a_caller_sees_its_own_only() -> None:
    bench = Bench(*RECORDS)
    report = bench.report(TEAM, by="key")
    (entry,) = report["entries"]
    assert entry["key"] == {"id": "5f", "name": None}
    assert numbers(entry) == numbers(report["total"]) == (2, 3, 1, 1.151009, 1)
    assert entry["refusals"] == {"BUDGET_EXCEEDED": 2}
    assert [entry["model"] for entry in bench.report(TEAM, by="model")["entries"]] == ["B", "A", None]
    assert {owner for *_, owner in bench.log.asked} == {TEAM.owner}


def test_everybody_sees_what_nobody_owns_where_the_api_is_open() -> None:
    bench = Bench(*RECORDS, ("", job(ModelUsage("A", 1, 10))))
    assert numbers(bench.report(ANYBODY)["total"]) == (1, 1, 0, 0.00001, 0)
    assert bench.log.asked[-1][2] == ""


def test_nothing_used_is_nothing_listed() -> None:
    for by in ("day", "key", "model"):
        report = Bench().report(by=by)
        assert report["entries"] == [] and numbers(report["total"]) == (0, 0, 0, 0.0, 0)


def test_budgets_are_shown_with_what_they_have_left() -> None:
    budgets = [Budget("key/5f", daily=5_000_000), Budget(DEPLOYMENT, daily=50_000_000, monthly=900_000_000)]
    left = [
        Left("key/5f", "day", 3_200_000, datetime(2026, 11, 30, tzinfo=UTC).timestamp()),
        Left(DEPLOYMENT, "day", 0, datetime(2026, 11, 30, tzinfo=UTC).timestamp()),
        Left(DEPLOYMENT, "month", 1, datetime(2026, 12, 1, tzinfo=UTC).timestamp()),
    ]
    assert Bench(limits=budgets, left=left).report(TEAM)["budgets"] == [
        {"scope": "key", "window": "day", "limit": 5.0, "left": 3.2, "renewsAt": "2026-11-30T00:00:00Z"},
        {"scope": "deployment", "window": "day", "limit": 50.0, "left": 0.0, "renewsAt": "2026-11-30T00:00:00Z"},
        {
            "scope": "deployment",
            "window": "month",
            "limit": 900.0,
            "left": 0.000001,
            "renewsAt": "2026-12-01T00:00:00Z",
        },
    ]


def test_without_budgets_nobody_is_asked() -> None:
    def left(budgets: Any) -> Any:
        raise AssertionError

    log: Any = Log([])
    reports = UsageReports(log, keys=list, limits=lambda caller: [], left=left, confirm_above=1, clock=lambda: NOW)
    assert reports.report({}, TEAM)["budgets"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ("2026-11-01", "2026-11-29", "day")),
        ({"from": "2026-11-29", "by": "key"}, ("2026-11-29", "2026-11-29", "key")),
        ({"to": "2026-10-05", "by": "model"}, ("2026-10-01", "2026-10-05", "model")),
        ({"from": "2026-08-30", "to": "2026-11-29"}, ("2026-08-30", "2026-11-29", "day")),
        ({"from": "9999-12-31", "to": "9999-12-31"}, ("9999-12-31", "9999-12-31", "day")),
    ],
    ids=str,
)
def test_a_query_is_read(query: dict[str, str], expected: tuple[str, ...]) -> None:
    asked = Query.from_query(query, TODAY)
    assert (asked.first_day.isoformat(), asked.last_day.isoformat(), asked.by) == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"from": "2026-11-30"}, "from"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"from": "2026-08-29", "to": "2026-11-29"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "20261101"}, "from"),
        ({"from": "2026-W48-7"}, "from"),
        ({"from": ""}, "from"),
        ({"to": "today"}, "to"),
        ({"to": "2026-11-29\n"}, "to"),
        ({"to": "٢٠٢٦-11-29"}, "to"),
        ({"to": "0000-01-01"}, "to"),
        ({"by": "owner"}, "by"),
        ({"by": ""}, "by"),
    ],
    ids=str,
)
def test_a_query_is_refused_by_the_name_of_its_parameter(query: dict[str, str], parameter: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        Query.from_query(query, TODAY)
    assert refused.value.details["parameter"] == parameter and f"`{parameter}`" in refused.value.message


MODELS = st.builds(ModelUsage, st.sampled_from("ABC"), *[st.integers(0, 10**9)] * 5)
ANY_RECORD = st.one_of(
    st.builds(
        JobUsage,
        job_id=st.just("j"),
        day=st.dates(date(2026, 11, 1), TODAY).map(str),
        key=st.sampled_from(["", "5f", "77"]),
        updated_at=st.just(""),
        models=st.lists(MODELS, max_size=3, unique_by=lambda usage: usage.model).map(tuple),
        moderation=st.integers(0, 10**6),
    ),
    st.builds(CallUsage, day=st.just("2026-11-29"), key=st.just("5f"), amount=st.integers(0, 10**6)),
    st.builds(
        Refusals,
        day=st.just("2026-11-29"),
        codes=st.dictionaries(st.sampled_from(["BUDGET_EXCEEDED", "MODEL_NOT_ALLOWED"]), st.integers(1, 9)),
    ),
)
VALIDATOR = jsonschema_rs.Draft202012Validator(
    {"$ref": "#/components/schemas/Usage", "components": DESCRIPTION["components"]}
)


@given(st.lists(ANY_RECORD, max_size=12), st.sampled_from(["day", "key", "model"]))
def test_entries_add_up_to_the_total_to_the_millionth(records: list[Any], by: str) -> None:
    report = Bench(*(("", record) for record in records)).report(by=by)
    entries, total = report["entries"], report["total"]
    for name in ("reported", "computed", "reserved", "amount"):
        listed = [round(entry["dollars"][name] * 1_000_000) for entry in entries]
        assert sum(listed) == round(total["dollars"][name] * 1_000_000)
    for name in ("images", "calls", "unknownCosts"):
        assert sum(entry[name] for entry in entries) == total[name]
    assert total["jobs"] == sum(isinstance(record, JobUsage) for record in records)
    if by != "model":
        assert sum(entry["jobs"] for entry in entries) == total["jobs"]
    VALIDATOR.validate(json.loads(json.dumps(report)))
