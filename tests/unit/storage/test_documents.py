"""Documents in S3: what an update does about lost races, failures of S3, and what it remembers."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.stub import Stubber

from pixelprompt.errors import ConflictError, PermissionDenied, StorageError
from pixelprompt.storage.documents import DocumentStore, Value

BUCKET = "test-bucket"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest pause of each, of which none is made."""
    longest: list[float] = []

    def shortest(low: float, high: float) -> float:
        longest.append(high)
        return low

    monkeypatch.setattr("random.uniform", shortest)
    return longest


def counted(value: Value | None) -> Value:
    return {"count": (value or {"count": 0})["count"] + 1}


@pytest.mark.parametrize(
    ("code", "status"),
    [("PreconditionFailed", 412), ("ConditionalRequestConflict", 409), ("NoSuchKey", 404)],
)
def test_a_lost_race_is_read_and_tried_again(s3: Any, code: str, status: int) -> None:
    with Stubber(s3) as stub:
        for _ in range(3):
            stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
            stub.add_client_error("put_object", code, http_status_code=status)
        with pytest.raises(ConflictError):
            DocumentStore(s3, BUCKET, attempts=3).update("k", lambda value: {"a": 1})
        stub.assert_no_pending_responses()


def test_a_passing_failure_of_s3_is_waited_for(s3: Any) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "SlowDown", http_status_code=503)
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"1"'})
        assert DocumentStore(s3, BUCKET).update("k", lambda value: {"a": 1}) == {"a": 1}


def test_403_says_which_permission_is_missing(s3: Any) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
        with pytest.raises(PermissionDenied, match="ListBucket"):
            DocumentStore(s3, BUCKET).update("k", lambda value: {"a": 1})


def test_giving_up_ends_the_attempts(s3: Any) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        with pytest.raises(ConflictError):
            DocumentStore(s3, BUCKET).update("k", lambda value: {"a": 1}, give_up=lambda: True)
        stub.assert_no_pending_responses()


def test_pauses_double_while_s3_fails(s3: Any, pauses: list[float]) -> None:
    with Stubber(s3) as stub:
        for _ in range(7):
            stub.add_client_error("get_object", "SlowDown", http_status_code=503)
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"1"'})
        assert DocumentStore(s3, BUCKET).update("k", counted) == {"count": 1}
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_giving_up_ends_the_wait_for_s3(s3: Any) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "SlowDown", http_status_code=503)
        with pytest.raises(ConflictError):
            DocumentStore(s3, BUCKET).update("k", counted, give_up=lambda: True)
        stub.assert_no_pending_responses()


def test_without_patience_the_first_failure_of_s3_is_the_last(s3: Any, pauses: list[float]) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "SlowDown", http_status_code=503)
        with pytest.raises(StorageError):
            DocumentStore(s3, BUCKET, patience=-1).update("k", counted)
        stub.assert_no_pending_responses()


def test_a_new_document_is_not_read_before_its_first_write(s3: Any, pauses: list[float]) -> None:
    with Stubber(s3) as stub:
        stub.add_response("put_object", {"ETag": '"1"'})
        DocumentStore(s3, BUCKET).update("k", counted, new=True)
        stub.add_client_error("put_object", "InternalError", http_status_code=500)
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"1"'})
        DocumentStore(s3, BUCKET).update("k2", counted, new=True)
        stub.assert_no_pending_responses()


def remembering(s3: Any) -> DocumentStore:
    """A store that has just written the document, which somebody else has then replaced."""
    documents = DocumentStore(s3, BUCKET)
    documents.update("k", counted)
    DocumentStore(s3, BUCKET).update("k", lambda value: {"count": 10})
    return documents


def requests_of(s3: Any, update: Callable[[], object]) -> list[str]:
    """The names of the requests to S3 that an update makes."""
    names: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: names.append(model.name), unique_id="names")
    try:
        update()
    finally:
        s3.meta.events.unregister("before-call.s3", unique_id="names")
    return names


def test_what_it_has_written_last_is_not_read_again(s3: Any) -> None:
    documents = DocumentStore(s3, BUCKET)
    documents.update("k", counted)
    assert requests_of(s3, lambda: documents.update("k", counted, alone=lambda _: True)) == ["PutObject"]
    assert requests_of(s3, lambda: documents.update("k", counted, alone=lambda _: False)) == ["GetObject", "PutObject"]


def test_what_it_remembers_and_others_have_replaced_is_read_at_once(s3: Any, pauses: list[float]) -> None:
    documents = remembering(s3)
    made = requests_of(s3, lambda: documents.update("k", counted, alone=lambda _: True))
    assert made == ["PutObject", "GetObject", "PutObject"]
    document = documents.read("k")
    assert document is not None and document.value == {"count": 11}
    assert pauses == []


@pytest.mark.parametrize("fails", [False, True], ids=["leaves it", "fails"])
def test_only_what_has_just_been_read_is_left_as_it_is(s3: Any, *, fails: bool) -> None:
    """A change that finds nothing to do, or not what it needs, in what was remembered looks at the present one."""
    documents = remembering(s3)

    def from_ten(value: Value | None) -> Value | None:
        if value == {"count": 10}:
            return {"count": 20}
        if fails:
            raise LookupError
        return None

    assert documents.update("k", from_ten, alone=lambda _: True) == {"count": 20}


def test_an_update_that_has_no_time_left_begins_no_second_attempt(s3: Any) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        with pytest.raises(ConflictError):
            DocumentStore(s3, BUCKET, time_limit=0).update("k", counted)
        stub.assert_no_pending_responses()
