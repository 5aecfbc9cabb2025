"""Requests to the cloud's own servers, on this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from local.processes import Server


class CloudError(Exception):
    """The cloud cannot be started or used; the message says why and what to do."""


@dataclass(frozen=True)
class Response:
    """A response of the cloud's HTTP API; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The sentence of an error response, or its body where it has none."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode("utf-8", "replace")


def responds(server: Server | None, path: str, certificate: str = "") -> bool:
    """Whether the server's own process runs and responds."""
    if not server or not server.port or not server.process():
        return False
    with contextlib.suppress(CloudError):
        request = urllib.request.Request(f"{'https' if certificate else 'http'}://127.0.0.1:{server.port}{path}")
        return send(request, timeout=2, certificate=certificate).status == http.HTTPStatus.OK
    return False


def send(request: urllib.request.Request, timeout: float, certificate: str) -> Response:
    try:
        # No proxy: everything asked here is on this machine.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if certificate:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate)))
        opener = urllib.request.build_opener(*handlers)
        with contextlib.closing(opener.open(request, timeout=timeout)) as reply:
            return Response(reply.status, _lowered(reply.headers), reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, _lowered(error.headers), error.read())
    except (OSError, http.client.HTTPException) as error:
        raise CloudError(
            f"No response from {request.full_url} ({error}); `make down up` restarts the cloud."
        ) from error


def _lowered(headers: Message[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
