"""The execution of each model of a job in the state machine, traced from the Lambdas' logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local import terminal
from local.cloud import Cloud

Line = Mapping[str, Any]
"""One JSON line of a Lambda's log."""


@dataclass(frozen=True)
class Turn:
    """One invocation of generate for one model, in epoch seconds."""

    model: str
    began: float
    ended: float


def job_lines(cloud: Cloud, job_id: str) -> list[Line]:
    """All lines that the Lambdas have logged for a job, in the order of time."""
    logs = cloud.client("logs")
    lines: list[Line] = []
    for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in (event for page in pages for event in page["events"]):
            line = parsed(event["message"])
            if line and line.get("job_id") == job_id:
                lines.append(line)
    return sorted(lines, key=epoch_seconds)


def parsed(message: str) -> Line | None:
    """A log message as a JSON object; None where it is not one."""
    try:
        line = json.loads(message)
    except ValueError:
        return None
    return terminal.safe(line) if isinstance(line, dict) else None


def epoch_seconds(line: Line) -> float:
    """When a line was logged."""
    try:
        return datetime.strptime(str(line.get("timestamp")), "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
    except ValueError:
        return 0.0


def turns(lines: Iterable[Line]) -> list[Turn]:
    """The invocations of generate that ended in order."""
    ended = [(line, epoch_seconds(line)) for line in lines if "outcome" in line and "seconds" in line]
    return [Turn(str(line.get("model")), end - float(line["seconds"]), end) for line, end in ended]


def most_at_once(turns: Sequence[Turn]) -> int:
    """The largest number of invocations under way at the same moment."""
    # An end counts before a beginning at the same moment: those two did not overlap.
    moments = sorted([(turn.began, 1) for turn in turns] + [(turn.ended, -1) for turn in turns])
    most = current = 0
    for _, change in moments:
        current += change
        most = max(most, current)
    return most


def preparation(lines: Iterable[Line]) -> float | None:
    """Seconds in which the reference images were prepared; None for a job without any."""
    return next((float(line["seconds"]) for line in lines if "references" in line and "seconds" in line), None)


def steps(lines: Iterable[Line]) -> list[str]:
    """The states that one model passed, in order, from its own lines."""
    passed: list[str] = []
    inside: list[str] = []
    for line in lines:
        if "outcome" in line and "seconds" in line:
            extra = f" ({', '.join(inside)})" if inside else ""
            passed.append(f"Generate image {float(line['seconds']):.1f} s{extra}")
            inside = []
            if line["outcome"] == "wait":
                passed.append(f"Wait for the provider {float(line.get('wait_seconds') or 0):.0f} s")
        elif "outcome" in line:
            # Only record_failure knows of an invocation that broke.
            passed += [f"Generate image broke ({line.get('error_type', 'unknown')})", "Record failure"]
            inside = []
            if line["outcome"] == "wait":
                passed.append("Wait for the provider 1 s")
        elif "wait_seconds" in line:
            inside.append(f"{line.get('error_code', 'asked to wait')}, {float(line['wait_seconds']):.1f} s pause")
    return passed
