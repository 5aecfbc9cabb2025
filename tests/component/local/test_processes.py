"""Processes are ended by their own id: one that has another's id since, or none of ours, lives on."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local import cdk, cloud
from local.cloud import servers, startup
from local.cloud.running import options_of
from local.cloud.startup import Start
from local.cloud.state import State
from local.emulator.access_key import AccessKey
from local.lease import Lease
from local.options import Options
from local.paths import ROOT
from local.processes import Server, end, printed_last, running_from, started_with, with_children

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", flush=True)
time.sleep(60)
"""


def _launch(folder: Path, code: str = "import time; print('ready', flush=True); time.sleep(60)") -> Server:
    log = folder / "log"
    server = Server.launch([sys.executable, "-c", code], 0, environment={}, folder=folder, log=log)
    until = time.monotonic() + 10
    while "ready" not in log.read_text():
        assert time.monotonic() < until, "the process did not begin"
        time.sleep(0.01)
    return server


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_running_process_is_found_and_ended_with_its_children(tmp_path: Path) -> None:
    server = _launch(tmp_path, PARENT)
    process = server.process()
    assert process
    family = with_children(process)
    assert len(family) == 2
    end(family)
    assert server.process() is None
    assert not any(psutil.pid_exists(member.pid) and member.status() != "zombie" for member in family[1:])


def test_one_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    server = _launch(tmp_path, STUBBORN)
    process = server.process()
    assert process
    end([process], patience=0.3)
    assert server.process() is None


def test_two_signals_at_once_end_a_command_in_peace() -> None:
    """A terminal that closes sends the one, and whatever had started the command the other."""
    code = """
import sys, time
from local import processes
processes.end_on_signals()
try:
    print("up", flush=True)
    time.sleep(60)
finally:
    time.sleep(0.2)
    print("clean", flush=True)
"""
    run = [sys.executable, "-c", "import signal; signal.signal(1, signal.SIG_DFL)\n" + code]
    with subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
        printed, errors = process.communicate(timeout=20)
    assert (printed, errors) == ("clean\n", "")
    assert process.returncode in (128 + signal.SIGHUP, 128 + signal.SIGTERM)


