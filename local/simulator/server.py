"""The HTTP server: routing by provider, the request log, the control API, and ends of connections."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import psutil

from local.simulator.exchange import KEY_HEADERS, CallerKilled, Dropped, Exchange, Provider, Request, Response, Stage
from local.simulator.faults import Fault, FaultError, FaultTable
from local.simulator.latency import Latency, LatencyError
from local.simulator.protocols import PREFIXES, protocol_of

HOST = "127.0.0.1"
CONTROL = "_simulator"
MAX_BODY = 64 * 1024 * 1024
MAX_RECORDS = 20_000
LAMBDA_WORKER = "ministack-lambda-"


@dataclass
class RecordedRequest:
    """A request as the log keeps it.

    Parameters
    ----------
    headers
        Names in lower case; the value of a header that carries a key is the SHA-256 of that value, in hexadecimal.
    body
        The JSON document, or the fields of a form, or the text; None without a body.
    received, answered
        Epoch seconds; `answered` is None while the request is being worked on.
    status
        None while it is worked on, and where the connection ended without an answer.
    """

    number: int
    provider: str
    method: str
    path: str
    headers: dict[str, str]
    received: float
    model: str | None = None
    body: Any = None
    answered: float | None = None
    status: int | None = None
    fault: str | None = None

    def describe(self, exchange: Exchange) -> None:
        """Take over what is known of the request by now."""
        self.model, self.body = exchange.model, exchange.body
        self.fault = exchange.fault.name if exchange.fault else None


@dataclass
class RequestLog:
    """The requests of a simulator, oldest first."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _records: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    _count: int = 0

    def open(self, provider: str, request: Request, path: str) -> RecordedRequest:
        """Record a request that has arrived."""
        headers = {
            name: hashlib.sha256(value.encode()).hexdigest() if name in KEY_HEADERS else value
            for name, value in request.headers.items()
        }
        with self._lock:
            self._count += 1
            record = RecordedRequest(self._count, provider, request.method, path, headers, request.received)
            self._records.append(record)
            return record

    def snapshot(self) -> list[RecordedRequest]:
        """The records so far."""
        with self._lock:
            return list(self._records)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._records.clear()


