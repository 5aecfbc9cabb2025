"""What imports what: arrows point one way, and nothing heavy is imported before it is needed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
ENTRY_POINTS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
LIBRARY = sorted((FUNCTIONS / "pixelprompt").rglob("*.py"))
SDKS = {"openai", "google.genai", "httpx2", "pydantic"}


def imports(path: Path) -> set[str]:
    """The modules that a file names in its import statements."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def run(code: str) -> str:
    """Run code in a fresh interpreter with only ``functions/`` on the path and no setting present."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(FUNCTIONS)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_there_are_entry_points() -> None:
    assert {"submit", "generate", "record_failure", "finish", "status", "enhance"} <= set(ENTRY_POINTS)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_the_library_imports_no_entry_point_and_nothing_of_the_laptop(path: Path) -> None:
    assert not imports(path) & {*ENTRY_POINTS, "local", "infra"}


@pytest.mark.parametrize(
    "path", sorted((FUNCTIONS / "pixelprompt" / "providers").rglob("*.py")), ids=lambda path: path.name
)
def test_adapters_know_nothing_of_jobs(path: Path) -> None:
    inner = {name for name in imports(path) if name.startswith("pixelprompt.")}
    allowed = ("pixelprompt.providers", "pixelprompt.errors", "pixelprompt.image_format")
    assert all(name.startswith(allowed) for name in inner), inner


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


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_imports_without_settings_and_without_any_sdk(name: str) -> None:
    loaded = run(f"import sys, {name}; print(*sys.modules)").split()
    assert not SDKS & set(loaded)


@pytest.mark.parametrize("name", ["submit", "status", "enhance"])
def test_a_missing_setting_is_reported_by_the_first_request(name: str) -> None:
    code = f"""
import json, {name}
event = {{"rawPath": "/x", "headers": {{}}, "pathParameters": {{"jobId": "x"}}, "body": '{{"prompt": "a fox"}}',
         "requestContext": {{"http": {{"method": "POST" if {name!r} != "status" else "GET"}}}}}}
answer = {name}.handler(event, type("Context", (), {{"function_name": "f"}})())
print(json.dumps({{"status": answer["statusCode"], "body": json.loads(answer["body"])}}))
"""
    output = run(code)
    assert '"status": 500' in output
    assert "BUCKET_NAME is missing" in output
    assert "BUCKET_NAME" not in output.splitlines()[-1]
