"""The workflow's definition, in an engine that runs it in milliseconds: each rule of it, and each limit."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest

from tests.workflow_engine import (
    Definition,
    Function,
    Payload,
    TaskTimedOut,
    Workflow,
    done,
    hanging,
    job_input,
    prepared,
    recorded,
    running_workflow,
    service_error,
    states_of,
)

# What AWS Lambda may throw where trying again helps (AWS Step Functions Developer Guide, "Handle transient Lambda
# service exceptions").
TRANSIENT = (
    "ClientExecutionTimeoutException",
    "ServiceException",
    "AWSLambdaException",
    "SdkClientException",
)
# How long a state waits for a free Lambda: at most these seconds before each further attempt.
PATIENT = [(0.0, min(2.0**attempt, 30.0)) for attempt in range(60)]
BRIEF = [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0)]
UNRECORDED = {"state": "failed", "index": 0, "model": "a", "recorded": False}


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    with running_workflow(monkeypatch) as workflow:
        yield workflow


def raises(error: Exception, times: int = 1000, then: Function = done) -> Function:
    """A function that breaks so many times, then works."""
    left = iter(range(times))

    def function(payload: Payload) -> Any:
        if next(left, None) is not None:
            raise error
        return then(payload)

    return function


def in_turn(*steps: Function) -> Function:
    """A function that does something else each time."""
    turn = iter(steps)
    return lambda payload: next(turn)(payload)


def wait(seconds: Any, attempt: int = 2, **fields: Any) -> Function:
    """A function that says to come again."""
    return lambda payload: {
        "state": "wait",
        "index": payload["index"],
        "model": payload["model"],
        "waitSeconds": seconds,
        "attempt": attempt,
        "resume": "token",
        "deadline": 4e9,
        "receipt": payload.get("receipt"),
        **fields,
    }


def item(name: str = "a", **fields: Any) -> Payload:
    """What an invocation for one model is told beside the execution's input."""
    return {"index": 0, "model": name, "attempt": 1, "resume": None, "deadline": None, "receipt": None, **fields}


def task_payload(**fields: Any) -> Payload:
    """The whole payload of *Generate image*, and of *Record failure* but for the error."""
    return {**job_input(None), "redriveCount": 0, **item(**fields)}


# Cases: each runs a workflow and says what must come of it. Those of RULES must fail where their rule is missing.


def a_plain_job(workflow: Workflow) -> None:
    ran = workflow.run(["a", "b"])
    assert ran.status == "SUCCEEDED"
    assert sorted(ran.calls["generate"], key=lambda call: call["index"]) == [
        task_payload(),
        task_payload(name="b", index=1),
    ]
    outcomes = [done(item()), done(item("b", index=1))]
    assert ran.calls["finish"] == [{"jobId": "job", "run": 1, "correlationId": "c", "outcomes": outcomes}]
    assert ran.output == {"job": {"jobId": "job", "status": "completed"}, "outcomes": outcomes}


def references_that_can_be_used(workflow: Workflow) -> None:
    ran = workflow.run(["a"], references=3)
    assert ran.status == "SUCCEEDED"
    assert ran.calls["prepare_references"] == [{"jobId": "job", "run": 1, "correlationId": "c"}]
    (call,) = ran.calls["generate"]
    assert call == {**task_payload(), "parameters": {"steps": 28, "images": 3}}
    assert ran.outcomes == [done(item())]


def no_references(workflow: Workflow) -> None:
    ran = workflow.run(["a"])
    assert ran.status == "SUCCEEDED"
    assert ran.calls["prepare_references"] == []
    assert ran.outcomes == [done(item())]


def a_reference_that_cannot_be_used(workflow: Workflow) -> None:
    ran = workflow.run(["a"], references=1, prepare_references=lambda _: {"state": "failed"})
    assert ran.status == "SUCCEEDED"
    assert ran.calls["generate"] == []
    assert ran.outcomes == []


def references_that_break_their_lambda(workflow: Workflow) -> None:
    broken = raises(MemoryError())
    ran = workflow.run(["a"], references=1, prepare_references=broken)
    assert ran.status == "SUCCEEDED"
    assert len(ran.calls["prepare_references"]) == 1
    assert ran.calls["generate"] == []
    assert ran.outcomes == []


def no_free_lambda_for_references(workflow: Workflow) -> None:
    full = raises(service_error("TooManyRequestsException"), 60, prepared)
    ran = workflow.run(["a"], references=1, prepare_references=full)
    assert ran.outcomes == [done(item())]
    assert ran.delays == PATIENT


