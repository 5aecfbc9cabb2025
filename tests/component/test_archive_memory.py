"""The peak memory of a function in an archive, as the benchmarks read it."""

import subprocess
import sys

from benchmarks import archive

MEGABYTE = 1024 * 1024
STARTED = "import json, runpy, sys; print(runpy.run_path(sys.argv[1])['_peak']())"
# As on a system without /proc.
WITHOUT_PROC = f"import pathlib; pathlib.Path.exists = lambda self: False; {STARTED}"


def peak(code: str) -> float:
    """The peak of a fresh interpreter, in megabytes."""
    command = [sys.executable, "-c", code, str(archive.PROGRAM)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(result.stdout) / MEGABYTE


def test_the_peak_is_that_of_the_process_alone() -> None:
    ballast = bytearray(200 * MEGABYTE)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert 5 < peak(STARTED) < 100


def test_a_system_without_proc_has_a_peak_too() -> None:
    assert peak(WITHOUT_PROC) > 5
