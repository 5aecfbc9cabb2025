"""What is installed is what was locked, to the byte; what is known against it is said, or that nobody could look."""

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import packages
from infra.packages import CORE, PROVIDERS, REFERENCES
from local.checks import audit
from local.cloud.fingerprint import PACKAGES
from local.paths import ROOT
from local.progress import Progress
from local.requirements import LockError, heading, lock
from tests.canned import Answer, Asked, Canned

LOCKS = [ROOT / "requirements.txt", CORE, PROVIDERS, REFERENCES]
# What makes an environment, and is not part of it.
TOOLS = {"pip", "setuptools", "wheel"}


def locked(path: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes, by name."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for text in re.sub(r"\s*\\\n\s*", " ", path.read_text()).splitlines():
        if not text or text.startswith("#"):
            continue
        requirement, *hashes = text.split(" --hash=")
        found[canonicalize_name(Requirement(requirement).name)] = (Requirement(requirement), hashes)
    return found


def test_a_cloud_is_made_anew_after_a_change_of_any_lock() -> None:
    assert {ROOT / name for name in PACKAGES} == set(LOCKS)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_is_locked_with_its_hashes(path: Path) -> None:
    requirements = locked(path)
    assert len(requirements) > 5
    for requirement, hashes in requirements.values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert requirement.url is None
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", text) for text in hashes), requirement


@pytest.mark.parametrize("path", [*LOCKS, ROOT / "package-lock.json"], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_lock_says_where_packages_come_from(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if "://" in line or "file:" in line or line.startswith("-")]
    # Where npm's packages ask for money is no source.
    assert not [line for line in lines if '"url"' not in line]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_was_made_from_what_is_asked_for(path: Path) -> None:
    """Else `make lock` has been forgotten."""
    assert path.read_text().splitlines()[0] == heading(str(path.relative_to(ROOT)))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_has_the_versions_that_were_asked_for(path: Path) -> None:
    asked = [
        Requirement(line)
        for line in path.with_suffix(".in").read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    ]
    requirements = locked(path)
    assert asked
    for requirement in asked:
        assert requirements[canonicalize_name(requirement.name)][0].specifier == requirement.specifier


@pytest.mark.parametrize(
    ("package", "sentence"),
    [
        ("boto3", "requirements.in names boto3 with its version: change it there, then run `make lock`."),
        ("Pixel.Prompt_x", "No lock has pixel-prompt-x."),
        ('six";id>x;"', "is not a package name"),
        ("$(id)", "is not a package name"),
        ("six>=1", "is not a package name"),
    ],
)
def test_what_cannot_be_upgraded_is_said(package: str, sentence: str) -> None:
    with pytest.raises(LockError, match=re.escape(sentence)):
        lock([package])


def test_the_command_says_it_in_a_sentence() -> None:
    command = [sys.executable, "-P", "-m", "local.requirements"]
    environment = {**os.environ, "UPGRADE": "boto3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("requirements.in names boto3 ")


def test_nothing_is_installed_but_what_is_locked() -> None:
    expected = {
        name: str(next(iter(requirement.specifier)).version)
        for name, (requirement, _) in locked(ROOT / "requirements.txt").items()
        if requirement.marker is None or requirement.marker.evaluate()
    }
    found = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    assert {name: version for name, version in found.items() if name not in TOOLS} == {
        name: version for name, version in expected.items() if name not in TOOLS
    }


def wheel(folder: Path, content: str) -> str:
    """Write a package; its hash."""
    path = folder / "harmless-1.0-py3-none-any.whl"
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("harmless.py", content)
        archive.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        archive.writestr(
            "harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            "harmless-1.0.dist-info/RECORD",
            f"harmless.py,sha256={digest},{len(content)}\nharmless-1.0.dist-info/METADATA,,\n"
            "harmless-1.0.dist-info/WHEEL,,\nharmless-1.0.dist-info/RECORD,,\n",
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["harmless==1.0", "harmless==1.0 --hash=sha256:" + "0" * 64])
def test_a_package_with_other_bytes_gets_into_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    digest = wheel(tmp_path, "print('changed on the way')\n")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(f"UV_{name}", value)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"{text}\n")
    said = "harmless==1.0 doesn't match its hash in functions/requirements.txt" if "hash" in text else "(?i)hash"
    with pytest.raises(packages.BundlingError, match=said):
        packages.install(requirements, tmp_path / "archive")
    assert not (tmp_path / "archive" / "harmless.py").exists()
    requirements.write_text(f"harmless==1.0 --hash=sha256:{digest}\n")
    packages.install(requirements, tmp_path / "archive")
    assert (tmp_path / "archive" / "harmless.py").exists()


def test_actions_are_pinned_to_commits() -> None:
    used = [
        step["uses"]
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in [*job.get("steps", []), job]
        if "uses" in step
    ]
    assert len(used) > 5
    assert not [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}|\$/\.github/.+|\./.+", name)]


# --- make audit -------------------------------------------------------------------------------------------------------

ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "Bad \x1b[2J things.",
    "affected": [
        {
            "package": {"name": "urllib3", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
        }
    ],
}
NPM_ADVISORY = {
    "id": 1,
    "url": "https://github.com/advisories/GHSA-1",
    "title": "Bad things in axe-core",
    "severity": "high",
    "vulnerable_versions": "<99",
    "cwe": [],
    "cvss": {"score": 0},
}


def audited(answer: Any, folder: Path) -> int:
    """The exit code of an audit with a server in place of both sources."""
    with Canned(answer) as server:
        environment = {
            **os.environ,
            "PIP_AUDIT_OSV_URL": f"{server.url}/v1/query",
            "npm_config_registry": server.url,
            "npm_config_cache": str(folder),
            "npm_config_fetch_retries": "0",
            "NO_PROXY": "127.0.0.1",
        }
        return audit.run(environment, Progress())


def npm_asks(asked: Asked) -> set[str]:
    """The packages that npm asks about, which it sends compressed."""
    return set(json.loads(gzip.decompress(asked.body)))


def test_a_known_weakness_is_said_with_its_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = json.loads((ROOT / "package-lock.json").read_text())["packages"]["node_modules/axe-core"]["version"]

    def answer(asked: Asked) -> Answer:
        if asked.path == "/v1/query":
            weak = asked.json()["package"]["name"] in ("urllib3", "pillow", "cryptography", "django")
            return Answer(content={"vulns": [ADVISORY]} if weak else {})
        if asked.path.endswith("/bulk"):
            untitled = {"id": 2, "url": "https://example.com/2", "vulnerable_versions": "<99"}
            known = {"axe-core": [NPM_ADVISORY, untitled], "lodash": [NPM_ADVISORY]}
            return Answer(content={name: known[name] for name in npm_asks(asked) & known.keys()})
        # What versions there are, to look for one without the weakness.
        name = asked.path.lstrip("/")
        version = there if name == "axe-core" else "4.17.4"
        return Answer(content={"name": name, "versions": {version: {"name": name, "version": version}}})

    assert audited(answer, tmp_path) == 1
    printed = capsys.readouterr()
    version = metadata.version("urllib3")
    assert f"urllib3 {version} (in Lambda): PYSEC-2026-1, CVE-2026-1; fixed in 99" in printed.out
    # Of all archives, only that of reference images has it.
    assert f"pillow {metadata.version('pillow')} (in Lambda): PYSEC-2026-1" in printed.out
    # No archive has it.
    assert f"cryptography {metadata.version('cryptography')} (here only): PYSEC-2026-1" in printed.out
    assert "Bad things in axe-core, https://example.com/2" in printed.out
    assert "django" not in printed.out and "lodash" not in printed.out
    assert "make lock" in printed.out
    assert "Not audited" not in printed.err


def test_without_a_known_weakness_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/v1/query":
            return Answer(content={"vulns": [ADVISORY]} if asked.json()["package"]["name"] == "django" else {})
        if asked.path.endswith("/bulk"):
            return Answer(content={"lodash": [NPM_ADVISORY]} if "lodash" in npm_asks(asked) else {})
        return Answer(404)

    assert audited(answer, tmp_path) == 0
    assert "No known weakness in what this machine installs." in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [Answer(503), Answer(405), Answer(content=b"<html>"), Answer(content={}), Answer(content=[]), Answer(content=[1])],
    ids=["503", "405", "HTML", "nothing", "an empty list", "a list"],
)
def test_where_nobody_could_look_it_is_no_success(
    answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(answer, tmp_path) == 2
    printed = capsys.readouterr()
    assert "Not audited: the Python packages." in printed.err
    assert "Not audited: the packages from npm." in printed.err
    assert "No known weakness" not in printed.out
    assert json.dumps(printed.err).count("Traceback") == 0