class Simulator:
    """All simulated providers behind one loopback port.

    Parameters
    ----------
    latency
        Seconds an image takes at least and at most; each model has its own steady place between.
    faults
        Faults in force from the start, by model id as sent on the wire, or `*`.
    port
        0 picks a free one.
    today
        The date that decides which models have been shut down; the clock's by default.
    log
        Whether to write one line per request to stderr.

    Examples
    --------
    >>> with Simulator(latency=(0, 0)) as simulator:
    ...     simulator.set_fault("gpt-image-2", "throttled", retry_after=2)
    """

    def __init__(
        self,
        latency: tuple[float, float] = (0.5, 4.0),
        faults: Mapping[str, Fault] | None = None,
        port: int = 0,
        *,
        today: date | None = None,
        log: bool = False,
    ) -> None:
        self._faults = FaultTable(faults)
        self._latency = Latency(*latency)
        self._log = RequestLog()
        self._write_log = log
        self._stopping = threading.Event()
        day = (lambda: today) if today else date.today
        stage = Stage(self._faults, self._latency, self._stopping, self._other_port, day)
        # By the first segment of their paths.
        self.providers = {prefix: protocol_of(name)(stage) for name, prefix in PREFIXES.items()}
        self.stage = stage
        self._server = _Server((HOST, port), self)
        self._other: _Server | None = None
        self._other_lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address all base URLs begin with."""
        return f"http://{HOST}:{self.port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests to providers so far, oldest first."""
        return self._log.snapshot()

    def start(self) -> Self:
        """Begin to accept requests."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop accepting, let go of every request that waits, and close the ports."""
        with self._other_lock:
            self._stopping.set()
        for server in (self._server, self._other):
            if server:
                server.stop()

    def _other_port(self) -> int:
        """A second port that answers the same, opened when it is first needed.

        Raises
        ------
        Dropped
            If the simulator stops meanwhile.
        """
        with self._other_lock:
            if self._stopping.is_set():
                raise Dropped
            if self._other is None:
                self._other = _Server((HOST, 0), self)
                self._other.start()
            return self._other.server_port

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def set_fault(
        self,
        model: str,
        fault: str,
        *,
        retry_after: float | None = None,
        seconds: float | None = None,
        times: int | None = None,
    ) -> None:
        """Switch a fault on for a model (`*`: for all).

        Raises
        ------
        FaultError
            If there is no such fault, or a number is out of range.
        """
        self._faults.set(model, Fault(fault, retry_after, seconds, times))

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._faults.clear()

    def clear_requests(self) -> None:
        """Empty the request log."""
        self._log.clear()

    def set_latency(self, low: float, high: float, model: str | None = None) -> None:
        """Set the range of seconds for all models, or for one.

        Raises
        ------
        LatencyError
            If the range is no range.
        """
        self._latency.update({"models": {model: [low, high]}} if model else {"min": low, "max": high})

    def control(self, request: Request) -> Response:
        """Answer the control API."""
        name = request.path.strip("/")
        method = request.method
        if name == "health" and method == "GET":
            return Response.json(200, {"status": "ok", "providers": sorted(PREFIXES)})
        if name == "requests" and method in {"GET", "DELETE"}:
            if method == "DELETE":
                self.clear_requests()
            wanted = {key: request.query[key] for key in ("provider", "model") if key in request.query}
            records = [asdict(record) for record in self.requests]
            return Response.json(200, [r for r in records if all(r[key] == value for key, value in wanted.items())])
        try:
            if name == "faults" and method in {"GET", "PUT", "DELETE"}:
                return self._control_faults(method, request.body)
            if name == "latency" and method in {"GET", "PUT"}:
                if method == "PUT":
                    self._latency.update(json.loads(request.body))
                return Response.json(200, self._latency.to_json())
        except (FaultError, LatencyError, ValueError) as error:
            return Response.json(400, {"error": str(error)})
        cure = "GET health; GET or DELETE requests; GET, PUT or DELETE faults; GET or PUT latency"
        return Response.json(404, {"error": f"The control API has no {method} /{name}. It has: {cure}."})

    def _control_faults(self, method: str, body: bytes) -> Response:
        if method == "DELETE":
            self.clear_faults()
        elif method == "PUT":
            document = json.loads(body)
            if not isinstance(document, dict):
                raise FaultError('Send an object: {"gpt-image-2": {"fault": "throttled"}}; null switches one off.')
            new = {model: None if entry is None else Fault.from_json(entry) for model, entry in document.items()}
            for model, fault in new.items():
                self._faults.set(model, fault)
        return Response.json(200, {model: fault.to_json() for model, fault in self._faults.snapshot().items()})

    def open_record(self, provider: str, request: Request, path: str) -> RecordedRequest:
        """Record a request to a provider."""
        return self._log.open(provider, request, path)

    def close_record(self, record: RecordedRequest, exchange: Exchange, status: int | None) -> None:
        """Complete the record, and write its line."""
        record.describe(exchange)
        record.status, record.answered = status, time.time()
        if not self._write_log:
            return
        moment = datetime.fromtimestamp(record.received, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        parts = [moment, record.provider, record.method, record.path, record.model or "-"]
        parts += [str(status or "no answer"), f"{(record.answered - record.received) * 1000:.0f} ms"]
        parts += [f"fault={record.fault}"] if record.fault else []
        print(" ".join(parts), file=sys.stderr, flush=True)


class _BadBody(Exception):
    """A request body that cannot be read; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="simulator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        # HTTPServer looks its own name up, which takes seconds on a machine without a resolver.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A caller that leaves before its answer is everyday life here, and no reason for a traceback.
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    server: _Server

    def serve(self) -> None:
        received = time.time()
        split = urlsplit(self.path)
        prefix, _, path = split.path.lstrip("/").partition("/")
        path = "/" + unquote(path)
        provider = self.server.simulator.providers.get(prefix)
        if provider and self._reset_before_body(provider, path, received, split.path):
            return
        try:
            body = self._read_body()
        except _BadBody as bad:
            self.close_connection = True
            self._send(Response.json(bad.status, {"error": "The request body is too large or not framed correctly."}))
            return
        request = self._request(path, split.query, body, received, prefix)
        if provider:
            self._serve_provider(provider, request, split.path)
        elif prefix == CONTROL:
            self._send(self.server.simulator.control(request))
        else:
            names = ", ".join(f"/{name}" for name in (*self.server.simulator.providers, CONTROL))
            self._send(Response.json(404, {"error": f"No provider is simulated at /{prefix}. There are: {names}."}))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = serve

    def _request(self, path: str, query: str, body: bytes, received: float, prefix: str) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        url = f"{self.server.simulator.url}/{prefix}"
        return Request(self.command, path, pairs, headers, body, url, received)

    def _reset_before_body(self, provider: Provider, path: str, received: float, full_path: str) -> bool:
        """End the connection unread where the path names a model that is to lose its connection before the body."""
        model = provider.model_before_body(self.command, path)
        simulator = self.server.simulator
        fault = simulator.stage.faults.peek(model, provider.playable) if model else None
        if model is None or fault is None or fault.name != "dropped_before":
            return False
        exchange = Exchange(self._request(path, "", b"", received, ""), simulator.stage, provider.playable)
        record = simulator.open_record(provider.name, exchange.request, full_path)
        try:
            exchange.identify(model)
        except Dropped as dropped:
            self._drop(dropped)
        simulator.close_record(record, exchange, None)
        return True

    def _serve_provider(self, provider: Provider, request: Request, full_path: str) -> None:
        simulator = self.server.simulator
        record = simulator.open_record(provider.name, request, full_path)
        exchange = Exchange(request, simulator.stage, provider.playable, record.describe)
        status: int | None = None
        try:
            response = provider.handle(exchange)
            if exchange.meets("bad_json") and response.headers.get("Content-Type", "").startswith("application/json"):
                response.body = response.body[: max(1, len(response.body) * 3 // 5)]
            status = response.status
            # The record is complete before its caller can look: a test reads it as soon as it has its answer.
            simulator.close_record(record, exchange, status)
            self._send(response)
        except CallerKilled as dropped:
            self._kill_caller()
            self._drop(dropped)
        except Dropped as dropped:
            self._drop(dropped)
        finally:
            if status is None:
                simulator.close_record(record, exchange, None)

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            raise _BadBody(400)
        if int(length) > MAX_BODY:
            raise _BadBody(413)
        return self.rfile.read(int(length))

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1024).partition(b";")[0], 16)
            except ValueError as error:
                raise _BadBody(400) from error
            if len(body) + size > MAX_BODY:
                raise _BadBody(413)
            if size == 0:
                while self.rfile.readline(8192).strip():
                    pass
                return bytes(body)
            body += self.rfile.read(size)
            self.rfile.readline(8)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _drop(self, dropped: Dropped) -> None:
        self.close_connection = True
        if dropped.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Closed here, so that the server cannot shut it down in order first.
            self.connection.close()

    def _kill_caller(self) -> None:
        """Kill the process at the other end, provided it is a Lambda worker of the emulator."""
        # The kernel's list of connections is no snapshot: one that is there may be missed while others come and go.
        # On a busy machine one look takes half a second, and and a caller that is no worker must not lose its patience.
        give_up = time.monotonic() + 3
        while time.monotonic() < give_up:
            if caller := self._caller():
                caller.kill()
                return
            time.sleep(0.05)

    def _caller(self) -> psutil.Process | None:
        host, port = self.client_address[:2]
        for process in psutil.process_iter(["cmdline"]):
            if not any(LAMBDA_WORKER in argument for argument in process.info["cmdline"] or ()):
                continue
            try:
                if any(c.laddr and (c.laddr.ip, c.laddr.port) == (host, port) for c in process.net_connections("tcp")):
                    return process
            except psutil.Error:
                continue
        return None

    def version_string(self) -> str:
        return "simulator"

    def log_message(self, format: str, *args: Any) -> None:
        """Lines are written per provider request, by the simulator."""
