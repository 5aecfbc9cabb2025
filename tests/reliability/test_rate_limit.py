"""The rate limit is exact, whatever arrives at once."""

import json
import time
from typing import Any

import pytest

from pixelprompt.limits.limiter import DAY, HOUR, Decision
from pixelprompt.limits.rate_limit import BOUND, RateLimiter
from pixelprompt.storage.keys import RATE_LIMIT_KEY

from .emulator import BUCKET, s3_client
from .fault_proxy import Fault, FaultProxy
from .fleet import Fleet
from .load import Caller, call

LIMIT = 10
UNLIMITED = 10_000
AT_ONCE = 50


def storm(endpoint: str, scope: str, requests: int = 200) -> list[tuple[Decision, float]]:
    """So many requests, 50 at a time, by 10 processes; from one address, or each from its own for the global limit."""
    callers = []
    for number in range(AT_ONCE):
        names = range(number, requests, AT_ONCE)
        if scope == "ip":
            callers.append(Caller(("192.0.2.1",) * len(names), UNLIMITED, LIMIT))
        else:
            callers.append(Caller(tuple(f"198.51.100.{name}" for name in names), LIMIT, UNLIMITED))
    answers = Fleet(endpoint, [callers[number::10] for number in range(10)]).run(call)
    return [answer for row in answers for answer in row]


def recorded(s3: Any) -> dict[str, Any]:
    """The document."""
    document: dict[str, Any] = json.loads(s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)["Body"].read())
    return document


@pytest.fixture(autouse=True)
def _nothing_counted(s3: Any) -> None:
    s3.delete_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize(("scope", "window"), [("ip", DAY), ("global", HOUR)])
def test_of_200_requests_50_at_a_time_exactly_10_pass(
    s3: Any, endpoint: str, scope: str, window: float, run: int
) -> None:
    answers = storm(endpoint, scope)
    refused = [decision for decision, _ in answers if decision.limited]
    assert len(answers) == 200
    assert len(answers) - len(refused) == LIMIT
    assert len(recorded(s3)["global_requests"]) == LIMIT
    assert {decision.scope for decision in refused} <= {scope, "busy"}
    assert all(window - 30 < decision.retry_after <= window for decision in refused if decision.scope == scope)


def test_with_a_slow_s3_it_stays_exact_and_bounded(s3: Any, proxy: FaultProxy) -> None:
    proxy.latency = 0.07
    answers = storm(proxy.url, "ip", 100)
    assert sum(not decision.limited for decision, _ in answers) == LIMIT
    assert len(recorded(s3)["ip_requests"]["192.0.2.1"]) == LIMIT
    # A last attempt begins before the bound and takes a read and a write.
    assert max(seconds for _, seconds in answers) < BOUND + 1.5


def test_lost_answers_neither_charge_twice_nor_let_more_pass(s3: Any, proxy: FaultProxy) -> None:
    proxy.fault = Fault("lost answer", times=8, methods=("PUT",), part=RATE_LIMIT_KEY)
    answers = storm(proxy.url, "ip", 50)
    assert proxy.requests["PUT", 0] == 8
    assert sum(not decision.limited for decision, _ in answers) == LIMIT
    assert len(recorded(s3)["ip_requests"]["192.0.2.1"]) == LIMIT


@pytest.mark.parametrize("code", [404, 409, 412])
def test_a_lost_race_is_counted_once_in_the_end(s3: Any, proxy: FaultProxy, code: int) -> None:
    limiter = RateLimiter(s3_client(proxy.url), BUCKET, LIMIT, LIMIT)
    limiter.check("192.0.2.9")
    proxy.clear()
    proxy.fault = Fault("status", code=code, times=2, methods=("PUT",))
    assert not limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 3, ("PUT", code): 2, ("PUT", 200): 1}
    assert len(recorded(s3)["ip_requests"]["192.0.2.1"]) == 1


def test_a_document_that_stays_contended_is_429_for_a_short_time_and_never_a_pass(proxy: FaultProxy) -> None:
    limiter = RateLimiter(s3_client(proxy.url), BUCKET, LIMIT, LIMIT)
    proxy.latency = 0.07
    proxy.fault = Fault("status", code=412, methods=("PUT",))
    began = time.monotonic()
    decision = limiter.check("192.0.2.1")
    assert time.monotonic() - began < 4 * BOUND
    assert (decision.limited, decision.scope) == (True, "busy")
    assert 0 < decision.retry_after <= 3
    assert proxy.requests["PUT", 412] >= 4


def test_alone_it_is_one_read_and_one_write_and_a_refusal_is_one_read(proxy: FaultProxy) -> None:
    limiter = RateLimiter(s3_client(proxy.url), BUCKET, LIMIT, 1)
    limiter.check("192.0.2.7")
    proxy.clear()
    assert not limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 1, ("PUT", 200): 1}
    proxy.clear()
    assert limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 1}
