"""Runs the generate entry point in this process and measures it; started by ``benchmarks.images``.

Takes ``{"provider_url", "path", "warm": event, "events": […]}`` from standard input. Prints, by event,
the seconds of wall clock and processor, and by how many bytes the process grew at its peak; the same for a floor that
only reads the answer, decodes it and stores the bytes twice.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import http.client
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import generate
from benchmarks.counted import own_output
from pixelprompt import aws
from pixelprompt.settings import Settings

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Warm up, then measure each event."""
    asked = json.load(sys.stdin)
    out = own_output()
    context = SimpleNamespace(function_name="generate", get_remaining_time_in_millis=lambda: 200_000)

    def handle(event: dict[str, Any]) -> None:
        outcome = generate.handler(event, context)
        assert outcome["state"] == "done", outcome

    handle(asked["warm"])
    found = {
        "generate": [_measured(partial(handle, event)) for event in asked["events"]],
        "floor": [_measured(lambda: _floor(asked)) for _ in asked["events"]],
    }
    json.dump(found, out)


def _measured(action: Callable[[], None]) -> dict[str, float]:
    gc.collect()
    # Peaks count from here on, and what was freed before is given back.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    wall, processor = time.perf_counter(), time.process_time()
    action()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": wall, "processor": processor, "peak": (_kilobytes("VmHWM") - before) * 1024}


def _kilobytes(name: str) -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


def _floor(asked: dict[str, Any]) -> None:
    address = urlsplit(asked["provider_url"])
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.request("POST", "/", b"{}")
    value = json.loads(connection.getresponse().read())
    for step in asked["path"]:
        value = value[step]
    data = base64.b64decode(value)
    bucket = Settings.from_environment().bucket_name
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="floor.json", Body=json.dumps({"output": value}).encode())
    s3.put_object(Bucket=bucket, Key="floor.png", Body=data)


if __name__ == "__main__":
    main()
