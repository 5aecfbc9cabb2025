"""A provider is added by five pieces, and by nothing else: ``new_provider`` has those of one that doesn't exist."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pixelprompt.models.provider import PROVIDERS

ROOT = Path(__file__).parents[2]
SIMULATORS = "local/simulator/protocols"
PIECES = Path(__file__).parent / "new_provider"
ROWS = "PROVIDERS: dict[str, Provider] = {\n"
ADDED = {
    "adapter.py": "functions/pixelprompt/providers/toy.py",
    "simulator.py": f"{SIMULATORS}/toy.py",
    "column.py": "tests/contract/columns/toy.py",
    "page.md": "docs/reference/providers/toy.md",
}
# What reads the row: each is asked for something that follows from it.
READERS = """
from datetime import date
import time

from local.doctor.probe import Server, ask
from local.options import Options, key_names
from local.simulator import Simulator
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue
from pixelprompt.models.provider import PROVIDERS, KeyHosts

entry = {"name": "Toy", "provider": "toy", "id": "toy-1", "supports": {"seed": {"min": 0, "max": 9}}}
(model,) = catalogue.parse({"models": [entry], "textModels": []})["models"]
assert KeyHosts().sent_key(model) == "TOY_API_KEY"
for wrong in ({"supports": {"steps": {"min": 1, "max": 9}}}, {"supports": {"n": {"perCall": True}}},
              {"pixels": ["1x1"]}, {"baseUrl": "https://other.example"}):
    try:
        catalogue.parse({"models": [{**entry, **wrong}], "textModels": []})
    except ConfigurationError:
        continue
    raise AssertionError(wrong)

assert key_names()["TOY_API_KEY"] == {"toy"}
assert Options().context("http://127.0.0.1:1", "")["providerEndpoints"]["toy"] == "http://127.0.0.1:1/toy/v1"
assert "toy" not in Options(keys={"TOY_API_KEY": "real"}).simulated()

row = PROVIDERS["toy"]
with Simulator() as simulator:
    for key, found in (("good", "accepted"), ("bad", "refused")):
        url = simulator.url + row.simulator_path
        said = ask(Server("toy", url, key, row.key_name, row.key_header, row.probe), time.time() + 10, "set it")
        assert said.key == found, said
    assert said.problem and "TOY_API_KEY" in said.problem.sentence
    hidden = [request.headers["authorization"] for request in simulator.requests]
    assert all(len(value) == 64 for value in hidden), hidden
print("every reader knows it")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the five pieces of a new provider."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("functions", "infra", "local", "tests", "docs/reference/providers"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
    for name in ("pyproject.toml", "requirements.in"):
        shutil.copy(ROOT / name, copy / name)
    table = copy / "functions/pixelprompt/models/provider.py"
    before, rows, after = table.read_text(encoding="utf-8").partition(ROWS)
    assert rows
    table.write_text(before + rows + (PIECES / "row.txt").read_text(encoding="utf-8") + after, encoding="utf-8")
    for piece, path in ADDED.items():
        assert not (copy / path).exists()
        shutil.copy(PIECES / piece, copy / path)
    return copy


def run(project: Path, *arguments: str) -> str:
    """Run Python in the project; its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(project), str(project / "functions")])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


# What is about some providers only, so that a new one has no part in it.
ABOUT_SOME = {
    "functions/pixelprompt/models/dialect.py": "dialects of the OpenAI Images API",
    "functions/pixelprompt/prompts/moderation/classifier.py": "OpenAI's moderation",
    "infra/settings.py": "OpenAI's moderation",
    "infra/sbom.py": "a package",
    "local/doctor/bedrock.py": "access to Bedrock's models",
    "local/catalogue/corroboration.py": "public price lists",
    "local/catalogue/price_differences.py": "public price lists",
    "local/catalogue/new_models.py": "public price lists",
    "local/catalogue/price_lists.py": "public price lists",
    "local/catalogue/provider_lists.py": "the model lists of providers",
}


def test_nothing_but_its_pieces_names_a_provider() -> None:
    pieces = {"functions/pixelprompt/models/provider.py"}
    for provider in PROVIDERS.values():
        pieces |= {f"{folder}/{provider.module}.py" for folder in ("functions/pixelprompt/providers", SIMULATORS)}
    naming = {
        path.relative_to(ROOT).as_posix()
        for folder in ("functions", "infra", "local")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in PROVIDERS
    }
    assert naming - pieces == {*ABOUT_SOME}


def test_a_new_provider_is_five_pieces() -> None:
    assert {path.name for path in PIECES.iterdir() if path.is_file()} == {"row.txt", *ADDED}


def test_catalogue_laptop_doctor_and_simulator_read_its_row(project: Path) -> None:
    assert "every reader knows it" in run(project, "-c", READERS)


@pytest.mark.slow
def test_it_does_what_every_adapter_does(project: Path) -> None:
    tests = ("tests/contract/test_contract.py", "tests/unit/documents/test_provider_pages.py")
    output = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy", *tests)
    summary = output.splitlines()[-1]
    assert "failed" not in summary and int(summary.split()[0]) > 40, summary
