"""Requests in, answers out: bodies, errors as codes, CORS, correlation ids.

Event and answer have the form of API Gateway's HTTP API, payload version 2.0
(https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html).
"""

import base64
import binascii
import contextlib
import json
import re
import uuid
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any

from pixelprompt.aws import REQUEST_RESERVE
from pixelprompt.deadline import REQUEST_SECONDS, RESPONSE_SECONDS, Deadline, interrupted_after
from pixelprompt.documents import may_pass
from pixelprompt.errors import (
    DeadlineExceeded,
    InvalidJson,
    MethodNotAllowed,
    OriginNotAllowed,
    PayloadTooLarge,
    RequestError,
    RouteNotFound,
    StorageError,
)
from pixelprompt.jobs import is_job_id
from pixelprompt.member_names import check_names
from pixelprompt.observability import begin, log_failure, logger
from pixelprompt.settings import Settings

BODY_LIMIT = 64 * 1024
# No valid request is nested deeper than three levels; what is read here, whoever gets it can write and compare.
DEPTH_LIMIT = 32
ROUTES = {
    "/generate": "POST",
    "/status/{jobId}": "GET",
    "/cancel/{jobId}": "POST",
    "/retry/{jobId}": "POST",
    "/enhance": "POST",
    "/models": "GET",
    "/gallery/list": "GET",
    "/gallery/{galleryId}": "GET",
    "/openapi.json": "GET",
}
# A deployment may have these off; it then treats them like any unknown path.
GALLERY_ROUTES = ("/gallery/list", "/gallery/{galleryId}")
ALLOWED_METHODS = "GET, POST, OPTIONS"
ALLOWED_HEADERS = "Content-Type, Authorization, If-None-Match, Idempotency-Key, X-Correlation-ID"
EXPOSED = "Date, ETag, Retry-After, X-Correlation-ID, Idempotent-Replayed"
MAX_AGE = 86400

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Event = Mapping[str, Any]

# Of the request that this process answers at present, for all that its entry point waits for.
deadline = Deadline(REQUEST_RESERVE)


@dataclass(frozen=True)
class Request:
    """A request as API Gateway saw it; header names in lower case.

    ``route`` is the path of ``ROUTES`` that API Gateway has matched, empty where it is none; ``path`` is the caller's,
    without what stands before the route. ``url`` is where the API begins, with the stage or base path that it is served
    under.
    ``principal`` is whom API Gateway has authenticated, empty where the API is open to everybody.
    """

    method: str
    route: str
    path: str
    headers: Mapping[str, str]
    path_parameters: Mapping[str, str]
    query: Mapping[str, str]
    source_ip: str
    principal: str
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
        prefix, path = _split_path(event)
        return cls(
            method=http.get("method", "GET"),
            route=_route(event),
            path=path,
            headers=headers,
            path_parameters=event.get("pathParameters") or {},
            query=event.get("queryStringParameters") or {},
            source_ip=http.get("sourceIp", ""),
            principal=_principal(context.get("authorizer") or {}),
            url=f"https://{context.get('domainName', 'localhost')}{prefix}",
            correlation_id=correlation_id(headers),
            body=_body(event),
        )

    def check_query(self, *known: str) -> None:
        """Reject parameters of the query string other than these.

        Raises
        ------
        InvalidParameter
        """
        check_names(self.query, known, "query parameter")

    def json_or_empty(self) -> dict[str, Any]:
        """The body as a JSON object; one without content is an empty object.

        Raises
        ------
        PayloadTooLarge, InvalidJson
        """
        return self.json() if self.body.strip().removeprefix(BOM_UTF8) else {}

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, whatever its content type says.

        Raises
        ------
        PayloadTooLarge, InvalidJson
        """
        if len(self.body) > BODY_LIMIT:
            raise PayloadTooLarge(
                f"The body has {len(self.body)} bytes; at most {BODY_LIMIT} are taken.", limit=BODY_LIMIT
            )
        try:
            # A byte-order mark is no part of the text (RFC 8259, section 8.1).
            value = json.loads(
                self.body.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates
            )
            if _is_deeper(value, DEPTH_LIMIT):
                raise _NotStrict("The body is nested too deeply.")
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeDecodeError:
            raise InvalidJson("The body is not valid UTF-8.") from None
        except UnicodeEncodeError:
            raise InvalidJson("The body has half a surrogate pair, which is no character.") from None
        except RecursionError:
            raise InvalidJson("The body is nested too deeply.") from None
        except _NotStrict as error:
            raise InvalidJson(str(error)) from None
        except ValueError:
            raise InvalidJson('The body must be a JSON object such as {"prompt": "a red fox"}.') from None
        if not isinstance(value, dict):
            raise InvalidJson('The body must be a JSON object such as {"prompt": "a red fox"}.')
        return value


@dataclass(frozen=True)
class Response:
    """An answer; ``body`` is JSON-serialisable, None sends no body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class _NotStrict(ValueError):
    """The text is JSON to Python, but not to the standard, or it is ambiguous."""


