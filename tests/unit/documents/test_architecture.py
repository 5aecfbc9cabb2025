"""Each line of docs/explanation/laptop-and-aws.md names a test that exists, or a page of AWS.

Whether the test or the page says what the line does is for a reader to judge.
"""

import re

import pytest

from local.paths import ROOT

EXPLANATION = ROOT / "docs" / "explanation"
ARCHITECTURE = (EXPLANATION / "architecture.md").read_text(encoding="utf-8")
LAPTOP = (EXPLANATION / "laptop-and-aws.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in LAPTOP.partition("## Where AWS differs")[2].splitlines()
    if line.startswith("| ") and not line.startswith(("| subject", "| ---"))
]


LIBRARY = ROOT / "functions" / "pixelprompt"
MODULES = sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_the_table_of_the_code(module: str) -> None:
    table = ARCHITECTURE.partition("## Code")[2].partition("\n## ")[0]
    folder, _, name = module.rpartition("/")
    whole = {"providers": "providers/*.py", "prompts/moderation": name[:-3]}
    assert f"`{module}`" in table or f"`{whole.get(folder)}`" in table


def test_there_is_a_table() -> None:
    assert len(ROWS) > 20
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_line_has_an_assertion_or_a_source(row: list[str]) -> None:
    _, aws, laptop, held = row
    assert aws and laptop
    named = re.findall(r"`([a-z_/]+\.py)::(\w+)`", held)
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(", source), f"{file} has no {test}"
    assert named or re.search(r"read[:,].*\(https://docs\.aws\.amazon\.com/[^)]+\)", held)
