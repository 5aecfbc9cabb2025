"""Signatures of requests to the emulator (SigV4), in the headers and in presigned URLs of S3."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from ministack.core import iam_evaluator, router, sigv4
from ministack.services import s3

from local.emulator.request import Request, Response, refused, refused_by

ALGORITHM = "AWS4-HMAC-SHA256"
SHA256 = re.compile("[0-9a-f]{64}")
_SCOPE = r"[^\s,/=]+(?:/[^\s,/=]+){3}/aws4_request"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential={_SCOPE}, ?SignedHeaders=[^\s,=]+, ?Signature={SHA256.pattern}", re.ASCII
)
# The query parameters of a presigned URL.
_SIGNING = {
    "X-Amz-Algorithm": re.compile(ALGORITHM),
    "X-Amz-Credential": re.compile(_SCOPE, re.ASCII),
    "X-Amz-Date": re.compile(r"[0-9]{8}T[0-9]{6}Z"),
    # At most a week.
    "X-Amz-Expires": re.compile(r"[1-9][0-9]{0,4}|[1-5][0-9]{5}|60[0-4][0-9]{3}"),
    "X-Amz-SignedHeaders": re.compile(r"[!-~]+"),
    "X-Amz-Signature": SHA256,
}
# Paths that the emulator looks at before it chooses the service.
_SPECIAL_PATHS = ("/iceberg", "/v2/", "/v20180820/", "/Execute", "/login", "/oauth2", "/_")
_MAX_BYTES = 256 * 2**20
# Without a digest of the body, its signature is checked only when all of it is there.
_MAX_UNCHECKED_BYTES = 64 * 2**20
CURE = "`make status` says how to call this cloud."


async def check_signed(request: Request) -> Response | None:
    """Check the signature in the headers, as every AWS SDK makes it."""
    # As a whole: the emulator would believe another credential that stands beside the one that is checked.
    if not _AUTHORIZATION.fullmatch(request.headers["authorization"]):
        return refused(f"Requests are signed with {ALGORITHM}. {CURE}")
    signature = sigv4.parse_header_signature(request.headers)
    if isinstance(signature, tuple):
        return refused(signature[1])
    signed = signature.signed_headers.split(";")
    amazon = [name for name in (*request.headers, *request.query) if name.lower().startswith("x-amz-")]
    # Else the signature of a presigned URL, moved into the headers, would sign whatever is added to them.
    if not {"host", *amazon} <= set(signed):
        return refused_by(
            signature.service, "Host and every X-Amz header must be signed, and no X-Amz query parameter."
        )
    secret = secret_of(signature.access_key_id, request.headers.get("x-amz-security-token"))
    if secret is None:
        return refused_by(signature.service, f"The access key is not that of this cloud. {CURE}")

    def failure(body: bytes) -> tuple[str, str] | None:
        failed: tuple[str, str] | None = sigv4.header_signature_failure(
            signature, secret, request.method, request.raw_path, request.query, request.headers, body
        )
        return failed

    digest = request.headers.get("x-amz-content-sha256", "")
    # The id of a key is not secret: what can be checked before the body is read, is.
    is_early = bool(digest) and not digest.startswith("STREAMING-AWS4-")
    if failed := sigv4.request_time_failure(signature) or (is_early and failure(b"")):
        return refused_by(signature.service, failed[1])
    body = await request.body(_MAX_BYTES if is_early else _MAX_UNCHECKED_BYTES)
    if body is None or not _is_signed_body(signature.service, digest, body):
        return refused_by(signature.service, "The body is not the one that was signed, or it is too long or too slow.")
    if not is_early and (failed := failure(body)):
        return refused_by(signature.service, failed[1])
    return None


def _is_signed_body(service: str, digest: str, body: bytes) -> bool:
    """Whether the signature covers the body; without a digest, it is computed with that of the body."""
    if not digest or SHA256.fullmatch(digest):
        return digest in ("", hashlib.sha256(body).hexdigest())
    # Of S3's own ways, one signs each chunk, and two leave the body to TLS.
    return service == "s3"


def check_presigned(request: Request) -> Response | None:
    """Check a presigned URL of S3: only reading, exactly what was signed, and nothing besides."""
    signing = {name: values for name, values in request.query.items() if name.lower().startswith("x-amz-")}
    # What comes twice, in another spelling or empty could be read in another way than it was checked.
    is_plain = signing.keys() >= _SIGNING.keys() and all(len(values) == 1 for values in signing.values())
    is_plain &= len({name.lower() for name in signing}) == len(signing)
    is_plain &= all(pattern.fullmatch(signing.get(name, [""])[0]) for name, pattern in _SIGNING.items())
    if not is_plain or request.method not in ("GET", "HEAD") or _is_of_future(signing["X-Amz-Date"][0]):
        return refused_by("s3", f"Presigned URLs are for GET and HEAD of S3, and signed with {ALGORITHM}.")
    signed = signing["X-Amz-SignedHeaders"][0].split(";")
    # Others could lead the request to another service, and so could a body.
    request.keep_headers(lambda name: name in signed or not re.match(r"x-amz-|content-|transfer-encoding", name))
    request.replace_body(b"")
    if not is_of_s3(request):
        return refused_by("s3", "The emulator cannot serve this bucket or key by a presigned URL; name it otherwise.")
    answer: Response | None = s3._verify_presigned_sigv4(request.method, request.path, request.headers, request.query)
    return answer


def _is_of_future(stamp: str) -> bool:
    """Whether a moment such as 20261127T190730Z is none, or later than clocks differ."""
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return True
    return moment > datetime.now(UTC) + timedelta(minutes=15)


def is_of_s3(request: Request) -> bool:
    """Whether the emulator reads a request as one of S3; some services know theirs by the path."""
    is_special = request.path.startswith(_SPECIAL_PATHS)
    service = router.detect_service(request.method, request.path, request.headers, request.query)
    return not is_special and service == "s3"


def secret_of(access_key_id: str, session_token: str | None) -> str | None:
    """The secret of an access key of this run, or of a session that the emulator began for a role."""
    credential = iam_evaluator.resolve_credential(access_key_id, session_token=session_token)
    return None if isinstance(credential, iam_evaluator.CredentialResolutionError) else credential.secret_access_key