def _no_constant(name: str) -> None:
    raise _NotStrict(f"{name} is no JSON number.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _NotStrict("The body names a member twice.")
    return value


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether a JSON value has objects and arrays inside each other on more than ``limit`` levels."""
    level = [value]
    for _ in range(limit + 1):
        level = [entry for entry in level if isinstance(entry, dict | list)]
        if not level:
            return False
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return True


def _split_path(event: Event) -> tuple[str, str]:
    """What stands before the route's path in the URL, and that path.

    A named stage is part of ``rawPath`` on every domain, but of the URL on API Gateway's own only; a base path comes
    with custom domains only (https://github.com/CodeGenieApp/serverless-express/issues/465).
    """
    context = event.get("requestContext") or {}
    path, stage = str(event.get("rawPath", "/")), f"/{context.get('stage', '$default')}"
    is_own_domain = ".execute-api." in f"{context.get('domainName', '')}."
    if route := _route(event):
        # What is more than the route's own segments stands before it.
        segments = path.rstrip("/").split("/")
        length = route.count("/")
        prefix, path = "/".join(segments[:-length]), "/" + "/".join(segments[-length:])
    else:
        prefix, path = _split_unmatched(path, stage, is_own_domain=is_own_domain)
    if stage != "/$default" and not is_own_domain and f"{prefix}/".startswith(f"{stage}/"):
        prefix = prefix[len(stage) :]
    return prefix.rstrip("/"), path


def _route(event: Event) -> str:
    """The path of ``ROUTES`` that API Gateway has matched, however the caller wrote it; or nothing."""
    route = str(event.get("routeKey", "")).partition(" ")[2]
    return route if route in ROUTES else ""


def _split_unmatched(path: str, stage: str, *, is_own_domain: bool) -> tuple[str, str]:
    """As ``_split_path`` where no route has matched: with another method, one may stand behind a base path."""
    prefix = ""
    if stage != "/$default" and (path == stage or path.startswith(f"{stage}/")):
        prefix, path = stage, path[len(stage) :] or "/"
    if is_own_domain or _is_route(path):
        return prefix, path
    starts = [match.start() for match in re.finditer("/", path)]
    start = next((start for start in starts if _is_route(path[start:])), 0)
    return prefix + path[:start], path[start:]


def _is_route(path: str) -> bool:
    return any(_matches(template, path) for template in ROUTES)


def _matches(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None


def _body(event: Event) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidJson("The body is not valid base64.") from None


def correlation_id(headers: Mapping[str, str]) -> str:
    """The caller's ``X-Correlation-ID`` where it is a plain token of up to 128 characters, else a new one."""
    given = headers.get("x-correlation-id", "")
    return given if _CORRELATION_ID.fullmatch(given) else str(uuid.uuid4())


def deployed_routes(settings: Settings) -> dict[str, str]:
    """The part of ``ROUTES`` that this deployment has."""
    return {path: method for path, method in ROUTES.items() if settings.has_gallery or path not in GALLERY_ROUTES}


def no_such_route(request: Request, routes: Mapping[str, str] = ROUTES) -> RequestError:
    """Why no route took this request: the path is unknown, or its method is another.

    Parameters
    ----------
    routes : those that are deployed, each path with its method
    """
    for template, method in routes.items():
        if _matches(template, request.path) and method != request.method:
            return MethodNotAllowed(
                f"{request.path} takes {method}, not {request.method}.",
                headers={"Allow": f"{method}, OPTIONS"},
                path=request.path,
                method=request.method,
            )
    return RouteNotFound(f"There is no {request.method} {request.path}.", path=request.path, method=request.method)


@contextlib.contextmanager
def unless_missing(require: Callable[[], object]) -> Iterator[None]:
    """Report what ``require`` raises, such as that a job does not exist, before what is wrong with the request."""
    try:
        yield
    except RequestError:
        require()
        raise


def _principal(authorizer: Mapping[str, Any]) -> str:
    """Whom API Gateway has authenticated, by a JWT or by IAM."""
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    # Tokens of programs may lack a subject.
    for claim in ("sub", "client_id", "azp"):
        if claims.get(claim):
            return f"jwt {claim} {claims[claim]}"
    iam = authorizer.get("iam") or {}
    # All users of an identity pool of Cognito have the same session of the same role.
    user = (iam.get("cognitoIdentity") or {}).get("identityId") or iam.get("userId")
    return f"iam {user}" if user else ""


def endpoint(respond: Callable[[Request], Response]) -> Callable[[Event, Any], dict[str, Any]]:
    """Make a Lambda handler of a function from request to response; whatever it raises becomes an answer."""

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
        logger.info("Answered.", status=response.status, path=event.get("rawPath"))
        return _proxy(response, {**_cors(headers.get("origin", "")), "X-Correlation-ID": correlation})

    return handler


def _check_origin(request: Request) -> None:
    """Refuse what a page of another origin makes a browser send: CORS only keeps such a page from reading the answer.

    Raises
    ------
    OriginNotAllowed : the deployment names the origins that may call, and this is none of them
    """
    origin = request.headers.get("origin")
    if request.method != "POST" or origin is None or {origin, "*"} & set(_allowed_origins()):
        return
    if not request.route and not any(
        method == "POST" and _matches(template, request.path) for template, method in ROUTES.items()
    ):
        return
    raise OriginNotAllowed("This deployment does not accept requests from pages of this origin.")


def _failure(error: Exception) -> Response:
    """The answer where the fault is ours: whether trying again helps, and nothing else."""
    if isinstance(error, DeadlineExceeded) or (isinstance(error, StorageError) and may_pass(error)):
        body = {"error": "SERVICE_UNAVAILABLE", "message": "The service is busy. Try again in a few seconds."}
        return Response(body, 503, {"Retry-After": "5"})
    return Response({"error": "INTERNAL_SERVER_ERROR", "message": "Something went wrong on our side."}, 500)


def _proxy(response: Response, headers: Mapping[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = {"statusCode": response.status, "headers": {**headers, **response.headers}}
    if response.body is not None:
        answer["headers"].setdefault("Content-Type", "application/json")
        answer["headers"].setdefault("Cache-Control", "no-store")
        # Prompts are in responses: a browser must not see markup in one.
        answer["headers"]["X-Content-Type-Options"] = "nosniff"
        text = json.dumps(response.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # What quotes the caller may hold half a surrogate pair, which no answer can.
        answer["body"] = text.encode(errors="replace").decode()
    return answer


@cache
def _allowed_origins() -> tuple[str, ...]:
    return Settings.from_environment().cors_origins


def _cors(origin: str) -> dict[str, str]:
    allowed = _allowed_origins()
    headers = {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Expose-Headers": EXPOSED,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    if "*" in allowed:
        return {"Access-Control-Allow-Origin": "*", **headers}
    if origin in allowed:
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **headers}
    return {"Vary": "Origin"}
