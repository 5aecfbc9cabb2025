"""Processes that outlive the command that started them, and are ended by their own id and no other's."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

# What a clock that is set while a process runs may shift its start time by, in seconds.
_CLOCK_TOLERANCE = 2.0


@dataclass(frozen=True)
class Server:
    """A process with its port.

    Attributes
    ----------
    created : when the process began, in epoch seconds: a later process with the same id is another one
    """

    pid: int
    created: float
    port: int

    @classmethod
    def launch(
        cls,
        command: Sequence[str],
        port: int,
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        listener: socket.socket | None = None,
    ) -> Server:
        """Start a process in a session of its own, so that Ctrl-C at the terminal does not reach it.

        It inherits ``listener``, if any, under the same file descriptor.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(listener.fileno(),) if listener else (),
            )
        # Where this process lives on, it must collect its child's exit code.
        threading.Thread(target=process.wait, daemon=True).start()
        try:
            return cls(process.pid, psutil.Process(process.pid).create_time(), port)
        except psutil.NoSuchProcess:
            return cls(process.pid, 0.0, port)

    def process(self) -> psutil.Process | None:
        """The process while it runs; None once it has ended, even if another one has its id now."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.created) > _CLOCK_TOLERANCE:
                return None
        except psutil.Error:
            return None
        return process


def printed_last(log: Path, lines: int) -> str:
    """The last lines of a log, indented; where it is empty, how much of its disk is free."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    found = [line for line in text.splitlines() if line.strip()][-lines:]
    if not found:
        found = [f"(nothing is printed; the disk has {shutil.disk_usage(log.parent).free / 1e6:,.0f} MB free)"]
    return "\n".join(f"    {line}" for line in found)


def write_port(path: Path, port: int) -> None:
    """Write the port at which requests are accepted to a file, atomically."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(f"{port}\n", encoding="ascii")
    draft.replace(path)


def with_children(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that descend from it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def running_from(folder: Path) -> list[psutil.Process]:
    """Processes whose program or script lies in the folder: workers that their dead parent left behind."""
    prefix = f"{folder}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(argument.startswith(prefix) for argument in process.cmdline()[:2]):
                found.append(process)
    return found


def started_with(*arguments: str) -> list[psutil.Process]:
    """Processes with all these arguments."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if set(arguments) <= set(process.cmdline()):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], patience: float = 10.0) -> None:
    """End processes: politely, and after `patience` seconds by force."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def end_on_signals() -> None:
    """Have SIGTERM, and the SIGHUP of a closed terminal, end this process as Ctrl-C does, with all that it started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup the end of the terminal is not meant for this process.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_by_signal)


def _end_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    # The end is not interrupted by the same signal again, which a closed terminal may send twice. SIG_IGN would have
    # Python complain of a signal that is here already.
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, lambda *_: None)
    raise SystemExit(128 + number)
