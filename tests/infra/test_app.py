"""app.py as the CDK runs it: a wrong setting is one sentence, and no AWS account is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import app

# isort: split
# Only after the line above, which starts the process of the CDK's library.
from aws_cdk import App

from infra import caches
from infra.interpreters import interpreter
from infra.settings import INTERPRETER, PYTHON_VERSIONS

from .conftest import ROOT


def run(
    context: dict[str, Any], directory: Path, *, program: Sequence[str] = ("app.py",), umask: int = -1, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run app.py, or another program in its place, without any AWS configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "CDK_OUTDIR": str(directory),
        "CDK_CONTEXT_JSON": json.dumps(context),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    command = [sys.executable, *program]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60, umask=umask
    )


def said(result: subprocess.CompletedProcess[str]) -> str:
    """What app.py has written, without jsii's banner from the day on which its Node has reached its end of life."""
    return "".join(line for line in result.stderr.splitlines(keepends=True) if not line.startswith("b'!!"))


def run_here(context: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run what app.py runs in this process, whose CDK's library has started long ago; its exit code."""
    whole = App(context=context, outdir=str(directory), tree_metadata=False)
    monkeypatch.setattr(app, "App", lambda: whole)
    return app.main()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ipLimit": "ten"}, 'ipLimit is "ten"; it must be a whole number from 0 to 1000000.'),
        ({"promptModelIndex": "99"}, "promptModelIndex is 99; it must be 1 to "),
    ],
    ids=str,
)
def test_wrong_setting_is_one_sentence(
    context: dict[str, Any], tmp_path: Path, wrong: dict[str, str], sentence: str
) -> None:
    result = run({**context, **wrong}, tmp_path)
    assert result.returncode == 1
    assert said(result).startswith(sentence)
    assert said(result).count("\n") == 1


LACKING = next(version for version in PYTHON_VERSIONS if version != INTERPRETER)


def no_python(folder: Path) -> dict[str, Any]:
    """The variables of a machine that has no other Python."""
    return dict.fromkeys(("PATH", "HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"), str(folder))


def no_packages(folder: Path) -> dict[str, Any]:
    """The variables of a machine that has no packages, nor a way to them."""
    return {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "empty")}


def test_a_python_that_this_machine_lacks_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    result = run({**context, "pythonVersion": LACKING}, tmp_path / "out", **no_python(tmp_path))
    assert result.returncode == 1
    assert said(result).startswith(f'pythonVersion is "{LACKING}", but this machine has no Python {LACKING}')
    assert said(result).count("\n") == 1


def test_a_package_that_cannot_be_had_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    """Not the traceback of the CDK, which asks for the archives from within its own JavaScript."""
    result = run(context, tmp_path / "out", **no_packages(tmp_path))
    assert result.returncode == 1
    assert said(result).startswith("uv could not install requirements-core.txt for aarch64-manylinux2014, Python ")
    assert "; check the network and the pins: " in said(result)
    assert said(result).count("\n") == 1


def test_what_bundles_nothing_needs_neither_a_python_nor_packages(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as `cdk ls`, or a look at the template."""
    for name, value in (no_python(tmp_path) | no_packages(tmp_path)).items():
        monkeypatch.setenv(name, value)
    # Another test may have found one.
    interpreter.cache_clear()
    unbundled = {**context, "pythonVersion": LACKING, "aws:cdk:bundling-stacks": []}
    assert run_here(unbundled, tmp_path / "out", monkeypatch) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.template.json")] == ["PixelPrompt-dev.template.json"]


def test_a_missing_uv_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    without_uv = "import sys, infra.packages as p; p.uv = lambda: None; import app; sys.exit(app.main())"
    result = run(context, tmp_path, program=("-c", without_uv))
    assert result.returncode == 1
    assert said(result) == "uv is missing; install it into the virtual environment: pip install uv.\n"


@dataclass(frozen=True)
class Synthesized:
    """What app.py has written for the emulator, and the home and an archive for AWS beside it."""

    out: Path
    home: Path
    archive: Path


@pytest.fixture(scope="module")
def synthesized(context: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """As a plain `cdk synth` runs it, with none of the folders chosen that tools keep their files in."""
    folder = tmp_path_factory.mktemp("synthesized")
    made = Synthesized(folder / "out", folder / "home", folder / "archive")
    unset = dict.fromkeys(caches.VARIABLES, "")
    made.home.mkdir(mode=0o775)
    made.home.chmod(0o775)
    # One archive is enough to see where uv keeps its files.
    program = (
        "import sys, pathlib, app; code = app.main(); from infra.functions import CORE, Bundle; "
        f"Bundle(CORE).fill(pathlib.Path({str(made.archive)!r})); sys.exit(code)"
    )
    local = {**context, "target": "local"}
    result = run(local, made.out, program=("-c", program), HOME=str(made.home), umask=0o002, **unset)
    assert result.returncode == 0, result.stderr
    return made


def test_the_umask_may_let_the_group_write_and_home_stays_as_it_is(synthesized: Synthesized) -> None:
    assert (synthesized.archive / "botocore").is_dir()
    assert [*synthesized.home.rglob("*")] == []


def test_synthesizes_without_an_account(synthesized: Synthesized) -> None:
    template = json.loads((synthesized.out / "PixelPrompt-dev.template.json").read_text())
    types = [entry["Type"] for entry in template["Resources"].values()]
    # Without budgets and keys there is no sweep, no usage, and nobody who authorizes.
    assert types.count("AWS::Lambda::Function") == len(list((ROOT / "functions").glob("*.py"))) - 3
    assert types.count("AWS::StepFunctions::StateMachine") == 1
    # The emulator's interpreter has the packages: the one archive holds our own code only.
    (archive,) = synthesized.out.glob("asset.*")
    assert {path.name for path in archive.iterdir()} == {
        "pixelprompt",
        *(path.name for path in (ROOT / "functions").glob("*.py")),
    }
    assert (archive / "pixelprompt" / "models" / "models.json").is_file()
    assert not [*archive.rglob("__pycache__")]