def references_that_need_more_than_one_attempt(code: str) -> Callable[[Workflow], None]:
    """What becomes of the references where Lambda throws this error twice."""

    def case(workflow: Workflow) -> None:
        ran = workflow.run(["a"], references=1, prepare_references=raises(service_error(code), 2, prepared))
        assert ran.outcomes == [done(item())]
        assert ran.delays == BRIEF[:2]

    case.__name__ = f"references_after_two_{code}"
    return case


def a_wait(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=in_turn(wait(13.2), wait(0.2, 3, resume=None), done))
    assert ran.status == "SUCCEEDED"
    assert ran.waits == [14, 1]
    assert ran.calls["generate"] == [
        task_payload(),
        task_payload(attempt=2, resume="token", deadline=4e9, redrivesMet=0),
        task_payload(attempt=3, resume=None, deadline=4e9, redrivesMet=0),
    ]
    assert ran.outcomes == [done(item())]


def no_free_lambda_for_an_image(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=raises(service_error("TooManyRequestsException"), 60))
    assert ran.outcomes == [done(item())]
    assert ran.delays == PATIENT
    assert ran.calls["generate"] == [task_payload()] * 61


def an_image_that_breaks(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=raises(RuntimeError("boom " + "x" * 5000)))
    assert ran.status == "SUCCEEDED"
    assert len(ran.calls["generate"]) == 1, "the provider may have been paid"
    assert len(ran.calls["record_failure"]) == 1
    call = ran.calls["record_failure"][0]
    error = call.pop("error")
    assert call == task_payload()
    assert error["Error"] == "RuntimeError"
    assert error["Cause"].startswith('{"errorType":"RuntimeError"')
    assert len(error["Cause"]) == 500
    assert ran.outcomes == [recorded(item())]


def a_failure_without_a_free_lambda(workflow: Workflow) -> None:
    full = raises(service_error("TooManyRequestsException"), 60, recorded)
    ran = workflow.run(["a"], generate=raises(RuntimeError()), record_failure=full)
    assert ran.outcomes == [recorded(item())]
    assert ran.delays == PATIENT


def a_failure_that_needs_more_than_one_attempt(code: str) -> Callable[[Workflow], None]:
    """What becomes of a model where Lambda throws this error three times."""

    def case(workflow: Workflow) -> None:
        broken = raises(service_error(code), 3, recorded)
        ran = workflow.run(["a"], generate=raises(RuntimeError()), record_failure=broken)
        assert ran.outcomes == [recorded(item())]
        assert ran.delays == BRIEF

    case.__name__ = f"a_failure_after_three_{code}"
    return case


def a_failure_that_nobody_records(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=raises(RuntimeError()), record_failure=raises(KeyError("error")))
    assert ran.status == "SUCCEEDED"
    assert len(ran.calls["record_failure"]) == 1
    assert ran.outcomes == [UNRECORDED]


def models_that_the_map_cannot_take(workflow: Workflow) -> None:
    for models in (None, "no list"):
        ran = workflow.run(models)
        assert ran.status == "SUCCEEDED"
        assert ran.calls["generate"] == []
        assert ran.outcomes == []


def no_free_lambda_at_the_end(workflow: Workflow) -> None:
    ran = workflow.run(
        ["a"], finish=raises(service_error("TooManyRequestsException"), 60, lambda _: {"status": "failed"})
    )
    assert ran.status == "SUCCEEDED"
    assert ran.output["job"] == {"status": "failed"}
    assert ran.delays == PATIENT


def an_end_that_needs_more_than_one_attempt(workflow: Workflow) -> None:
    ran = workflow.run(["a"], finish=raises(RuntimeError(), 3, lambda _: {"status": "failed"}))
    assert ran.status == "SUCCEEDED"
    assert ran.output["job"] == {"status": "failed"}
    assert ran.delays == [(0.0, 2.0), (0.0, 6.0), (0.0, 18.0)]


Rule = tuple[str, str, str]

