"""All simulated providers as one WSGI application: routing by provider, the request log, and the control API."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.serving import BaseWSGIServer
from werkzeug.wrappers import Response

from local.simulator.connection import HOST, listen
from local.simulator.exchange import Dropped, Exchange, Stage
from local.simulator.faults import Fault, FaultError, FaultTable
from local.simulator.latency import Latency, LatencyError
from local.simulator.messages import KEY_HEADERS, Request, json_response
from local.simulator.protocols import PREFIXES, protocol_of
from local.simulator.provider import Provider

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

CONTROL = "_simulator"
MAX_RECORDS = 20_000


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
        None while it is worked on, and where the connection ended without a response.
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
        """Copy what is known of the request by now."""
        self.model, self.body = exchange.model, exchange.body
        self.fault = exchange.fault.name if exchange.fault else None


@dataclass
class RequestLog:
    """The requests of a simulator, oldest first."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _records: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    _count: int = 0

    def open(self, provider: str, request: Request) -> RecordedRequest:
        """Record a request that has arrived."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        for name in KEY_HEADERS & headers.keys():
            headers[name] = hashlib.sha256(headers[name].encode()).hexdigest()
        path = request.environ["RAW_URI"].partition("?")[0]
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
        self._server = listen(port, self)
        self._other: BaseWSGIServer | None = None
        self._threads: list[threading.Thread] = []
        self._other_lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The URL that all base URLs begin with."""
        return f"http://{HOST}:{self.port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests to providers so far, oldest first."""
        return self._log.snapshot()

    def start(self) -> Self:
        """Begin to accept requests."""
        self._serve(self._server)
        return self

    def _serve(self, server: BaseWSGIServer) -> None:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="simulator", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stop accepting, let go of every request that waits, and close the ports."""
        with self._other_lock:
            self._stopping.set()
        for server in (self._server, self._other):
            if server and self._threads:
                server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def _other_port(self) -> int:
        """A second port that serves the same, opened when it is first needed.

        Raises
        ------
        Dropped
            If the simulator stops in the meantime.
        """
        with self._other_lock:
            if self._stopping.is_set():
                raise Dropped
            if self._other is None:
                self._other = listen(0, self)
                self._serve(self._other)
            return self._other.port

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
            If the fault is unknown, or a number is out of range.
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
            If the range is invalid.
        """
        self._latency.update({"models": {model: [low, high]}} if model else {"min": low, "max": high})

    def control(self, request: Request) -> Response:
        """Serve the control API."""
        name = request.path.strip("/")
        method = request.method
        if name == "health" and method == "GET":
            return json_response(200, {"status": "ok", "providers": sorted(PREFIXES)})
        if name == "requests" and method in {"GET", "DELETE"}:
            if method == "DELETE":
                self.clear_requests()
            wanted = {key: request.args[key] for key in ("provider", "model") if key in request.args}
            records = [asdict(record) for record in self.requests]
            return json_response(200, [r for r in records if all(r[key] == value for key, value in wanted.items())])
        try:
            if name == "faults" and method in {"GET", "PUT", "DELETE"}:
                return self._control_faults(method, request.get_data())
            if name == "latency" and method in {"GET", "PUT"}:
                if method == "PUT":
                    self._latency.update(json.loads(request.get_data()))
                return json_response(200, self._latency.to_json())
        except (FaultError, LatencyError, ValueError) as error:
            return json_response(400, {"error": str(error)})
        cure = "GET health; GET or DELETE requests; GET, PUT or DELETE faults; GET or PUT latency"
        return json_response(404, {"error": f"The control API has no {method} /{name}. It has: {cure}."})

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
        return json_response(200, {model: fault.to_json() for model, fault in self._faults.snapshot().items()})

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request, as a WSGI application.

        Raises
        ------
        Dropped
            If the connection is to end without a response.
        """
        prefix, _, environ["PATH_INFO"] = environ["PATH_INFO"].lstrip("/").partition("/")
        request = Request(environ, f"{self.url}/{prefix}")
        provider = self.providers.get(prefix)
        if provider:
            response = self._ask(provider, request)
        elif refusal := _read_body(request):
            response = refusal
        elif prefix == CONTROL:
            response = self.control(request)
        else:
            names = ", ".join(f"/{name}" for name in (*self.providers, CONTROL))
            response = json_response(404, {"error": f"No provider is simulated at /{prefix}. There are: {names}."})
        return response(environ, start_response)

    def _ask(self, provider: Provider, request: Request) -> Response:
        """Let a provider respond, and keep the record of it."""
        record = self._log.open(provider.name, request)
        exchange = Exchange(request, self.stage, provider.playable, record.describe)
        status: int | None = None
        try:
            provider.drop_before_body(exchange)
            response = _read_body(request) or provider.handle(exchange)
            if exchange.meets("bad_json") and response.mimetype == "application/json":
                response.data = response.data[: max(1, len(response.data) * 3 // 5)]
            status = response.status_code
            return response
        finally:
            # The record is complete before its caller can look: a test reads it as soon as it has its response.
            self._close_record(record, exchange, status)

    def _close_record(self, record: RecordedRequest, exchange: Exchange, status: int | None) -> None:
        """Complete the record, and write its line."""
        record.describe(exchange)
        record.status, record.answered = status, time.time()
        if not self._write_log:
            return
        moment = datetime.fromtimestamp(record.received, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        parts = [moment, record.provider, record.method, record.path, record.model or "-"]
        parts += [str(status or "no response"), f"{(record.answered - record.received) * 1000:.0f} ms"]
        parts += [f"fault={record.fault}"] if record.fault else []
        print(" ".join(parts), file=sys.stderr, flush=True)


def _read_body(request: Request) -> Response | None:
    """Read the body, so that the next request can follow; return the refusal of an invalid one."""
    try:
        length = request.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise BadRequest
        request.get_data()
    except (HTTPException, OSError) as error:
        status = (error.code if isinstance(error, HTTPException) else None) or 400
        sentence = "The request body is too large or not framed correctly."
        return json_response(status, {"error": sentence}, {"Connection": "close"})
    return None
