"""Clients of AWS with the retries and time limits that a request's caller can wait for."""

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from pixelprompt.deadline import Deadline
from pixelprompt.errors import DeadlineExceeded, Interrupted
from pixelprompt.settings import endpoint_is_overridden

# Of each attempt of a call that a caller waits for, in seconds.
_REQUEST_CONNECT, _REQUEST_READ = 2, 5
# What ends an attempt before it is sent.
NOT_SENT = (DeadlineExceeded, EndpointConnectionError, ConnectTimeoutError, NoCredentialsError)
# What may be under way when a request's time is over: one attempt, and making the response.
REQUEST_RESERVE = _REQUEST_CONNECT + _REQUEST_READ + 1


def client(service: str, *, connect: float = 3, read: float = 10) -> Any:
    """A client as boto3 makes it: standard retries, three attempts in total; by default 3 s to connect, 10 s to read.

    It comes from botocore, on which boto3 stands: what boto3 adds (resources, transfers of files) is not used here, and
    loading it would cost each cold start an eighth more.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=20,
        **(_s3_options() if service == "s3" else {}),
    )
    return session().create_client(service, config=config)


def request_client(service: str, deadline: Deadline) -> Any:
    """A client for what a caller waits for: no attempt begins after the deadline.

    Its calls raise ``DeadlineExceeded`` as well as what those of other clients do.
    """
    made = client(service, connect=_REQUEST_CONNECT, read=_REQUEST_READ)
    made.meta.events.register("before-send", lambda **_: deadline.check())
    made.meta.events.register("response-received", _note_unanswered)
    made.meta.events.register("after-call", _tell_of_unanswered)
    made.meta.events.register("after-call-error", _tell_of_unanswered)
    return made


def _note_unanswered(exception: Exception | None, context: dict[str, Any], **_: Any) -> None:
    """Remember an attempt that was sent and has no response: it may have been carried out."""
    if exception is not None and (isinstance(exception, Interrupted) or not isinstance(exception, NOT_SENT)):
        context["unanswered"] = True


def _tell_of_unanswered(
    context: dict[str, Any], parsed: Any = None, exception: Exception | None = None, **_: Any
) -> None:
    """Leave word of it with the error that the call ends with, whatever became of its last attempt."""
    if context.get("unanswered"):
        if exception is not None:
            exception.unanswered = True  # type: ignore[attr-defined]
        elif isinstance(parsed, dict):
            parsed.setdefault("ResponseMetadata", {})["Unanswered"] = True


def was_unanswered(error: Exception) -> bool:
    """Whether the call that failed had an attempt that was sent and has no response."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    told = getattr(error, "unanswered", False) or metadata.get("Unanswered")
    return bool(told) or isinstance(error, Interrupted)


@cache
def session() -> Any:
    """The botocore session of all clients; it reads each description of a service once."""
    return botocore.session.get_session()


def _s3_options() -> dict[str, Any]:
    """Options for presigned URLs.

    They would otherwise be signed with version 2, which newer buckets refuse, and for the host of all regions, which
    redirects to the bucket's own and thereby breaks the signature. An overridden endpoint has no such hosts.
    """
    style = "path" if endpoint_is_overridden() else "virtual"
    return {"signature_version": "s3v4", "s3": {"addressing_style": style}}
