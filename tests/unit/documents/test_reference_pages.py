"""docs/reference has every target of make, every member of a job document, and every field of the catalogue."""

import re
from typing import get_args, get_type_hints

import pytest
from msgspec import Struct

from infra import settings
from local.options import NETWORK_VARIABLES, SETTINGS, key_names
from local.paths import ROOT
from pixelprompt.jobs.schema import Image, Job, JobStatusName, Missing, ModelResult, Reference, RowStatus
from pixelprompt.models import catalogue, catalogue_entry, price
from pixelprompt.models.cost import Cost, TotalCost
from pixelprompt.models.model import ErrorCode
from tests.unit.documents.test_documents import COMMANDS, EVERYWHERE, LAPTOP, rows

REFERENCE = ROOT / "docs" / "reference"
JOB = (REFERENCE / "job-document.md").read_text(encoding="utf-8")
CATALOGUE = (REFERENCE / "catalogue.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


ERROR_CODES = set(get_args(ErrorCode))


def section(text: str, title: str) -> str:
    """What is below a heading, up to the next one of any level."""
    found = re.split(rf"^#+ {re.escape(title)}\n", text, maxsplit=1, flags=re.MULTILINE)
    assert len(found) == 2, title
    return re.split(r"^#+ ", found[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """The names in the first column of the tables of a text."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)]


@pytest.mark.parametrize(
    ("title", "document"),
    [("Members", Job), ("Results", ModelResult), ("Images", Image), ("References", Reference)],
    ids=lambda value: str(value),
)
def test_a_job_document_has_these_members(title: str, document: type) -> None:
    names = first_column(section(JOB, title))
    assert len(set(names)) == len(names)
    assert set(names) == set(get_type_hints(document))


def test_what_is_missing_has_members_of_a_result() -> None:
    (row,) = re.findall(r"^\| `missing` \|.*$", JOB, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) - {"missing"} == set(get_type_hints(Missing))


def test_a_job_document_has_these_constants() -> None:
    assert set(first_column(section(JOB, "Status of the job"))) == set(get_args(JobStatusName))
    (row,) = re.findall(r"^\| `status` \| string \| `pending`.*$", JOB, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) - {"status"} == set(get_args(RowStatus))
    errors = section(JOB, "Provider errors")
    assert {code for code in ERROR_CODES if f"`{code}`" not in errors} == set()
    costs = section(JOB, "Costs")
    for name in {*get_type_hints(Cost), *get_type_hints(TotalCost)}:
        assert f"`{name}`" in costs or f'"{name}"' in costs, name


@pytest.mark.parametrize(
    ("title", "struct"),
    [
        ("Entries", catalogue_entry.Entry),
        ("Reference images", catalogue_entry.ReferenceImages),
        ("Sizes in pixels", catalogue_entry.Pixels),
    ],
    ids=str,
)
def test_the_catalogue_has_these_fields(title: str, struct: type[Struct]) -> None:
    names = first_column(section(CATALOGUE, title))
    assert len(set(names)) == len(names)
    assert set(names) == set(struct.__struct_encode_fields__)


@pytest.mark.parametrize(
    ("title", "struct"),
    [
        ("Entries", catalogue_entry.Supports),
        ("Prices", price.ImagePrice),
        ("Prices", price.TokenPrice),
    ],
    ids=str,
)
def test_the_catalogue_tells_what_is_in_a_field(title: str, struct: type[Struct]) -> None:
    text = section(CATALOGUE, title)
    assert [name for name in struct.__struct_encode_fields__ if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("page", "title", "names"),
    [
        ("catalogue.md", "Former names of fields", catalogue.FORMER_NAMES),
        ("settings.md", "Former names", settings.FORMER_NAMES),
    ],
    ids=["catalogue", "settings"],
)
def test_former_names_are_listed(page: str, title: str, names: dict[str, str]) -> None:
    text = section((REFERENCE / page).read_text(encoding="utf-8"), title)
    assert re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", text, re.MULTILINE) == list(names.items())


def test_every_target_has_one_row() -> None:
    targets = re.findall(r"^([a-z-]+):.* ## ", MAKEFILE, re.MULTILINE)
    assert len(targets) > 30
    assert sorted(rows()) == sorted(targets)


def test_every_variable_of_a_recipe_is_in_the_row_of_its_target() -> None:
    own = set(re.findall(r"^(?:override |export |-)*([A-Z_]+) *[:?+]?=", MAKEFILE, re.MULTILINE)) - {"STAGE", "PYTHON"}
    values = dict(re.findall(r"^([A-Z_]+) *[:?+]?= *(.*)$", MAKEFILE, re.MULTILINE))

    def used(text: str) -> set[str]:
        names = set(re.findall(r"\$[({](?:if |filter-out 1,\$\()?([A-Z_]+)", text)) | set(
            re.findall(r"\$\$\{?([A-Z_]+)", text)
        )
        found = names - own - {"MAKE", "CURDIR", "HOME"}
        for name in names & own:
            found |= used(values.get(name, ""))
        return found

    documented = rows()
    for target, recipe in re.findall(r"^([a-z-]+):.*? ##.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE):
        assert used(recipe) - EVERYWHERE <= documented[target], target


def test_every_documented_variable_is_read_somewhere() -> None:
    sources = [*(ROOT / "local").rglob("*.py"), *(ROOT / "tests").glob("*/conftest.py")]
    known = set(re.findall(r"[A-Z][A-Z_]+", MAKEFILE))
    for source in sources:
        known |= set(re.findall(r'"([A-Z][A-Z_]+)"', source.read_text(encoding="utf-8")))
    for target, variables in rows().items():
        assert variables <= known, (target, variables - known)


def test_every_variable_of_the_cloud_on_a_laptop_is_there() -> None:
    others = {"SIMULATOR_LATENCY", "SIMULATOR_FAULTS", "ENFORCE_IAM", "NO_PROXY"}
    assert {*SETTINGS, *key_names(), *NETWORK_VARIABLES, *others} == LAPTOP
    assert COMMANDS.count("\n## ") == len(set(re.findall(r"\n## (.*)", COMMANDS)))
