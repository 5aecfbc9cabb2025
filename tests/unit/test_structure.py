"""What imports what: arrows point one way, and nothing heavy is imported before it is needed. How long a file is."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from local.paths import ROOT
from tests import built

FUNCTIONS = ROOT / "functions"
ENTRY_POINTS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
LIBRARY = sorted((FUNCTIONS / "pixelprompt").rglob("*.py"))
# A room imports only what stands below it, and never its neighbor.
LEVELS = (
    {"services"},
    {"api", "generation"},
    {"jobs"},
    {"prompts", "limits"},
    {"providers"},
    {"models"},
    {"storage"},
    {"ground"},
)
GROUND = {
    "settings",
    "observability",
    "errors",
    "deadline",
    "validation",
    "redaction",
    "cold_start",
    "deferred",
    "aws_errors",
}


def imports(path: Path) -> set[str]:
    """The modules that a file names in its import statements."""
    found: set[str] = set()
    for node in _run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module but those that only a type checker reads."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _run_time(child)


def name_of(path: Path) -> str:
    """The dotted name of a module of the library."""
    return ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__")


def modules(path: Path) -> set[str]:
    """The modules of the library that a file imports, at the top or inside a function."""
    known = {name_of(path) for path in LIBRARY}
    # A name that is imported from a package is a module, or stands for its package.
    return {name for name in imports(path) if name in known - {"pixelprompt"}}


def level_of(room: str) -> int:
    """The place of a room among the levels."""
    return next(number for number, level in enumerate(LEVELS) if room in level)


def test_there_are_entry_points() -> None:
    assert set(built.SERVICES) == set(ENTRY_POINTS)
    assert {"submit", "generate", "record_failure", "finish", "status", "enhance"} <= set(ENTRY_POINTS)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_the_library_imports_no_entry_point_and_nothing_of_the_laptop(path: Path) -> None:
    assert not imports(path) & {*ENTRY_POINTS, "local", "infra"}


def room_of(module: str) -> str:
    """The room of a module of the library: its package, or the ground."""
    room = module.removeprefix("pixelprompt").lstrip(".").partition(".")[0]
    return "ground" if room in GROUND or not room else room


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    own = room_of(name_of(path))
    below = {name for level in LEVELS[level_of(own) + 1 :] for name in level}
    found = {room_of(module) for module in modules(path)} - {own}
    assert found <= below, f"{own} imports {', '.join(sorted(found - below))}"


def test_every_room_has_a_level() -> None:
    assert {room_of(name_of(path)) for path in LIBRARY} == {room for level in LEVELS for room in level}


def test_no_module_imports_itself_over_others() -> None:
    graph = {name_of(path): {module for module in modules(path) if module != name_of(path)} for path in LIBRARY}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_only_connects(name: str) -> None:
    assert len((FUNCTIONS / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.parametrize(
    "path",
    [p for p in [*LIBRARY, *FUNCTIONS.glob("*.py")] if p.name != "settings.py"],
    ids=lambda path: str(path.relative_to(FUNCTIONS)),
)
def test_only_settings_reads_the_environment(path: Path) -> None:
    assert "os" not in imports(path), "only pixelprompt/settings.py may use os.environ"


@pytest.mark.parametrize("path", sorted((ROOT / "infra").glob("*.py")), ids=lambda path: path.name)
def test_the_stack_imports_nothing_of_the_laptop(path: Path) -> None:
    assert not any(name == "local" or name.startswith("local.") for name in imports(path))


def declared(*names: str) -> set[str]:
    """The packages that `.in` files name."""
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)
    return {name.lower() for name in re.findall(r"^([\w.-]+)(?=[\[=])", text, re.MULTILINE)}


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (["functions"], ["functions/requirements.in", "functions/requirements-core.in"]),
        (["app.py", "infra", "local", "benchmarks", "tests"], ["requirements.in"]),
    ],
    ids=["functions", "checkout"],
)
def test_every_package_that_is_imported_is_declared(folders: list[str], files: list[str]) -> None:
    own = {"app", "benchmarks", "functions", "infra", "local", "pixelprompt", "tests", *ENTRY_POINTS}
    wanted, providing = declared(*files), packages_distributions()
    paths = [path for folder in folders for path in ([ROOT / folder, *(ROOT / folder).rglob("*.py")]) if path.is_file()]
    missing = {
        (name, path.relative_to(ROOT).as_posix())
        for path in paths
        for name in {module.partition(".")[0] for module in imports(path)}
        if name not in own | sys.stdlib_module_names
        and not path.with_name(f"{name}.py").is_file()
        and not wanted & {package.lower().replace("_", "-") for package in providing.get(name, ())}
    }
    assert len(paths) > 10 and not missing
