"""Windows in the ledger: what an item holds, what a request costs, and what becomes of DynamoDB's errors."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber

from pixelprompt.errors import PermissionDenied, StorageError
from pixelprompt.limits.ledger_rate_limit import LedgerRateLimiter
from pixelprompt.limits.limiter import DAY, HOUR, Decision
from pixelprompt.storage.documents import is_transient
from pixelprompt.storage.ledger import Item, Ledger
from tests.conftest import LEDGER

START = 1_763_900_000.0
ADDRESS = "192.0.2.1"
OWN, EVERYONE = f"rate-limit/jobs/ip/{ADDRESS}", "rate-limit/jobs/global"
FULL = "ConditionalCheckFailedException"


class Lambda:
    """A limiter with a clock that is set by hand, and the calls that it made."""

    def __init__(self, dynamodb: Any, global_limit: int = 100, ip_limit: int = 50, windows: str = "jobs") -> None:
        self.now = START
        self.calls: list[str] = []
        dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: self.calls.append(model.name))
        self.limits = LedgerRateLimiter(
            Ledger(dynamodb, LEDGER), windows, global_limit, ip_limit, clock=lambda: self.now
        )

    def check(self, address: str = ADDRESS) -> bool:
        """Whether a request is limited; ``calls`` has the calls that it cost."""
        self.calls.clear()
        return self.limits.check(address).limited


def item(dynamodb: Any, pk: str) -> Item:
    found: Item = dynamodb.get_item(TableName=LEDGER, Key={"pk": {"S": pk}, "sk": {"S": "window"}}).get("Item", {})
    return found


def count(dynamodb: Any, pk: str) -> int:
    return len(item(dynamodb, pk).get("moments", {}).get("SS", []))


def test_a_request_costs_one_write_a_window_also_the_first(dynamodb: Any) -> None:
    caller = Lambda(dynamodb)
    for _ in range(2):
        assert not caller.check()
        assert caller.calls == ["UpdateItem", "UpdateItem"]


def test_a_refusal_by_the_callers_window_does_not_touch_that_of_all(dynamodb: Any) -> None:
    caller = Lambda(dynamodb, ip_limit=1)
    caller.check()
    before = item(dynamodb, EVERYONE)
    assert caller.check()
    assert caller.calls == ["UpdateItem", "BatchGetItem"]
    assert item(dynamodb, EVERYONE) == before


def test_a_refusal_by_the_window_of_all_leaves_the_callers_as_it_was(dynamodb: Any) -> None:
    caller = Lambda(dynamodb, global_limit=1)
    caller.check("192.0.2.2")
    assert caller.check()
    assert caller.calls == ["UpdateItem", "UpdateItem", "UpdateItem"]
    assert count(dynamodb, OWN) == 0


def test_a_full_window_loses_its_past_when_a_request_meets_it(dynamodb: Any) -> None:
    caller = Lambda(dynamodb, ip_limit=3)
    for _ in range(3):
        caller.check()
        caller.now += HOUR
    caller.now = START + DAY + HOUR
    assert count(dynamodb, OWN) == 3
    assert not caller.check()
    # One to hear that it is full, one to remove what has left it, one to count; and one in the window of all.
    assert caller.calls == ["UpdateItem"] * 4
    assert count(dynamodb, OWN) == 2
    assert item(dynamodb, OWN)["cutoff"] == {"N": str(round((START + HOUR) * 1000))}


def test_a_clock_that_is_behind_does_not_count_in_the_past(dynamodb: Any) -> None:
    """Another Lambda has removed what has left the window by its own clock: by this one's it is still in there."""
    ahead, behind = Lambda(dynamodb, ip_limit=1), Lambda(dynamodb, ip_limit=2)
    assert not behind.check()
    ahead.now = START + DAY
    assert not ahead.check()
    behind.now = START + DAY - 5
    assert not behind.check()
    moments = [entry.partition("/")[0] for entry in item(dynamodb, OWN)["moments"]["SS"]]
    assert moments == [str(round(ahead.now * 1000))] * 2


def test_an_item_expires_an_hour_after_its_last_request_has_left_the_window(dynamodb: Any) -> None:
    caller = Lambda(dynamodb)
    caller.check()
    caller.now += 60
    caller.check()
    expire = {pk: float(item(dynamodb, pk)["expiresAt"]["N"]) for pk in (OWN, EVERYONE)}
    assert expire == pytest.approx({OWN: caller.now + DAY + HOUR, EVERYONE: caller.now + 2 * HOUR}, abs=1)


def test_an_item_does_not_expire_before_a_request_of_a_clock_that_is_ahead_has_left_the_window(dynamodb: Any) -> None:
    ahead, behind = Lambda(dynamodb), Lambda(dynamodb)
    ahead.now += 600
    ahead.check()
    behind.check()
    assert float(item(dynamodb, EVERYONE)["expiresAt"]["N"]) > ahead.now + HOUR


