"""The simulator's connections: kept open between requests, and ended as the faults demand."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from local.simulator.exchange import CallerKilled, Dropped

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"
QUEUE = 256
IDLE_SECONDS = 120
LAMBDA_WORKER = "ministack-lambda-"


def listen(port: int, app: WSGIApplication) -> BaseWSGIServer:
    """Open a port on loopback, 0 for a free one, and return its server, which serves the app once it is started.

    Raises
    ------
    OSError
        If the port cannot be opened.
    OverflowError
        If the port is not available.
    """
    # werkzeug ends the process where it cannot open a port itself. It duplicates this socket.
    with socket.create_server((HOST, port), backlog=QUEUE) as listener:
        return make_server(HOST, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def run_wsgi(self) -> None:
        """Run the app, and leave the connection open: werkzeug's own method closes each after one request."""

        def start_response(status: str, headers: list[tuple[str, str]], error: object = None) -> Callable[..., object]:
            self.send_response(int(status.split()[0]))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            return self.wfile.write

        try:
            self.wfile.writelines(self.server.app(self.make_environ(), start_response))
        except Dropped as dropped:
            self.close_connection = True
            if isinstance(dropped, CallerKilled):
                _kill_worker(self.client_address)
            if dropped.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Closed here, so that the server cannot shut it down in order first.
                self.connection.close()

    def version_string(self) -> str:
        return "simulator"

    def log(self, *args: object) -> None:
        """Write nothing: the simulator writes a line for each request to a provider."""


def _kill_worker(address: tuple[str, int]) -> None:
    """Kill the process at this end of a connection, provided it is a Lambda worker of the emulator."""
    # The kernel's list of connections is not a snapshot: one that is there may be missed while others come and go.
    # On a busy machine one look takes half a second, and a caller that is not a worker must not time out.
    give_up = time.monotonic() + 3
    while time.monotonic() < give_up:
        if worker := _worker_at(address):
            worker.kill()
            return
        time.sleep(0.05)


def _worker_at(address: tuple[str, int]) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        if not any(LAMBDA_WORKER in argument for argument in process.info["cmdline"] or ()):
            continue
        try:
            if any(connection.laddr == address for connection in process.net_connections("tcp")):
                return process
        except psutil.Error:
            continue
    return None
