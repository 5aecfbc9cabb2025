"""HTTP requests and responses: errors as codes, correlation IDs.

Event and response have the form of API Gateway's HTTP API, payload version 2.0
(https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html).
"""

import contextlib
import json
import re
import uuid
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from msgspec import Struct, field

from pixelprompt.api.authorization import identity
from pixelprompt.api.body import raw_body, read_json
from pixelprompt.api.cors import allowed_origins, cors_headers
from pixelprompt.api.routes import Event, matched_route, split_path, supports
from pixelprompt.deadline import REQUEST_SECONDS, RESPONSE_SECONDS, Deadline, interrupted_after
from pixelprompt.errors import (
    DeadlineExceeded,
    OriginNotAllowed,
    RequestError,
    StorageError,
)
from pixelprompt.identity import Identity
from pixelprompt.jobs.document import is_job_id
from pixelprompt.observability import begin, log_failure, logger
from pixelprompt.redaction import clean
from pixelprompt.storage.clients import REQUEST_RESERVE
from pixelprompt.storage.documents import is_transient
from pixelprompt.validation import check_names

# It is logged: not an API key, which may have got into the wrong header.
_CORRELATION_ID = re.compile(r"(?!pp_)[A-Za-z0-9._-]{1,128}")
# Of the request that this process handles at present, for all that its entry point waits for.
deadline = Deadline(REQUEST_RESERVE)


class Request(Struct, frozen=True):
    """A request as API Gateway saw it; header names in lower case.

    ``route`` is the path of ``ROUTES`` that API Gateway has matched, empty where it is none; ``path`` is the caller's,
    without what stands before the route. ``url`` is where the API begins, with the stage or base path that it is served
    under.
    ``identity`` is whom API Gateway has authenticated.
    """

    method: str
    route: str
    path: str
    headers: Mapping[str, str]
    path_parameters: Mapping[str, str]
    query: Mapping[str, str]
    source_ip: str
    identity: Identity
    url: str
    correlation_id: str
    body: bytes

    @classmethod
    def from_event(cls, event: Event) -> "Request":
        """The request of an event.

        Raises
        ------
        InvalidJson : the body claims to be base64 and is not
        """
        context = event.get("requestContext") or {}
        http = context.get("http", {})
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        prefix, path = split_path(event)
        return cls(
            method=http.get("method", "GET"),
            route=matched_route(event),
            path=path,
            headers=headers,
            path_parameters=event.get("pathParameters") or {},
            query=event.get("queryStringParameters") or {},
            source_ip=http.get("sourceIp", ""),
            identity=identity(context.get("authorizer") or {}),
            url=f"https://{context.get('domainName', 'localhost')}{prefix}",
            correlation_id=correlation_id(headers),
            body=raw_body(event),
        )

    def check_query(self, *known: str) -> None:
        """Reject parameters of the query string other than these.

        Raises
        ------
        InvalidParameter
        """
        check_names(self.query, known, "query parameter")

    def status_url(self, job_id: str, api_url: str = "") -> str:
        """Where a job's status is; ``api_url`` is where the API is called, if that is not API Gateway's own URL."""
        return f"{api_url or self.url}/status/{job_id}"

    def json_or_empty(self) -> dict[str, Any]:
        """The body as a JSON object; one without content is an empty object.

        Raises
        ------
        PayloadTooLarge, InvalidJson
        """
        return self.json() if self.body.strip().removeprefix(BOM_UTF8) else {}

    def json(self, *, may_have_images: bool = False) -> dict[str, Any]:
        """The body as a JSON object, whatever its content type says; its ``images`` may hold data URLs where allowed.

        Raises
        ------
        PayloadTooLarge, InvalidJson
        """
        return read_json(self.body, may_have_images=may_have_images)


class Response(Struct, frozen=True):
    """A response; ``body`` is JSON-serializable, None sends no body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def correlation_id(headers: Mapping[str, str]) -> str:
    """The caller's ``X-Correlation-ID`` where it is a plain token of up to 128 characters, else a new one."""
    given = headers.get("x-correlation-id", "")
    return given if _CORRELATION_ID.fullmatch(given) else str(uuid.uuid4())


@contextlib.contextmanager
def unless_missing(require: Callable[[], object]) -> Iterator[None]:
    """Report what ``require`` raises, such as that a job does not exist, before what is wrong with the request."""
    try:
        yield
    except RequestError:
        require()
        raise


def endpoint(respond: Callable[[Request], Response]) -> Callable[[Event, Any], dict[str, Any]]:
    """Make a Lambda handler of a function from request to response; whatever it raises becomes a response."""

    @wraps(respond)
    def handler(event: Event, context: Any) -> dict[str, Any]:
        left = getattr(context, "get_remaining_time_in_millis", None)
        seconds = left() / 1000 if left else REQUEST_SECONDS
        deadline.begin(seconds)
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        correlation = correlation_id(headers)
        job_id = str((event.get("pathParameters") or {}).get("jobId", ""))
        begin(
            correlation_id=correlation,
            function=getattr(context, "function_name", None),
            job_id=job_id if is_job_id(job_id) else None,
        )
        try:
            request = Request.from_event({**event, "headers": {**headers, "x-correlation-id": correlation}})
            _check_origin(request)
            with interrupted_after(seconds - RESPONSE_SECONDS):
                response = Response(status=204) if request.method == "OPTIONS" else respond(request)
        except RequestError as error:
            body = {"error": error.code, "message": error.message, **error.details}
            response = Response(body, error.status, error.headers)
        except Exception as error:
            log_failure("The request failed.", error)
            response = _failure(error)
        logger.info("Answered.", status=response.status, path=clean(str(event.get("rawPath", ""))))
        return _proxy(response, {**cors_headers(headers.get("origin", "")), "X-Correlation-ID": correlation})

    return handler


def _check_origin(request: Request) -> None:
    """Refuse what a page of another origin makes a browser send: CORS only keeps such a page from reading the response.

    Raises
    ------
    OriginNotAllowed : the deployment names the origins that may call, and this is none of them
    """
    origin = request.headers.get("origin")
    if request.method != "POST" or origin is None or {origin, "*"} & set(allowed_origins()):
        return
    if not (request.route or supports("POST", request.path)):
        return
    raise OriginNotAllowed("This deployment does not accept requests from pages of this origin.")


def _failure(error: Exception) -> Response:
    """The response to an internal error: whether trying again helps, and nothing else."""
    if isinstance(error, DeadlineExceeded) or (isinstance(error, StorageError) and is_transient(error)):
        body = {"error": "SERVICE_UNAVAILABLE", "message": "The service is busy. Try again in a few seconds."}
        return Response(body, 503, {"Retry-After": "5"})
    return Response({"error": "INTERNAL_SERVER_ERROR", "message": "Internal error."}, 500)


def _proxy(response: Response, headers: Mapping[str, str]) -> dict[str, Any]:
    gateway_response: dict[str, Any] = {"statusCode": response.status, "headers": {**headers, **response.headers}}
    if response.body is not None:
        gateway_response["headers"].setdefault("Content-Type", "application/json")
        gateway_response["headers"].setdefault("Cache-Control", "no-store")
        # Prompts are in responses: a browser must not see markup in one.
        gateway_response["headers"]["X-Content-Type-Options"] = "nosniff"
        text = json.dumps(response.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # What quotes the caller may hold an unpaired surrogate, which is invalid in a response.
        gateway_response["body"] = text.encode(errors="replace").decode()
    return gateway_response
