"""The servers that the adapters are tested against, and the matrix of what they did."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_socket import socket_allow_hosts

from tests.contract.cases import CASES
from tests.contract.table import COLUMNS

_CELL = "contract"
_results: dict[tuple[str, str], bool] = {}


@pytest.fixture(autouse=True)
def _no_network() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


class Dripping:
    """A server that answers every request with one byte in a tenth of a second."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self.orders = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            if connection.recv(65536).startswith(b"POST"):
                self.orders += 1
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
                while not self._closing.wait(0.1):
                    connection.sendall(b" ")
            except OSError:
                pass


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    """A server whose answer never ends."""
    running = Dripping()
    yield running
    running.close()


@pytest.fixture
def closed_url() -> Iterator[str]:
    """An address on which nobody listens, nor can anybody else meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def cell(record_property: Any) -> Any:
    """Marks a test as a cell of the matrix."""

    def mark(case: str, protocol: str) -> None:
        record_property(_CELL, (case, protocol))

    return mark


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == _CELL:
            key = (str(value[0]), str(value[1]))  # type: ignore[index]
            _results[key] = _results.get(key, True) and not report.failed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _results:
        return
    reasons: list[str] = []
    width = max(len(case.name) for case in CASES)
    terminalreporter.section("what every adapter did (✓ as it must, ✗ not, n/a cannot occur, · not run)")
    terminalreporter.line(" " * width + "".join(f"  {protocol:6}" for protocol in COLUMNS))
    for case in CASES:
        line = case.name.ljust(width)
        for protocol, column in COLUMNS.items():
            sign = _sign(case.name, protocol, column.why_absent(case), reasons)
            line += "  " + sign.ljust(max(6, len(protocol)))
        terminalreporter.line(line.rstrip())
    for number, reason in enumerate(reasons, 1):
        terminalreporter.line(f"  {number}) {reason}")


def _sign(case: str, protocol: str, absent: str | None, reasons: list[str]) -> str:
    if absent:
        if absent not in reasons:
            reasons.append(absent)
        return f"n/a {reasons.index(absent) + 1})"
    result = _results.get((case, protocol))
    return "·" if result is None else "✓" if result else "✗"
