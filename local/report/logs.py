"""The logs of a cloud: those of its Lambdas, its emulator and its simulators."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from local import terminal
from local.cloud import Cloud
from local.report.execution_trace import epoch_seconds, parsed

_PAUSE = 1.0
# What every line of a Lambda has, beside its message.
_USUAL = ("level", "message", "timestamp", "service", "location", "function", "xray_trace_id")


def show(cloud: Cloud, *, job: str = "", follow: bool = True) -> None:
    """Print the log lines there are, those of one `job` or all, then the new ones until Ctrl-C."""
    lambdas = _LambdaLogs(cloud)
    files = [_LogFile(cloud.directory / "logs" / f"{name}.log") for name in ("simulator", "emulator")]
    while True:
        for lines in (*(file.new_lines() for file in files), lambdas.new_lines()):
            for line in lines:
                if job in line:
                    print(" ".join(terminal.safe(line).splitlines()), flush=True)
        if not follow:
            return
        time.sleep(_PAUSE)


def readable(function: str, stored: float, message: str) -> tuple[float, str]:
    """A Lambda's log event as one line (time, function, level, message, fields), and when it was logged.

    `stored` is when CloudWatch received it, in epoch seconds: later than the line's own time, if it has one.
    """
    line = parsed(message) or {}
    logged = epoch_seconds(line) or stored
    clock = datetime.fromtimestamp(logged).strftime("%H:%M:%S.%f")[:-3]
    if not line:
        return logged, f"{clock} {function:<14} {message.strip()}"
    fields = " ".join(f"{name}={value}" for name, value in line.items() if name not in _USUAL)
    return logged, f"{clock} {function:<14} {line.get('level', ''):<7} {line.get('message', '')} {fields}".rstrip()


class _LambdaLogs:
    """The lines that the Lambdas have logged since the last look."""

    def __init__(self, cloud: Cloud) -> None:
        self._client = cloud.client("logs")
        self._shown: Counter[tuple[object, ...]] = Counter()

    def new_lines(self) -> Iterator[str]:
        new: list[tuple[float, str]] = []
        # The emulator's events have no id, and equal lines may follow each other.
        found: Counter[tuple[object, ...]] = Counter()
        for group in self._client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
            name = group["logGroupName"]
            for page in self._client.get_paginator("filter_log_events").paginate(logGroupName=name):
                for event in page["events"]:
                    key = (name, event["logStreamName"], event["timestamp"], event["message"])
                    found[key] += 1
                    if found[key] > self._shown[key]:
                        function = name.removeprefix("/aws/lambda/pixel-prompt-").partition("-")[2]
                        new.append(readable(function, event["timestamp"] / 1000, event["message"]))
        self._shown = found
        yield from (line for _, line in sorted(new, key=lambda entry: entry[0]))


class _LogFile:
    """The lines that a process has written since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = ""

    def new_lines(self) -> Iterator[str]:
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._position:
            # Restarted.
            self._position, self._rest = 0, ""
        with self._path.open("rb") as file:
            file.seek(self._position)
            text = self._rest + file.read().decode("utf-8", "replace")
            self._position = file.tell()
        *lines, self._rest = text.split("\n")
        yield from (f"{self._path.stem}: {line}" for line in lines)
