"""docs/how-to/troubleshoot.md has an entry for every code that a response or a result can have, and no other.

docs/how-to/simulate-faults.md has every fault.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pixelprompt
from local.paths import ROOT
from local.simulator.faults import FAULTS
from pixelprompt.errors import RequestError
from pixelprompt.models.model import ERROR_CODES, ProviderError
from tests.contract.cases import CASES

GUIDE = (ROOT / "docs" / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
SOURCES = Path(pixelprompt.__file__).parent


def rows(title: str) -> list[list[str]]:
    """The cells of a section's rows that begin with a code, without the header."""
    section = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \|(.+)\|$", section, re.MULTILINE)
    return [[code, *(cell.strip() for cell in rest.split("|"))] for code, rest in found if code != "errorCode"]


def kinds(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    """The subclasses of an error, at any depth."""
    for child in kind.__subclasses__():
        yield child
        yield from kinds(child)


def test_every_code_of_a_response_has_an_entry_with_its_status() -> None:
    documented = {code: int(status) for code, status, *_ in rows("Rejected requests")}
    assert len(documented) == len(rows("Rejected requests"))
    codes = {kind.code: kind.status for kind in kinds(RequestError) if kind.__module__.startswith("pixelprompt.")}
    # Where the fault is the service's own, there is no class.
    text = (SOURCES / "api" / "http.py").read_text(encoding="utf-8")
    own = {code: 503 if code == "SERVICE_UNAVAILABLE" else 500 for code in re.findall(r'"error": "([A-Z_]+)"', text)}
    assert "INTERNAL_SERVER_ERROR" in own and len(codes) > 10
    assert documented == {**codes, **own}


def test_no_other_module_makes_a_code_of_its_own() -> None:
    for path in SOURCES.rglob("*.py"):
        if path.name not in ("http.py", "errors.py"):
            assert not re.search(r'"error": "[A-Z_]+"', path.read_text(encoding="utf-8")), path


def test_every_code_of_a_result_has_an_entry_that_says_whether_a_retry_helps() -> None:
    documented = {code: retry for code, retry, *_ in rows("Errors of a model")}
    assert len(documented) == len(rows("Errors of a model"))
    assert set(documented) == ERROR_CODES
    for code, retry in documented.items():
        assert ProviderError(code).retryable == (retry == "yes"), code  # type: ignore[arg-type]


def test_the_sentences_of_the_workflow_are_those_of_the_code() -> None:
    section = GUIDE.partition("\n## Failures of the workflow\n")[2].partition("\n## ")[0]
    sentences = re.findall(r"^\| `([A-Z][^`]+)`", section, re.MULTILINE)
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py"))
    assert len(sentences) == 6 and all(sentence in sources for sentence in sentences)


def test_every_fault_is_listed_with_the_code_that_it_leads_to() -> None:
    text = (ROOT / "docs" / "how-to" / "simulate-faults.md").read_text(encoding="utf-8")
    section = text.partition("\n## The faults\n")[2]
    # Without the header.
    table = re.findall(r"^\| (`.+?|none.+?) \| (.+) \|$", section, re.MULTILINE)[1:]
    faults: dict[str, set[str]] = {}
    for first, cell in table:
        for name in re.findall(r"^none|`\w+`", first):
            faults.setdefault(name.strip("`"), set()).update(re.findall(r"`(\w+)`", cell))
    assert set(re.findall(r"`(\w+)`", section)) >= FAULTS
    assert set(faults) == ERROR_CODES - {"internal"} | {"none"}
    for case in CASES:
        if case.fault:
            assert case.fault in faults[case.outcome.code or "none"], case.name
