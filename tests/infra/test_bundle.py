"""The archives of the Lambdas: complete, for their platform, small, and the same for the same input."""

import ast
import hashlib
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra.functions import BOTOCORE_SERVICES, SOURCES, Bundle, BundlingError

from .conftest import ROOT

CORE = SOURCES / "requirements-core.txt"
PROVIDERS = SOURCES / "requirements.txt"
AARCH64 = 183


def requirements(path: Path) -> dict[str, Requirement]:
    """The requirements of a file and of those that it includes, by normalised name."""
    found: dict[str, Requirement] = {}
    for line in path.read_text().splitlines():
        if included := re.fullmatch(r"-r (\S+)", line):
            found |= requirements(path.parent / included[1])
        elif (text := line.partition(" #")[0].strip()) and not text.startswith(("#", "-")):
            requirement = Requirement(text)
            found[re.sub("[-_.]+", "-", requirement.name).lower()] = requirement
    return found


def version(requirement: Requirement) -> str:
    """The one version that a requirement takes."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def fill(directory: Path, bundle: Bundle) -> str:
    """Fill a directory; returns a checksum of all names, modes and contents."""
    directory.mkdir()
    bundle.fill(directory)
    checksum = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        checksum.update(f"{path.relative_to(directory)} {path.stat().st_mode} {len(content)}\n".encode() + content)
    return checksum.hexdigest()


def size(directory: Path) -> float:
    """Megabytes in a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6


def import_alone(directory: Path, statements: str) -> subprocess.CompletedProcess[str]:
    """Run Python statements that can import nothing but the archive and the standard library."""
    program = f"import sys; sys.path.insert(0, {str(directory)!r}); {statements}"
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", [CORE, PROVIDERS], ids=lambda path: path.name)
def test_every_package_is_pinned(path: Path) -> None:
    for requirement in requirements(path).values():
        version(requirement)


def test_the_laptop_runs_the_very_same_versions() -> None:
    """The emulator's Lambdas run in this environment: what it has must be what the archives for AWS hold."""
    pinned = {name: r for name, r in requirements(PROVIDERS).items() if r.marker is None or r.marker.evaluate()}
    assert {name: metadata.version(name) for name in pinned} == {name: version(r) for name, r in pinned.items()}


def test_the_environment_asks_for_the_same_versions() -> None:
    environment, archives = requirements(ROOT / "requirements.txt"), requirements(PROVIDERS)
    both = environment.keys() & archives.keys()
    assert both >= {"boto3", "botocore", "aws-lambda-powertools", "openai", "google-genai"}
    assert {name: version(environment[name]) for name in both} == {name: version(archives[name]) for name in both}


def test_botocore_keeps_every_service_that_is_called() -> None:
    called = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "client":
                called |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    assert {"s3", "stepfunctions"} <= called <= BOTOCORE_SERVICES


def test_local_archive_holds_our_code_only(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "a", Bundle()), fill(tmp_path / "b", Bundle())
    assert first == second
    top = {path.name for path in (tmp_path / "a").iterdir()}
    assert top == {"pixelprompt", *(path.name for path in SOURCES.glob("*.py"))}
    assert size(tmp_path / "a") < 2


def test_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(
        BundlingError, match=r"could not install requirements-core\.txt .*check the network and the pins"
    ):
        Bundle(CORE).fill(tmp_path / "archive")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(("path", "megabytes"), [(CORE, 20), (PROVIDERS, 75)], ids=["core", "providers"])
def test_archive_for_lambda(tmp_path: Path, path: Path, megabytes: int) -> None:
    archive = tmp_path / "a"
    assert fill(archive, Bundle(path)) == fill(tmp_path / "b", Bundle(path))
    assert {source.name for source in SOURCES.glob("*.py")} <= {entry.name for entry in archive.iterdir()}
    assert (archive / "pixelprompt" / "models.json").is_file()

    libraries = [*archive.rglob("*.so"), *archive.rglob("*.so.*")]
    assert bool(libraries) == (path == PROVIDERS)
    for library in libraries:
        header = library.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == AARCH64, library.name
        if "cpython" in library.name:
            assert "cpython-313" in library.name

    for unwanted in ("__pycache__", "tests", "*.pyc", "RECORD", ".lock"):
        assert not [*archive.rglob(unwanted)], unwanted
    assert {entry.name for entry in (archive / "botocore" / "data").iterdir() if entry.is_dir()} == BOTOCORE_SERVICES
    assert size(archive) < megabytes
    assert all(entry.stat().st_mode & 0o004 for entry in archive.rglob("*"))

    # The pins name everything: nothing was resolved beside them.
    found = {d.metadata["Name"]: d.version for d in metadata.distributions(path=[str(archive)])}
    pinned = requirements(path)
    for name, installed in found.items():
        assert installed == version(pinned[re.sub("[-_.]+", "-", name).lower()])


@pytest.mark.slow
@pytest.mark.network
def test_core_is_enough_for_its_functions(tmp_path: Path) -> None:
    """It has no compiled code, so this Python can try what Lambda's will import."""
    fill(tmp_path / "core", Bundle(CORE))
    functions = import_alone(tmp_path / "core", "import submit, record_failure, finish, status")
    assert functions.returncode == 0, functions.stderr
    clients = f"import boto3; [boto3.client(service) for service in {sorted(BOTOCORE_SERVICES)!r}]"
    result = import_alone(tmp_path / "core", clients)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.network
def test_providers_survive_the_trimming(tmp_path: Path) -> None:
    """The same packages for this machine: everything imports, and what asks for its own version finds it."""
    machine = platform.machine().replace("arm64", "aarch64")
    system = {"linux": "manylinux_2_28", "darwin": "apple-darwin"}[sys.platform]
    here = Bundle(PROVIDERS, platform=f"{machine}-{system}", python=".".join(platform.python_version_tuple()[:2]))
    fill(tmp_path / "archive", here)
    result = import_alone(
        tmp_path / "archive",
        "import generate, enhance, openai, google.genai, pydantic, websockets.version; "
        "openai.OpenAI(api_key='x'); google.genai.Client(api_key='x')",
    )
    assert result.returncode == 0, result.stderr


def test_archive_is_readable_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        fill(tmp_path / "archive", Bundle())
    finally:
        os.umask(before)
    for path in (tmp_path / "archive").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
