"""Lock what the *.in files ask for, with the hashes of all files.

Versions that are locked already stay, unless they are named to be upgraded. No URL of a registry is recorded.

Usage: UPGRADE="package …" python -m local.requirements, which needs nothing but uv.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from infra import caches
from local.paths import ROOT, SCRIPTS

# Each lock with what it must agree with.
LOCKS: dict[str, tuple[str, ...]] = {
    "functions/requirements-core.txt": (),
    "functions/requirements.txt": ("functions/requirements-core.txt",),
    "functions/requirements-references.txt": ("functions/requirements.txt",),
    "requirements.txt": (),
}
_OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header")
_NO_SOURCES = ("--no-emit-index-url", "--no-emit-find-links")
_PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(==[A-Za-z0-9.+!_-]+)?")


class LockError(Exception):
    """Nothing can be locked; the message says why and what to do."""


def normal(name: str) -> str:
    """A package's name as all its spellings are compared (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def heading(lock: str) -> str:
    """The first line of a lock: the command, and a checksum of what the lock was made from."""
    digest = hashlib.sha256()
    for name in _inputs(Path(lock).with_suffix(".in")):
        digest.update((ROOT / name).read_bytes())
    return f"# `make lock` wrote this from {Path(lock).with_suffix('.in').name}, checksum {digest.hexdigest()[:16]}."


def _inputs(path: Path) -> list[Path]:
    """A file of requirements and those that it names."""
    included = re.findall(r"^-[rc] (\S+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return [path, *(path.parent / name for name in included)]


def lock(upgrades: list[str]) -> list[str]:
    """Update the locks; the names of those that have changed.

    Raises
    ------
    LockError : a package cannot be upgraded like this, or uv cannot lock
    """
    _check_upgrades(upgrades)
    changed = []
    for name in LOCKS:
        if re.search("^(<<<<<<<|>>>>>>>)", _text(name), re.MULTILINE):
            raise LockError(
                f"{name} has merge conflict markers. Choose either version, `git checkout --theirs {name}`, "
                "then run `make lock` again: it adds what the other one needs."
            )
    for name, constraints in LOCKS.items():
        path, before = ROOT / name, _text(name)
        command = [
            str(SCRIPTS / "uv"), "pip", "compile", "--quiet", *_OPTIONS, *_NO_SOURCES,
            str(Path(name).with_suffix(".in")), "--output-file", name,
            *(argument for constraint in constraints for argument in ("--constraint", constraint)),
            *(argument for package in upgrades for argument in ("--upgrade-package", package)),
        ]  # fmt: skip
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            raise LockError(f"{name} could not be made: {result.stderr.strip()}")
        text = f"{heading(name)}\n{path.read_text(encoding='utf-8')}"
        path.write_text(text, encoding="utf-8")
        if text != before:
            changed.append(name)
    return changed


def _text(name: str | Path) -> str:
    """The content of a file; empty where it is missing."""
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _check_upgrades(upgrades: list[str]) -> None:
    locked = _names(LOCKS, r"^([A-Za-z0-9._-]+)==")
    asked = _names([Path(lock).with_suffix(".in") for lock in LOCKS], r"^([A-Za-z0-9._-]+)")
    for package in upgrades:
        found = _PACKAGE.fullmatch(package)
        if not found:
            raise LockError(
                f"{package!r} is not a package name; UPGRADE accepts names such as urllib3 or urllib3==2.8.0."
            )
        name = normal(found[1])
        if name in asked:
            raise LockError(f"{asked[name]} names {name} with its version: change it there, then run `make lock`.")
        if name not in locked:
            raise LockError(f"No lock has {name}.")


def _names(files: Iterable[str | Path], pattern: str) -> dict[str, str]:
    """The packages that files name, by their usual spelling, each with one of the files."""
    return {normal(name): str(file) for file in files for name in re.findall(pattern, _text(file), re.MULTILINE)}


def main() -> int:
    """Lock; the exit code of a command."""
    caches.use()
    try:
        changed = lock(os.environ.get("UPGRADE", "").split())
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Changed: {', '.join(changed)}." if changed else "Nothing has changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
