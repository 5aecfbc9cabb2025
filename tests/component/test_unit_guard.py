"""What a unit test does that belongs into tests/component fails it, in a thread too, and where it is caught."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.paths import ROOT


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        ("pass", 1),
        ("asyncio.run(asyncio.sleep(0))", 1),
        ("subprocess.run(['true'])", 0),
        ("os.system('true')", 0),
        ("socket.create_connection(('127.0.0.1', 1))", 0),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 1))", 0),
        ("socket.create_server(('127.0.0.1', 0))", 0),
        ("socket.getaddrinfo('localhost', 'http')", 0),
        ("[t := threading.Thread(target=os.system, args=['true']), t.start(), t.join()]", 0),
        ("contextlib.suppress(RuntimeError).__class__; exec('try: os.system(str())\\nexcept RuntimeError: pass')", 0),
    ],
)
def test_a_unit_test_that_leaves_its_process_fails(tmp_path: Path, line: str, passed: int) -> None:
    shutil.copyfile(ROOT / "tests" / "unit" / "conftest.py", tmp_path / "conftest.py")
    source = f"import asyncio, contextlib, os, socket, subprocess, threading\n\n\ndef test_it():\n    {line}\n"
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == bool(passed), done.stdout + done.stderr
    assert ("1 passed" in done.stdout and "error" not in done.stdout) == bool(passed)
