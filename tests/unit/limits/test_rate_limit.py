"""Sliding windows, and the document they lie in."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from pixelprompt.limits.caller import caller
from pixelprompt.limits.rate_limit import DAY, HOUR, RateLimiter, decide, prune
from pixelprompt.storage.keys import RATE_LIMIT_KEY

BUCKET = "test-bucket"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_763_900_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(s3: Any, clock: Clock, global_limit: int = 100, ip_limit: int = 50, include: tuple[str, ...] = ()) -> Any:
    return RateLimiter(s3, BUCKET, global_limit, ip_limit, include, clock=clock)


def stored(s3: Any) -> Any:
    return json.loads(s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)["Body"].read())


def test_the_101st_request_of_an_hour_is_limited(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=1000)
    answers = [limits.check_rate_limit(f"10.0.0.{number}") for number in range(101)]
    assert answers == [False] * 100 + [True]


def test_an_address_is_limited_for_a_day(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=2)
    assert [limits.check_rate_limit("192.0.2.1") for _ in range(3)] == [False, False, True]
    assert not limits.check_rate_limit("192.0.2.2")
    clock.now += HOUR + 1
    assert limits.check_rate_limit("192.0.2.1")
    clock.now += DAY - HOUR
    assert not limits.check_rate_limit("192.0.2.1")


def test_a_refused_request_is_not_recorded(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=1)
    limits.check_rate_limit("192.0.2.1")
    before = stored(s3)
    for _ in range(5):
        clock.now += 60
        assert limits.check_rate_limit("192.0.2.1")
    assert stored(s3) == before


def test_looking_counts_nothing(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=1)
    assert not limits.is_rate_limited("192.0.2.1")
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    limits.check_rate_limit("192.0.2.1")
    assert limits.is_rate_limited("192.0.2.1")


def test_the_allow_list_passes_without_touching_s3(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=0, global_limit=0, include=("192.0.2.1", "198.51.100.0/24", "2001:db8::/32"))
    for address in ("192.0.2.1", "198.51.100.77", "::ffff:198.51.100.77", "2001:db8::1"):
        assert not limits.check_rate_limit(address)
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert limits.check_rate_limit("192.0.2.2")


def test_retry_after_is_when_the_next_request_really_passes(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=2)
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


def test_ipv6_is_limited_by_its_64_network(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=1)
    assert not limits.check_rate_limit("2001:db8:1:2::1")
    assert limits.check_rate_limit("2001:db8:1:2:ffff::9")
    assert not limits.check_rate_limit("2001:db8:1:3::1")


@pytest.mark.parametrize(
    ("address", "name"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("", "unknown"), ("x/../y", "unknown")],
)
def test_the_name_an_address_is_counted_under(address: str, name: str) -> None:
    assert caller(address) == name


def test_a_request_whose_write_counted_though_s3_said_no_counts_once(s3: Any, clock: Clock) -> None:
    """As where the SDK repeats a write whose response was lost: the repetition loses against the first."""
    writes: list[Any] = []

    def lose_the_response(parsed: Any, **_: Any) -> None:
        writes.append(parsed)
        if len(writes) == 1:
            lost: Any = {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"RetryAttempts": 1}}
            raise ClientError(lost, "PutObject")

    s3.meta.events.register("after-call.s3.PutObject", lose_the_response)
    assert not limiter(s3, clock).check_rate_limit("10.0.0.1")
    assert len(writes) == 1
    assert len(stored(s3)["global_requests"]) == 1


def test_what_is_no_address_is_on_no_allow_list(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock, ip_limit=1, include=("0.0.0.0/0", "::/0"))
    assert [limits.check_rate_limit("nonsense") for _ in range(2)] == [False, True]


def test_the_windows_are_an_hour_and_a_day() -> None:
    assert (HOUR, DAY) == (60 * 60, 24 * 60 * 60)


def test_old_requests_leave_the_document(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock)
    for number in range(5):
        limits.check(f"10.0.0.{number}")
    clock.now += DAY + 1
    limits.check("10.0.0.9")
    assert list(stored(s3)["ip_requests"]) == ["10.0.0.9"]
    assert len(stored(s3)["global_requests"]) == 1


def test_a_contended_document_refuses_rather_than_lets_through(s3: Any, clock: Clock) -> None:
    limits = limiter(s3, clock)
    limits.documents.attempts = 3
    with Stubber(s3) as stub:
        for _ in range(3):
            stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
            stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        decision = limits.check("192.0.2.1")
    assert (decision.limited, decision.scope) == (True, "busy")
    assert 0 < decision.retry_after <= 5


def test_a_check_costs_one_read_and_one_write_and_a_refusal_no_write(s3: Any, clock: Clock) -> None:
    calls: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    limits = limiter(s3, clock, ip_limit=1)
    limits.check("192.0.2.1")
    assert calls == ["GetObject", "PutObject"]
    calls.clear()
    limits.check("192.0.2.1")
    assert calls == ["GetObject"]


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
    windows = prune({"global_requests": past, "ip_requests": {"a": past}}, now)
    decision = decide(windows, "a", now, global_limit, ip_limit)
    over = sum(moment > now - HOUR for moment in past) >= global_limit or sum(m > now - DAY for m in past) >= ip_limit
    assert decision.limited == over
    if decision.limited and global_limit and ip_limit:
        then = now + decision.retry_after + 0.001
        assert not decide(prune(windows, then), "a", then, global_limit, ip_limit).limited
