"""Sliding windows, wherever they lie."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from pixelprompt.limits.caller import caller
from pixelprompt.limits.ledger_rate_limit import LedgerRateLimiter
from pixelprompt.limits.limiter import DAY, HOUR, Limiter, OwnWindow, decide
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.storage import clients
from pixelprompt.storage.ledger import Ledger
from tests.conftest import BUCKET, LEDGER, LEDGER_SCHEMA

from .windows import in_ledger, in_s3

START = 1_763_900_000.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Store(ABC):
    """Where limiters store their windows."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self.calls: list[str] = []
        client.meta.events.register("before-call", lambda model, **_: self.calls.append(model.name))

    @abstractmethod
    def limiter(self, global_limit: int = 100, ip_limit: int = 50, include: tuple[str, ...] = ()) -> Limiter:
        """A limiter as each Lambda has one."""

    @abstractmethod
    def stored(self) -> dict[str, list[float]]:
        """The moments of each window, without those that have left it; that of all callers is ``global``."""


class InS3(Store):
    def limiter(self, global_limit: int = 100, ip_limit: int = 50, include: tuple[str, ...] = ()) -> Limiter:
        return RateLimiter(self.client, BUCKET, global_limit, ip_limit, include, clock=self.clock)

    def stored(self) -> dict[str, list[float]]:
        return in_s3(self.client, BUCKET, self.clock.now)


class InLedger(Store):
    def limiter(self, global_limit: int = 100, ip_limit: int = 50, include: tuple[str, ...] = ()) -> Limiter:
        ledger = Ledger(self.client, LEDGER)
        return LedgerRateLimiter(ledger, "jobs", global_limit, ip_limit, include, clock=self.clock)

    def stored(self) -> dict[str, list[float]]:
        return in_ledger(self.client, LEDGER, self.clock.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["s3", "dynamodb"])
def store(request: pytest.FixtureRequest, clock: Clock) -> Store:
    client = request.getfixturevalue(request.param)
    return {"s3": InS3, "dynamodb": InLedger}[request.param](client, clock)


def test_the_101st_request_of_an_hour_is_limited(store: Store) -> None:
    limits = store.limiter(ip_limit=1000)
    answers = [limits.check_rate_limit(f"10.0.0.{number}") for number in range(101)]
    assert answers == [False] * 100 + [True]


def test_an_address_is_limited_for_a_day(store: Store, clock: Clock) -> None:
    limits = store.limiter(ip_limit=2)
    assert [limits.check_rate_limit("192.0.2.1") for _ in range(3)] == [False, False, True]
    assert not limits.check_rate_limit("192.0.2.2")
    clock.now += HOUR + 1
    assert limits.check_rate_limit("192.0.2.1")
    clock.now += DAY - HOUR
    assert not limits.check_rate_limit("192.0.2.1")


@pytest.mark.parametrize(("global_limit", "ip_limit"), [(100, 1), (1, 100)], ids=["ip", "global"])
def test_a_refused_request_is_not_recorded(store: Store, clock: Clock, global_limit: int, ip_limit: int) -> None:
    limits = store.limiter(global_limit, ip_limit)
    limits.check_rate_limit("192.0.2.1")
    before = store.stored()
    for _ in range(5):
        clock.now += 60
        assert limits.check_rate_limit("192.0.2.1")
    assert store.stored() == before


@pytest.mark.parametrize(("global_limit", "ip_limit"), [(0, 5), (5, 0), (0, 0)])
def test_a_limit_of_0_refuses_every_request_and_writes_nothing(store: Store, global_limit: int, ip_limit: int) -> None:
    limits = store.limiter(global_limit, ip_limit)
    decision = limits.check("192.0.2.1")
    assert decision.limited
    assert decision == limits.look("192.0.2.1").decision
    assert (decision.scope, decision.retry_after) == (("global", HOUR) if ip_limit else ("ip", DAY))
    assert not store.stored()


def test_looking_counts_nothing(store: Store) -> None:
    limits = store.limiter(ip_limit=1)
    assert not limits.is_rate_limited("192.0.2.1")
    assert not store.stored()
    limits.check_rate_limit("192.0.2.1")
    assert limits.is_rate_limited("192.0.2.1")


def test_the_allow_list_passes_without_a_request_to_aws(store: Store) -> None:
    included = ("192.0.2.1", "198.51.100.0/24", "2001:db8::/32")
    limits = store.limiter(ip_limit=0, global_limit=0, include=included)
    for address in ("192.0.2.1", "198.51.100.77", "::ffff:198.51.100.77", "2001:db8::1"):
        assert not limits.check_rate_limit(address)
        assert not limits.is_rate_limited(address)
    assert not store.calls
    assert limits.check_rate_limit("192.0.2.2")


def test_retry_after_is_when_the_next_request_really_passes(store: Store, clock: Clock) -> None:
    limits = store.limiter(ip_limit=2)
    limits.check("192.0.2.1")
    clock.now += 100
    limits.check("192.0.2.1")
    clock.now += 50
    decision = limits.check("192.0.2.1")
    assert decision.scope == "ip"
    assert decision.retry_after == pytest.approx(DAY - 150, abs=0.01)
    clock.now += decision.retry_after - 1
    assert limits.is_rate_limited("192.0.2.1")
    clock.now += 1.01
    assert not limits.is_rate_limited("192.0.2.1")
    assert not limits.check_rate_limit("192.0.2.1")


