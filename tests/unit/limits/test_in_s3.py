"""Windows in an S3 document: what it holds, and what a request costs."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from pixelprompt.limits.limiter import DAY
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.storage.keys import RATE_LIMIT_KEY
from tests.conftest import BUCKET


def stored(s3: Any) -> Any:
    return json.loads(s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY)["Body"].read())


def test_a_request_whose_write_counted_though_s3_said_no_counts_once(s3: Any) -> None:
    """As where the SDK repeats a write whose response was lost: the repetition loses against the first."""
    writes: list[Any] = []

    def lose_the_response(parsed: Any, **_: Any) -> None:
        writes.append(parsed)
        if len(writes) == 1:
            lost: Any = {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"RetryAttempts": 1}}
            raise ClientError(lost, "PutObject")

    s3.meta.events.register("after-call.s3.PutObject", lose_the_response)
    assert not RateLimiter(s3, BUCKET, 100, 50).check_rate_limit("10.0.0.1")
    assert len(writes) == 1
    assert len(stored(s3)["global_requests"]) == 1


def test_old_requests_leave_the_document(s3: Any) -> None:
    now = 1_763_900_000.0
    limits = RateLimiter(s3, BUCKET, 100, 50, clock=lambda: now)
    for number in range(5):
        limits.check(f"10.0.0.{number}")
    now += DAY + 1
    limits.check("10.0.0.9")
    assert list(stored(s3)["ip_requests"]) == ["10.0.0.9"]
    assert len(stored(s3)["global_requests"]) == 1


def test_a_contended_document_refuses_rather_than_lets_through(s3: Any) -> None:
    limits = RateLimiter(s3, BUCKET, 100, 50)
    limits.documents.attempts = 3
    with Stubber(s3) as stub:
        for _ in range(3):
            stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
            stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        decision = limits.check("192.0.2.1")
    assert (decision.limited, decision.scope) == (True, "busy")
    assert 0 < decision.retry_after <= 5


def test_a_check_costs_one_read_and_one_write_and_a_refusal_no_write(s3: Any) -> None:
    calls: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    limits = RateLimiter(s3, BUCKET, 100, 1)
    limits.check("192.0.2.1")
    assert calls == ["GetObject", "PutObject"]
    calls.clear()
    limits.check("192.0.2.1")
    assert calls == ["GetObject"]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_was_looked_at_is_not_read_again(s3: Any, is_there: bool) -> None:
    limits = RateLimiter(s3, BUCKET, 100, 2)
    if is_there:
        limits.check("192.0.2.1")
    look = limits.look("192.0.2.1")
    calls: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    assert not limits.check("192.0.2.1", look).limited
    assert calls == ["PutObject"]
