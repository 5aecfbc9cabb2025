"""Setting a checkout up: what is too old is said, and what is ready is left alone."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local import prepare
from local.paths import ROOT
from local.progress import Progress


def test_a_python_that_is_too_old_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 6, "final", 0))
    with pytest.raises(prepare.PreparationError, match=r"Python 3\.9\.6 .*3\.11 or newer.*PYTHON=python3\.12"):
        prepare.make_venv(Progress())


def test_a_python_without_venv_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(prepare.PreparationError, match=r"lacks venv.*apt install python3\.\d+-venv.*PYTHON="):
        prepare.make_venv(Progress())


def test_the_stamp_follows_contents_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("1")
    Path("b.txt").write_text("2")
    first = prepare.checksum(["a.txt", "b.txt"])
    assert not prepare.stamped("stamp", first)
    prepare.write("stamp", first)
    assert prepare.stamped("stamp", first)
    assert prepare.checksum(["b.txt", "a.txt"]) != first
    Path("b.txt").write_text("3")
    assert not prepare.stamped("stamp", prepare.checksum(["a.txt", "b.txt"]))


def test_a_checkout_that_is_ready_runs_no_installer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "stamped", lambda stamp, wanted: True)
    monkeypatch.setattr(prepare, "works", lambda python: True)
    monkeypatch.setattr(prepare, "run", lambda *arguments: pytest.fail("something was installed"))
    assert prepare.main(["python", "node"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_installer_ends_at_once_and_shows_no_traceback(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "pid"
    installer = f"import os, time; open({str(mark)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(60)"
    script = f"""
import signal, sys
from local import prepare
# What runs the tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
prepare.is_ready = lambda parts: False
prepare.prepare_python = lambda progress: prepare.run([sys.executable, "-c", {installer!r}], "No", {{}})
sys.exit(prepare.main(["python"]))
"""
    # As from a terminal, the signal goes to the whole group.
    run = [sys.executable, "-c", script]
    # In a folder of its own, whose lock no other command holds.
    (tmp_path / ".local").mkdir()
    with subprocess.Popen(
        run,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until = time.monotonic() + 20
        while not (mark.exists() and mark.read_text().endswith(" ")) and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "Interrupted; the same command continues where this one stopped.\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_an_installation_that_fails_is_not_ready_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed before has changed in part, and would else count as what it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements.txt").write_text("uv==0.0.1\n")
    monkeypatch.setattr(prepare, "PYTHON_INPUTS", ["requirements.txt"])
    prepare.write(prepare.PYTHON_STAMP, "another")
    monkeypatch.setattr(prepare, "works", lambda python: True)

    def fail(*_: object) -> None:
        raise prepare.PreparationError("no")

    monkeypatch.setattr(prepare, "run", fail)
    with pytest.raises(prepare.PreparationError):
        prepare.prepare_python(Progress())
    assert not Path(prepare.PYTHON_STAMP).exists()


def test_a_python_whose_packages_are_of_another_version_is_made_anew(tmp_path: Path) -> None:
    """As after an upgrade of the system's Python, which that in `.venv` is a link to."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
    assert not prepare.works(str(python))
    (tmp_path / "lib" / "python{}.{}".format(*sys.version_info)).mkdir(parents=True)
    assert prepare.works(str(python))


def test_an_interruption_ends_what_fetches_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "pid"
    python = tmp_path / "python"
    path, draft = shlex.quote(str(started)), shlex.quote(f"{started}.new")
    python.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {draft}; mv {draft} {path}; wait\n")
    python.chmod(0o755)
    monkeypatch.setattr(prepare, "PYTHON", str(python))
    with pytest.raises(KeyboardInterrupt), prepare.fetching_archives():
        until = time.monotonic() + 20
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.02)
        raise KeyboardInterrupt
    with contextlib.suppress(psutil.NoSuchProcess):
        sleeping = psutil.Process(int(started.read_text()))
        # Who is killed needs a moment to be gone, and may stay as a zombie where nobody takes its exit code.
        while time.monotonic() < until and sleeping.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
        assert sleeping.status() == psutil.STATUS_ZOMBIE


def test_pip_installs_into_the_environment_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("uv==0.0.1\n")
    monkeypatch.setattr(prepare, "PYTHON_INPUTS", ["requirements.txt"])
    monkeypatch.setattr(prepare, "works", lambda python: True)

    def refuse(command: list[str], failure: str, environment: dict[str, str]) -> None:
        given.append(environment)
        raise prepare.PreparationError("no")

    monkeypatch.setattr(prepare, "run", refuse)
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")
    with pytest.raises(prepare.PreparationError):
        prepare.prepare_python(Progress())
    assert not given[0].keys() & {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    assert given[0]["PIP_INDEX_URL"] == "https://example.org/simple"


def test_the_cache_of_the_cdk_is_full_before_two_processes_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSII_RUNTIME_PACKAGE_CACHE_ROOT", str(tmp_path))
    prepare.unpack_cdk()
    unpacked = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob(".jsii-runtime-package-cache")}
    assert unpacked >= {"aws-cdk-lib", "cdk-nag", "constructs"}


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("NewConnectionError('Temporary failure in name resolution')", "because the network cannot be reached"),
        ("npm error code EAI_AGAIN", "because the network cannot be reached"),
        ("error: disk full", "    error: disk full\n  Fix that"),
    ],
)
def test_a_failed_installer_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", f"import sys; sys.exit({printed!r})"]
    with pytest.raises(prepare.PreparationError) as caught:
        prepare.run(command, "The packages could not be installed", {})
    assert sentence in str(caught.value)
    assert (tmp_path / ".local" / "logs" / "prepare.log").read_text().strip() == printed


def test_help_lists_every_target() -> None:
    root = Path(prepare.__file__).parent.parent
    make = ["make", "--no-print-directory"]
    listed = subprocess.run([*make, "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    targets = "demo up down logs status test test-unit test-integration check synth clean help"
    for target in targets.split():
        assert f"  make {target} " in listed
    assert subprocess.run(make, cwd=root, capture_output=True, text=True, check=True).stdout == listed
