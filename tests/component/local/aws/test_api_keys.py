"""API keys, as an operator makes and changes them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from local.aws.api_keys import ApiKeyError, Keyring, Wishes
from pixelprompt.limits.api_keys import ApiKeys
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()


class Bench:
    def __init__(self, dynamodb: Any) -> None:
        self.now = NOW
        self.keys = ApiKeys(Ledger(dynamodb, LEDGER), clock=lambda: self.now)
        self.ring = Keyring(self.keys, clock=lambda: self.now)

    def make(self, name: str = "team", *, is_admin: bool = False, **options: str) -> str:
        return self.ring.make(name, Wishes(options), is_admin=is_admin)


@pytest.fixture
def bench(dynamodb: Any) -> Bench:
    return Bench(dynamodb)


def test_a_key_allows_what_its_operator_wished(bench: Bench) -> None:
    secret = bench.make(daily="5", monthly="50.5", rate="20", models="A, B", expires="2026-11-30", is_admin=True)
    found = bench.keys.find(secret)
    assert found is not None
    assert (found.daily, found.monthly, found.rate, found.models) == (5_000_000, 50_500_000, 20, ("A", "B"))
    assert found.is_admin and found.name == "team"
    (row,) = bench.ring.rows()
    assert row == (
        "team", found.id, "2026-11-29",
        "admin; $5 a day; $50.5 a month; 20 jobs an hour; A, B; until 2026-11-30",
    )  # fmt: skip
    # Its last day ends at midnight, UTC.
    bench.now = datetime(2026, 12, 1, tzinfo=UTC).timestamp() - 1
    assert bench.keys.find(secret) == found
    bench.now += 1
    assert bench.keys.find(secret) is None
    assert bench.ring.rows()[0][-1] == "expired"


@pytest.mark.parametrize(
    "options",
    [{"daily": "-1"}, {"daily": "x"}, {"monthly": "nan"}, {"monthly": "1e7"}, {"rate": "1.5"}, {"rate": "5001"},
     {"expires": "tomorrow"}, {"expires": "2026-02-30"}],
    ids=str,
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused(bench: Bench, options: dict[str, str]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ApiKeyError, match=f"{name.upper()} is '{value}'"):
        Wishes(options)
    assert bench.ring.rows() == []


def test_a_name_is_used_once(bench: Bench) -> None:
    bench.make()
    with pytest.raises(ApiKeyError, match="already"):
        bench.make()
    bench.ring.disable("team")
    assert bench.keys.find(bench.make()) is not None


def test_a_rotated_key_belongs_to_the_same_caller(bench: Bench) -> None:
    first = bench.make(rate="3")
    before = bench.keys.find(first)
    second = bench.ring.rotate("team")
    after = bench.keys.find(second)
    assert bench.keys.find(first) is None
    assert before and after and (before.id, before.rate) == (after.id, after.rate)
    assert [row[-1] for row in bench.ring.rows()].count("disabled") == 1


@pytest.mark.parametrize("change", ["rotate", "disable"])
def test_after_a_rotation_that_broke_off_no_former_key_is_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = bench.make()
    with monkeypatch.context() as broken:
        broken.setattr(bench.keys, "disable", lambda hash: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.ring.rotate("team")
    assert bench.keys.find(first) is not None
    getattr(bench.ring, change)("team")
    assert bench.keys.find(first) is None
    assert sum(row[-1] != "disabled" for row in bench.ring.rows()) == (change == "rotate")


def test_an_expired_key_is_not_rotated_into_another_one(bench: Bench) -> None:
    bench.make(expires="2026-11-29")
    bench.now += 86400
    with pytest.raises(ApiKeyError, match="expired at the end of 2026-11-29; disable it, and make another one"):
        bench.ring.rotate("team")


@pytest.mark.parametrize("change", ["rotate", "disable"])
def test_what_is_not_there_cannot_be_changed(bench: Bench, change: str) -> None:
    with pytest.raises(ApiKeyError, match="There is none"):
        getattr(bench.ring, change)("team")
    bench.make("other")
    with pytest.raises(ApiKeyError, match="There are: other"):
        getattr(bench.ring, change)("team")
