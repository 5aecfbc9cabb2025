"""Every case of the table with every adapter: through the real SDKs, over real sockets."""

import io
import time
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt.models.model import Generated, ProviderError, Waiting
from pixelprompt.models.model import Image as Reference
from tests.contract.calls import ask, digests, orders
from tests.contract.cases import CASES, Case, Column, Outcome
from tests.contract.conftest import Dripping
from tests.contract.references import damaged, digest, gif, pictures
from tests.contract.table import COLUMNS, MODELS, PATHS, PROTOCOLS

CELLS = [
    pytest.param(case, protocol, id=f"{case.name}-{protocol}")
    for case in CASES
    for protocol, column in COLUMNS.items()
    if not column.why_absent(case)
]


@pytest.mark.parametrize(("name", "column"), COLUMNS.items(), ids=COLUMNS)
def test_a_column_names_cases_of_the_table(name: str, column: Column) -> None:
    known = {case.name: case for case in CASES}
    absent = [case for names in column.absent.values() for case in names]
    assert known.keys() >= {*absent, *column.other, *column.rare}
    assert all(known[case].rare for case in column.rare) and not any(known[case].rare for case in absent)
    assert not {*absent} & {*column.other} and len({*absent}) == len(absent)
    assert column.model.provider == column.unknown.provider == name


@pytest.mark.parametrize(("case", "protocol"), CELLS)
def test_contract(
    case: Case, protocol: str, simulator: Simulator, dripping: Dripping, closed_url: str, cell: Any
) -> None:
    cell(case.name, protocol)
    column = COLUMNS[protocol]
    known = column.model
    model = replace(known, parameters={**known.parameters, **column.images_by.get(case.images_by or "", {})})
    server = {"simulator": simulator.url, "dripping": dripping.url, "closed": closed_url}[case.server]
    if case.fault:
        simulator.set_fault(known.id, case.fault, **case.options)

    started = time.monotonic()
    sent = references(case, column)
    answer = ask(model, server + PATHS[protocol], seconds=case.seconds, references=sent, **case.request)

    # What ends at its deadline would otherwise take a minute, or for ever.
    assert time.monotonic() - started < max(case.seconds, 0) + 20
    expected = column.outcome(case)
    assert summary(answer) == replace(expected, requests=0)
    assert len(orders(simulator)) + dripping.orders == expected.requests
    if isinstance(answer, Generated):
        assert_images_are_what_they_say(answer)
        assert answer.request_id or not column.has_request_id
        # The bytes are those of the references, all of them, in their order.
        assert digests(orders(simulator)[0].body) == [digest(image) for image in sent]
    if isinstance(answer, ProviderError):
        assert set(answer.row()) == {"error", "errorCode", "retryable", "billable"}
        assert 10 < len(str(answer)) <= 300
        assert case.says in answer.said
        # What is about the account is for its operator only.
        assert case.says in str(answer) or answer.code in ("bad_credentials", "quota_exhausted")
        assert "test-key" not in f"{answer} {answer.said}" and "Traceback" not in f"{answer} {answer.said}"


def is_impossible(edit: Case, column: Column) -> bool:
    """Whether no generation can meet the fault of an edit."""
    generations = [case for case in CASES if case.fault == edit.fault and not case.references]
    return edit.fault is not None and bool(generations) and all(map(column.why_absent, generations))


def references(case: Case, column: Column) -> tuple[Reference, ...]:
    """The reference images of a case, as many as the column's model may have."""
    most = column.model.supports.get("images", {}).get("max", 0)
    match case.references:
        case None:
            return ()
        case "gif":
            return (gif(),)
        case "damaged":
            return (damaged(),)
        case kind:
            return pictures({"few": min(2, most), "most": most, "too many": most + 1}[kind])


def test_a_protocol_that_sends_references_has_every_case_of_them() -> None:
    """But for faults that its generations can't meet either."""
    for column in COLUMNS.values():
        edits = [case for case in CASES if case.references]
        absent = {case.name for case in edits if column.why_absent(case)}
        impossible = {case.name for case in edits if is_impossible(case, column)}
        assert absent == (impossible if column.sends_references else {case.name for case in edits}), (
            column.model.provider
        )
        assert ("images" in column.model.supports) is column.sends_references


@pytest.mark.parametrize("protocol", [name for name, column in COLUMNS.items() if column.sends_references])
def test_one_reference_is_sent_as_it_is(simulator: Simulator, protocol: str) -> None:
    for image in pictures(2):
        answer = ask(MODELS[protocol], simulator.url + PATHS[protocol], references=(image,))
        assert isinstance(answer, Generated), answer
        assert digests(orders(simulator)[-1].body) == [digest(image)]


def summary(answer: Generated | Waiting | ProviderError) -> Outcome:
    """An answer in the table's terms."""
    if isinstance(answer, Waiting):
        return Outcome("waiting", requests=0)
    if isinstance(answer, Generated):
        return Outcome(images=len(answer.images), requests=0)
    return Outcome(
        answer.code, answer.retryable, answer.billable, answer.safe_to_repeat, answer.retry_after, requests=0
    )


def assert_images_are_what_they_say(answer: Generated) -> None:
    """Type and size are those of the bytes, and no two images are the same."""
    for image in answer.images:
        with Picture.open(io.BytesIO(image.data)) as picture:
            picture.load()
            assert picture.size == (image.width, image.height)
            assert Picture.MIME[picture.format or ""] == image.mime_type
    assert len({image.data for image in answer.images}) == len(answer.images)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_key_is_not_repeated_to_the_caller(
    simulator: Simulator, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if protocol == "bedrock":
        monkeypatch.setattr("pixelprompt.providers.bedrock.session", wrong_session)
    answer = ask(MODELS[protocol], simulator.url + PATHS[protocol], key="bad-key-1234567890")
    assert isinstance(answer, ProviderError) and answer.code == "bad_credentials"
    assert "1234567890" not in str(answer) and "bad-key" not in str(answer)


def wrong_session() -> Any:
    """A session of boto3 with a key that AWS does not know."""
    import boto3

    return boto3.session.Session("bad-key-1234567890", "secret")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_model_counts_as_retired(simulator: Simulator, protocol: str) -> None:
    answer = ask(COLUMNS[protocol].unknown, simulator.url + PATHS[protocol])
    assert isinstance(answer, ProviderError) and answer.code == "model_retired"
