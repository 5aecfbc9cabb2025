"""Which requests reach the emulator: those that are signed with the access key of this run, and a few unsigned ones.

The emulator on its own serves whoever reaches its port: other users of the machine, and every page in a browser on it.
This ASGI middleware stands in front of it. Unsigned requests reach only what is public on AWS too: the HTTP API, where
on Linux they must come from a process of the same user, the distributions of CloudFront, and S3 by presigned URLs and
by forms with a signed policy. A request that says it comes from a page of another origin is refused, signed or not, and
so is one for another host: a name that leads to this machine would make any page one of ours (DNS rebinding).

The emulator chooses the service by many signs, such as a header or the beginning of the path. So an unsigned request
passes only in a form that leaves no choice, and of a signed one everything is signed that could make another of it.

It runs in the process of the emulator, and checks signatures with the emulator's own functions.
"""

from __future__ import annotations

import contextvars
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from ministack import app as emulator
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, sigv4
from ministack.services import cloudfront, lambda_svc, s3, sts

from local import peer
from local.access_key import AccessKey

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# Status, headers, body.
Refusal = tuple[int, Mapping[str, str], bytes]

READY = "/_ministack/ready"
# Without a slash after the API's id, the emulator looks for another service that the request may be meant for.
_HTTP_API = re.compile(r"/_aws/execute-api/[a-z0-9-]+/.*", re.DOTALL)
_BUCKET = re.compile(r"/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?")
_CLOUDFRONT_HOST = re.compile(r"([a-z0-9]+)\.cloudfront\.localhost")
_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNING = {f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")}
_SIGNATURE = re.compile("[0-9a-f]{64}")
_MOST_BYTES = 256 * 2**20
_MOST_FORM_BYTES = 32 * 2**20
_CURE = "`make status` says how to call this cloud."

# Whether the form upload under way came without a signature of its request, so that its policy must have one.
_unsigned_form: contextvars.ContextVar[bool] = contextvars.ContextVar("unsigned_form", default=False)


class Authentication:
    """The middleware.

    Parameters
    ----------
    app : the emulator
    port : where it listens on 127.0.0.1
    origins : file with a JSON list of the origins whose pages may call it; ``*`` stands for every origin
    """

    def __init__(self, app: Any, port: int, origins: Path) -> None:
        self._app = app
        self._port = port
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the emulator, or refuse it."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(_Request(scope, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, request: _Request, send: Send) -> None:
        distribution = _CLOUDFRONT_HOST.fullmatch(request.host)
        if refusal := self._foreign(request):
            await _send(send, refusal)
        elif distribution and "authorization" not in request.headers:
            await _send(send, await _distributed(request, distribution[1]))
        elif not self._is_public(request) and (refusal := await _unauthenticated(request)):
            await _send(send, refusal)
        else:
            await self._app(request.scope, request.receive, send)

    def _foreign(self, request: _Request) -> Refusal | None:
        """Refuse a request for another host, and one that a page of another origin has made."""
        is_signed = "authorization" in request.headers
        # Only who signs may come by way of another port, such as that of a tunnel.
        is_here = request.port == str(self._port) or (is_signed and request.port.isdecimal())
        if not is_here or not (request.host in ("127.0.0.1", "localhost") or _CLOUDFRONT_HOST.fullmatch(request.host)):
            return _refused("The Host header names another server.")
        origin, allowed = request.headers.get("origin"), self._allowed_origins()
        if origin is None or {origin, "*"} & allowed:
            return None
        if not allowed:
            return _refused("This cloud knows no page yet; `make up` completes it.", "ORIGIN_NOT_ALLOWED")
        return _refused(
            "This cloud accepts its own page only; to open it to yours, name its origin in CORS_ORIGINS at `make up`.",
            "ORIGIN_NOT_ALLOWED",
        )

    def _allowed_origins(self) -> set[str]:
        try:
            return set(json.loads(self._origins.read_bytes()))
        except (OSError, ValueError, TypeError):
            return set()

    def _is_public(self, request: _Request) -> bool:
        """Whether this needs no signature."""
        if request.path == READY:
            return request.method == "GET"
        if not _HTTP_API.fullmatch(request.path):
            return False
        client, server = request.scope.get("client"), ("127.0.0.1", self._port)
        return client is not None and not peer.is_of_another_user((client[0], client[1]), server)


class _Request:
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
        """Read the body, which the emulator then reads again; None where it has more bytes or is cut off."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                return None
            if not message.get("more_body"):
                break
        self.replace_body(body := b"".join(parts))
        return body

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


async def _unauthenticated(request: _Request) -> Refusal | None:
    if "authorization" in request.headers:
        return await _check_signed(request)
    if "X-Amz-Signature" in request.query:
        return _check_presigned(request)
    if _is_form(request):
        return await _check_form(request)
    return _refused(f"Only requests that are signed with the cloud's own access key are accepted. {_CURE}")


async def _check_signed(request: _Request) -> Refusal | None:
    """Check the signature in the headers, as every AWS SDK makes it."""
    if not request.headers["authorization"].startswith(f"{_ALGORITHM} "):
        return _refused(f"Requests are signed with {_ALGORITHM}. {_CURE}")
    signature = sigv4.parse_header_signature(request.headers)
    if isinstance(signature, tuple):
        return _refused(signature[1])
    signed = signature.signed_headers.split(";")
    amazon = [name for name in (*request.headers, *request.query) if name.lower().startswith("x-amz-")]
    # Else the signature of a presigned URL, moved into the headers, would sign whatever is added to them.
    if not {"host", *amazon} <= set(signed) or not _SIGNATURE.fullmatch(signature.signature):
        return _refused_by(
            signature.service, "Host and every X-Amz header must be signed, and no X-Amz query parameter."
        )
    secret = _secret(signature.access_key_id, request.headers.get("x-amz-security-token"))
    if secret is None:
        return _refused_by(signature.service, f"The access key is not that of this cloud. {_CURE}")
    # Only those who know of a key make us read a long body.
    body = await request.body(_MOST_BYTES)
    if body is None or not _is_signed_body(signature.service, request.headers.get("x-amz-content-sha256"), body):
        return _refused_by(signature.service, "The body is not the one that was signed, or too long.")
    failure = sigv4.request_time_failure(signature) or sigv4.header_signature_failure(
        signature, secret, request.method, request.raw_path, request.query, request.headers, body
    )
    return _refused_by(signature.service, failure[1]) if failure else None


def _is_signed_body(service: str, digest: str | None, body: bytes) -> bool:
    """Whether the signature covers the body; without a digest, it is computed with that of the body."""
    if digest is None or re.fullmatch("[0-9a-f]{64}", digest):
        return digest in (None, hashlib.sha256(body).hexdigest())
    # Of S3's own ways, one signs each chunk, and two leave the body to TLS.
    return service == "s3"


def _check_presigned(request: _Request) -> Refusal | None:
    """Check a presigned URL of S3: only reading, exactly what was signed, and nothing besides."""
    signing = {name: values for name, values in request.query.items() if name.lower().startswith("x-amz-")}
    # What comes twice, in another spelling or empty could be read in another way than it was checked.
    is_plain = signing.keys() >= _SIGNING and all(len(values) == 1 and values[0] for values in signing.values())
    is_plain &= len({name.lower() for name in signing}) == len(signing)
    if not (is_plain and signing["X-Amz-Algorithm"] == [_ALGORITHM] and request.method in ("GET", "HEAD")):
        return _refused_by("s3", f"Presigned URLs are for GET and HEAD, and signed with {_ALGORITHM}.")
    signed = signing["X-Amz-SignedHeaders"][0].split(";")
    # Others could lead the request to another service, and so could a body.
    request.keep_headers(lambda name: name in signed or not re.match(r"x-amz-|content-|transfer-encoding", name))
    request.replace_body(b"")
    refused: Refusal | None = s3._verify_presigned_sigv4(request.method, request.path, request.headers, request.query)
    return refused


def _is_form(request: _Request) -> bool:
    is_multipart = request.headers.get("content-type", "").startswith("multipart/form-data;")
    bucket = _BUCKET.fullmatch(request.path)
    # The bucket is there: other services have paths of one part, too.
    found = bucket is not None and s3._ensure_bucket(bucket[1]) is not None
    return request.method == "POST" and is_multipart and found and not request.query


async def _check_form(request: _Request) -> Refusal | None:
    """Let a form upload through to S3, where `_enforce_policy` checks the signature of its policy."""
    if await request.body(_MOST_FORM_BYTES) is None:
        return _refused_by("s3", "The form is too long, or was cut off.")
    request.keep_headers(lambda name: not name.startswith("x-amz-"))
    _unsigned_form.set(True)
    return None


async def _distributed(request: _Request, label: str) -> Refusal:
    """What a distribution of CloudFront answers; nothing else of the emulator is reached by its name."""
    if request.method not in ("GET", "HEAD") or not cloudfront.find_distribution_for_label(label):
        return _refused("There is no such distribution, or it only reads.")
    status, headers, body = await emulator._handle_cloudfront_dataplane_request(
        f"{request.host}:{request.port}", request.path, request.raw_path, request.scope["query_string"].decode(),
        request.method, request.headers, b"", request.query, "127.0.0.1",
    )  # fmt: skip
    return status, headers, b"" if request.method == "HEAD" else body


def _secret(access_key_id: str, session_token: str | None) -> str | None:
    """The secret of an access key of this run, or of a session that the emulator began for a role."""
    credential = iam_evaluator.resolve_credential(access_key_id, session_token=session_token)
    return None if isinstance(credential, iam_evaluator.CredentialResolutionError) else credential.secret_access_key


def install(key: AccessKey, port: int, origins: Path) -> None:
    """Put the middleware in front of the emulator, and make `key` the only one of its owner."""

    def is_root(access_key_id: str) -> bool:
        # Unsigned requests that come this far are judged by themselves.
        return access_key_id == key.id or (not access_key_id and _unsigned_form.get())

    iam_evaluator.is_root_access_key = sts.is_root_access_key = is_root
    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = _RoleCredentials(key)
    s3._enforce_signed_post_policy, s3._enforce_post_policy_size = _enforce_policy, _enforce_size
    emulator.app = Authentication(emulator.app, port, origins)


class _RoleCredentials:
    """Gives each Lambda function its credentials.

    Where IAM is enforced, the emulator derives a role's credentials from its name, which anyone may know: here they
    depend on a secret of this run too. Where it isn't, all functions have the key of this run.
    """

    def __init__(self, key: AccessKey) -> None:
        self._key = key
        self._salt = secrets.token_bytes()
        self._derive = lambda_runtime.execution_credentials

    def __call__(self, config: dict[str, Any]) -> dict[str, str]:
        """The environment variables with the credentials of a function."""
        if not emulator.AUTH:
            return {**self._key.environment(), "AWS_SESSION_TOKEN": ""}
        credentials: dict[str, str] = self._derive(config)
        session = sts._sessions[credentials["AWS_ACCESS_KEY_ID"]]
        for name, part in (("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"), ("AWS_SESSION_TOKEN", "SessionToken")):
            credentials[name] = session[part] = self._salted(credentials[name])
        return credentials

    def _salted(self, text: str) -> str:
        return hmac.new(self._salt, text.encode(), hashlib.sha256).hexdigest()


_enforce_signed, _enforce_unsigned = s3._enforce_signed_post_policy, s3._enforce_post_policy_size


def _enforce_policy(fields: dict[str, str], bucket: str, region: str, size: int, is_version_4: bool) -> Any:
    """Hold a form upload to its signed policy; S3's answer if it must not be stored."""
    refused = _enforce_signed(fields, bucket, region, size, is_version_4)
    if refused or not _unsigned_form.get():
        return refused
    scope = fields.get("x-amz-credential", "").split("/")
    secret = _secret(scope[0], fields.get("x-amz-security-token")) if is_version_4 and len(scope) == 5 else None
    expected = sigv4.calculate_signature(secret, scope[1], scope[2], "s3", fields["policy"]) if secret else ""
    given = fields.get("x-amz-signature", "")
    if expected and _SIGNATURE.fullmatch(given) and sigv4.signatures_match(expected, given):
        return None
    return s3._error("SignatureDoesNotMatch", "The form is not signed with an access key of this cloud.", 403)


def _enforce_size(policy: str, size: int) -> Any:
    """Refuse a form without signature, unless the request has one; hold the others to the size of their policy."""
    if _unsigned_form.get():
        return s3._error("AccessDenied", "The form has no signed policy.", 403)
    return _enforce_unsigned(policy, size)


def _refused(message: str, code: str = "ACCESS_DENIED") -> Refusal:
    """A refusal as the HTTP API words its errors."""
    return 403, {"Content-Type": "application/json"}, json.dumps({"error": code, "message": message}).encode()


def _refused_by(service: str, message: str) -> Refusal:
    """A refusal in the protocol of an AWS service, so that its client shows the message."""
    status, headers, body = iam_actions.access_denied_response(
        service, "", "", "", error_code="AccessDenied", message=message
    )
    return status, headers, body


async def _send(send: Send, refusal: Refusal) -> None:
    status, headers, body = refusal
    lines = {**headers, "Content-Length": str(len(body))}
    encoded = [(name.lower().encode(), str(value).encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
