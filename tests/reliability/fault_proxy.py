"""An HTTP proxy in front of S3 that is slow, answers 5xx, loses answers or is not there at all, and counts requests."""

import http.client
import http.server
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass
class Fault:
    """What the proxy does to requests.

    Attributes
    ----------
    kind : ``status`` answers with a code instead of forwarding; ``hang`` never answers; ``lost answer`` forwards the
        request and closes the connection without the answer
    times : how many requests it meets; None: every one
    methods : HTTP methods that it meets
    part : what the path of a request it meets contains
    """

    kind: str
    code: int = 503
    times: int | None = None
    methods: tuple[str, ...] = ("GET", "PUT")
    part: str = ""


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to another port there.

    Attributes
    ----------
    latency : seconds that are added to each request, half of it on the way there
    fault : what goes wrong now
    requests : how many requests there were, by method and status; a status of 0: no answer
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.latency = 0.0
        self.fault: Fault | None = None
        self.requests: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server: _Server | None = None
        self._listen(0)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
        with self._lock:
            connections = [*self._connections]
        for connection in connections:
            _cut(connection)

    def accept(self) -> None:
        """Listen again, on the same port."""
        if self._server is None:
            self._listen(self.port)

    def recover(self) -> None:
        """Be as at the beginning."""
        self.fault, self.latency = None, 0.0
        self.accept()
        self.clear()

    def clear(self) -> None:
        """Forget the requests."""
        with self._lock:
            self.requests.clear()

    def total(self, method: str = "") -> int:
        """How many requests there were."""
        with self._lock:
            return sum(count for (name, _), count in self.requests.items() if method in ("", name))

    def meets(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            fault = self.fault
            if fault is None or method not in fault.methods or fault.part not in path:
                return None
            if fault.times is not None:
                if fault.times <= 0:
                    return None
                fault.times -= 1
            return fault

    def count(self, method: str, status: int) -> None:
        """Count a request."""
        with self._lock:
            self.requests[method, status] += 1

    def opened(self, connection: socket.socket) -> None:
        """A client has come."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """A client has gone."""
        with self._lock:
            self._connections.discard(connection)

    def _listen(self, port: int) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()


class _Server(http.server.ThreadingHTTPServer):
    proxy: FaultProxy
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that are cut are what this server is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=60)
        self.server.proxy.opened(self.connection)

    def finish(self) -> None:
        self.server.proxy.closed(self.connection)
        self._upstream.close()
        super().finish()

    def handle_expect_100(self) -> bool:
        """Let the client send its body at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def do_GET(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.meets(self.command, self.path)
        latency = proxy.latency
        time.sleep(latency / 2)
        if fault and fault.kind == "status":
            self._answer(fault.code, [("Content-Type", "application/xml")], _error(fault.code))
        elif fault and fault.kind == "hang":
            proxy.count(self.command, 0)
            self.connection.recv(1)
            self.close_connection = True
        else:
            status, headers, answer = self._forward(body)
            time.sleep(latency / 2)
            if fault:
                proxy.count(self.command, 0)
                self.close_connection = True
                _cut(self.connection)
            else:
                self._answer(status, headers, answer)

    do_PUT = do_HEAD = do_POST = do_DELETE = do_GET

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        self._upstream.request(self.command, self.path, body or None, headers)
        answer = self._upstream.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.server.proxy.count(self.command, status)
        self.send_response_only(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("transfer-encoding", "connection", "keep-alive"):
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing; the requests are counted."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


_CODES = {
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
}


def _error(code: int) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{_CODES[code]}</Code><Message>On purpose.</Message></Error>".encode()
