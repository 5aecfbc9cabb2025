"""Measure how many small faults in the core rules the tests notice; not a test, run it by hand: ``make mutants``.

A mutant is one such fault: another constant or operator, a lost ``not``, a return value or statement that is missing.
SAMPLE of them are drawn by SEED and made one at a time in a copy of the project, where the tests run that run its line.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from coverage import CoverageData

ROOT = Path(__file__).resolve().parent.parent
GOAL = 85.0
RULES = {
    "jobs": ("document", "store", "retry", "cancel", "finish"),
    "storage": ("documents", "keys", "images"),
    "models": ("parameters", "sizes", "cost"),
    "limits": ("limiter", "rate_limit", "ledger_rate_limit"),
    "generation": ("failure", "item", "run", "factory", "invocation"),
}
# The tests of these modules.
TESTS = (
    "tests/unit/generation", "tests/unit/jobs", "tests/unit/limits", "tests/unit/models", "tests/unit/storage",
    "tests/unit/test_rules.py", "tests/component/generation",
)  # fmt: skip
# A plugin of pytest: lines are recorded by the test that runs them.
EACH_TEST = """
import coverage
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    measured = coverage.Coverage.current()
    measured.switch_context(item.nodeid.partition("[")[0])
    try:
        return (yield)
    finally:
        measured.switch_context("")
"""
NOT_COPIED = shutil.ignore_patterns(".*", "node_modules", "out", "cdk.out", "__pycache__")
# What is said in calls of these is for people, or for the type checker.
SILENT = {"logger", "log_failure", "Meta", "Literal", "Annotated", "cast"}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
}  # fmt: skip


class Mutant(NamedTuple):
    """A fault: in which file, at which lines, what is there and what instead, and the whole file with it."""

    path: str
    kind: str
    lines: range
    before: str
    after: str
    source: str


def parts(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any]]:
    """Each node below this one, by its parent, the parent's field, and its place in that; not what is only read."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        if name == "keywords" and isinstance(node, ast.ClassDef):
            continue
        for place, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not is_only_read(child):
                yield node, name, place if isinstance(value, list) else None, child
                yield from parts(child)


def is_only_read(node: ast.AST) -> bool:
    """Whether a node is for people or for the type checker: a docstring, a message, a log line, a type."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Call() as inner):
            return is_only_read(inner)
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Attribute(value=inner):
            return isinstance(inner, ast.Name | ast.Attribute) and ast.unparse(inner).partition(".")[0] in SILENT
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def faults(node: Any) -> Iterator[ast.AST]:
    """What may be there instead of a node."""
    match node:
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=(int() | float()) as number):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str() as text) if text and " " not in text:
            yield ast.Constant(f"{text}XX")
        case ast.Compare(left=left, ops=[op, *more], comparators=right) if type(op) in SWAPS:
            yield ast.Compare(left, [SWAPS[type(op)](), *more], right)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(SWAPS[type(op)](), values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPS:
            yield ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.If() | ast.IfExp():
            yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)  # type: ignore[arg-type]
        case ast.Return(value=ast.AST() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute() | ast.Tuple(), *_]):
            yield ast.Pass()


def first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).partition("\n")[0]


def mutants_of(path: Path) -> Iterator[Mutant]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for parent, name, place, node in list(parts(tree)):
        for fault in faults(node):
            container: Any = vars(parent) if place is None else getattr(parent, name)
            key: Any = name if place is None else place
            container[key] = fault
            source = ast.unparse(ast.fix_missing_locations(tree))
            container[key] = node
            last: Any = node.test.end_lineno if isinstance(node, ast.If) else node.end_lineno
            lines = range(node.lineno, last + 1)
            yield Mutant(str(path.relative_to(ROOT)), kind_of(node), lines, first_line(node), first_line(fault), source)


def kind_of(node: Any) -> str:
    return type(node.value if isinstance(node, ast.Constant) else node).__name__


def drawn(mutants: list[Mutant], sample: int, chance: random.Random) -> list[Mutant]:
    """So many of them, of each kind about as many: half of all are misspelled strings, which any test notices."""
    shuffled = chance.sample(mutants, len(mutants))
    earlier: Counter[str] = Counter()
    places = []
    for mutant in shuffled:
        places.append(earlier[mutant.kind])
        earlier[mutant.kind] += 1
    return [mutant for _, mutant in sorted(zip(places, shuffled, strict=True), key=lambda pair: pair[0])][:sample]


def run(copy: Path, *command: str) -> str:
    """Run tests without a fault in a copy of the project; what they print."""
    finished = started(copy, command, None)
    if finished is None or finished.returncode:
        sys.exit(f"The tests fail without a fault:\n{finished.stdout[-3000:] if finished else ''}")
    return finished.stdout


def notices(copy: Path, command: tuple[str, ...], limit: float) -> bool:
    """Whether tests notice the fault in a copy of the project; that they don't end in time counts, too."""
    finished = started(copy, command, limit)
    return finished is None or finished.returncode != 0


