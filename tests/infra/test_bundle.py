"""The archives of the Lambdas: complete, for their platform, small, and the same for the same input."""

import ast
import contextlib
import hashlib
import importlib.util
import json
import marshal
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from msgspec import to_builtins
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import sbom
from infra.context import SettingsError
from infra.functions import BOTOCORE_SERVICES, Bundle
from infra.interpreters import interpreter
from infra.packages import CORE, EXCLUDED, PILLOW_PYTHON, PROVIDERS, REFERENCES, SOURCES, BundlingError
from infra.settings import INTERPRETER
from local.simulator import Simulator
from pixelprompt.models.registry import ModelRegistry
from tests import built
from tests.contract.table import MODELS, PATHS

from .conftest import ROOT

ENTRY_POINTS = {source.stem for source in SOURCES.glob("*.py")}
# What only a deployment with a budget or API keys has.
WITH_BUDGET_OR_KEYS = {"sweep", "usage", "authorize"}
# By archive, those that can start in it; the core is in every archive.
CORE_ENTRY_POINTS = ENTRY_POINTS - {"generate", "enhance", "prepare_references"}
STARTING = {
    CORE: CORE_ENTRY_POINTS,
    PROVIDERS: ENTRY_POINTS - {"prepare_references"},
    REFERENCES: CORE_ENTRY_POINTS | {"prepare_references"},
}
NAMES = {CORE: "core", PROVIDERS: "providers", REFERENCES: "references"}
# By archive, a function that it is for.
FUNCTION = {CORE: "status", PROVIDERS: "generate", REFERENCES: "prepare_references"}
# By archive, the Python that it is for; only what is for this one has bytecode.
PYTHON = {CORE: INTERPRETER, PROVIDERS: INTERPRETER, REFERENCES: max(INTERPRETER, PILLOW_PYTHON)}
AARCH64 = 183
# What Lambda unpacks at most, in bytes.
UNZIPPED_LIMIT = 250 * 1024**2
# The flags of bytecode that is read without a look at its source (PEP 552).
UNCHECKED_HASH = 0b01
TAG = sys.implementation.cache_tag


def tag(python: str) -> str:
    """What a Python writes into the names of its libraries and bytecode."""
    return f"cpython-{python.replace('.', '')}"


def requirements(path: Path) -> dict[str, Requirement]:
    """The requirements of a file, by normalized name."""
    found: dict[str, Requirement] = {}
    for line in path.read_text().splitlines():
        if (text := line.partition(" #")[0].strip(" \\")) and not text.startswith(("#", "-")):
            requirement = Requirement(text)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def version(requirement: Requirement) -> str:
    """The one version that a requirement takes."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def excluded() -> set[str]:
    """The packages that the archives leave out, by normalized name."""
    lines = EXCLUDED.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def fill(directory: Path, bundle: Bundle) -> str:
    """Fill a directory; returns its checksum."""
    directory.mkdir()
    bundle.fill(directory)
    return checksum(directory)


def checksum(directory: Path) -> str:
    """A checksum of all names, modes and contents."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(directory)} {path.stat().st_mode} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def size(directory: Path) -> float:
    """Megabytes in a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6


def import_alone(
    directory: Path, statements: str, python: Sequence[str] = (sys.executable,)
) -> subprocess.CompletedProcess[str]:
    """Run Python statements that can import nothing but the archive and the standard library."""
    program = f"import sys; sys.path.insert(0, {str(directory)!r}); {statements}"
    environment = {**built.LAMBDA, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {name: value for name, value in os.environ.items() if name == "QEMU_LD_PREFIX"}
    return subprocess.run(
        [*python, "-I", "-S", "-B", "-c", program], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", NAMES, ids=lambda path: path.name)
def test_every_package_is_pinned(path: Path) -> None:
    for requirement in requirements(path).values():
        version(requirement)


@pytest.mark.parametrize("path", NAMES, ids=lambda path: path.name)
def test_the_laptop_runs_the_very_same_versions(path: Path) -> None:
    """The emulator's Lambdas run in this environment: what it has must be what the archives for AWS hold."""
    pinned = {name: r for name, r in requirements(path).items() if r.marker is None or r.marker.evaluate()}
    assert {name: metadata.version(name) for name in pinned} == {name: version(r) for name, r in pinned.items()}


