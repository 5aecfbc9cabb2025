"""Whatever costs or deletes asks first."""

import io
from collections.abc import Callable

import pytest

from local.confirmation import Unconfirmed, confirm


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sits at a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO())


def answers(text: str) -> Callable[[str], str]:
    """Answers every question with this text."""
    return lambda question: text


def test_only_the_wanted_answer_goes_on() -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return " dev "

    confirm("Delete it?", {}, answer="dev", ask=ask)
    assert asked == ["Delete it? Type dev to go on: "]
    for other in ("", "yes", "prod"):
        with pytest.raises(Unconfirmed, match=r"^Nothing was done\.$"):
            confirm("Delete it?", {}, answer="dev", ask=answers(other))


@pytest.mark.parametrize("yes", ["1", "yes", "TRUE"])
def test_yes_answers_beforehand(yes: str) -> None:
    confirm("Delete it?", {"YES": yes}, answer="dev")


@pytest.mark.parametrize("environment", [{}, {"YES": ""}, {"YES": "0"}, {"YES": "no"}])
def test_nobody_to_ask_is_a_no(environment: dict[str, str]) -> None:
    with pytest.raises(Unconfirmed, match=r"no terminal to ask for confirmation. Set YES=1 to confirm in advance"):
        confirm("Delete it?", environment)
