"""Known weaknesses of the packages: what pip-audit and npm audit say about what is locked.

pip-audit asks OSV (https://osv.dev), npm its registry. Where one cannot be reached, nothing has been audited, and that
is not a success; nor is it where one finds no fault with a package whose weaknesses are years old, as a proxy may that
answers every query with nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.packages import EXCLUDED, PROVIDERS, REFERENCES
from local.paths import ROOT, SCRIPTS
from local.progress import Progress
from local.terminal import safe

LOCKED = ROOT / "requirements.txt"
_SECONDS = 300
# Packages that are known to be weak, and are not ours: name and version.
_WEAK_PYTHON = ("django", "2.2.0")
_WEAK_NPM = ("lodash", "4.17.4")


class AuditFailed(Exception):
    """The advisories could not be had; the message says why."""


@dataclass(frozen=True)
class Weakness:
    """A known weakness of a package; ``fixed`` is a version without it, or empty."""

    package: str
    advisory: str
    fixed: str = ""

    def __str__(self) -> str:
        cure = f"; fixed in {self.fixed}" if self.fixed else "; no version without it is known"
        return str(safe(f"{self.package}: {self.advisory}{cure}"))


def run(environment: Mapping[str, str], progress: Progress) -> int:
    """Print what is known; 0: nothing, 1: something, 2: not everything could be audited."""
    found: list[Weakness] = []
    unaudited = 0
    for name, audit in (("the Python packages", python), ("the packages from npm", npm)):
        progress(f"auditing {name}")
        try:
            found += audit(environment)
        except (AuditFailed, KeyError, TypeError, AttributeError, ValueError) as error:
            unaudited += 1
            why = error if isinstance(error, AuditFailed) else "The response is not a list of advisories."
            print(f"Not audited: {name}. {safe(str(why))}", file=sys.stderr)
    for weakness in found:
        print(weakness)
    if found:
        print(
            "Where a *.in file or package.json names the package, raise its version there, and run `make lock` or "
            "`npm install`.\n`make lock UPGRADE=package` updates any other Python package."
        )
    elif not unaudited:
        print("No known weakness in what this machine installs.")
    return 2 if unaudited else int(bool(found))


def python(environment: Mapping[str, str]) -> list[Weakness]:
    """Ask pip-audit about what requirements.txt has for this machine.

    Raises
    ------
    AuditFailed : OSV cannot be reached, or it knows no weaknesses at all
    """
    with TemporaryDirectory(prefix="pixel-prompt-audit-") as folder:
        weak = Path(folder, "weak.txt")
        weak.write_text(f"{'=='.join(_WEAK_PYTHON)} --hash=sha256:{'0' * 64}\n", encoding="ascii")
        arguments = [
            sys.executable, "-m", "pip_audit", "--requirement", str(LOCKED), "--requirement", str(weak),
            "--require-hashes", "--disable-pip", "--vulnerability-service", "osv", "--format", "json",
            "--progress-spinner", "off",
        ]  # fmt: skip
        document, said = _asked(arguments, environment)
    packages = document.get("dependencies")
    if not isinstance(packages, list):
        raise AuditFailed(f"pip-audit could not reach the advisories: {said}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise AuditFailed(f"pip-audit knows nothing of {', '.join(skipped)}.")
    if not any(package["name"] == _WEAK_PYTHON[0] and package["vulns"] for package in packages):
        raise AuditFailed(f"Where pip-audit asks, nothing is known against {' '.join(_WEAK_PYTHON)}.")
    locked = [line for lock in (PROVIDERS, REFERENCES) for line in lock.read_text(encoding="utf-8").splitlines()]
    on_lambda = {line.partition("==")[0] for line in locked}
    on_lambda -= set(EXCLUDED.read_text(encoding="utf-8").splitlines())
    return [
        Weakness(
            f"{package['name']} {package['version']} ({'in Lambda' if package['name'] in on_lambda else 'here only'})",
            ", ".join([advisory["id"], *advisory.get("aliases", [])]),
            _either(advisory.get("fix_versions", [])),
        )
        for package in packages
        if package["name"] != _WEAK_PYTHON[0]
        for advisory in package["vulns"]
    ]


def npm(environment: Mapping[str, str]) -> list[Weakness]:
    """Ask npm about everything in package-lock.json.

    Raises
    ------
    AuditFailed : the registry cannot be reached, or it has no advisories
    """
    packages = _npm_audit(ROOT, environment)
    name, version = _WEAK_NPM
    with TemporaryDirectory(prefix="pixel-prompt-audit-") as folder:
        wanted = {"name": "weak", "version": "1.0.0", "dependencies": {name: version}}
        lock = {"": wanted, f"node_modules/{name}": {"version": version}}
        Path(folder, "package.json").write_text(json.dumps(wanted), encoding="ascii")
        Path(folder, "package-lock.json").write_text(
            json.dumps({**wanted, "lockfileVersion": 3, "packages": lock}), encoding="ascii"
        )
        if name not in _npm_audit(Path(folder), environment):
            raise AuditFailed(f"Where npm asks, nothing is known against {name} {version}.")
    return [
        Weakness(
            f"{name} {package.get('range', '')} (here only)",
            ", ".join(
                str(advisory.get("title") or advisory.get("url") or advisory.get("source"))
                for advisory in package["via"]
                if isinstance(advisory, dict)
            ),
            _npm_fix(package.get("fixAvailable")),
        )
        for name, package in packages.items()
        # Others are named only because they need one of these.
        if any(isinstance(advisory, dict) for advisory in package["via"])
    ]


def _npm_audit(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """npm's advisories on the packages of a folder's lock, by name."""
    tool = (SCRIPTS / "node").resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    arguments = [str(SCRIPTS / "node"), str(tool), "audit", "--json", "--package-lock-only"]
    document, said = _asked(arguments, environment, folder)
    packages = document.get("vulnerabilities")
    if not isinstance(packages, dict):
        raise AuditFailed(f"npm could not reach the advisories: {document.get('message') or said}")
    return packages


def _npm_fix(fix: Any) -> str:
    return (
        f"{fix['name']} {fix['version']}"
        if isinstance(fix, dict)
        else "a version that package.json allows"
        if fix
        else ""
    )


def _either(versions: Iterable[str]) -> str:
    return " or ".join(versions)


def _asked(arguments: list[str], environment: Mapping[str, str], folder: Path = ROOT) -> tuple[dict[str, Any], str]:
    """The JSON object that a tool prints, empty where it prints none, and the last line of its complaints."""
    try:
        result = subprocess.run(
            arguments, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise AuditFailed(f"No response within {_SECONDS} s.") from None
    try:
        document = json.loads(result.stdout)
    except ValueError:
        document = {}
    complaints = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return document if isinstance(document, dict) else {}, complaints[-1][:300]
