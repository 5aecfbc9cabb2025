"""Runs the generate entry point in this process and measures it; started by ``benchmarks.images``.

Reads ``{"provider_url", "path", "warm": event, "profiled": event, "events": […]}`` from standard input. Prints, by
event, the seconds of wall clock and processor, and by how many bytes the process grew at its peak; the same for a floor
that only reads the response, decodes it and stores the bytes twice; and the peaks of the steps of one more event.
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
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx2

import generate
from benchmarks.counted import own_output
from pixelprompt.providers.wire import image_bytes
from pixelprompt.settings import Settings
from pixelprompt.storage import clients
from pixelprompt.storage.image_format import image_format

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
        "steps": _steps(partial(handle, asked["profiled"])),
    }
    json.dump(found, out)


def _measured(action: Callable[[], None]) -> dict[str, float]:
    before = _begin()
    wall, processor = time.perf_counter(), time.process_time()
    action()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": wall, "processor": processor, "peak": (_kilobytes("VmHWM") - before) * 1024}


def _begin() -> int:
    """Give back what was freed and let peaks count from here on; the process's size now, in kilobytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _forget_peak()
    return _kilobytes("VmRSS")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _steps(action: Callable[[], None]) -> dict[str, int]:
    """The peak of each step of an event, in bytes by which the process grew."""
    peaks: dict[str, int] = {}
    before = 0

    def ends(step: str) -> None:
        peaks[step] = max(peaks.get(step, 0), (_kilobytes("VmHWM") - before) * 1024)
        _forget_peak()

    send, look = httpx2.Client.send, image_format

    def read(*arguments: Any, **options: Any) -> Any:
        answer = send(*arguments, **options)
        ends("read")
        return answer

    def decoded(data: bytes) -> Any:
        ends("parse and decode")
        return look(data)

    with patch.object(httpx2.Client, "send", read), patch.object(image_bytes, "image_format", decoded):
        before = _begin()
        action()
        ends("store")
    return peaks


def _kilobytes(name: str) -> int:
    (line,) = [line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:")]
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
    s3 = clients.client("s3")
    s3.put_object(Bucket=bucket, Key="floor.json", Body=json.dumps({"output": value}).encode())
    s3.put_object(Bucket=bucket, Key="floor.png", Body=data)


if __name__ == "__main__":
    main()