RULES: dict[Rule, Callable[[Workflow], None]] = {
    ("Are there reference images?", "Choice", "Prepare references"): references_that_can_be_used,
    ("Are there reference images?", "Default", "Generate images"): no_references,
    ("Prepare references", "Retry", "Lambda.TooManyRequestsException"): no_free_lambda_for_references,
    **{
        ("Prepare references", "Retry", f"Lambda.{code}"): references_that_need_more_than_one_attempt(code)
        for code in TRANSIENT
    },
    ("Prepare references", "Catch", "States.ALL"): references_that_break_their_lambda,
    ("Can they be used?", "Choice", "Finish job"): a_reference_that_cannot_be_used,
    ("Can they be used?", "Default", "Generate images"): references_that_can_be_used,
    ("Generate image", "Retry", "Lambda.TooManyRequestsException"): no_free_lambda_for_an_image,
    ("Generate image", "Catch", "States.ALL"): an_image_that_breaks,
    ("Is it done?", "Choice", "Wait for the provider"): a_wait,
    ("Is it done?", "Default", "Done"): a_plain_job,
    ("Record failure", "Retry", "Lambda.TooManyRequestsException"): a_failure_without_a_free_lambda,
    **{
        ("Record failure", "Retry", f"Lambda.{code}"): a_failure_that_needs_more_than_one_attempt(code)
        for code in TRANSIENT
    },
    ("Record failure", "Catch", "States.ALL"): a_failure_that_nobody_records,
    ("Generate images", "Catch", "States.ALL"): models_that_the_map_cannot_take,
    ("Finish job", "Retry", "Lambda.TooManyRequestsException"): no_free_lambda_at_the_end,
    ("Finish job", "Retry", "States.ALL"): an_end_that_needs_more_than_one_attempt,
}


def rules_of(definition: Definition) -> Iterator[Rule]:
    """Every error that is retried or caught, and every way out of a Choice."""
    for name, state in states_of(definition):
        for kind in ("Retry", "Catch"):
            for error in chain.from_iterable(rule["ErrorEquals"] for rule in state.get(kind, [])):
                yield name, kind, error
        for choice in state.get("Choices", []):
            yield name, "Choice", choice["Next"]
        if "Default" in state:
            yield name, "Default", state["Default"]


def without(rule: Rule) -> Callable[[Definition], None]:
    """Take one rule out of a definition."""
    name, kind, subject = rule

    def change(definition: Definition) -> None:
        state = dict(states_of(definition))[name]
        if kind in ("Retry", "Catch"):
            for entry in state[kind]:
                entry["ErrorEquals"] = [error for error in entry["ErrorEquals"] if error != subject]
            state[kind] = [entry for entry in state[kind] if entry["ErrorEquals"]]
            if not state[kind]:
                del state[kind]
        elif kind == "Default":
            del state["Default"]
        for choice in state.get("Choices", []):
            if (kind, subject) == ("Choice", choice["Next"]):
                choice["Condition"] = "{% false %}"

    return change


def test_each_rule_has_a_case(workflow: Workflow) -> None:
    assert sorted(RULES) == sorted(rules_of(workflow.definition))


@pytest.mark.parametrize("case", dict.fromkeys(RULES.values()), ids=lambda case: case.__name__)
def test_case(workflow: Workflow, case: Callable[[Workflow], None]) -> None:
    case(workflow)


@pytest.mark.parametrize("rule", RULES, ids=" - ".join)
def test_case_fails_without_its_rule(workflow: Workflow, rule: Rule) -> None:
    with pytest.raises(AssertionError):
        RULES[rule](workflow.changed(without(rule)))


def test_transitions_of_a_model(workflow: Workflow) -> None:
    """What AWS charges for: 3 for a job and 2 more with references, 3 for a model, 3 more each time it waits or 1 more
    if it breaks.
    """
    begin, end = ["Are there reference images?", "Generate images"], ["Finish job"]
    turn = ["Generate image", "Is it done?"]
    ways = {
        "plain": (workflow.run(["a"]), [*turn, "Done"]),
        "waits": (
            workflow.run(["a"], generate=in_turn(wait(5), done)),
            [*turn, "Wait for the provider", *turn, "Done"],
        ),
        "breaks": (
            workflow.run(["a"], generate=raises(RuntimeError())),
            ["Generate image", "Record failure", "Is it done?", "Done"],
        ),
    }
    for ran, way in ways.values():
        assert ran.entered == [*begin, *way, *end]
    assert {name: len(way) for name, (_, way) in ways.items()} == {"plain": 3, "waits": 6, "breaks": 4}
    edit = workflow.run(["a"], references=1)
    prepare = ["Prepare references", "Can they be used?"]
    assert edit.entered == [begin[0], *prepare, begin[1], *turn, "Done", *end]
    entered = {*chain.from_iterable(ran.entered for ran, _ in ways.values()), *edit.entered}
    assert entered == {name for name, _ in states_of(workflow.definition)}, "no state without a case"
    assert len(workflow.run([str(number) for number in range(9)]).entered) == 30