def test_the_end_of_a_log_says_how_full_its_disk_is_where_it_is_empty(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n\ntwo\nthree\n")
    assert printed_last(log, 2) == "    two\n    three"
    log.write_text("\n")
    assert re.fullmatch(r"    \(nothing is printed; the disk has [\d,]+ MB free\)", printed_last(log, 2))
    assert printed_last(tmp_path / "none", 2) == printed_last(log, 2)


def test_a_reused_id_is_another_process(bystander: subprocess.Popen[bytes]) -> None:
    created = psutil.Process(bystander.pid).create_time()
    assert Server(bystander.pid, created, 0).process()
    assert Server(bystander.pid, created - 60, 0).process() is None


def test_an_ended_process_is_gone(tmp_path: Path) -> None:
    server = Server.launch([sys.executable, "-c", ""], 0, environment={}, folder=tmp_path, log=tmp_path / "log")
    until = time.monotonic() + 10
    while server.process():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_orphans_are_found_by_the_folder_of_their_script(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    script = tmp_path / "run" / "tmp" / "worker.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; print('up', flush=True); time.sleep(60)")
    orphan = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    try:
        # A moment after its start a process has no command line yet.
        assert orphan.stdout and orphan.stdout.readline()
        assert [process.pid for process in running_from(tmp_path / "run")] == [orphan.pid]
        assert running_from(tmp_path / "other") == []
    finally:
        orphan.kill()
        orphan.communicate()


def test_stopping_leaves_a_process_alone_that_only_has_the_old_id(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    created = psutil.Process(bystander.pid).create_time()
    stale = Server(bystander.pid, created - 3600, 8080)
    State(emulator=stale, simulator=replace(stale, port=8081)).save(tmp_path / "state.json")
    (tmp_path / "endpoints.json").write_text("{}")
    (tmp_path / "run").mkdir()

    assert cloud.find(tmp_path) is None
    assert cloud.stop(tmp_path) is False
    assert bystander.poll() is None
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "endpoints.json").exists()


def test_nothing_runs_in_an_empty_folder_or_one_with_a_broken_state(tmp_path: Path) -> None:
    assert cloud.find(tmp_path / "nowhere") is None
    assert cloud.stop(tmp_path / "nowhere") is False
    (tmp_path / "state.json").write_text('{"emulator": {"pid": "none"')
    assert cloud.find(tmp_path) is None
    assert cloud.stop(tmp_path) is False


def test_a_server_is_found_by_its_arguments_without_any_state(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, "--cloud", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        assert [process.pid for process in started_with("--cloud", str(tmp_path))] == [server.pid]
        assert started_with("--cloud", str(tmp_path / "other")) == []
        (tmp_path / "state.json").write_text("garbage")
        assert "runs only in part" in cloud.describe(tmp_path)
        assert cloud.stop(tmp_path)
    assert cloud.describe(tmp_path) == "Nothing is running; `make up` starts the cloud."


def test_what_a_server_starts_while_it_is_ended_ends_too(tmp_path: Path) -> None:
    """As the emulator, where a job begins at that moment, starts the workers of its functions."""
    worker = tmp_path / "run" / "worker.py"
    worker.parent.mkdir()
    worker.write_text("import time; print('up', flush=True); time.sleep(60)")
    code = f"""
import signal, subprocess, sys, time
def end(*_):
    subprocess.Popen([sys.executable, {str(worker)!r}], stdout=subprocess.PIPE).stdout.readline()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, "--cloud", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        assert cloud.stop(tmp_path)
    assert running_from(worker.parent) == []


def test_the_state_of_a_folder_that_was_copied_says_nothing(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    server = Server(bystander.pid, psutil.Process(bystander.pid).create_time(), 0)
    State(simulator=server, options={"latency": "2"}).save(first / "state.json")
    shutil.copytree(first, copy)
    assert options_of(first).latency == "2"
    assert options_of(copy).latency == ""
    assert cloud.stop(copy) is False
    assert bystander.poll() is None


def test_a_cloud_that_has_ended_says_nothing_of_the_options_of_the_next(tmp_path: Path) -> None:
    State(simulator=Server(2**22, 0.0, 0), options={"latency": "2"}).save(tmp_path / "state.json")
    assert options_of(tmp_path).latency == ""


@pytest.mark.parametrize("content", ["[1]", '"a"', '{"page": "1"}', '{"page": 99999}', '{"page": -3}', "{"])
def test_a_broken_list_of_ports_counts_as_none(tmp_path: Path, content: str) -> None:
    start = Start(tmp_path, Options(), Lease(tmp_path), print)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ports.json").write_text(content)
    assert start.usual_port("page") == 0


def test_a_port_that_another_takes_meanwhile_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(tmp_path, Options(), Lease(tmp_path), print)
    for folder in ("cache", "logs", "run"):
        (tmp_path / folder).mkdir()
    answers = [True]
    is_free = servers.is_free
    monkeypatch.setattr(startup, "is_free", lambda port: answers.pop() if answers else is_free(port))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "cache" / "ports.json").write_text(f'{{"page": {port}}}')
        try:
            server = start.serve("page", ["--api", "http://127.0.0.1:1"], "sources")
            assert server.port not in (0, port)
        finally:
            cloud.stop(tmp_path)
    assert not answers


def test_what_was_synthesized_serves_only_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Synthesis:
        def __init__(self, output: Path, context: dict[str, str], **_: object) -> None:
            made.append(context["ipLimit"])
            output.mkdir()
            (output / "manifest.json").write_text("{}")

        def __enter__(self) -> "Synthesis":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self) -> None:
            pass

    monkeypatch.setattr(cdk, "synthesize", Synthesis)
    start = Start(tmp_path, Options(), Lease(tmp_path), lambda text: None)
    (tmp_path / "cache").mkdir()
    assembly = start.synthesized({"ipLimit": "1"})
    start.synthesized({"ipLimit": "1"})
    assert made == ["1"]
    start.synthesized({"ipLimit": "2"})
    (assembly / "manifest.json").unlink()
    start.synthesized({"ipLimit": "2"})
    assert made == ["1", "2", "2"]


ENDPOINTS = dict.fromkeys(cloud.Endpoints.__required_keys__, "x")


def running_cloud(folder: Path, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cloud of a folder look as if it ran: each of its servers is this process, and answers."""
    one = Server(server.pid, psutil.Process(server.pid).create_time(), 1)
    State(emulator=one, simulator=one, page=one).save(folder / "state.json")
    (folder / "endpoints.json").write_text(json.dumps(ENDPOINTS))
    AccessKey.random().save(folder)
    monkeypatch.setattr("local.cloud.state.responds", lambda server, *_: server is not None)


def test_a_cloud_that_is_whole_is_found(
    tmp_path: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    running_cloud(tmp_path, bystander, monkeypatch)
    assert cloud.find(tmp_path)


@pytest.mark.parametrize("key", [None, "", "[]", "{}", "5", '{"id": 1, "secret": "s"}', '{"id": "i"}', "{"])
def test_a_cloud_without_its_access_key_is_replaced(
    tmp_path: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    running_cloud(tmp_path, bystander, monkeypatch)
    if key is None:
        (tmp_path / "access-key.json").unlink()
    else:
        (tmp_path / "access-key.json").write_text(key)
    assert cloud.find(tmp_path) is None
    assert "`make up` replaces it" in cloud.describe(tmp_path)


def test_the_cloud_of_an_earlier_version_is_replaced(
    tmp_path: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    running_cloud(tmp_path, bystander, monkeypatch)
    (tmp_path / "endpoints.json").write_text(json.dumps({n: v for n, v in ENDPOINTS.items() if n != "shellFile"}))
    assert cloud.find(tmp_path) is None
    assert "`make up` replaces it" in cloud.describe(tmp_path)


def test_how_real_providers_are_reached_counts_only_while_there_are_some(
    tmp_path: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    running_cloud(tmp_path, bystander, monkeypatch)
    simulated, real = Options(), Options(keys={"OPENAI_API_KEY": "k"})
    first = Start(tmp_path, real, Lease(tmp_path), lambda text: None)
    state = State.load(tmp_path / "state.json")
    state.emulator_made_from, state.network = first.emulator_made_from, first.network
    assert first.is_current(state)
    # Its jobs and images stay when the keys go.
    assert Start(tmp_path, simulated, Lease(tmp_path), lambda text: None).is_current(state)
    state.network = "another proxy"
    assert not Start(tmp_path, real, Lease(tmp_path), lambda text: None).is_current(state)
