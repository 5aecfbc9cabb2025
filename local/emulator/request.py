"""A request to the emulator, read as the emulator reads it, and the response to one that is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote

from ministack.core import iam_actions, sigv4

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# Status, headers, body.
Response = tuple[int, Mapping[str, str], bytes]
_BODY_SECONDS = 60.0


class Request:
    """A request, read as the emulator reads it.

    Attributes
    ----------
    headers : by their names in lower case; what comes more than once is joined
    host, port : of the Host header
    scope, receive : what the emulator is called with
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: str = (scope.get("raw_path") or quote(self.path).encode()).decode("latin-1")
        self.query = parse_qs(scope.get("query_string", b"").decode(errors="replace"), keep_blank_values=True)
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), sigv4.decode_header_value(value)
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.host, _, self.port = self.headers.get("host", "").rpartition(":")

    async def body(self, most: int) -> bytes | None:
        """Read the body, which the emulator then reads again; None where it is longer, cut off, or too slow."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await self._read(most)
        except TimeoutError:
            return None
        if body is not None:
            self.replace_body(body)
        return body

    async def _read(self, most: int) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while size <= most:
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size <= most and not message.get("more_body"):
                return b"".join(parts)
        return None

    def replace_body(self, body: bytes) -> None:
        """Have the emulator read this body."""
        rest = self.receive
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await rest()

        self.receive = receive

    def keep_headers(self, keep: Callable[[str], bool]) -> None:
        """Have the emulator see only the headers whose names are to be kept."""
        self.headers = {name: value for name, value in self.headers.items() if keep(name)}
        found = [(name, value) for name, value in self.scope["headers"] if keep(name.decode("latin-1").lower())]
        self.scope = {**self.scope, "headers": found}


def refused(message: str, code: str = "ACCESS_DENIED") -> Response:
    """A refusal as the HTTP API words its errors."""
    return 403, {"Content-Type": "application/json"}, json.dumps({"error": code, "message": message}).encode()


def refused_by(service: str, message: str) -> Response:
    """A refusal in the protocol of an AWS service, so that its client shows the message."""
    status, headers, body = iam_actions.access_denied_response(
        service, "", "", "", error_code="AccessDenied", message=message
    )
    return status, headers, body
