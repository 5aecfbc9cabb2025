"""app.py as the CDK runs it: a wrong setting is one sentence, and no AWS account is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra import caches
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


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ipLimit": "ten"}, 'ipLimit is "ten"; it must be a whole number from 0 to 1000000.'),
        ({"promptModelIndex": "99"}, "promptModelIndex is 99; it takes 1 to "),
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


def test_a_python_that_this_machine_lacks_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    lacking = next(version for version in PYTHON_VERSIONS if version != INTERPRETER)
    nowhere = dict.fromkeys(("PATH", "HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"), str(tmp_path))
    result = run({**context, "pythonVersion": lacking}, tmp_path / "out", **nowhere)
    assert result.returncode == 1
    assert said(result).startswith(f'pythonVersion is "{lacking}", but this machine has no Python {lacking}')
    assert said(result).count("\n") == 1
    # What bundles nothing, such as a look at the template, needs none.
    unbundled = {**context, "pythonVersion": lacking, "aws:cdk:bundling-stacks": []}
    assert run(unbundled, tmp_path / "out", **nowhere).returncode == 0


def test_a_package_that_cannot_be_had_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    """Not the traceback of the CDK, which asks for the archives from within its own JavaScript."""
    nothing = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "empty")}
    result = run(context, tmp_path / "out", **nothing)
    assert result.returncode == 1
    assert said(result).startswith("uv could not install requirements-core.txt for aarch64-manylinux2014, Python ")
    assert "; check the network and the pins: " in said(result)
    assert said(result).count("\n") == 1
    # What bundles nothing, such as `cdk ls`, needs none.
    unbundled = {**context, "aws:cdk:bundling-stacks": []}
    assert run(unbundled, tmp_path / "out", **nothing).returncode == 0


def test_a_missing_uv_is_one_sentence(context: dict[str, Any], tmp_path: Path) -> None:
    without_uv = "import sys, infra.packages as p; p.uv = lambda: None; import app; sys.exit(app.main())"
    result = run(context, tmp_path, program=("-c", without_uv))
    assert result.returncode == 1
    assert said(result) == "uv is missing; install it into the virtual environment: pip install uv.\n"


def test_the_umask_may_let_the_group_write_and_home_stays_as_it_is(context: dict[str, Any], tmp_path: Path) -> None:
    """As a plain `cdk synth` runs it, with none of the folders chosen that tools keep their files in."""
    unset = dict.fromkeys(caches.VARIABLES, "")
    home = tmp_path / "home"
    home.mkdir(mode=0o775)
    home.chmod(0o775)
    # One archive is enough to see where uv keeps its files.
    program = (
        "import sys, pathlib, app; code = app.main(); from infra.functions import CORE, Bundle; "
        f"Bundle(CORE).fill(pathlib.Path({str(tmp_path / 'archive')!r})); sys.exit(code)"
    )
    unbundled = {**context, "aws:cdk:bundling-stacks": []}
    result = run(unbundled, tmp_path / "out", program=("-c", program), HOME=str(home), umask=0o002, **unset)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "archive" / "botocore").is_dir()
    assert [*home.rglob("*")] == []


def test_synthesises_without_an_account(context: dict[str, Any], tmp_path: Path) -> None:
    result = run({**context, "target": "local"}, tmp_path)
    assert result.returncode == 0, result.stderr
    template = json.loads((tmp_path / "PixelPrompt-dev.template.json").read_text())
    types = [entry["Type"] for entry in template["Resources"].values()]
    assert types.count("AWS::Lambda::Function") == len(list((ROOT / "functions").glob("*.py")))
    assert types.count("AWS::StepFunctions::StateMachine") == 1
    # The emulator's interpreter has the packages: the one archive holds our own code only.
    (archive,) = tmp_path.glob("asset.*")
    assert {path.name for path in archive.iterdir()} == {
        "pixelprompt",
        *(path.name for path in (ROOT / "functions").glob("*.py")),
    }
    assert (archive / "pixelprompt" / "models" / "models.json").is_file()
    assert not [*archive.rglob("__pycache__")]
