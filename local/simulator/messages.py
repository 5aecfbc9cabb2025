"""Requests to simulated providers, their responses, and the parts that those have in common."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from werkzeug import wrappers
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wrappers import Response

from local.simulator.faults import Fault
from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.provider import PROVIDERS

JSON = "application/json"
FORM = "multipart/form-data"
MAX_BODY = 64 * 1024 * 1024
# The headers that carry a key, in lower case.
KEY_HEADERS = (
    frozenset({"authorization"})
    | {row.key_header for row in PROVIDERS.values()}
    | {dialect.key_header for dialect in DIALECTS.values()}
)


class Request(wrappers.Request):
    """A request as it came; `path` is without the provider's prefix, and the body unread until it is asked for."""

    max_content_length = MAX_BODY

    def __init__(self, environ: dict[str, Any], provider_url: str) -> None:
        super().__init__(environ)
        self.provider_url = provider_url
        self.received = time.time()

    @property
    def bearer(self) -> str:
        """The bearer token, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


def json_response(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response whose body is this document."""
    body = json.dumps(document, separators=(",", ":"))
    return Response(body, status, {"Content-Type": JSON, **(headers or {})})


def read_json(body: bytes) -> Any:
    """The document in a request body.

    Raises
    ------
    ValueError
        If it is not valid JSON, is nested too deeply, or holds a string that is not valid Unicode.
    """
    try:
        document = json.loads(body)
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return document


def read_form(request: Request) -> tuple[dict[str, str], list[tuple[str, FileStorage]]]:
    """The text fields and the files of a multipart body, the files in their order.

    Raises
    ------
    ValueError
        If it is not a valid multipart body.
    """
    mime_type, options = parse_options_header(request.headers.get("content-type", ""))
    body = request.get_data()
    try:
        _, form, files = FormDataParser(silent=False).parse(io.BytesIO(body), mime_type, len(body), options)
    except HTTPException as error:
        raise ValueError(str(error)) from error
    return dict(form.items()), list(files.items(multi=True))


def is_bad_key(key: str) -> bool:
    """Whether the simulators refuse this key: any other one is welcome."""
    return key.startswith("bad")


def masked(key: str) -> str:
    """The key as providers quote it in an error."""
    return f"{key[:4]}****{key[-4:]}" if len(key) > 8 else f"{key[:2]}****"


def retry_after(fault: Fault) -> dict[str, str]:
    """The Retry-After header of a fault, if it has one."""
    seconds = fault.retry_after
    return {"Retry-After": str(int(seconds) if seconds == int(seconds) else seconds)} if seconds else {}


def new_id(prefix: str = "", length: int = 32) -> str:
    """A fresh identifier of hexadecimal digits behind a prefix."""
    return prefix + secrets.token_hex((length + 1) // 2)[:length]
