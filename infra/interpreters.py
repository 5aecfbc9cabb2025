"""The Python interpreters of this machine by minor version: bytecode is of use only to the version that made it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infra.context import SettingsError
from infra.settings import INTERPRETER, PYTHON_VERSIONS

# Prints the interpreter itself, not a shim that starts it, if its bytecode is what Lambda reads.
_PROBE = (
    "import sys; version = '.'.join(map(str, sys.version_info[:2])); "
    "final = sys.implementation.name == 'cpython' and sys.version_info.releaselevel == 'final'; "
    "print(version if final else 'other', sys.executable)"
)


@cache
def interpreter(version: str) -> str:
    """The path of a final CPython of a minor version such as ``3.13``: this one, one on the path, of pyenv or of uv.

    Nothing is downloaded.

    Raises
    ------
    SettingsError : this machine has none
    """
    for candidate in _candidates(version):
        if path := _checked(candidate, version):
            return path
    command = f"{shlex.quote(uv() or 'uv')} python install {version}"
    own = version != INTERPRETER and INTERPRETER in PYTHON_VERSIONS and _checked(sys.executable, INTERPRETER)
    raise SettingsError(
        f'pythonVersion is "{version}", but this machine has no Python {version} (CPython, no pre-release) to compile '
        f"the functions' code with; install it ({command}) or set pythonVersion to a version that you have"
        f"{f', such as {INTERPRETER}' if own else ''}."
    )


def uv() -> str | None:
    """The uv of this interpreter's environment, or the one on the path; None without one."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _candidates(version: str) -> Iterator[str]:
    if version == INTERPRETER:
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    # The one on the path may be pyenv's shim, which starts a version only where pyenv is set to use it.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = (root / "versions").glob(f"{version}.*/bin/python")
    yield from map(str, sorted(installed, key=_patch, reverse=True))
    if installer := uv():
        command = [installer, "python", "find", version, "--offline", "--no-python-downloads", "--no-project"]
        result = subprocess.run(command, check=False, capture_output=True)
        if result.returncode == 0:
            yield os.fsdecode(result.stdout).strip()


def _patch(python: Path) -> int:
    found = re.match(r"\d+\.\d+\.(\d+)", python.parent.parent.name)
    return int(found[1]) if found else -1


def _checked(candidate: str, version: str) -> str | None:
    """The interpreter that `candidate` starts, if it has this version; version managers have shims that start none."""
    try:
        result = subprocess.run([candidate, "-I", "-c", _PROBE], check=False, capture_output=True)
    except OSError:
        return None
    found, _, path = os.fsdecode(result.stdout).strip().partition(" ")
    return path if result.returncode == 0 and found == version else None