def started(copy: Path, command: tuple[str, ...], limit: float | None) -> subprocess.CompletedProcess[str] | None:
    """Run a module of Python in a copy of the project; None where the time was over."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(copy.parent)}
    try:
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None


def tests_of(mutant: Mutant, contexts: dict[int, list[str]]) -> list[str]:
    """The tests that run a mutant's lines; where those run as the module is imported, all that run any of its lines."""
    found = {context for line in mutant.lines for context in contexts.get(line, [])}
    if "" in found or not found:
        found.update(context for line in contexts.values() for context in line)
    # Those named like the module come first: they are the likeliest to notice.
    return sorted(sorted(found - {""}), key=lambda test: Path(mutant.path).stem[:8] not in test)


def main() -> int:
    """Print what survived, and how many did not."""
    sample, seed = int(os.environ.get("SAMPLE") or 60), os.environ.get("SEED") or str(random.randrange(10**6))
    files = [ROOT / "functions/pixelprompt" / folder / f"{name}.py" for folder in RULES for name in RULES[folder]]
    every = [mutant for path in files for mutant in mutants_of(path)]
    chosen = drawn(every, sample, random.Random(seed))
    print(f"{len(chosen)} of {len(every)} mutants, SEED={seed}", flush=True)
    if not chosen:
        sys.exit("SAMPLE must be at least 1.")
    killed = 0
    with tempfile.TemporaryDirectory(prefix="mutants ") as folder:
        copy = Path(folder).resolve() / "project"
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        (copy / ".coveragerc").write_text("[run]\nsource = functions\n")
        quiet = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider")
        began = time.monotonic()
        (copy / "each_test.py").write_text(EACH_TEST)
        run(copy, "coverage", "run", "-m", "pytest", "-p", "each_test", *quiet, *TESTS)
        limit = 60 + 2 * (time.monotonic() - began)
        data = CoverageData(str(copy / ".coverage"))
        data.read()
        # An unknown name would end pytest with an error, which would count as a fault that was noticed.
        known = {line.partition("[")[0] for line in run(copy, "pytest", "--collect-only", *quiet, *TESTS).splitlines()}
        for number, mutant in enumerate(chosen, 1):
            path = copy / mutant.path
            chosen_tests = tests_of(mutant, data.contexts_by_lineno(str(path)))
            assert known.issuperset(chosen_tests), chosen_tests
            path.write_text(mutant.source, encoding="utf-8")
            # Without a test it survives. A fault that breaks the import of a module is noticed, too.
            is_killed = bool(chosen_tests) and notices(copy, ("pytest", *quiet, *chosen_tests), limit)
            shutil.copyfile(ROOT / mutant.path, path)
            killed += is_killed
            place = f"{number:3} {mutant.path}:{mutant.lines.start}"
            print(f"{place}  killed" if is_killed else f"{place}  SURVIVED {len(chosen_tests)} tests", flush=True)
            if not is_killed:
                print(f"      {mutant.before}\n   -> {mutant.after}", flush=True)
    percentage = 100 * killed / len(chosen)
    print(f"SEED={seed}: {killed} killed, {len(chosen) - killed} survived: {percentage:.1f} % (goal {GOAL:.0f} %)")
    return 0 if percentage >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