def test_what_is_excluded_is_pinned() -> None:
    """Else a package that no SDK requires any longer would stay in the list."""
    assert excluded() and excluded() <= requirements(PROVIDERS).keys()


def test_the_environment_asks_for_the_same_versions() -> None:
    environment, archives = requirements(ROOT / "requirements.txt"), requirements(PROVIDERS) | requirements(REFERENCES)
    both = environment.keys() & archives.keys()
    assert both >= {"boto3", "botocore", "aws-lambda-powertools", "openai", "google-genai", "pillow"}
    assert {name: version(environment[name]) for name in both} == {name: version(archives[name]) for name in both}


CLIENTS = ("client", "request_client")


def _called_name(function: ast.expr) -> str | None:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)


def test_botocore_keeps_every_service_that_is_called() -> None:
    called = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _called_name(node.func) in CLIENTS:
                called |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    assert called == BOTOCORE_SERVICES


def test_local_archive_holds_our_code_only(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "a", Bundle()), fill(tmp_path / "b", Bundle())
    assert first == second
    assert not [*(tmp_path / "a").rglob("*.pyc")]
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


@dataclass(frozen=True)
class Assembly:
    """What the CDK has written for AWS into a folder: the template, and the archives before they are zipped."""

    folder: Path

    @property
    def template(self) -> dict[str, Any]:
        """The stack's template."""
        return dict(json.loads((self.folder / "PixelPrompt-dev.template.json").read_text()))

    def archives(self) -> dict[str, Path]:
        """The archive of each entry point, by its module."""
        functions = [
            entry["Properties"]
            for entry in self.template["Resources"].values()
            if entry["Type"] == "AWS::Lambda::Function" and "FunctionName" in entry["Properties"]
        ]
        assert all(function["Architectures"] == ["arm64"] for function in functions)
        return {
            function["Handler"].removesuffix(".handler"): self.folder
            / f"asset.{function['Code']['S3Key'].removesuffix('.zip')}"
            for function in functions
        }

    def archive(self, path: Path) -> Path:
        """The archive with the packages of a requirements file."""
        return self.archives()[FUNCTION[path]]