def test_a_request_that_the_window_of_all_refuses_does_not_fill_the_callers_for_another(dynamodb: Any) -> None:
    """It is in the caller's window until it meets that of all; another one finds both full then."""
    first, other = (Lambda(dynamodb, global_limit=3, ip_limit=2) for _ in range(2))
    for address in (ADDRESS, "192.0.2.2", "192.0.2.3"):
        first.check(address)
    first.now = other.now = START + 1800
    decisions: list[Decision] = []

    def check_another(params: Any, **_: Any) -> None:
        if params["UpdateExpression"].startswith("DELETE"):
            decisions.append(other.limits.check(ADDRESS))

    dynamodb.meta.events.register("provide-client-params.dynamodb.UpdateItem", check_another)
    assert first.check()
    assert decisions == [Decision(True, "global", HOUR - 1800)]


def test_a_window_that_has_room_again_at_the_look_is_full_for_no_longer(dynamodb: Any) -> None:
    caller = Lambda(dynamodb, ip_limit=1)
    caller.check()

    def leave(**_: Any) -> None:
        dynamodb.delete_item(TableName=LEDGER, Key={"pk": {"S": OWN}, "sk": {"S": "window"}})

    dynamodb.meta.events.register("before-call.dynamodb.BatchGetItem", leave)
    assert caller.limits.check(ADDRESS) == Decision(True, "ip", 0.0)


def test_what_is_counted_has_windows_of_its_own(dynamodb: Any) -> None:
    for windows in ("jobs", "enhance", "uploads"):
        assert [Lambda(dynamodb, ip_limit=1, windows=windows).check() for _ in range(2)] == [False, True]


def test_a_repeated_write_whose_first_one_filled_the_window_has_passed(dynamodb: Any) -> None:
    """As where the SDK repeats a write whose response was lost."""
    sent: list[Any] = []

    def send_twice(params: Any, model: Any, **_: Any) -> None:
        if not sent:
            sent.append(params)
            dynamodb._make_api_call(model.name, {**asked[0]})

    asked: list[Any] = []
    dynamodb.meta.events.register("provide-client-params.dynamodb.UpdateItem", lambda params, **_: asked.append(params))
    dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", send_twice)
    assert not Lambda(dynamodb, ip_limit=1).check()
    assert sent
    assert count(dynamodb, OWN) == count(dynamodb, EVERYONE) == 1


@pytest.mark.parametrize(
    ("code", "status", "is_passing"),
    [
        ("ProvisionedThroughputExceededException", 400, True),
        ("ThrottlingException", 400, True),
        ("RequestLimitExceeded", 400, True),
        ("InternalServerError", 500, True),
        ("ResourceNotFoundException", 400, False),
        ("ValidationException", 400, False),
    ],
)
def test_an_error_of_dynamodb_is_one_of_the_store(dynamodb: Any, code: str, status: int, is_passing: bool) -> None:
    limits = Lambda(dynamodb).limits
    for operation, ask in (("update_item", limits.check), ("batch_get_item", limits.look)):
        with Stubber(dynamodb) as stub:
            # Passing ones are sent three times.
            for _ in range(3):
                stub.add_client_error(operation, code, http_status_code=status)
            with pytest.raises(StorageError, match=code) as caught:
                ask(ADDRESS)
        assert is_transient(caught.value) == is_passing


def test_a_missing_grant_says_so(dynamodb: Any) -> None:
    limits = Lambda(dynamodb).limits
    with Stubber(dynamodb) as stub:
        stub.add_client_error("update_item", "AccessDeniedException", http_status_code=400)
        with pytest.raises(PermissionDenied, match=f"DynamoDB refused UpdateItem on {OWN}"):
            limits.check(ADDRESS)


def test_a_connection_that_breaks_is_transient(dynamodb: Any) -> None:
    def broken(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

    dynamodb.meta.events.register("before-call.dynamodb", broken)
    limits = Lambda(dynamodb).limits
    for ask in (limits.check, limits.look):
        with pytest.raises(StorageError, match="Failed to connect to DynamoDB") as caught:
            ask(ADDRESS)
        assert is_transient(caught.value)


def test_an_item_that_was_left_unread_three_times_is_busy(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Lambda(dynamodb).limits
    asked: list[int] = []

    def note(params: Any, **_: Any) -> None:
        asked.append(len(params["RequestItems"][LEDGER]["Keys"]))

    def leave_unread(parsed: dict[str, Any], **_: Any) -> None:
        unread = {"Keys": [{"pk": {"S": OWN}, "sk": {"S": "window"}}], "ConsistentRead": True}
        parsed.update(Responses={}, UnprocessedKeys={LEDGER: unread})

    dynamodb.meta.events.register("provide-client-params.dynamodb.BatchGetItem", note)

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", leave_unread)
    with pytest.raises(StorageError) as caught:
        limits.look(ADDRESS)
    assert isinstance(caught.value.__cause__, ClientError)
    assert is_transient(caught.value)
    assert asked == [2, 1, 1]


def test_what_was_left_unread_is_read_again(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Lambda(dynamodb, ip_limit=1)
    caller.check()
    unread: list[Any] = []

    def leave_unread(parsed: dict[str, Any], **_: Any) -> None:
        if not unread:
            unread.append(parsed["Responses"][LEDGER].pop()["pk"])
            keys = [{"pk": unread[0], "sk": {"S": "window"}}]
            parsed["UnprocessedKeys"] = {LEDGER: {"Keys": keys, "ConsistentRead": True}}

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", leave_unread)
    assert caller.check()
    assert caller.calls == ["UpdateItem", "BatchGetItem", "BatchGetItem"]
