"""What make says and hands on, in a folder that holds little but the Makefile."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import lock
from local.paths import ROOT

VARIABLES = (
    "ADMIN", "API_URL", "BUCKET", "CDK", "DAILY", "DAYS", "EXPIRES", "FILE", "FROM", "JOB", "KEY_HOSTS", "MODELS",
    "MONTHLY", "NAME", "ONLY", "PATCH", "PROMPT", "PROPOSE", "RATE", "SAVE", "SECONDS", "STAGE", "WHEELS",
)  # fmt: skip
AWKWARD = 'a\'b "$HOME" `id` $(MAKE) #1'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "prepare.py").touch()
    return tmp_path


@pytest.fixture
def ready(checkout: Path) -> Path:
    """A checkout whose Python says what it is given, an argument a line."""
    folder = checkout / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder.parent / ".ready").touch()
    python = folder / "python"
    python.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" "PROMPT=$PROMPT" "CDK=$CDK" "STAGE=$STAGE" "KEY_HOSTS=$KEY_HOSTS"\n'
    )
    python.chmod(0o755)
    return checkout


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # These tests may themselves run under make, and as if on a later day.
    others = (*VARIABLES, "MAKEFLAGS", "DAYS_LATER")
    inherited = {name: value for name, value in os.environ.items() if name not in others}
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
        ("key", "NAME", "--name={}"),
        ("key", "DAILY", "--daily={}"),
        ("key", "MONTHLY", "--monthly={}"),
        ("key", "RATE", "--rate={}"),
        ("key", "MODELS", "--models={}"),
        ("key", "EXPIRES", "--expires={}"),
        ("key", "ADMIN", "--admin={}"),
        ("key", "STAGE", "--stage={}"),
        ("key-rotate", "NAME", "--name={}"),
        ("key-disable", "NAME", "--name={}"),
        ("key-list", "STAGE", "--stage={}"),
        ("doctor", "STAGE", "--stage={}"),
        ("models-check", "FILE", "{}"),
        ("models-refresh", "WHEELS", "--wheels={}"),
        ("models-refresh", "PATCH", "--patch={}"),
        ("models-refresh", "SAVE", "--save={}"),
        ("models-refresh", "PROPOSE", "--propose={}"),
        ("smoke", "API_URL", "--url={}"),
        ("smoke", "STAGE", "--stage={}"),
        ("synth", "STAGE", "--stage={}"),
        ("deploy", "STAGE", "--stage={}"),
        ("deploy", "CDK", "CDK={}"),
        ("demo", "PROMPT", "PROMPT={}"),
        ("up", "KEY_HOSTS", "KEY_HOSTS={}"),
    ],
)
def test_a_value_of_any_characters_arrives_as_it_is(ready: Path, target: str, name: str, argument: str) -> None:
    for done in (make(ready, target, f"{name}={AWKWARD}"), make(ready, target, **{name: AWKWARD})):
        assert (done.returncode, done.stderr) == (0, "")
        assert argument.format(AWKWARD) in done.stdout.splitlines()


def test_hosts_of_keys_arrive_as_the_json_that_they_are(ready: Path) -> None:
    hosts = '{"MY_KEY": ["my.example", "127.0.0.1:8080"]}'
    for done in (make(ready, "up", f"KEY_HOSTS={hosts}"), make(ready, "up", KEY_HOSTS=hosts)):
        assert f"KEY_HOSTS={hosts}" in done.stdout.splitlines()


def test_values_that_are_lists_arrive_one_by_one(ready: Path) -> None:
    assert make(ready, "bench", "ONLY=routes a'b").stdout.splitlines()[2:4] == ["--only=routes", "--only=a'b"]
    assert make(ready, "test-dates", "DAYS=1 2").stdout.count(" days from now") == 2


def test_what_was_not_asked_for_is_not_handed_on(ready: Path) -> None:
    assert make(ready, "doctor").stdout.splitlines()[:3] == ["-m", "local", "doctor"]
    assert "--stage" not in make(ready, "doctor").stdout + make(ready, "smoke").stdout
    assert "STAGE=dev" in make(ready, "synth").stdout
    assert make(ready, "models-refresh").stdout.splitlines()[2:4] == ["models-refresh", "PROMPT="]
    asked = make(ready, "models-refresh", "APPLY=1", "CHECK=1", "PROPOSE=1").stdout.splitlines()
    assert asked[3:7] == ["--apply", "--check", "--propose", "PROMPT="]


@pytest.mark.parametrize("blank", ["", " ", " \t "])
def test_a_blank_prompt_is_refused_before_anything_is_installed(checkout: Path, blank: str) -> None:
    for done in (make(checkout, "demo", f"PROMPT={blank}"), make(checkout, "demo", PROMPT=blank)):
        assert done.returncode == 2
        assert done.stderr.startswith("PROMPT is blank; describe an image, such as make demo PROMPT=")
        assert not done.stdout


def test_without_a_prompt_the_demo_has_its_own(ready: Path) -> None:
    assert make(ready, "demo").stdout.startswith("-m\nlocal\ndemo\n")


@pytest.fixture
def dirty(checkout: Path) -> Path:
    """A checkout after an installation that was interrupted: there is a Python without packages."""
    for folder in ("local", "infra"):
        shutil.copytree(ROOT / folder, checkout / folder, dirs_exist_ok=True)
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/false")
    (checkout / ".local" / "tmp").mkdir(parents=True)
    (checkout / "cdk.out").symlink_to(checkout / ".local")
    (checkout / "out").mkdir()
    return checkout


@pytest.mark.parametrize("half", [False, True])
def test_clean_needs_no_packages(dirty: Path, half: bool) -> None:
    if half:
        (dirty / ".local" / "state.json").write_text("{}")
    done = make(dirty, "clean", f"PYTHON={sys.executable}")
    why = "The cloud could not be stopped; its servers end once .local is gone.\n" if half else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, "Removed: .local, .venv, cdk.out.\n", why)
    assert sorted(path.name for path in dirty.iterdir()) == ["Makefile", "infra", "local", "out"]
    assert not [*dirty.rglob("__pycache__")]


def test_clean_waits_for_an_installation(dirty: Path) -> None:
    (dirty / ".local").mkdir(exist_ok=True)
    with lock.held(str(dirty / ".local" / "prepare.lock"), "is installing packages", "`make up`"):
        command = ["make", "--no-print-directory", "clean", f"PYTHON={sys.executable}"]
        waiting = subprocess.Popen(command, cwd=dirty, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr
        assert waiting.stderr.readline().startswith("Waiting for `make up` (process ")
        assert (dirty / ".venv").exists()
    printed, errors = waiting.communicate(timeout=20)
    assert (printed, errors, waiting.returncode) == ("Removed: .local, .venv, cdk.out.\n", "", 0)


def test_make_works_in_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    done = make(tmp_path, "-f", str(ROOT / "Makefile"), "clean")
    assert "Run make in the checkout: make -C folder" in done.stderr
    assert (tmp_path / ".local").is_dir()


def test_the_python_of_another_project_has_no_part_in_it(checkout: Path) -> None:
    python = checkout / "python"
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    variables = {"PYTHONPATH": "/other", "PYTHONHOME": "/other", "PYTHONSAFEPATH": "1"}
    done = make(checkout, "clean", f"PYTHON={python}", **variables)
    assert "TMPDIR=" in done.stdout
    assert not any(name in done.stdout for name in variables)


def test_days_are_numbers(ready: Path) -> None:
    done = make(ready, "test-dates", "DAYS=40 x")
    assert 'DAYS accepts numbers of days, such as DAYS="40 365".' in done.stderr
    for days in ("40 365", "x"):
        done = make(ready, "test", f"DAYS={days}")
        assert (done.returncode, done.stdout) == (2, "")
        assert "DAYS accepts one number of days here, such as DAYS=40." in done.stderr


def test_all_tests_run_each_once_on_the_day_that_was_asked_for(ready: Path) -> None:
    for folder in ("browser", "contract", "infra", "integration", "later", "security", "unit", "__pycache__"):
        (ready / "tests" / folder).mkdir(parents=True)
    (ready / ".venv" / "bin" / "python").write_text('#!/bin/sh\necho "$DAYS_LATER|$@"\n')
    emulator = "tests/browser/ tests/integration/ tests/security/"
    quick = "tests/unit/ tests/component/ tests/contract/ tests/infra/"
    for arguments, days in (((), ""), (("DAYS=40",), "40")):
        first, second = make(ready, "test", *arguments).stdout.splitlines()
        assert first.startswith("|") and first.endswith(f" {emulator}")
        assert second.startswith(f"{days}|") and second.endswith(f" {quick}")


@pytest.mark.parametrize("failing", ["tests/unit/", "tests/browser/"])
def test_a_half_that_fails_is_a_failure_and_stops_nothing(ready: Path, failing: str) -> None:
    for folder in ("browser", "unit"):
        (ready / "tests" / folder).mkdir(parents=True)
    (ready / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\necho "$@"\ncase "$*" in *{failing}*) exit 1;; esac\n')
    done = make(ready, "test")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2


def test_no_python_is_the_usual_one(checkout: Path) -> None:
    assert make(checkout, "-n", "clean", "PYTHON=").stdout.endswith('exec "python3" -m local.clean\n')


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_is_printed_on_a_closed_stream_goes_nowhere(tmp_path: Path, closed: str) -> None:
    command = f'"$0" -m local --directory "$1" status {closed}'
    run = ["sh", "-c", command, sys.executable, str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("module", ["local.prepare", "local"])
def test_a_checkout_that_may_not_be_changed_is_one_sentence(checkout: Path, module: str) -> None:
    """A file in the place of its folder stands for a checkout of somebody else, in which root may do anything."""
    for folder in ("local", "infra"):
        shutil.copytree(ROOT / folder, checkout / folder, dirs_exist_ok=True)
    (checkout / ".local").touch()
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    run = [sys.executable, "-m", module, *(["status"] if module == "local" else [])]
    done = subprocess.run(run, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"(Failed|This checkout cannot be made ready): \[Errno \d+\] .+\.\n", done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "local", "--directory", str(tmp_path), "status"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Failed: [Errno 28] No space left on device.\n")