def synthesize(folder: Path, *prefix: str, **variables: str) -> Assembly:
    """What `make synth` does for AWS; no test has AWS credentials."""
    folder.mkdir()
    environment = {**os.environ, **variables}
    command = [*prefix, sys.executable, "-m", "local", "--directory", str(folder), "synth", "aws"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return Assembly(folder / "synth" / "aws")


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A synthesis that may ask the package index for what uv's cache lacks.

    SYNTHESIZED names the folder of one that was made before.
    """
    folder = tmp_path_factory.mktemp("synth") / "a"
    if made := os.environ.get("SYNTHESIZED"):
        # Where it was made, the next one replaces it.
        return Assembly(Path(shutil.copytree(ROOT / made, folder, symlinks=True)))
    return synthesize(folder)


@pytest.mark.slow
@pytest.mark.network
def test_a_second_synthesis_needs_nothing_from_outside_and_gives_the_same(assembly: Assembly, tmp_path: Path) -> None:
    """No network, where the system lets us take it away, and else no way there; no Docker, no user's settings."""
    uv = Path(sys.executable).with_name("uv")
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    outside = {**nowhere, "UV_OFFLINE": "1", "UV_CACHE_DIR": cache, "HOME": str(tmp_path), "CDK_DOCKER": "/bin/false"}
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        alone = []
    second = synthesize(tmp_path / "b", *alone, **outside)
    assert second.template == assembly.template
    archives = {archive.name for archive in assembly.archives().values()}
    assert {archive.name for archive in second.archives().values()} == archives and len(archives) == len(NAMES)
    for name in archives:
        assert checksum(second.folder / name) == checksum(assembly.folder / name)


@pytest.mark.slow
@pytest.mark.network
def test_only_who_needs_packages_carries_them(assembly: Assembly) -> None:
    archives = assembly.archives()
    assert set(archives) == ENTRY_POINTS - WITH_BUDGET_OR_KEYS

    def carriers(*names: str) -> set[str]:
        return {module for module, archive in archives.items() if any((archive / name).exists() for name in names)}

    assert carriers("openai", "google", "pydantic") == {"generate", "enhance"}
    assert carriers("httpx2") == {"generate", "enhance", "prepare_references"}
    assert carriers("PIL", "pillow.libs") == {"prepare_references"}
    assert all((archives["generate"] / name).is_dir() for name in ("openai", "google"))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("path", "megabytes"), [(CORE, 20), (PROVIDERS, 75), (REFERENCES, 40)], ids=["core", "providers", "references"]
)
def test_archive_for_lambda(assembly: Assembly, path: Path, megabytes: int) -> None:
    archive = assembly.archive(path)
    assert {source.name for source in SOURCES.glob("*.py")} <= {entry.name for entry in archive.iterdir()}
    assert (archive / "pixelprompt" / "models" / "models.json").is_file()

    libraries = [*archive.rglob("*.so"), *archive.rglob("*.so.*")]
    assert any("msgspec" in library.parts for library in libraries)
    for library in libraries:
        header = library.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == AARCH64, library.name
        if "cpython" in library.name:
            assert tag(PYTHON[path]) in library.name

    for unwanted in ("tests", "_tests", "test", "RECORD", ".lock"):
        assert not [*archive.rglob(unwanted)], unwanted
    assert {entry.name for entry in (archive / "botocore" / "data").iterdir() if entry.is_dir()} == BOTOCORE_SERVICES
    assert size(archive) < megabytes
    assert size(archive) * 1e6 < UNZIPPED_LIMIT
    assert all(entry.stat().st_mode & 0o004 for entry in archive.rglob("*"))

    if PYTHON[path] == INTERPRETER:
        # All bytecode, for Lambda's own Python, and none of sources that are not there.
        expected = {source.parent / "__pycache__" / f"{source.stem}.{TAG}.pyc" for source in archive.rglob("*.py")}
        assert {*archive.rglob("*.pyc")} == expected
        bytecode = (archive / "__pycache__" / f"status.{TAG}.pyc").read_bytes()
        # It counts whatever became of its source's date and content, and tracebacks show Lambda's own paths.
        assert (bytecode[:4], int.from_bytes(bytecode[4:8], "little")) == (importlib.util.MAGIC_NUMBER, UNCHECKED_HASH)
        assert marshal.loads(bytecode[16:]).co_filename == "/var/task/status.py"
    else:
        assert not [*archive.rglob("*.pyc")]

    # The pins name everything: nothing was resolved beside them, and only what is excluded is missing.
    found = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions(path=[str(archive)])}
    python = {"python_version": PYTHON[path], "python_full_version": f"{PYTHON[path]}.0"}
    pinned = {
        name: version(requirement)
        for name, requirement in requirements(path).items()
        if requirement.marker is None or requirement.marker.evaluate({**python})
    }
    assert found == {name: pin for name, pin in pinned.items() if name not in excluded()}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("path", NAMES, ids=[*NAMES.values()])
