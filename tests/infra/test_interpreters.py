"""Which Python compiles the archives, and what is said where this machine has none."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import interpreters
from infra.context import SettingsError
from infra.interpreters import interpreter
from infra.settings import INTERPRETER

# No Python of this version is installed anywhere.
VERSION = "3.99"


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine that has no Python but the one that runs the tests."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(interpreters, "uv", lambda: None)
    interpreter.cache_clear()
    yield
    interpreter.cache_clear()


def command(path: Path, body: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_running_interpreter_compiles_for_its_own_version() -> None:
    assert interpreter(INTERPRETER) == sys.executable


def test_another_version_is_found_on_the_path(tmp_path: Path) -> None:
    command(tmp_path / f"python{VERSION}", f"echo {VERSION} /opt/python/bin/python")
    assert interpreter(VERSION) == "/opt/python/bin/python"


@pytest.mark.parametrize(
    "body",
    ["echo 'command not found' >&2; exit 127", "echo 3.98 /opt/python", f"echo {VERSION} /opt/python; exit 1"],
    ids=["a shim without a Python", "another version", "a broken Python"],
)
def test_what_uv_has_is_taken_where_the_path_has_none_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    command(tmp_path / f"python{VERSION}", body)
    with pytest.raises(SettingsError):
        interpreter(VERSION)
    own = command(tmp_path / "managed", f"echo {VERSION} {tmp_path / 'managed'}")
    installer = command(tmp_path / "uv", f'test "$1 $2 $3 $4" = "python find {VERSION} --offline" && echo {own}')
    monkeypatch.setattr(interpreters, "uv", lambda: str(installer))
    assert interpreter(VERSION) == str(own)


@pytest.mark.parametrize("variable", [False, True], ids=["in the home folder", "in PYENV_ROOT"])
def test_what_pyenv_has_is_found_behind_its_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    command(tmp_path / f"python{VERSION}", "echo 'pyenv: command not found' >&2; exit 127")
    root = tmp_path / ("elsewhere" if variable else ".pyenv")
    if variable:
        monkeypatch.setenv("PYENV_ROOT", str(root))
    for name, says in ((".2", VERSION), (".9", VERSION), (".10", VERSION), (".11rc1", "other")):
        (folder := root / "versions" / f"{VERSION}{name}" / "bin").mkdir(parents=True)
        command(folder / "python", f"echo {says} {folder}/python")
    assert interpreter(VERSION) == str(root / "versions" / f"{VERSION}.10" / "bin" / "python")


def test_a_missing_interpreter_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start = (
        'pythonVersion is "3.99", but this machine has no Python 3.99 (CPython, no pre-release) to compile '
        "the functions' code with; install it "
    )
    end = f" python install 3.99) or set pythonVersion to a version that you have, such as {INTERPRETER}."
    with pytest.raises(SettingsError) as raised:
        interpreter(VERSION)
    assert str(raised.value) == f"{start}(uv{end}"
    # The one in a virtual environment that is not active is not on the path.
    installer = command(tmp_path / "uv", "exit 1")
    monkeypatch.setattr(interpreters, "uv", lambda: str(installer))
    with pytest.raises(SettingsError) as raised:
        interpreter(VERSION)
    assert str(raised.value) == f"{start}({shlex.quote(str(installer))}{end}"


@pytest.mark.parametrize("body", ["echo other /opt/python", "exit 1"], ids=["a pre-release or PyPy", "a broken Python"])
def test_the_running_interpreter_is_checked_as_every_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(sys, "executable", str(command(tmp_path / "running", body)))
    with pytest.raises(SettingsError, match=r"set pythonVersion to a version that you have\.$"):
        interpreter(INTERPRETER)
    with pytest.raises(SettingsError, match=r"set pythonVersion to a version that you have\.$"):
        interpreter(VERSION)
    command(tmp_path / f"python{INTERPRETER}", f"echo {INTERPRETER} /opt/python/bin/python")
    assert interpreter(INTERPRETER) == "/opt/python/bin/python"
