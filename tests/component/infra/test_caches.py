"""Where tools keep their files: in the checkout, unless the caller's own variables say otherwise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import caches

ROOT = Path(caches.__file__).parents[1]


def used(**variables: str) -> dict[str, str]:
    """The folders that a command gets with these variables; the last is Python's for temporary files."""
    code = (
        "import json, os, tempfile; tempfile.tempdir = '/remembered'; from infra import caches; caches.use(); "
        "print(json.dumps({**os.environ, 'python': tempfile.gettempdir()}))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_folder_is_in_the_checkout() -> None:
    found = used()
    assert {name: found[name] for name in caches.VARIABLES} == caches.VARIABLES
    assert all(Path(folder).is_relative_to(ROOT / ".local") for folder in caches.VARIABLES.values())
    assert found["python"] == caches.VARIABLES["TMPDIR"]


def test_an_empty_variable_counts_as_none() -> None:
    assert used(UV_CACHE_DIR="")["UV_CACHE_DIR"] == caches.VARIABLES["UV_CACHE_DIR"]


@pytest.mark.parametrize("name", caches.VARIABLES)
def test_the_callers_own_folder_holds(name: str, tmp_path: Path) -> None:
    assert used(**{name: str(tmp_path)})[name] == str(tmp_path)


def test_npm_reads_its_variable_in_any_case(tmp_path: Path) -> None:
    assert "npm_config_cache" not in used(NPM_CONFIG_CACHE=str(tmp_path))


def test_the_cdk_of_the_laptop_uses_them_too(tmp_path: Path) -> None:
    from local import cdk

    environment = cdk.offline_environment(tmp_path)
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)
    assert environment["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] == caches.VARIABLES["JSII_RUNTIME_PACKAGE_CACHE_ROOT"]
