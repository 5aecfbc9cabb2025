"""One command at a time: a lock on a file, which says who holds it and ends with the holder's process.

`local.prepare` runs this under whatever `python3` there is, hence the old-fashioned syntax.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from typing import TextIO

# Characters of a command that are shown.
_WIDTH = 60


@contextlib.contextmanager
def held(path: str, doing: str, name: str = "") -> "Iterator[int]":
    """Hold the lock on a file, which is made where it is missing; wait for another command, and say for which.

    A process that inherits the file descriptor, which the block gets, holds the lock as well.

    Parameters
    ----------
    doing : the message about this command for one that waits, such as ``is installing packages``
    name : the name of the holder; without one, the command as it was typed
    """
    while True:
        with open(path, "a+", encoding="utf-8", errors="surrogateescape") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print(f"Waiting for {_said(file)}.", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file):
                # The last holder has removed it, perhaps with the folder.
                os.makedirs(os.path.dirname(path), exist_ok=True)
                continue
            file.truncate(0)
            file.write("{} (process {}), which {}".format(name or "`{}`".format(_command()), os.getpid(), doing))
            file.flush()
            yield file.fileno()
            return


def holder(path: str) -> str:
    """The holder of the lock on a file, and what it does; empty where the lock is free."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _said(file)
    return ""


def wait(path: str) -> None:
    """Wait until the lock on a file is free."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def _is_at(path: str, file: TextIO) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _said(file: TextIO) -> str:
    file.seek(0)
    return file.read() or "another command"


def _command() -> str:
    """The command as its user typed it."""
    # Makefile exports what make was asked for.
    goals = os.environ.get("MAKECMDGOALS")
    command = "make " + goals if goals else " ".join(["python", *getattr(sys, "orig_argv", sys.argv)[1:]])
    return command if len(command) <= _WIDTH else command[: _WIDTH - 3] + "..."
