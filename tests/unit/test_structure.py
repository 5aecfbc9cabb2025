"""Imports: arrows point one way, and no other way of importing goes around them. Also the length of a file.

Imports that only a type checker reads may point up. ``tests/component/test_cold_start.py`` tests which modules a Lambda
loads when it starts.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from local.paths import ROOT
from tests import built

FUNCTIONS = ROOT / "functions"
ENTRY_POINTS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
LIBRARY = sorted((FUNCTIONS / "pixelprompt").rglob("*.py"))
DEPLOYED = [*LIBRARY, *sorted(FUNCTIONS.glob("*.py"))]
# What no code of a Lambda imports: an entry point, or what its archive lacks.
OUTSIDE = {*ENTRY_POINTS, "app", "benchmarks", "functions", "infra", "local", "tests"}
# These two import modules by name, below their own package only; all others name a module in an import statement.
LOADERS = {"pixelprompt.deferred", "pixelprompt.providers"}
LOADING = {"importlib", "pkgutil", "runpy"}
# A room imports only what stands below it, and never its neighbor.
LEVELS = (
    {"workflow_services"},
    {"services"},
    {"ledger_services"},
    {"shared_services"},
    {"api", "generation", "preparation"},
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
    "identity",
}


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those below it, but not those that only a type checker reads."""
    yield node
    match node:
        case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(ast.Name("typing"), "TYPE_CHECKING"), _, orelse):
            children: Iterable[ast.AST] = orelse
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from run_time(child)


