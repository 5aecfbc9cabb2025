"""Leases on a cloud: each command holds one while it uses the cloud, which ends with the last lease.

A lease is a locked file. The kernel unlocks it with the process that holds it, however that ends, so the servers of a
cloud, which watch the leases, do not outlive a command that was killed. A cloud that is to be kept has a file that says
so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from pathlib import Path

from local import lock

# Seconds that a server has to end on its own.
_PATIENCE = 5.0
# Seconds between two looks at a cloud that is kept.
_PAUSE = 1.0


class Lease:
    """The use of a cloud by this process. Leases are acquired, counted and released with the cloud locked.

    Attributes
    ----------
    others : who else uses the cloud
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.others = _holders(directory)
        self._path = _folder(directory) / uuid.uuid4().hex
        self._held = contextlib.ExitStack()
        self._held.enter_context(lock.held(str(self._path), "uses this cloud"))

    def end(self) -> bool:
        """Give the lease back; whether it was the last one of a cloud that is not kept."""
        self._path.unlink(missing_ok=True)
        self._held.close()
        return not is_kept(self._directory) and not _holders(self._directory)


def locked(directory: Path, doing: str, name: str = "") -> contextlib.AbstractContextManager[int]:
    """Only one command at a time changes the cloud of a folder; `doing` and `name` as in `lock.held`."""
    return lock.held(str(directory / "lock"), doing, name)


def keep(directory: Path) -> None:
    """Have the cloud of a folder outlive the commands that use it."""
    (directory / "kept").touch()


def is_kept(directory: Path) -> bool:
    """Whether the cloud of a folder outlives the commands that use it."""
    return (directory / "kept").exists()


def forget(directory: Path) -> None:
    """The cloud of a folder is to be kept no longer."""
    (directory / "kept").unlink(missing_ok=True)


def watch(directory: Path) -> None:
    """End this process, a server that leads its process group, once nothing uses the cloud of a folder."""
    threading.Thread(target=_watch, args=(directory,), daemon=True).start()


def _watch(directory: Path) -> None:
    # The folder may be removed while the cloud runs. If that happens within ``mkdir``, Python says that it exists.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        while True:
            # No event signals that the folder of a cloud that is kept is removed.
            while is_kept(directory):
                time.sleep(_PAUSE)
            for path in _folder(directory).iterdir():
                lock.wait(str(path))
            # A command that comes now waits until this server has ended, and starts another one.
            with locked(directory, "is stopping this cloud", "a server whose command was killed"):
                if not is_kept(directory) and not _holders(directory):
                    _end()
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _holders(directory: Path) -> list[str]:
    """The holders of leases; leases of processes that have ended are removed."""
    found = {path: lock.holder(str(path)) for path in _folder(directory).iterdir()}
    for path, holder in found.items():
        if not holder:
            path.unlink(missing_ok=True)
    return [holder for holder in found.values() if holder]


def _folder(directory: Path) -> Path:
    folder = directory / "leases"
    folder.mkdir(exist_ok=True)
    return folder
