"""The documents: links lead somewhere, code is run or says why not, and commands exist."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from local.options import key_names
from local.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# What is told of the past may name commands that are no more.
CURRENT = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]
COMMANDS = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")

PROGRAMS = {"sh", "shell", "bash", "console", "python", "py", "js", "javascript"}
# Why a block is not run by a test.
MARKS = {"needs AWS", "needs keys", "by hand", "fragment"}
# The languages whose other blocks are run, by document: by integration/test_guides.py, and the one block of api.md by
# component/local/report/test_usage.py.
RUN = {
    "README.md": {"sh", "python", "js"},
    "docs/tutorial.md": {"sh"},
    "docs/how-to/add-a-model.md": {"sh"},
    "docs/how-to/call-from-javascript.md": {"js"},
    "docs/how-to/call-from-python.md": {"python"},
    "docs/how-to/simulate-faults.md": {"sh"},
    "docs/reference/api.md": {"sh"},
}


class Block(NamedTuple):
    """A fenced block of code, and the comment on the line before it."""

    document: str
    line: int
    indent: str
    language: str
    mark: str
    code: str


def blocks() -> Iterator[Block]:
    """The blocks of all documents, those in lists included."""
    for document in CURRENT:
        lines = document.read_text(encoding="utf-8").splitlines()
        opened = None
        for number, line in enumerate(lines):
            fence = re.fullmatch(r"( *)```(\w*)", line)
            if fence and opened is None:
                opened = number
                comment = re.fullmatch(r" *<!-- (.+) -->", lines[number - 1]) if number else None
                indent, language, mark = fence[1], fence[2], comment[1] if comment else ""
            elif fence and opened is not None:
                code = "\n".join(lines[opened + 1 : number])
                yield Block(str(document.relative_to(ROOT)), opened + 1, indent, language, mark, code)
                opened = None
        assert opened is None, f"{document}: the block at line {opened} has no end"


BLOCKS = list(blocks())


def prose(document: Path) -> str:
    """The text of a document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> Iterator[str]:
    """The targets of a document's links and images that are no URLs."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found[anchor] = found.get(anchor, -1) + 1
        result.add(f"{anchor}-{count}" if count else anchor)
    return result


def test_there_are_documents() -> None:
    assert len(DOCUMENTS) > 20 and sum(len([*links(document)]) for document in DOCUMENTS) > 100


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.is_relative_to(ROOT) and path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), target


def test_every_program_is_run_or_says_why_not() -> None:
    programs = [block for block in BLOCKS if block.language in PROGRAMS]
    assert len(programs) > 20
    for block in programs:
        where = f"{block.document}:{block.line}"
        if block.mark:
            assert block.mark in MARKS, f"{where}: {block.mark!r} is not one of {', '.join(sorted(MARKS))}"
        else:
            is_run = block.language in RUN.get(block.document, ()) and not block.indent
            assert is_run, f"{where}: no test runs it; say why before it, such as <!-- by hand -->"
    assert sum(block.document == "docs/reference/api.md" and not block.mark for block in programs) == 1


def test_fences_are_of_one_kind() -> None:
    for document in CURRENT:
        assert not re.search(r"^ *~~~", document.read_text(encoding="utf-8"), re.MULTILINE), document


def test_every_block_has_a_language_that_is_known_or_none() -> None:
    for block in BLOCKS:
        assert block.language in PROGRAMS | {"", "json", "mermaid", "text", "http"}, block


def test_json_can_be_read() -> None:
    found = [block for block in BLOCKS if block.language == "json" and block.mark != "fragment"]
    assert len(found) > 10
    for block in found:
        try:
            json.loads(block.code)
        except ValueError as error:
            pytest.fail(f"{block.document}:{block.line}: {error}; mark what isn't a whole value with <!-- fragment -->")


class Command(NamedTuple):
    """A call of make: the target, and the variables that it gets."""

    where: str
    target: str
    variables: frozenset[str]


ASSIGNMENT = r"""[A-Z][A-Z_]*=(?:'[^']*'|"[^"]*"|[^\s`'";|&])*"""
CALL = re.compile(
    rf"(?P<before>(?:{ASSIGNMENT} +)*)(?<![\w./-])make(?= )(?P<after>(?: *(?:{ASSIGNMENT}|[a-z][a-z-]*))+)"
)


def commands() -> Iterator[Command]:
    """The calls of make in programs and in inline code."""
    for block in BLOCKS:
        if block.language in PROGRAMS:
            code = re.sub(r"\\\n", " ", re.sub(r"(^| +)#.*", "", block.code, flags=re.MULTILINE))
            yield from calls(f"{block.document}:{block.line}", code)
    for document in CURRENT:
        for code in re.findall(r"`([^`\n]+)`", prose(document)):
            yield from calls(str(document.relative_to(ROOT)), code)


def calls(where: str, code: str) -> Iterator[Command]:
    """The calls of make in a piece of code."""
    for call in CALL.finditer(code):
        words = call["before"] + call["after"]
        variables = frozenset(re.findall(r"(?<![\w-])([A-Z][A-Z_]*)=", re.sub(r"""'[^']*'|"[^"]*\"""", "", words)))
        for target in re.findall(r"(?<![\w=./-])[a-z][a-z-]*", re.sub(ASSIGNMENT, "", call["after"])):
            yield Command(where, target, variables)


def rows() -> dict[str, set[str]]:
    """The variables of each target, by the tables of docs/reference/commands.md."""
    found = re.findall(r"^\| `make ([a-z-]+)` \| (.*?) \| .* \|$", COMMANDS, re.MULTILINE)
    assert len({target for target, _ in found}) == len(found)
    return {target: set(re.findall(r"`([A-Z_]+)`", variables)) for target, variables in found}


def section(title: str) -> set[str]:
    """The variables in a section of docs/reference/commands.md."""
    table = COMMANDS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return {name for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"[A-Z_]+", line)}


EVERYWHERE = section("Variables of every target")
LAPTOP = section("Variables of the cloud on a laptop")


def test_commands_are_found() -> None:
    assert [*calls("x", "IP_LIMIT=10 make up && make deploy STAGE=prod CDK=\"-c a=b\" YES=1; xmake no 'make'")] == [
        Command("x", "up", frozenset({"IP_LIMIT"})),
        Command("x", "deploy", frozenset({"STAGE", "CDK", "YES"})),
    ]
    assert len([*commands()]) > 80


def test_every_command_is_a_target_that_knows_its_variables() -> None:
    known = rows()
    keys = set(key_names())
    for command in commands():
        assert command.target in known, command
        allowed = known[command.target] | EVERYWHERE
        if command.target in ("demo", "up"):
            # A key of an overlay has a name of its own.
            allowed |= LAPTOP | keys | {name for name in command.variables if name.endswith("_KEY")}
        if command.target == "synth":
            allowed |= LAPTOP
        if command.target in ("keys", "doctor", "models-refresh"):
            allowed |= keys
        assert command.variables <= allowed, (command, command.variables - allowed)


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    releases = re.findall(
        r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert releases[0] == version
    assert releases == sorted(releases, key=lambda name: [int(number) for number in name.split(".")], reverse=True)
