"""However commands end, and however many there are at once: nothing is left, and none disturbs another."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local import cloud
from local.cloud.state import State
from local.paths import ROOT

# What a demo prints as it comes to each phase. The first one that comes to its work has synthesized
# the stack for the others.
PHASES = {
    "working": "is submitted",
    "starting": "the emulator listens",
    "synthesizing": "synthesizing the stack",
    "deploying": "the stack is ",
}


class Command:
    """`python -m local` in a session of its own, as a terminal starts it."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self._log = directory / f"{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "local", "--directory", str(directory), *arguments]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "SIMULATOR_LATENCY": "1", **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What runs the tests may have had it ignored, as nohup does.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    @property
    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def until(self, text: str) -> None:
        """Wait for a line."""
        wait(lambda: text in self.printed or self.process.poll() is not None, 90)
        assert text in self.printed, self.printed

    def end(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(120)


def wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


def left(directory: Path) -> list[str]:
    """The processes that belong to a cloud, by their command lines or where they run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(directory) in text for text in (*process.cmdline(), process.cwd())):
                found.append(" ".join(process.cmdline()))
    return found


def addresses(running: cloud.Cloud) -> tuple[str, str, str]:
    return running.endpoints["simulator"], running.endpoints["api"], running.endpoints["page"]


@pytest.fixture(scope="module")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cache of the first cloud is kept that was synthesized: the next ones need not be."""
    return tmp_path_factory.mktemp("synthesized") / "cache"


@pytest.fixture
def empty_directory(tmp_path: Path, synthesized: Path) -> Iterator[Path]:
    """A folder for a cloud; what a failed test leaves of it ends with the test."""
    folder = tmp_path / "cloud"
    folder.mkdir()
    yield folder
    cloud.stop(folder)
    if (folder / "cache" / "ports.json").exists() and not synthesized.exists():
        shutil.copytree(folder / "cache", synthesized)


@pytest.fixture
def directory(empty_directory: Path, synthesized: Path) -> Path:
    """Likewise, with what an earlier cloud was made from."""
    if synthesized.exists():
        shutil.copytree(synthesized, empty_directory / "cache")
    return empty_directory


@pytest.fixture
def directory_in(phase: str, request: pytest.FixtureRequest) -> Path:
    """A folder for a demo that is to end in a phase; only in that of synthesizing must there be nothing yet."""
    folder: Path = request.getfixturevalue("empty_directory" if phase == "synthesizing" else "directory")
    return folder


def demo(directory: Path, **variables: str) -> Command:
    return Command(directory, "demo", "--out", str(directory / "out"), **variables)


@pytest.mark.parametrize("phase", PHASES)
def test_a_closed_terminal_ends_all_that_a_demo_started(directory_in: Path, phase: str) -> None:
    directory = directory_in
    command = demo(directory)
    command.until(PHASES[phase])
    # As the kernel sends it when a terminal is closed.
    os.killpg(command.process.pid, signal.SIGHUP)
    assert command.end() == 128 + signal.SIGHUP
    wait(lambda: not left(directory), 10)
    assert left(directory) == []
    assert not (directory / "run").exists()
    assert "Traceback" not in command.printed


@pytest.mark.parametrize("phase", PHASES)
def test_the_servers_of_a_killed_demo_end_on_their_own(directory_in: Path, phase: str) -> None:
    directory = directory_in
    command = demo(directory)
    command.until(PHASES[phase])
    command.process.kill()
    command.end()
    wait(lambda: not left(directory), 30)
    assert left(directory) == []
    status = Command(directory, "status")
    assert status.end() == 1
    assert status.printed == "Nothing is running; `make up` starts the cloud.\n"


def test_of_two_demos_at_once_the_last_one_stops_the_cloud(directory: Path) -> None:
    first = demo(directory)
    first.until("listens")
    # This one ends later.
    second = demo(directory)
    second.until("Waiting for")
    assert f"(process {first.process.pid}), which is starting this cloud." in second.printed
    other = demo(directory, SIMULATOR_FAULTS="recraftv4_1=refused")
    assert (other.end(), first.end(), second.end()) == (1, 0, 0), other.printed + first.printed + second.printed
    assert "which uses this cloud with another SIMULATOR_FAULTS. Wait until it has ended" in other.printed
    assert sorted("the cloud is stopped" in command.printed for command in (first, second)) == [False, True]
    assert "Traceback" not in first.printed + second.printed
    assert left(directory) == []


def test_a_cloud_that_runs_in_part_says_so_and_can_be_mended(directory: Path) -> None:
    up = Command(directory, "up")
    assert up.end() == 0, up.printed
    # A demo that comes and goes leaves the cloud of `up` alone.
    assert demo(directory).end() == 0
    simulator = State.load(directory / "state.json").simulator
    assert simulator
    process = simulator.process()
    assert process
    process.kill()
    wait(lambda: simulator.process() is None, 10)
    status = Command(directory, "status")
    assert status.end() == 1
    assert status.printed == (
        "The cloud runs only in part: the emulator runs, the simulator has ended, the page runs. "
        "`make up` starts what is missing; `make down` stops all of it.\n"
    )
    assert Command(directory, "up").end() == 0
    assert Command(directory, "status").end() == 0
    logs = Command(directory, "logs")
    logs.until("simulator: ")
    down = Command(directory, "down")
    assert (down.end(), down.printed) == (0, "The cloud is stopped.\n")
    assert logs.end() == 1
    assert logs.printed.splitlines()[-1].startswith("The cloud no longer responds; `make status` shows what runs.")
    assert "Traceback" not in logs.printed
    assert left(directory) == []


def test_the_next_cloud_of_a_folder_has_the_same_addresses_and_is_not_synthesized_again(directory: Path) -> None:
    first = cloud.start(directory)
    first.stop()
    lines: list[str] = []
    second = cloud.start(directory, progress=lines.append)
    second.stop()
    assert addresses(second) == addresses(first)
    assert "synthesizing the stack" not in lines
    # A port that somebody else has taken meanwhile is another one then.
    with socket.create_server(("127.0.0.1", int(first.endpoints["simulator"].rpartition(":")[2]))):
        third = cloud.start(directory, progress=lines.append)
        answer = third.request("POST", "/generate", {"prompt": "a lighthouse in fog"})
        third.stop()
    assert answer.status == 200
    assert third.endpoints["simulator"] != first.endpoints["simulator"]
    assert addresses(third)[1:] == addresses(first)[1:]
    assert "synthesizing the stack" in lines