def test_the_bill_of_materials_says_what_is_in_the_archive(assembly: Assembly, path: Path) -> None:
    name = NAMES[path]
    text = (assembly.folder / "sbom" / f"{name}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert {component["purl"] for component in bill["components"]} == {
        f"pkg:pypi/{canonicalize_name(found.metadata['Name'])}@{found.version}"
        for found in metadata.distributions(path=[str(assembly.archive(path))])
    }
    for component in bill["components"]:
        (stated,) = component["licenses"]
        assert "expression" in stated or "id" in stated["license"], component
    needs = {entry["ref"].partition("@")[0]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert any(needed.startswith("pkg:pypi/jmespath@") for needed in needs["pkg:pypi/botocore"])
    assert bill["metadata"]["component"]["name"] == f"pixel-prompt-{name}"
    # The same each time.
    assert sbom.write(assembly.folder) and text == (assembly.folder / "sbom" / f"{name}.cdx.json").read_text()


@pytest.mark.slow
@pytest.mark.network
def test_every_function_but_three_runs_on_the_core(assembly: Assembly) -> None:
    core = assembly.archive(CORE)
    assert {
        module for module, archive in assembly.archives().items() if archive == core
    } == CORE_ENTRY_POINTS - WITH_BUDGET_OR_KEYS


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("path", NAMES, ids=[*NAMES.values()])
def test_archive_imports_on_the_machine_it_is_for(assembly: Assembly, path: Path) -> None:
    """The very bytes that go to Lambda, under the very Python: on arm64 itself, or under qemu."""
    native = platform.machine() == "aarch64"
    python = os.environ.get("AARCH64_PYTHON") if PYTHON[path] == INTERPRETER else None
    if native and not python:
        with contextlib.suppress(SettingsError):
            python = interpreter(PYTHON[path])
    if not python:
        missing = f"no Python {PYTHON[path]} for aarch64"
        pytest.skip(f"{missing}; name one of {INTERPRETER} in AARCH64_PYTHON (its libraries' folder in QEMU_LD_PREFIX)")
    emulator = []
    if not native:
        found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        if not found:
            pytest.skip("no qemu-aarch64 on the PATH; Debian's package qemu-user has it")
        emulator = [found]
    statements = "; ".join(map(built.start, sorted(STARTING[path])))
    result = import_alone(assembly.archive(path), statements, (*emulator, python))
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module", params=NAMES, ids=[*NAMES.values()])
def archive_here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An archive with the same packages for this machine, and the entry points that it is for."""
    directory = tmp_path_factory.mktemp("here") / "archive"
    fill(directory, Bundle.for_this_machine(request.param))
    return directory, sorted(STARTING[request.param])


@pytest.mark.slow
@pytest.mark.network
def test_everything_survives_the_trimming(archive_here: tuple[Path, list[str]]) -> None:
    """Everything imports, what asks for its own version finds it, and there is a client of each AWS service."""
    archive, modules = archive_here
    made = f"[clients.client(service) for service in {sorted(BOTOCORE_SERVICES)!r}]"
    statements = "; ".join([*map(built.start, modules), f"from pixelprompt.storage import clients; {made}"])
    if "generate" in modules:
        statements += (
            "; import openai, google.genai, pydantic, websockets.version; "
            "openai.OpenAI(api_key='x'); google.genai.Client(api_key='x')"
        )
    result = import_alone(archive, statements)
    assert result.returncode == 0, result.stderr


# Asks every simulated provider for an image, and the text models for a text.
CALLING = """
import json, time, warnings
warnings.simplefilter("error")
from pixelprompt.providers import adapter
from pixelprompt.models.model import Credentials, ImageRequest, Model, ProviderError, Waiting
told = {{}}
def outcome(kind, call, *arguments):
    try:
        answer = call(*arguments)
    except ProviderError as error:
        return str(error)
    return answer if isinstance(answer, Waiting) else kind
for provider, (fields, url) in json.loads({calls!r}).items():
    model, credentials, resume, deadline = Model(**fields), Credentials("key", url), None, time.time() + 30
    while isinstance(answer := outcome(
        "image", adapter(provider).generate, ImageRequest("a red fox", resume=resume), model, credentials, deadline
    ), Waiting):
        resume = answer.resume
        time.sleep(0.05)
    told[provider] = answer
for provider, (fields, url) in json.loads({texts!r}).items():
    arguments = ("a red fox", Model(**fields), Credentials("key", url), time.time() + 30)
    told["text of " + provider] = outcome("text", adapter(provider).complete, *arguments)
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("archive_here", [PROVIDERS], ids=["providers"], indirect=True)
def test_the_archive_is_enough_to_call_every_provider(
    archive_here: tuple[Path, list[str]], simulator: Simulator
) -> None:
    """SDKs import much only when they are used: what they lack then is seen in a real call, over a socket."""
    archive, _ = archive_here
    calls = {provider: (to_builtins(model), simulator.url + PATHS[provider]) for provider, model in MODELS.items()}
    texts = {
        model.provider: (to_builtins(model), simulator.url + PATHS[model.provider])
        for model in ModelRegistry.load().get_text_models()
    }
    program = CALLING.format(calls=json.dumps(calls), texts=json.dumps(texts))
    result = import_alone(archive, f"exec({program!r})")
    assert result.returncode == 0, result.stderr
    expected = dict.fromkeys(calls, "image") | {f"text of {provider}": "text" for provider in texts}
    assert json.loads(result.stdout.splitlines()[-1]) == expected


# Tells what is compiled while a module is imported, and where the bytecode of all modules of the archive is.
LISTENING = """
import json
compiled = []
def hook(event, arguments):
    if event == "compile" and str(arguments[1]).endswith(".py"):
        compiled.append(str(arguments[1]))
sys.addaudithook(hook)
exec({start!r})
loaded = [other for other in [*sys.modules.values()] if (getattr(other, "__file__", None) or "").startswith({folder!r})]
sources = [other for other in loaded if other.__file__.endswith(".py")]
print(json.dumps({{
    "compiled": [path for path in compiled if path.startswith(({folder!r}, "/var/task"))],
    "cached": [other.__cached__ for other in sources],
}}))
"""


@pytest.mark.slow
@pytest.mark.network
def test_a_cold_start_compiles_nothing_and_writes_nothing(archive_here: tuple[Path, list[str]]) -> None:
    archive, modules = archive_here
    before = checksum(archive)
    for module in modules:
        program = LISTENING.format(start=built.start(module), folder=str(archive))
        result = import_alone(archive, f"exec({program!r})")
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout.splitlines()[-1])
        assert found["compiled"] == []
        assert len(found["cached"]) > 100 and all(Path(path).is_file() for path in found["cached"])
    assert checksum(archive) == before


