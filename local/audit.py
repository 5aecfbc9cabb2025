"""Known weaknesses of the packages: what pip-audit and npm audit say about what is locked.

pip-audit asks OSV (https://osv.dev), npm its registry. Where one cannot be reached, nothing has been audited, and that
is no success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.paths import ROOT, SCRIPTS
from local.progress import Progress
from local.terminal import safe

LOCKED = ROOT / "requirements.txt"
ON_LAMBDA = ROOT / "functions" / "requirements.txt"
_SECONDS = 300


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
        except AuditFailed as error:
            unaudited += 1
            print(f"Not audited: {name}. {safe(str(error))}", file=sys.stderr)
    for weakness in found:
        print(weakness)
    if found:
        print(
            "`make lock UPGRADE=package` takes a newer version of a Python package.\n"
            "Where a *.in file or package.json names the package, raise its version there."
        )
    elif not unaudited:
        print("No known weakness in any locked package.")
    return 2 if unaudited else int(bool(found))


def python(environment: Mapping[str, str]) -> list[Weakness]:
    """Ask pip-audit about everything in requirements.txt.

    Raises
    ------
    AuditFailed : OSV cannot be reached
    """
    arguments = [
        sys.executable, "-m", "pip_audit", "--requirement", str(LOCKED), "--require-hashes", "--disable-pip",
        "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    document, said = _asked(arguments, environment)
    packages = document.get("dependencies")
    if not isinstance(packages, list):
        raise AuditFailed(f"pip-audit could not reach the advisories: {said}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise AuditFailed(f"pip-audit knows nothing of {', '.join(skipped)}.")
    on_lambda = {line.partition("==")[0] for line in ON_LAMBDA.read_text(encoding="utf-8").splitlines()}
    return [
        Weakness(
            f"{package['name']} {package['version']} ({'in Lambda' if package['name'] in on_lambda else 'here only'})",
            ", ".join([advisory["id"], *advisory.get("aliases", [])]),
            _either(advisory.get("fix_versions", [])),
        )
        for package in packages
        for advisory in package.get("vulns", [])
    ]


def npm(environment: Mapping[str, str]) -> list[Weakness]:
    """Ask npm about everything in package-lock.json.

    Raises
    ------
    AuditFailed : the registry cannot be reached, or it has no advisories
    """
    tool = (SCRIPTS / "node").resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    document, said = _asked([str(SCRIPTS / "node"), str(tool), "audit", "--json"], environment)
    packages = document.get("vulnerabilities")
    if not isinstance(packages, dict):
        raise AuditFailed(f"npm could not reach the advisories: {document.get('message') or said}")
    return [
        Weakness(
            f"{name} {package.get('range', '')} (here only)",
            ", ".join(advisory["title"] for advisory in package["via"] if isinstance(advisory, dict)),
            _npm_fix(package.get("fixAvailable")),
        )
        for name, package in packages.items()
        # Others are named only because they need one of these.
        if any(isinstance(advisory, dict) for advisory in package["via"])
    ]


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


def _asked(arguments: list[str], environment: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The JSON object that a tool prints, empty where it prints none, and the last line of its complaints."""
    try:
        result = subprocess.run(
            arguments, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise AuditFailed(f"There was no answer within {_SECONDS} s.") from None
    try:
        document = json.loads(result.stdout)
    except ValueError:
        document = {}
    complaints = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return document if isinstance(document, dict) else {}, complaints[-1][:300]
