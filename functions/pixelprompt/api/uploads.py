"""``POST /uploads``: limits in front of the form with which a caller uploads a reference image."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct

from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.limits.caller import CallerIp, read_ip
from pixelprompt.limits.limiter import Limiter, refuse_limited
from pixelprompt.storage.uploads import MAX_BYTES, UploadStorage
from pixelprompt.validation import read_body


class UploadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of ``POST /uploads``."""

    content_type: Annotated[
        Literal["image/png", "image/jpeg", "image/webp"],
        Meta(description="Type of the image that will be uploaded.", examples=["image/png"]),
    ]
    ip: CallerIp = None


class Upload(TypedDict):
    """A form that uploads one image: a POST of `multipart/form-data` to `url`, the file as its last field, `file`."""

    uploadId: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{32}$",
            description="Names the image in a request, once it is uploaded; it is kept for a day.",
            examples=["9f86d081884c7d659a2feaa0c55ad015"],
        ),
    ]
    url: Annotated[
        str,
        Meta(
            description="Where the form is posted to.",
            examples=["https://….s3.amazonaws.com/"],
            extra_json_schema={"format": "uri"},
        ),
    ]
    fields: Annotated[
        dict[str, str],
        Meta(
            description="Fields of the form, sent as they are, before the file.",
            examples=[{"key": "uploads/9f86d081884c7d659a2feaa0c55ad015", "Content-Type": "image/png"}],
        ),
    ]
    expiresAt: Annotated[
        str,
        Meta(
            description="When the form expires: 15 minutes after the response. ISO 8601, in UTC.",
            examples=["2026-11-28T09:45:00Z"],
            extra_json_schema={"format": "date-time"},
        ),
    ]
    maxBytes: Annotated[int, Meta(ge=1, description="Most bytes that the image may have.", examples=[MAX_BYTES])]


class Uploads:
    """Makes the forms of requests.

    Parameters
    ----------
    trust_body_ip : whether the body's ``ip`` names the caller
    """

    def __init__(self, limiter: Limiter, storage: UploadStorage, *, trust_body_ip: bool) -> None:
        self._limiter = limiter
        self._storage = storage
        self._trust_body_ip = trust_body_ip

    def create(self, body: Mapping[str, Any], source_ip: str, caller: Identity = ANYBODY) -> Upload:
        """A form for a request's body.

        Raises
        ------
        InvalidParameter, RateLimitExceeded
        """
        request = read_body(body, UploadRequest)
        ip = read_ip(request.ip, source_ip, self._trust_body_ip)
        refuse_limited(self._limiter.check(ip, key=caller.key))
        # Whoever knows the ID can use the image, so it must be impossible to guess.
        upload_id = secrets.token_hex(16)
        form = self._storage.form(upload_id, request.content_type)
        return {
            "uploadId": upload_id,
            "url": form.url,
            "fields": form.fields,
            "expiresAt": form.expires_at,
            "maxBytes": MAX_BYTES,
        }
