"""A model's way through the state machine, told from its log lines."""

import pytest

from local.report.execution_trace import Turn, epoch_seconds, most_at_once, parsed, preparation, steps, turns

ASKED = {"model": "A", "provider": "openai", "attempt": 1}
DONE = {"model": "A", "outcome": "done", "seconds": 1.64, "timestamp": "2026-11-23 21:17:00,500+0000"}


def test_a_model_that_answers_at_once() -> None:
    assert steps([ASKED, DONE]) == ["Generate image 1.6 s"]


def test_a_short_wait_stands_inside_its_invocation_and_a_long_one_is_a_state() -> None:
    pause = {"model": "A", "wait_seconds": 2.0, "error_code": "rate_limited"}
    wait = {"model": "A", "outcome": "wait", "wait_seconds": 14.0, "seconds": 4.5}
    assert steps([ASKED, pause, ASKED, wait, ASKED, DONE]) == [
        "Generate image 4.5 s (rate_limited, 2.0 s pause)",
        "Wait for the provider 14 s",
        "Generate image 1.6 s",
    ]


def test_the_preparation_of_reference_images() -> None:
    prepared = {"message": "The references were prepared.", "references": 1, "seconds": 0.42}
    assert preparation([ASKED, prepared, DONE]) == 0.42
    assert preparation([ASKED, DONE]) is None
    assert turns([prepared]) == []


def test_an_invocation_that_broke() -> None:
    broke = {"model": "A", "outcome": "failed", "error_type": "Runtime.ExitError"}
    assert steps([ASKED, broke]) == ["Generate image broke (Runtime.ExitError)", "Record failure"]
    resumed = {**broke, "outcome": "wait"}
    assert steps([ASKED, resumed, ASKED, DONE])[-2:] == ["Wait for the provider 1 s", "Generate image 1.6 s"]


def test_turns_are_told_from_their_end() -> None:
    (turn,) = turns([ASKED, DONE, {"model": "A", "outcome": "failed", "error_type": "X"}])
    assert turn.model == "A"
    assert turn.ended == epoch_seconds(DONE)
    assert turn.ended - turn.began == pytest.approx(1.64)


@pytest.mark.parametrize(
    ("spans", "most"),
    [([], 0), ([(0, 1)], 1), ([(0, 1), (1, 2)], 1), ([(0, 2), (1, 3)], 2), ([(0, 9), (1, 2), (3, 5), (4, 6)], 3)],
)
def test_how_many_ran_at_once(spans: list[tuple[float, float]], most: int) -> None:
    assert most_at_once([Turn("A", began, ended) for began, ended in spans]) == most


def test_lines_that_are_no_json_objects() -> None:
    assert parsed("START RequestId: 1") is None
    assert parsed("[1]") is None
    assert parsed('{"a": 1}') == {"a": 1}
    assert epoch_seconds({"timestamp": "yesterday"}) == 0.0
