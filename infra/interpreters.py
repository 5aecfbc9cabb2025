"""The Python interpreters of this machine by minor version: bytecode is of use only to the version that made it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infra.settings import INTERPRETER, SettingsError

# Prints the interpreter itself, not a shim that starts it, if its bytecode is what Lambda reads.
_PROBE = (
    "import sys; version = '.'.join(map(str, sys.version_info[:2])); "
    "final = sys.implementation.name == 'cpython' and sys.version_info.releaselevel == 'final'; "
    "print(version if final else 'other', sys.executable)"
)


@cache
def interpreter(version: str) -> str:
    """The path of a CPython of a minor version such as ``3.13``: this one, one on the path, or one that uv has.

    Nothing is downloaded.

    Raises
    ------
    SettingsError : this machine has none
    """
    if version == INTERPRETER:
        return sys.executable
    for candidate in _candidates(version):
        if path := _checked(candidate, version):
            return path
    raise SettingsError(
        f'pythonVersion is "{version}", but this machine has no Python {version} to compile the functions\' code with; '
        f"install it (uv python install {version}) or set pythonVersion to a version that you have, such as "
        f"{INTERPRETER}."
    )


def uv() -> str | None:
    """The uv of this interpreter's environment, or the one on the path; None without one."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    if installer := uv():
        command = [installer, "python", "find", version, "--offline", "--no-python-downloads", "--no-project"]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode == 0:
            yield result.stdout.strip()


def _checked(candidate: str, version: str) -> str | None:
    """The interpreter that `candidate` starts, if it has this version; version managers have shims that start none."""
    try:
        result = subprocess.run([candidate, "-I", "-c", _PROBE], check=False, capture_output=True, text=True)
    except OSError:
        return None
    found, _, path = result.stdout.strip().partition(" ")
    return path if result.returncode == 0 and found == version else None
