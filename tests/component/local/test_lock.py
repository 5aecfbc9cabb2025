"""Locks between commands, and leases on a cloud: waiting says for whom, and a killed process holds nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import lease, lock
from local.lease import Lease

ROOT = Path(lock.__file__).parents[1]
HOLD = """
import sys, time
from local import lock
with lock.held(sys.argv[1], "is making tea"):
    print("held", flush=True)
    time.sleep(60)
"""
LEASE = """
import sys, time
from pathlib import Path
from local.lease import Lease
Lease(Path(sys.argv[1]))
held = Lease(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
SERVER = """
import sys, time
from pathlib import Path
from local import lease
lease.watch(Path(sys.argv[1]))
print("watching", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def running(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A Python process of its own group, once it has printed its first line; it is killed at the end of the block."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MAKECMDGOALS": "demo"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    try:
        assert process.stdout and process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def ended(process: "subprocess.Popen[str]", seconds: float = 10) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def test_who_waits_is_told_for_whom_and_goes_on_when_the_other_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "lock")
    with running(HOLD, path) as other:
        told = f"`make demo` (process {other.pid}), which is making tea"
        assert lock.holder(path) == told
        waiting = f"from local import lock\nwith lock.held({path!r}, 'waits'): print('mine')"
        with subprocess.Popen(
            [sys.executable, "-c", waiting], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as waiter:
            assert waiter.stderr and waiter.stderr.readline() == f"Waiting for {told}.\n"
            other.send_signal(signal.SIGKILL)
            assert waiter.communicate(timeout=20) == ("mine\n", "")
    assert lock.holder(path) == ""


def test_a_lock_that_is_free_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with lock.held(str(tmp_path / "lock"), "is here"):
        assert "which is here" in lock.holder(str(tmp_path / "lock"))
    assert lock.holder(str(tmp_path / "lock")) == lock.holder(str(tmp_path / "missing")) == ""
    assert capfd.readouterr().err == ""


def test_who_waited_for_a_lock_that_is_removed_holds_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    path.parent.mkdir()
    with contextlib.ExitStack() as commands:
        with lock.held(str(path), "is removing what make has made"):
            command = [sys.executable, "-c", HOLD, str(path)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            waiting = commands.enter_context(
                subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
            commands.callback(waiting.kill)
            assert waiting.stdout and waiting.stderr
            assert waiting.stderr.readline().startswith("Waiting for ")
            path.unlink()
            path.parent.rmdir()
        assert waiting.stdout.readline() == "held\n"
        assert "is making tea" in lock.holder(str(path))


def test_who_inherits_a_lock_holds_it_after_its_parent(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with lock.held(path, "is here") as descriptor:
        heir = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    try:
        assert lock.holder(path)
    finally:
        heir.kill()
        heir.wait()
    assert not lock.holder(path)


def test_a_command_may_hold_any_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    code = f"from local import lock\nwith lock.held({path!r}, 'is here'): print(ascii(lock.holder({path!r})))"
    # What make exports comes in as the bytes that were typed.
    environment = {**os.environb, b"PYTHONPATH": os.fsencode(ROOT), b"MAKECMDGOALS": b"demo \xe9"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stderr, "make demo" in done.stdout) == ("", True)


def test_the_last_lease_is_the_one_that_ends_last(tmp_path: Path) -> None:
    first = Lease(tmp_path)
    second = Lease(tmp_path)
    assert first.others == []
    assert [str(os.getpid()) in other for other in second.others] == [True]
    assert not first.end()
    assert second.end()
    assert [*(tmp_path / "leases").iterdir()] == []


def test_a_killed_command_has_no_lease(tmp_path: Path) -> None:
    with running(LEASE, tmp_path) as other:
        assert len(Lease(tmp_path).others) == 1
        other.kill()
        other.wait()
        assert Lease(tmp_path).end()


def test_a_cloud_that_is_kept_outlives_its_last_lease(tmp_path: Path) -> None:
    used = Lease(tmp_path)
    lease.keep(tmp_path)
    assert not used.end()
    lease.forget(tmp_path)
    assert Lease(tmp_path).end()


def test_a_server_ends_with_the_last_command_that_uses_its_cloud(tmp_path: Path) -> None:
    used = Lease(tmp_path)
    with running(LEASE, tmp_path) as other, running(SERVER, tmp_path) as server:
        used.end()
        assert not ended(server, 0.5)
        other.kill()
        assert ended(server)


def test_a_server_of_a_cloud_that_is_kept_stays(tmp_path: Path) -> None:
    with running(LEASE, tmp_path) as other, running(SERVER, tmp_path) as server:
        lease.keep(tmp_path)
        other.kill()
        assert not ended(server, 0.5)
        lease.forget(tmp_path)
        assert ended(server)


@pytest.mark.parametrize("kept", [False, True])
def test_a_server_ends_whose_folder_is_gone(tmp_path: Path, kept: bool) -> None:
    folder = tmp_path / "cloud"
    folder.mkdir()
    if kept:
        lease.keep(folder)
    with running(LEASE, folder) as other, running(SERVER, folder) as server:
        folder.rename(tmp_path / "elsewhere")
        other.kill()
        assert ended(server)


def test_a_server_ends_where_its_folder_of_leases_cannot_be(tmp_path: Path) -> None:
    """What ``mkdir`` raises here, it raises as well for a folder that is removed at that very moment."""
    folder = tmp_path / "cloud"
    folder.mkdir()
    with running(LEASE, folder) as other, running(SERVER, folder) as server:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        (folder / "leases").write_text("")
        other.kill()
        assert ended(server)


def test_who_comes_while_a_server_is_ending_waits_for_its_end(tmp_path: Path) -> None:
    stubborn = SERVER.replace("import sys, time", "import signal, sys, time; signal.signal(15, signal.SIG_IGN)")
    with running(LEASE, tmp_path) as other, running(stubborn, tmp_path) as server:
        other.kill()
        until = time.monotonic() + 10
        while not lock.holder(str(tmp_path / "lock")) and time.monotonic() < until:
            time.sleep(0.02)
        with lease.locked(tmp_path, "is starting this cloud"):
            assert server.poll() is not None or ended(server, 1)
