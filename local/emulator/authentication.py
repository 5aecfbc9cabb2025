"""Authentication of requests to the emulator: signed with the access key of this run, or a few unsigned ones.

The emulator on its own serves every client of its port: other users of the machine, and every page in a browser on it.
This ASGI middleware is in front of it. Unsigned requests reach only what is public on AWS too: the HTTP API, where
on Linux they must come from a process of the same user, the distributions of CloudFront, and S3 by presigned URLs and
by forms with a signed policy, with their preflights. A request that says it comes from a page of another origin is
refused, signed or not, and so is one for another host: a name that leads to this machine would make any page one of
ours (DNS rebinding).

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
from pathlib import Path
from typing import Any

from ministack import app as emulator
from ministack.core import iam_evaluator, lambda_runtime, sigv4
from ministack.services import cloudfront, lambda_svc, s3, sts

from local.emulator import peer
from local.emulator.access_key import AccessKey
from local.emulator.request import Receive, Request, Response, Scope, Send, refused, refused_by
from local.emulator.signatures import CURE, SHA256, check_presigned, check_signed, is_of_s3, secret_of

READY = "/_ministack/ready"
# Without a slash after the API's id, the emulator looks for another service that the request may be meant for.
_HTTP_API = re.compile(r"/_aws/execute-api/[a-z0-9-]+/.*", re.DOTALL)
_BUCKET = re.compile(r"/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?")
_CLOUDFRONT_HOST = re.compile(r"([a-z0-9]+)\.cloudfront\.localhost")
_FORM = re.compile(r"""multipart/form-data; ?boundary=("?)(?P<boundary>[\w'()+,./:=?-]{8,70})\1""", re.ASCII)
_MAX_FORM_BYTES = 32 * 2**20
_MAX_PARTS = 100

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
            await self._answer(Request(scope, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, request: Request, send: Send) -> None:
        distribution = _CLOUDFRONT_HOST.fullmatch(request.host)
        if refusal := self._foreign(request):
            await _send(send, refusal)
        elif distribution and "authorization" not in request.headers:
            await _send(send, await _distributed(request, distribution[1]))
        elif not self._is_public(request) and (refusal := await _unauthenticated(request)):
            await _send(send, refusal)
        else:
            await self._app(request.scope, request.receive, send)

    def _foreign(self, request: Request) -> Response | None:
        """Refuse a request for another host, and one that a page of another origin has made."""
        is_signed = "authorization" in request.headers
        # Only who signs may come by way of another port, such as that of a tunnel.
        is_here = request.port == str(self._port) or (is_signed and request.port.isdecimal())
        if not is_here or not (request.host in ("127.0.0.1", "localhost") or _CLOUDFRONT_HOST.fullmatch(request.host)):
            return refused("The Host header names another server.")
        origin = request.headers.get("origin")
        # Seldom one has: the file with those that are allowed is not read for each request.
        if origin is None or {origin, "*"} & (allowed := self._allowed_origins()):
            return None
        if not allowed:
            return refused("This cloud knows no page yet; `make up` completes it.", "ORIGIN_NOT_ALLOWED")
        return refused(
            "This cloud does not accept this page; to open it to yours, name its origin in CORS_ORIGINS at `make up`.",
            "ORIGIN_NOT_ALLOWED",
        )

    def _allowed_origins(self) -> set[str]:
        try:
            return set(json.loads(self._origins.read_bytes()))
        except (OSError, ValueError, TypeError):
            return set()

    def _is_public(self, request: Request) -> bool:
        """Whether this needs no signature."""
        if request.path == READY:
            return request.method == "GET"
        if not _HTTP_API.fullmatch(request.path):
            return False
        client, server = request.scope.get("client"), ("127.0.0.1", self._port)
        return client is not None and not peer.is_of_another_user((client[0], client[1]), server)


async def _unauthenticated(request: Request) -> Response | None:
    if "authorization" in request.headers:
        return await check_signed(request)
    if "X-Amz-Signature" in request.query:
        return check_presigned(request)
    if request.method == "POST" and request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _check_form(request)
    if request.method == "OPTIONS":
        return _check_preflight(request)
    return refused(f"Only requests that are signed with the cloud's own access key are accepted. {CURE}")


async def _check_form(request: Request) -> Response | None:
    """Let a form upload through to S3, where `_enforce_policy` checks the signature of its policy."""
    bucket, kind = _BUCKET.fullmatch(request.path), _FORM.fullmatch(request.headers["content-type"])
    request.keep_headers(lambda name: not re.match(r"x-amz-|content-encoding|transfer-encoding", name))
    # The bucket is there: what isn't S3 has paths of one part, too.
    if not bucket or not kind or request.query or not s3._ensure_bucket(bucket[1]) or not is_of_s3(request):
        return refused_by("s3", "A form is posted to a bucket, with a boundary of at least 8 characters.")
    body = await request.body(_MAX_FORM_BYTES)
    if body is None or body.count(b"--" + kind["boundary"].encode()) > _MAX_PARTS:
        return refused_by("s3", "The form is too long or too slow, or has too many parts.")
    _unsigned_form.set(True)
    return None


def _check_preflight(request: Request) -> Response | None:
    """Let a browser ask S3 whether a page may post a form to a bucket, as the rules of the bucket say."""
    bucket = _BUCKET.fullmatch(request.path)
    request.keep_headers(lambda name: name in ("host", "origin") or name.startswith("access-control-request-"))
    if not bucket or request.query or not s3._ensure_bucket(bucket[1]) or not is_of_s3(request):
        return refused_by("s3", "A preflight is for a form that is posted to a bucket.")
    return None


async def _distributed(request: Request, label: str) -> Response:
    """The response of a CloudFront distribution; nothing else of the emulator is reached by its name."""
    if request.method not in ("GET", "HEAD") or not cloudfront.find_distribution_for_label(label):
        return refused("Distribution not found, or the method is neither GET nor HEAD.")
    status, headers, body = await emulator._handle_cloudfront_dataplane_request(
        f"{request.host}:{request.port}", request.path, request.raw_path, request.scope["query_string"].decode(),
        request.method, request.headers, b"", request.query, "127.0.0.1",
    )  # fmt: skip
    return status, headers, b"" if request.method == "HEAD" else body


def install(key: AccessKey, port: int, origins: Path) -> None:
    """Put the middleware in front of the emulator, and make `key` its only access key."""

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
    """Hold a form upload to its signed policy; S3's response if it must not be stored."""
    refusal = _enforce_signed(fields, bucket, region, size, is_version_4)
    if refusal or not _unsigned_form.get():
        return refusal
    scope = fields.get("x-amz-credential", "").split("/")
    secret = secret_of(scope[0], fields.get("x-amz-security-token")) if is_version_4 and len(scope) == 5 else None
    expected = sigv4.calculate_signature(secret, scope[1], scope[2], "s3", fields["policy"]) if secret else ""
    signature = fields.get("x-amz-signature", "")
    if expected and SHA256.fullmatch(signature) and sigv4.signatures_match(expected, signature):
        return None
    return s3._error("SignatureDoesNotMatch", "The form is not signed with an access key of this cloud.", 403)


def _enforce_size(policy: str, size: int) -> Any:
    """Refuse a form without signature, unless the request has one; hold the others to the size of their policy."""
    if _unsigned_form.get():
        return s3._error("AccessDenied", "The form has no signed policy.", 403)
    return _enforce_unsigned(policy, size)


async def _send(send: Send, response: Response) -> None:
    status, headers, body = response
    lines = {**headers, "Content-Length": str(len(body))}
    encoded = [(name.lower().encode(), str(value).encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