@pytest.mark.parametrize(("first", "scope", "seconds"), [(DAY - 60, "global", HOUR), (0.0, "ip", DAY)])
def test_of_two_full_windows_that_counts_which_is_full_for_longer(
    store: Store, clock: Clock, first: float, scope: str, seconds: float
) -> None:
    """The caller's own is full since ``first`` before the moment at which that of all callers is."""
    store.limiter(ip_limit=1).check("192.0.2.1")
    clock.now += first
    limits = store.limiter(global_limit=1 if first else 2, ip_limit=1)
    assert not limits.check("192.0.2.2").limited
    decision = limits.check("192.0.2.1")
    assert (decision.limited, decision.scope) == (True, scope)
    assert decision.retry_after == pytest.approx(seconds, abs=0.01)


def test_ipv6_is_limited_by_its_64_network(store: Store) -> None:
    limits = store.limiter(ip_limit=1)
    assert not limits.check_rate_limit("2001:db8:1:2::1")
    assert limits.check_rate_limit("2001:db8:1:2:ffff::9")
    assert not limits.check_rate_limit("2001:db8:1:3::1")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("2001:db8::1%eth0", "2001:db8::/64"),
        ("2001:db8::%eth0", "2001:db8::/64"),
        ("2001:db8::%" + "x" * 3000, "2001:db8::/64"),
        ("", "unknown"),
        ("x/../y", "unknown"),
    ],
)
def test_the_name_an_address_is_counted_under(address: str, name: str) -> None:
    assert caller(address) == name


def test_what_is_no_address_is_on_no_allow_list(store: Store) -> None:
    limits = store.limiter(ip_limit=1, include=("0.0.0.0/0", "::/0"))
    assert [limits.check_rate_limit("nonsense") for _ in range(2)] == [False, True]


def test_a_limit_that_is_lowered_counts_what_is_there(store: Store, clock: Clock) -> None:
    limits = store.limiter(ip_limit=5)
    for _ in range(5):
        assert not limits.check_rate_limit("192.0.2.1")
        clock.now += HOUR
    lowered = store.limiter(ip_limit=2)
    assert lowered.check_rate_limit("192.0.2.1")
    # Two of the five have not left the window.
    clock.now = START + DAY + 2.5 * HOUR
    assert lowered.check_rate_limit("192.0.2.1")
    clock.now += HOUR
    assert not lowered.check_rate_limit("192.0.2.1")


def test_requests_of_one_moment_are_told_apart(store: Store) -> None:
    limits = store.limiter(10_000, 20)
    assert sum(not limits.check("192.0.2.1").limited for _ in range(60)) == 20
    assert len(store.stored()["192.0.2.1"]) == len(store.stored()["global"]) == 20


def test_the_windows_are_an_hour_and_a_day() -> None:
    assert (HOUR, DAY) == (60 * 60, 24 * 60 * 60)


def _stores() -> Iterator[tuple[str, Callable[[Clock], Store]]]:
    def s3(clock: Clock) -> Store:
        client = clients.client("s3")
        client.create_bucket(Bucket=BUCKET)
        return InS3(client, clock)

    def dynamodb(clock: Clock) -> Store:
        client = clients.client("dynamodb")
        client.create_table(TableName=LEDGER, **LEDGER_SCHEMA)
        return InLedger(client, clock)

    yield from (("s3", s3), ("dynamodb", dynamodb))


@pytest.mark.parametrize("make", [make for _, make in _stores()], ids=[name for name, _ in _stores()])
@settings(max_examples=15)
@given(
    arrivals=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.001, 0.3, 60.0, HOUR / 3, DAY / 3]), st.floats(-2, 2), st.sampled_from("abc")
        ),
        max_size=40,
    ),
    global_limit=st.integers(1, 5),
    ip_limit=st.integers(1, 4),
)
def test_no_window_ever_holds_more_than_its_limit_though_clocks_disagree(
    make: Callable[[Clock], Store], arrivals: list[tuple[float, float, str]], global_limit: int, ip_limit: int
) -> None:
    with mock_aws():
        clock, now = Clock(), START
        store, passed = make(clock), dict[str, list[float]]()
        limits = store.limiter(global_limit, ip_limit)
        for elapsed, skew, letter in arrivals:
            now += elapsed
            clock.now = now + skew
            before = store.stored()
            limited = limits.check(f"192.0.2.{ord(letter)}").limited
            added = {
                name: [*(Counter(moments) - Counter(before.get(name, []))).elements()]
                for name, moments in store.stored().items()
            }
            assert sum(map(len, added.values())) == (0 if limited else 2)
            for name, moments in added.items():
                passed.setdefault(name, []).extend(moments)
    for name, moments in passed.items():
        length, limit = (HOUR, global_limit) if name == "global" else (DAY, ip_limit)
        assert all(sum(at - length < then <= at for then in moments) <= limit for at in moments)


@given(
    times=st.lists(st.floats(0, 2 * DAY), max_size=30),
    now=st.floats(0, 2 * DAY),
    global_limit=st.integers(0, 10),
    ip_limit=st.integers(0, 10),
)
def test_a_window_never_lets_more_than_its_limit_through(
    times: list[float], now: float, global_limit: int, ip_limit: int
) -> None:
    past = [moment for moment in times if moment <= now]

    def windows(at: float) -> tuple[list[float], list[float]]:
        return [moment for moment in past if moment > at - HOUR], [moment for moment in past if moment > at - DAY]

    address = OwnWindow("192.0.2.1", "ip", ip_limit, DAY)
    decision = decide(*windows(now), now, global_limit, address)
    everyone, own = windows(now)
    assert decision.limited == (len(everyone) >= global_limit or len(own) >= ip_limit)
    if decision.limited and global_limit and ip_limit:
        then = now + decision.retry_after + 0.001
        assert not decide(*windows(then), then, global_limit, address).limited
