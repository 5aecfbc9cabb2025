"""The threat model in docs/explanation/security.md: what it names is there."""

import re

import pytest

from infra.settings import NAMES
from local.paths import ROOT

TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
# What is no setting, but the name of something else: a stage, and values of settings.
OTHER = {"prod", "dev", "iam", "jwt", "openai"}


def section(title: str) -> str:
    """What stands below a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_boundary_of_the_picture_is_in_the_table() -> None:
    text = section("Where trust ends")
    drawn = set(re.findall(r'-- "(\d)" -->', text))
    told = set(re.findall(r"^\| (\d) ", text, re.MULTILINE))
    assert drawn == told == set("1234567")


def test_what_refuses_is_a_file_of_the_project() -> None:
    named = re.findall(r"`([\w/]+\.py)`", section("Where trust ends"))
    assert len(named) > 5
    ours = [str(path) for room in ("functions", "infra", "local") for path in (ROOT / room).rglob("*.py")]
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in ours)] == []


def test_what_closes_something_is_a_setting() -> None:
    assert len(NAMES) > 20
    rows = section("What is left open on purpose").splitlines()
    named = {name.partition("=")[0] for row in rows for name in re.findall(r"`([\w=*]+)`", row)} - OTHER
    assert len(named) > 8
    assert sorted(named - set(NAMES)) == []


@pytest.mark.parametrize("heading", ["What is worth protecting", "Who may do what", "What is left open on purpose"])
def test_it_says_what_a_threat_model_says(heading: str) -> None:
    assert section(heading).count("\n| ") > 5


def test_who_finds_a_weakness_learns_where_to_report_it() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a weakness" in text and "docs/explanation/security.md#threat-model" in text