def test_items_say_how_far_they_have_come_and_carry_their_receipts(workflow: Workflow) -> None:
    receipt = {"applied": ["seed"], "adjusted": {}}
    items = [
        {"index": 4, "model": "a", "resume": "token", "receipt": receipt},
        {"index": 7, "model": "b", "resume": None},
    ]
    ran = workflow.run(items)
    assert sorted(ran.calls["generate"], key=lambda call: call["index"]) == [
        task_payload(index=4, resume="token", receipt=receipt),
        task_payload(name="b", index=7),
    ]
    assert [outcome["index"] for outcome in ran.outcomes] == [4, 7]


def test_a_wait_keeps_the_receipt(workflow: Workflow) -> None:
    receipt = {"applied": [], "adjusted": {"n": 2}}
    items = [{"index": 0, "model": "a", "resume": None, "receipt": receipt}]
    ran = workflow.run(items, generate=in_turn(wait(1), done))
    assert [call["receipt"] for call in ran.calls["generate"]] == [receipt, receipt]


@pytest.mark.parametrize("seconds", ["soon", None, True, [3]])
def test_a_wait_without_a_number_of_seconds_is_the_end(workflow: Workflow, seconds: Any) -> None:
    ran = workflow.run(["a"], generate=wait(seconds))
    assert ran.status == "SUCCEEDED"
    assert ran.waits == []
    assert ran.outcomes == [wait(seconds)(item())]


@pytest.mark.parametrize("answer", [None, "done", [], {}, {"state": "wait"}])
def test_nonsense_is_the_end(workflow: Workflow, answer: Any) -> None:
    ran = workflow.run(["a"], generate=lambda _: answer)
    assert ran.status == "SUCCEEDED"
    assert ran.outcomes == [answer]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("boom"), "ValueError"),
        (TaskTimedOut(), "States.Timeout"),
        *[(service_error(code), f"Lambda.{code}") for code in (*TRANSIENT, "ResourceNotFoundException", "Unknown")],
    ],
    ids=str,
)
def test_what_may_have_been_paid_for_is_not_sent_again(workflow: Workflow, error: Exception, name: str) -> None:
    ran = workflow.run(["a"], generate=raises(error))
    assert len(ran.calls["generate"]) == 1
    assert [call["error"]["Error"] for call in ran.calls["record_failure"]] == [name]
    assert ran.outcomes == [recorded(item())]


def test_who_waits_in_vain_for_a_free_lambda_is_recorded(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=raises(service_error("TooManyRequestsException")))
    assert len(ran.calls["generate"]) == 61
    assert [call["error"]["Error"] for call in ran.calls["record_failure"]] == ["Lambda.TooManyRequestsException"]


@pytest.mark.parametrize("resume", ["token", None])
def test_a_broken_item_that_can_be_resumed_goes_on(workflow: Workflow, resume: str | None) -> None:
    generate = in_turn(wait(4), raises(RuntimeError()), done)
    ran = workflow.run(["a"], generate=generate, record_failure=wait(1.0, 3, resume=resume, deadline=4.5e9))
    (call,) = ran.calls["record_failure"]
    del call["error"]
    assert call == task_payload(attempt=2, resume="token", deadline=4e9, redrivesMet=0)
    assert ran.waits == [4, 1]
    assert ran.calls["generate"][2] == task_payload(attempt=3, resume=resume, deadline=4.5e9, redrivesMet=0)
    assert ran.outcomes == [done(item())]


def test_a_broken_item_whose_image_was_stored_is_done(workflow: Workflow) -> None:
    ran = workflow.run(["a"], generate=raises(RuntimeError()), record_failure=done)
    assert ran.waits == []
    assert ran.outcomes == [done(item())]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(service_error("ServiceException"), 4), (service_error("TooManyRequestsException"), 61), (TaskTimedOut(), 1)],
    ids=str,
)
def test_a_failure_that_is_never_recorded_reaches_the_end_of_the_job(
    workflow: Workflow, error: Exception, attempts: int
) -> None:
    ran = workflow.run(["a"], generate=raises(RuntimeError()), record_failure=raises(error))
    assert len(ran.calls["record_failure"]) == attempts
    assert ran.outcomes == [UNRECORDED]