@pytest.mark.slow
@pytest.mark.network
def test_without_the_bytecode_a_cold_start_would_compile(archive_here: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The test above would see it."""
    archive, modules = archive_here
    bare = tmp_path / "bare"
    shutil.copytree(archive, bare, ignore=shutil.ignore_patterns("__pycache__"))
    result = import_alone(bare, f"exec({LISTENING.format(start=built.start(modules[0]), folder=str(bare))!r})")
    assert str(bare / f"{modules[0]}.py") in json.loads(result.stdout.splitlines()[-1])["compiled"]


@pytest.mark.slow
@pytest.mark.network
def test_bytecode_is_the_same_in_any_folder_and_under_any_hash_seed(
    assembly: Assembly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each synthesis would be a new deployment. The archive of the synthesis was made in another folder."""
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    # Neither may settings of the user's Python change what is written, or where.
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))
    folder = tmp_path / "deeper" / "in another folder" / "b"
    folder.parent.mkdir(parents=True)
    assert fill(folder, Bundle(CORE)) == checksum(assembly.archive(CORE))


def no_packages(_: Path, directory: Path, **__: Any) -> None:
    """In place of an installation: only the folder that is trimmed."""
    (directory / "botocore" / "data").mkdir(parents=True)


def test_source_that_does_not_compile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "functions"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    (sources / "status.py").write_text("def handler(:\n")
    monkeypatch.setattr("infra.functions.SOURCES", sources)
    # The packages would only take time to compile.
    monkeypatch.setattr("infra.functions.install", no_packages)
    (tmp_path / "archive").mkdir()
    with pytest.raises(BundlingError, match=r"(?s)could not compile the functions' code; check .*status\.py"):
        Bundle(CORE).fill(tmp_path / "archive")


def test_bytecode_is_for_the_python_of_the_archive_and_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.functions.install", no_packages)
    fill(tmp_path / "compiled", Bundle(REFERENCES))
    assert (tmp_path / "compiled" / "__pycache__" / f"prepare_references.{TAG}.pyc").is_file()

    def missing(_: str) -> str:
        raise SettingsError("this machine has none")

    monkeypatch.setattr("infra.functions.interpreter", missing)
    fill(tmp_path / "bare", Bundle(REFERENCES, python="3.99", compiles=False))
    assert (tmp_path / "bare" / "prepare_references.py").is_file()
    assert not [*(tmp_path / "bare").rglob("*.pyc")]
    with pytest.raises(SettingsError):
        fill(tmp_path / "other", Bundle(REFERENCES, python="3.99"))


def test_archive_is_readable_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        fill(tmp_path / "archive", Bundle())
    finally:
        os.umask(before)
    for path in (tmp_path / "archive").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
