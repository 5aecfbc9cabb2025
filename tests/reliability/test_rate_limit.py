"""The rate limit is exact, whatever arrives at once."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from pixelprompt.limits.limiter import DAY, HOUR, Decision
from pixelprompt.limits.rate_limit import BOUND
from pixelprompt.storage.keys import RATE_LIMIT_KEY

from ..unit.limits.windows import in_ledger, in_s3
from .emulator import BUCKET, TABLE, dynamodb_client, s3_client
from .fault_proxy import Fault, FaultProxy
from .fleet import Fleet
from .load import Caller, call, limiter_of

LIMIT = 10
UNLIMITED = 10_000
AT_ONCE = 50
# The requests with which each client of a storm makes its connection.
WARM = AT_ONCE


def storm(
    endpoint: str,
    scope: str,
    requests: int = 200,
    *,
    store: str = "s3",
    limit: int = LIMIT,
    ready: Callable[[], object] = lambda: None,
) -> list[tuple[Decision, float]]:
    """So many requests, 50 at a time, by 10 processes; from one address, or each from its own for the global limit."""
    callers = []
    for number in range(AT_ONCE):
        names = range(number, requests, AT_ONCE)
        if scope == "ip":
            callers.append(Caller(("192.0.2.1",) * len(names), UNLIMITED, limit))
        else:
            callers.append(Caller(tuple(f"198.51.100.{name}" for name in names), limit, UNLIMITED))
    answers = Fleet(endpoint, [callers[number::10] for number in range(10)], store).run(call, ready=ready)
    return [answer for row in answers for answer in row]


@pytest.fixture(params=["s3", "dynamodb"])
def store(request: pytest.FixtureRequest) -> str:
    """Where requests are counted."""
    name: str = request.param
    return name


@pytest.fixture
def windows(s3: Any, dynamodb: Any, store: str) -> Callable[[], dict[str, list[float]]]:
    """The moments in each window of the store: that of all callers is ``global``."""
    if store == "s3":
        return lambda: in_s3(s3, BUCKET, time.time())
    return lambda: in_ledger(dynamodb, TABLE, time.time())


@pytest.fixture(autouse=True)
def _nothing_counted(s3: Any, dynamodb: Any) -> None:
    s3.delete_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)
    for item in dynamodb.scan(TableName=TABLE)["Items"]:
        dynamodb.delete_item(TableName=TABLE, Key={name: item[name] for name in ("pk", "sk")})


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize(("scope", "window"), [("ip", DAY), ("global", HOUR)])
def test_of_200_requests_50_at_a_time_exactly_10_pass(
    windows: Callable[[], dict[str, list[float]]], endpoint: str, store: str, scope: str, window: float, run: int
) -> None:
    answers = storm(endpoint, scope, store=store)
    refused = [decision for decision, _ in answers if decision.limited]
    assert len(answers) == 200
    assert len(answers) - len(refused) == LIMIT
    counted = windows()
    assert len(counted["global"]) == LIMIT
    assert sum(len(moments) for name, moments in counted.items() if name != "global") == LIMIT
    assert {decision.scope for decision in refused} <= ({scope, "busy"} if store == "s3" else {scope})
    assert all(window - 30 < decision.retry_after <= window for decision in refused if decision.scope == scope)


@pytest.mark.parametrize("scope", ["ip", "global"])
def test_a_limit_with_room_for_all_refuses_none_in_the_ledger(dynamodb: Any, proxy: FaultProxy, scope: str) -> None:
    proxy.latency = 0.01
    answers = storm(proxy.url, scope, store="dynamodb", limit=200)
    assert [decision for decision, _ in answers if decision.limited] == []
    assert len(in_ledger(dynamodb, TABLE, time.time())["global"]) == 200
    # A request is a write to each window.
    assert proxy.requests["POST", 200] - WARM == 400


def test_with_a_slow_s3_it_stays_exact_and_bounded(s3: Any, proxy: FaultProxy) -> None:
    proxy.latency = 0.07
    answers = storm(proxy.url, "ip", 100)
    assert sum(not decision.limited for decision, _ in answers) == LIMIT
    assert len(in_s3(s3, BUCKET, time.time())["192.0.2.1"]) == LIMIT
    # A last attempt begins before the bound and takes a read and a write.
    assert max(seconds for _, seconds in answers) < BOUND + 1.5


def test_lost_answers_neither_charge_twice_nor_let_more_pass(
    windows: Callable[[], dict[str, list[float]]], proxy: FaultProxy, store: str
) -> None:
    method = {"s3": "PUT", "dynamodb": "POST"}[store]

    def lose() -> None:
        proxy.fault = Fault("lost answer", times=8, methods=(method,))

    answers = storm(proxy.url, "ip", 50, store=store, ready=lose)
    assert proxy.requests[method, 0] == 8
    assert sum(not decision.limited for decision, _ in answers) == LIMIT
    assert {name: len(moments) for name, moments in windows().items()} == {"192.0.2.1": LIMIT, "global": LIMIT}


@pytest.mark.parametrize("code", [404, 409, 412])
def test_a_lost_race_is_counted_once_in_the_end(s3: Any, proxy: FaultProxy, code: int) -> None:
    limiter = limiter_of(s3_client(proxy.url), LIMIT, LIMIT)
    limiter.check("192.0.2.9")
    proxy.clear()
    proxy.fault = Fault("status", code=code, times=2, methods=("PUT",))
    assert not limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 3, ("PUT", code): 2, ("PUT", 200): 1}
    assert len(in_s3(s3, BUCKET, time.time())["192.0.2.1"]) == 1


def test_a_document_that_stays_contended_is_429_for_a_short_time_and_never_a_pass(proxy: FaultProxy) -> None:
    limiter = limiter_of(s3_client(proxy.url), LIMIT, LIMIT)
    proxy.latency = 0.07
    proxy.fault = Fault("status", code=412, methods=("PUT",))
    began = time.monotonic()
    decision = limiter.check("192.0.2.1")
    assert time.monotonic() - began < 4 * BOUND
    assert (decision.limited, decision.scope) == (True, "busy")
    assert 0 < decision.retry_after <= 3
    assert proxy.requests["PUT", 412] >= 4


def test_alone_it_is_one_read_and_one_write_and_a_refusal_is_one_read(proxy: FaultProxy) -> None:
    limiter = limiter_of(s3_client(proxy.url), LIMIT, 1)
    limiter.check("192.0.2.7")
    proxy.clear()
    assert not limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 1, ("PUT", 200): 1}
    proxy.clear()
    assert limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("GET", 200): 1}


def test_in_the_ledger_it_is_two_writes_and_a_refusal_is_one_and_a_read(proxy: FaultProxy) -> None:
    limiter = limiter_of(dynamodb_client(proxy.url), LIMIT, 1)
    assert not limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("POST", 200): 2}
    proxy.clear()
    assert limiter.check("192.0.2.1").limited
    assert dict(proxy.requests) == {("POST", 400): 1, ("POST", 200): 1}
