"""docs/reference/providers has a page for each provider, which agrees with its row, catalogue, and simulator."""

import re
from pathlib import Path

import pytest

from local.paths import ROOT
from local.simulator.faults import BASE64_FAULTS, COMMON_FAULTS, URL_FAULTS, parse_faults
from local.simulator.protocols import protocol_of
from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.model import ERROR_CODES
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry

FOLDER = ROOT / "docs" / "reference" / "providers"
SECTIONS = [
    "Set-up",
    "Models",
    "Parameters",
    "Request and response",
    "Errors and billing",
    "Simulator",
]
MODELS = ModelRegistry.load().get_all_models()
# Groups that the overview lists once for all pages.
GROUPS = {"Common": COMMON_FAULTS, "Spoiled base64": BASE64_FAULTS, "Unusual URLs": URL_FAULTS}
every_provider = pytest.mark.parametrize("name", PROVIDERS)


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in a text, without their headers."""
    rows = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    cells = [row.split("|")[0].strip() for row in rows]
    headers = {place for rule, cell in enumerate(cells) if set(cell) == {"-"} for place in (rule - 1, rule)}
    return [cell for place, cell in enumerate(cells) if place not in headers]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@every_provider
def test_a_page_has_the_usual_sections(name: str) -> None:
    assert re.findall(r"^## (.+)$", page(name), re.MULTILINE) == SECTIONS
    introduction = page(name).partition("\n## ")[0]
    assert "](https://" in introduction


@every_provider
def test_the_set_up_names_the_key_its_hosts_and_the_probe(name: str) -> None:
    row, text = PROVIDERS[name], section(page(name), "Set-up")
    for host in row.hosts:
        assert f"`{host}`" in text
    if row.key_name:
        assert f"`{row.key_name}`" in text
        assert row.key_header in text.lower()
    if row.probe:
        assert f"`GET {row.probe.path}`" in text
    for member in row.forbidden_parameters:
        assert f"`{member}`" in text


@every_provider
def test_the_models_are_those_that_can_be_called(name: str) -> None:
    cells = re.findall(r"^\| (.+?) \| `(.+?)` \| (yes|no) \|", section(page(name), "Models"), re.MULTILINE)
    called = {(model.name, model.id) for model in MODELS if model.provider == name and model.default}
    # A model that has ended since then does no harm, nor does one that `make models-refresh` has added.
    assert called <= {(model, model_id) for model, model_id, default in cells if default == "yes"}
    assert cells


@every_provider
def test_the_parameters_are_those_of_the_row(name: str) -> None:
    listed = first_cells(section(page(name), "Parameters"))
    assert sorted(listed) == sorted(f"`{parameter}`" for parameter in PROVIDERS[name].parameters | {"n"})


@every_provider
def test_the_error_codes_exist(name: str) -> None:
    text = section(page(name), "Errors and billing")
    _, *rows = re.findall(r"^\| .+ \| `(\w+)`[^|]* \| `(\w+)`[^|]* \|$", text, re.MULTILINE)
    assert len(rows) == len(first_cells(text))
    assert {code for code, _ in rows} <= ERROR_CODES
    assert {billable for _, billable in rows} <= {"no", "yes", "unknown"}


@every_provider
def test_the_faults_are_those_of_the_simulator(name: str) -> None:
    text = section(page(name), "Simulator")
    assert f"`{PROVIDERS[name].simulator_path}`" in text
    playable = protocol_of(name).playable
    told = set(re.findall(r"`(\w+)`", text.partition("```")[0]))
    for title, group in GROUPS.items():
        if title != "Common":
            assert (title.lower() in text.lower()) is (group <= playable)
    missing = COMMON_FAULTS - playable
    grouped = frozenset().union(*GROUPS.values())
    assert playable - grouped | missing <= told
    (example,) = re.findall(r'^SIMULATOR_FAULTS="(.+)" make up$', text, re.MULTILINE)
    for model, fault in parse_faults(example).items():
        assert f"| `{model}` |" in section(page(name), "Models")
        assert fault.name in playable


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_is_in_the_table_of_the_servers(name: str) -> None:
    text = section(page("compatible"), "Set-up")
    rows = [row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) if f"| `{name}` |" in row]
    spoken = DIALECTS[name]
    assert rows and all(f"| `{spoken.path}` |" in row for row in rows)
    assert all(f"`{member}`" in row for row in rows for member in spoken.size or ("aspect_ratio", "resolution"))
    assert spoken.probe and f"`GET {spoken.probe.path}`" in text
    assert spoken.key_header in text.lower()


def test_what_a_dialect_renames_is_in_the_table_of_parameters() -> None:
    for name, spoken in DIALECTS.items():
        for renamed in spoken.renamed.values():
            assert f"`{name}`: `{renamed}`" in section(page("compatible"), "Parameters")


def test_the_folder_has_a_page_for_each_provider_and_the_groups_of_faults() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {"README", *PROVIDERS}
    overview = page("README")
    for title, group in GROUPS.items():
        (line,) = re.findall(rf"^\| {title} \| (.*) \|$", overview, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", line)) == group


@pytest.mark.parametrize("path", [*FOLDER.glob("*.md"), FOLDER.parent / "catalogue.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
