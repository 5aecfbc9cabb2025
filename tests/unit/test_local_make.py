"""What make says and hands on, in a folder that holds nothing but the Makefile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.paths import ROOT

VARIABLES = ("API_URL", "BUCKET", "CDK", "DAYS", "FILE", "FROM", "JOB", "ONLY", "PROMPT", "SECONDS", "STAGE")
AWKWARD = 'a\'b "$HOME" `id` $(MAKE) #1'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


@pytest.fixture
def ready(checkout: Path) -> Path:
    """A checkout whose Python says what it is given, an argument a line."""
    folder = checkout / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder.parent / ".ready").touch()
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "PROMPT=$PROMPT" "CDK=$CDK" "STAGE=$STAGE"\n')
    python.chmod(0o755)
    return checkout


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "MAKEFLAGS")}
    # As if it prepared something.
    command = ["make", "--no-print-directory", "PYTHON=true", *arguments]
    return subprocess.run(command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize(("target", "code"), [("status", 0), ("down", 0), ("logs", 2)])
def test_a_checkout_that_was_never_made_ready_installs_nothing_to_say_that_nothing_runs(
    checkout: Path, target: str, code: int
) -> None:
    done = make(checkout, target, "PYTHON=false")
    assert done.returncode == code
    assert "Nothing is running; `make up` starts the cloud.\n" in (done.stderr if code else done.stdout)


def test_a_checkout_that_is_ready_asks_its_own_python(ready: Path) -> None:
    for target in ("status", "down", "logs"):
        assert make(ready, target).stdout.startswith(f"-m\nlocal\n{target}\n")


@pytest.mark.parametrize(
    ("target", "name", "argument"),
    [
        ("logs", "JOB", "--job={}"),
        ("keys", "STAGE", "--stage={}"),
        ("keys", "FROM", "--from={}"),
        ("doctor", "STAGE", "--stage={}"),
        ("models-check", "FILE", "{}"),
        ("smoke", "API_URL", "--url={}"),
        ("smoke", "STAGE", "--stage={}"),
        ("synth", "STAGE", "--stage={}"),
        ("deploy", "STAGE", "--stage={}"),
        ("deploy", "CDK", "CDK={}"),
        ("demo", "PROMPT", "PROMPT={}"),
    ],
)
def test_a_value_of_any_characters_arrives_as_it_is(ready: Path, target: str, name: str, argument: str) -> None:
    for done in (make(ready, target, f"{name}={AWKWARD}"), make(ready, target, **{name: AWKWARD})):
        assert (done.returncode, done.stderr) == (0, "")
        assert argument.format(AWKWARD) in done.stdout.splitlines()


def test_values_that_are_lists_arrive_one_by_one(ready: Path) -> None:
    assert make(ready, "bench", "ONLY=routes a'b").stdout.splitlines()[2:4] == ["--only=routes", "--only=a'b"]
    assert make(ready, "test-dates", "DAYS=1 a'b").stdout.count(" days from now") == 2


def test_what_was_not_asked_for_is_not_handed_on(ready: Path) -> None:
    assert make(ready, "doctor").stdout.splitlines()[:3] == ["-m", "local", "doctor"]
    assert "--stage" not in make(ready, "doctor").stdout + make(ready, "smoke").stdout
    assert "STAGE=dev" in make(ready, "synth").stdout


@pytest.mark.parametrize("blank", ["", " ", " \t "])
def test_a_blank_prompt_is_refused_before_anything_is_installed(checkout: Path, blank: str) -> None:
    for done in (make(checkout, "demo", f"PROMPT={blank}"), make(checkout, "demo", PROMPT=blank)):
        assert done.returncode == 2
        assert done.stderr.startswith("PROMPT is blank; describe a picture, such as make demo PROMPT=")
        assert not done.stdout


def test_without_a_prompt_the_demo_has_its_own(ready: Path) -> None:
    assert make(ready, "demo").stdout.startswith("-m\nlocal\ndemo\n")


def test_clean_needs_no_packages_where_nothing_runs(checkout: Path) -> None:
    """As after an installation that was interrupted: there is a Python without packages."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/false")
    (checkout / ".local" / "tmp").mkdir(parents=True)
    done = make(checkout, "clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".local").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "local", "--directory", str(tmp_path), "status"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Failed: [Errno 28] No space left on device.\n")