def test_one_broken_item_never_breaks_the_others(workflow: Workflow) -> None:
    ways: dict[str, Function] = {
        "fine": done,
        "crashes": raises(RuntimeError()),
        "hangs": raises(TaskTimedOut()),
        "answers nonsense": lambda _: None,
        "is throttled": raises(service_error("TooManyRequestsException")),
        "waits": lambda payload: (done if payload["attempt"] == 3 else wait(1, payload["attempt"] + 1))(payload),
        "also fine": done,
    }
    ran = workflow.run(
        list(ways),
        generate=lambda payload: ways[payload["model"]](payload),
        record_failure=lambda payload: raises(KeyError(), times=payload["model"] == "hangs", then=recorded)(payload),
    )
    assert ran.status == "SUCCEEDED"
    assert [outcome and (outcome["state"], outcome["recorded"]) for outcome in ran.outcomes] == [
        ("done", True),
        ("failed", True),
        ("failed", False),
        None,
        ("failed", True),
        ("done", True),
        ("done", True),
    ]


def test_a_wait_that_does_not_name_its_item_breaks_that_item_only(workflow: Workflow) -> None:
    nameless = {"state": "wait", "waitSeconds": 1, "attempt": 2}
    ran = workflow.run(["a", "b"], generate=lambda payload: nameless if payload.get("index") == 0 else done(payload))
    assert ran.status == "SUCCEEDED"
    assert ran.outcomes == [{"state": "failed", "recorded": False}, done(item("b", index=1))]


def test_forty_models_whose_rows_could_not_be_written_fit(workflow: Workflow) -> None:
    """An outcome with its row is at most 4 KB."""
    names = [f"Model {number}" for number in range(40)]
    ran = workflow.run(names, generate=lambda payload: {**done(payload), "row": "x" * 4096})
    assert ran.status == "SUCCEEDED"
    assert [outcome["model"] for outcome in ran.outcomes] == names


@pytest.mark.parametrize(("models", "size"), [(1, 256 * 1024), (2, 130 * 1024)])
def test_outcomes_over_the_limit_of_a_payload_break_the_job(workflow: Workflow, models: int, size: int) -> None:
    """``States.ALL`` does not catch it; the rule on failed executions ends the job."""
    ran = workflow.run([str(number) for number in range(models)], generate=lambda _: {"state": "x" * size})
    assert (ran.status, ran.error) == ("FAILED", "States.DataLimitExceeded")
    assert ran.calls["finish"] == []


def test_a_job_whose_end_fails_for_good_has_failed(workflow: Workflow) -> None:
    ran = workflow.run(["a"], finish=raises(RuntimeError()))
    assert (ran.status, ran.error) == ("FAILED", "RuntimeError")
    assert len(ran.calls["finish"]) == 4


def test_a_job_that_takes_too_long_is_timed_out(workflow: Workflow) -> None:
    assert workflow.definition["TimeoutSeconds"] == 3070
    workflow.changed(lambda definition: definition.update(TimeoutSeconds=1))
    with hanging() as forever:
        ran = workflow.run(["a"], generate=forever)
    assert ran.status == "TIMED_OUT"
    assert ran.calls["finish"] == []


@pytest.mark.parametrize(("redrives", "told"), [(None, 0), (0, 0), (2, 2)])
def test_an_item_is_told_how_often_its_execution_was_redriven(
    workflow: Workflow, redrives: int | None, told: int
) -> None:
    workflow.redrives = redrives
    ran = workflow.run(["a"], generate=in_turn(wait(1), raises(RuntimeError())))
    assert [call["redriveCount"] for call in ran.calls["generate"]] == [told, told]
    assert [call["redriveCount"] for call in ran.calls["record_failure"]] == [told]
    # What has left the wait of this redrive has no earlier invocation.
    assert [call.get("redrivesMet") for call in ran.calls["generate"]] == [None, told]
    assert "redrive" not in json.dumps(ran.outcomes)


def test_an_error_may_have_no_cause(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "moto.stepfunctions.parser.asl.component.state.exec.execute_state.ExecutionState._construct_error_output_value",
        staticmethod(lambda failure_event: {"Error": "States.Timeout"}),
    )
    ran = workflow.run(["a"], generate=raises(TaskTimedOut()))
    assert [call["error"] for call in ran.calls["record_failure"]] == [{"Error": "States.Timeout"}]
