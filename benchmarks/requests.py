"""Requests to AWS, counted where botocore sends them: how many a path makes, and how many wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.session import Session


@dataclass
class Sent:
    """A request: ``service:Operation``, and when it began and ended (seconds of a clock that never goes back)."""

    operation: str
    began: float
    ended: float = float("inf")


class Requests:
    """Counts what the clients of a botocore session send that are made from now on."""

    def __init__(self, session: Session) -> None:
        self.sent: list[Sent] = []
        self._open = threading.local()
        session.register("before-send", self._begin)
        session.register("response-received", self._end)

    def _begin(self, event_name: str, **_: Any) -> None:
        service, operation = event_name.split(".")[1:]
        request = Sent(f"{service}:{operation}", time.monotonic())
        self._open.request = request
        self.sent.append(request)

    def _end(self, **_: Any) -> None:
        self._open.request.ended = time.monotonic()

    @contextmanager
    def during(self) -> Iterator[list[Sent]]:
        """The requests that are sent within the block."""
        found: list[Sent] = []
        before = len(self.sent)
        yield found
        found += self.sent[before:]


def chain(sent: Iterable[Sent]) -> list[str]:
    """The longest row of requests of which each began when the one before had ended, by their operations."""
    row: list[str] = []
    last = 0.0
    for request in sorted(sent, key=lambda request: request.ended):
        if request.began >= last:
            row.append(request.operation)
            last = request.ended
    return row