def imports(source: str) -> set[str]:
    """The names in the import statements of a source, at the top or inside a function; dots open a relative one."""
    found: set[str] = set()
    for node in run_time(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def first(name: str) -> str:
    """The top-level module of a dotted name; empty for a relative one."""
    return name.partition(".")[0]


def name_of(path: Path) -> str:
    """The dotted name of a module below functions/."""
    return ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__")


def modules(source: str) -> set[str]:
    """The modules of the library that a source imports."""
    known = {name_of(path) for path in LIBRARY}
    # A name that is imported from a package is a module, or stands for its package.
    return {name for name in imports(source) if name in known - {"pixelprompt"}}


def room_of(module: str) -> str:
    """The room of a module of the library: its package, or the ground."""
    room = module.removeprefix("pixelprompt").lstrip(".").partition(".")[0]
    return "ground" if room in GROUND or not room else room


def level_of(room: str) -> int:
    """The place of a room among the levels."""
    return next(number for number, level in enumerate(LEVELS) if room in level)


def loads_by_name(node: ast.AST) -> bool:
    """Whether a node can import a module without an import statement."""
    match node:
        case ast.Name("__import__" | "eval" | "exec") | ast.Attribute(ast.Name("sys"), "modules"):
            return True
    return False


def hides_a_module(node: ast.AST) -> bool:
    """Whether a node reaches modules that it does not name: by `pixelprompt.…`, or in another package than its own."""
    match node:
        case ast.Import(names):
            return any(first(alias.name) == "pixelprompt" for alias in names)
        case ast.Call(ast.Name("deferred") | ast.Attribute(attr="deferred"), arguments):
            return not arguments or ast.unparse(arguments[0]) != "__name__"
    return False


def violations(module: str, source: str) -> set[str]:
    """What a module below functions/ must not import, or not in this way."""
    names, nodes = imports(source), [*run_time(ast.parse(source))]
    found = {name for name in names if first(name) in {"", *OUTSIDE}}
    found |= {ast.unparse(node) for node in nodes if hides_a_module(node)}
    if module not in LOADERS:
        found |= {name for name in names if first(name) in LOADING or name == "sys.modules"}
        found |= {ast.unparse(node) for node in nodes if loads_by_name(node)}
    if module != "pixelprompt.settings":
        # Only the settings read the environment.
        found |= {name for name in names if "os" in name.split(".")}
    if first(module) == "pixelprompt":
        own = room_of(module)
        allowed = {own}.union(*LEVELS[level_of(own) + 1 :])
        found |= {name for name in modules(source) if room_of(name) not in allowed}
    return found


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    assert not violations(name_of(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pixelprompt.jobs.store", "from pixelprompt.api import http"),
        ("pixelprompt.jobs.store", "from pixelprompt import services"),
        ("pixelprompt.limits.caller", "def f():\n    from pixelprompt.prompts.prompt import Prompt"),
        ("pixelprompt.jobs.store", "def f():\n    from local.paths import ROOT"),
        ("pixelprompt.jobs.store", "import submit"),
        ("submit", "import infra.settings"),
        ("submit", "from generate import handler"),
        ("submit", "import os.path"),
        ("pixelprompt.storage.settings", "from os import environ"),
        ("pixelprompt.jobs.store", "from pixelprompt.settings import os"),
        ("pixelprompt.jobs.store", "if not TYPE_CHECKING:\n    from pixelprompt import services"),
        ("pixelprompt.jobs.store", "if TYPE_CHECKING:\n    pass\nelse:\n    from pixelprompt import services"),
        ("pixelprompt.jobs.store", "if TYPE_CHECKING:\n    pass\nelif here:\n    from pixelprompt import services"),
        ("pixelprompt.jobs.store", "from .. import services"),
        ("pixelprompt.jobs.store", "from ..api import http"),
        ("pixelprompt.jobs.store", "from importlib import import_module"),
        ("submit", "import importlib.util"),
        ("pixelprompt.jobs.store", "__import__('pixelprompt.services')"),
        ("pixelprompt.jobs.store", "import sys\nsys.modules['pixelprompt.services']"),
        ("pixelprompt.jobs.store", "from sys import modules"),
        ("pixelprompt.jobs", "__getattr__ = deferred('pixelprompt', {'jobs': 'services'})"),
        ("pixelprompt.jobs.store", "import pixelprompt\npixelprompt.services.jobs()"),
        ("pixelprompt.jobs.store", "import pixelprompt.models.model\npixelprompt.services.jobs()"),
    ],
)
def test_a_violation_is_noticed(module: str, source: str) -> None:
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pixelprompt.jobs.store", "import json\nfrom pixelprompt.storage.keys import number_of"),
        ("pixelprompt.jobs.store", "from pixelprompt.jobs import document"),
        ("pixelprompt.jobs.store", "if TYPE_CHECKING:\n    from pixelprompt import services"),
        ("pixelprompt.jobs.store", "if typing.TYPE_CHECKING:\n    import pixelprompt.services"),
        ("pixelprompt.jobs", "__getattr__ = deferred(__name__, {'JobManager': 'store'})"),
        ("pixelprompt.jobs.store", "import sys\nsys.stdout.flush()"),
        ("pixelprompt.settings", "import os"),
        ("pixelprompt.deferred", "from importlib import import_module"),
        ("submit", "from pixelprompt import services"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert not violations(module, source)


def test_every_room_has_a_level() -> None:
    assert {room_of(name_of(path)) for path in LIBRARY} == {room for level in LEVELS for room in level}


def test_no_module_imports_itself_over_others() -> None:
    graph = {name_of(path): modules(path.read_text(encoding="utf-8")) - {name_of(path)} for path in LIBRARY}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", sorted((ROOT / "infra").rglob("*.py")), ids=lambda path: path.name)
def test_the_stack_imports_nothing_of_the_laptop(path: Path) -> None:
    assert "local" not in {first(name) for name in imports(path.read_text(encoding="utf-8"))}


def test_there_are_entry_points() -> None:
    assert set(built.SERVICES) == set(ENTRY_POINTS)
    assert {"submit", "generate", "record_failure", "finish", "status", "enhance"} <= set(ENTRY_POINTS)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_only_connects(name: str) -> None:
    assert len((FUNCTIONS / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


def declared(*names: str) -> set[str]:
    """The packages that `.in` files name."""
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)
    return {name.lower() for name in re.findall(r"^([\w.-]+)(?=[\[=])", text, re.MULTILINE)}


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (
            ["functions"],
            ["functions/requirements.in", "functions/requirements-core.in", "functions/requirements-references.in"],
        ),
        (["app.py", "infra", "local", "benchmarks", "tests"], ["requirements.in"]),
    ],
    ids=["functions", "checkout"],
)
def test_every_package_that_is_imported_is_declared(folders: list[str], files: list[str]) -> None:
    own = {"", "pixelprompt", *OUTSIDE}
    wanted, providing = declared(*files), packages_distributions()
    paths = [path for folder in folders for path in ([ROOT / folder, *(ROOT / folder).rglob("*.py")]) if path.is_file()]
    missing = {
        (name, path.relative_to(ROOT).as_posix())
        for path in paths
        for name in {first(module) for module in imports(path.read_text(encoding="utf-8"))}
        if name not in own | sys.stdlib_module_names
        and not path.with_name(f"{name}.py").is_file()
        and not wanted & {package.lower().replace("_", "-") for package in providing.get(name, ())}
    }
    assert len(paths) > 10 and not missing
