"""The description of the HTTP API in OpenAPI 3.1, made from the routes, parameters, limits and errors of the code.

``python -m local openapi`` writes it; the service returns the file, and never imports this module.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

from local.paths import ROOT
from pixelprompt import errors
from pixelprompt.api import routes
from pixelprompt.api.enhance import EnhanceRequest
from pixelprompt.api.uploads import Upload, UploadRequest
from pixelprompt.api.usage import MAX_DAYS, By, Usage
from pixelprompt.jobs import idempotency
from pixelprompt.jobs.cancel import CancelRequest
from pixelprompt.jobs.request import GenerateRequest
from pixelprompt.jobs.retry import RetryRequest
from pixelprompt.jobs.schema import Estimate, Job, JobStarted, RunStarted
from pixelprompt.jobs.status import SINCE
from pixelprompt.models.listing import ModelList
from pixelprompt.models.parameters import AspectRatio, OutputFormat, Quality, Resolution
from pixelprompt.prompts.enhancement import EnhancedPrompt
from pixelprompt.storage import galleries
from pixelprompt.storage.galleries import Gallery, GalleryPage

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

Schema = dict[str, Any]
RequestErrors = tuple[type[errors.RequestError], ...]

_TEXT: Schema = {"type": "string"}
_ANY_OBJECT: Schema = {"type": "object"}
_DAY: Schema = {"type": "string", "format": "date"}

_INVALID_BODY: RequestErrors = (errors.InvalidJson, errors.PayloadTooLarge)
_PROMPT_ERRORS: RequestErrors = (
    errors.PromptRequired, errors.PromptTooLong, errors.InvalidParameter, errors.InappropriateContent,
)  # fmt: skip
_OPTIONAL = "A deployment may have its gallery off; this path then returns 404 `NOT_FOUND`."
_REASONS = {
    400: "The request is wrong; `error` says how.",
    402: "A budget has less left than the request may cost; `Retry-After` says when the budget renews.",
    403: "A page of an origin that the deployment does not name has sent this, or the caller is not authorized.",
    404: "There is no such job, or no such path.",
    405: "The path exists, but not with this method; `Allow` names those that it supports.",
    409: "The request does not fit the present state.",
    413: "The body is larger than any valid request.",
    429: "A limit is reached; `Retry-After` says when the next request may pass.",
    503: "A part of the service is missing or out of reach.",
}
# API Gateway responds on its own when it rejects the caller or the body's size, throttles, or reaches no function.
_BY_GATEWAY = (403, 413, 429, 500, 503)
_HEADERS: Schema = {
    "X-Correlation-ID": {
        "description": "Names this request in every log line; the caller's own where it is a plain token.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "Allow": {"description": "The methods that the path supports.", "required": True, "schema": _TEXT},
    "ETag": {"description": "The version of the document.", "required": True, "schema": _TEXT},
    idempotency.REPLAYED: {
        "description": "`true`: an earlier request with the same key has made this job.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}


@dataclass(frozen=True)
class _Response:
    """A successful response: its schema (None: no body) and the headers beside ``X-Correlation-ID``."""

    description: str
    schema: Schema | None
    headers: tuple[str, ...] = ()
    status: int = 200


@dataclass(frozen=True)
class _Operation:
    """A route as the description has it; method and path are those of ``pixelprompt.api.routes``."""

    id: str
    summary: str
    description: str
    responses: tuple[_Response, ...]
    errors: RequestErrors = ()
    body: Schema | None = None
    needs_body: bool = True
    parameters: tuple[Schema, ...] = ()
    links: Schema = field(default_factory=dict)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# msgspec sorts choices by the alphabet; qualities, for one, are declared from the cheapest on.
_ORDERS = {
    frozenset(get_args(choices)): [*get_args(choices)] for choices in (AspectRatio, Resolution, Quality, OutputFormat)
}


def _components(*types: Any) -> Schema:
    """The schemas of types, and of those that they refer to, by name."""
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {name: _plain(schema) for name, schema in components.items()}


def _plain(schema: Any) -> Any:
    """A schema of msgspec as a person would write it."""
    if isinstance(schema, list):
        return [_plain(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(value) for name, value in schema.items() if name not in ("title", "x-allowed")}
    if "default" in plain and plain["default"] is None:
        del plain["default"]
    if isinstance(plain.get("enum"), list):
        plain = {"type": "string", **plain, "enum": _ORDERS.get(frozenset(plain["enum"]), plain["enum"])}
    if isinstance(plain.get("description"), str):
        plain["description"] = plain["description"].replace("``", "`")
    if "required" in plain:
        first = {name: plain["properties"][name] for name in plain["required"]}
        plain["properties"] = {**first, **plain["properties"]}
    if "anyOf" in plain:
        choices = plain["anyOf"]
        if "number" in [choice.get("type") for choice in choices]:
            choices = [choice for choice in choices if choice.get("type") != "integer"]
        # What is said of the only choice beside null is said of the whole.
        about = {name: choice.pop(name) for choice in choices for name in ("description", "examples") if name in choice}
        plain = {**about, **plain, "anyOf": choices}
    return plain


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _header(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def _schemas() -> Schema:
    """The named schemas."""
    found = _components(
        GenerateRequest,
        JobStarted,
        Estimate,
        Job,
        CancelRequest,
        RetryRequest,
        RunStarted,
        EnhanceRequest,
        EnhancedPrompt,
        UploadRequest,
        Upload,
        ModelList,
        GalleryPage,
        Gallery,
        Usage,
        errors.ErrorResponse,
    )
    # Added to stored documents, and by the entry points.
    for name, member in (("Image", "imageUrl"), ("JobStarted", "statusUrl"), ("RunStarted", "statusUrl")):
        found[name]["required"].append(member)
    found["GatewayError"] = {
        "description": "An error of API Gateway itself: above its throttling, or when it reaches no function.",
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": {"type": "string", "description": "A word for a person.", "examples": ["Too Many Requests"]}
        },
        "additionalProperties": False,
    }
    return found


_TO_JOB: Schema = {
    name: {"operationId": operation, "parameters": {"jobId": "$response.body#/jobId"}}
    for name, operation in (("status", "getJob"), ("cancel", "cancelJob"), ("retry", "retryJob"))
}

_OPERATIONS = {
    "/generate": _Operation(
        "createJob",
        "Start a job: one prompt to many models.",
        "Checks limits and moderation, then asks all models at once. The response comes before any image: "
        "follow the job with `GET /status/{jobId}`. With `dryRun`, nothing is started or counted, and the "
        "response is the estimated cost.",
        (_Response("The job, or with `dryRun` its cost.", {"oneOf": [_ref("JobStarted"), _ref("Estimate")]},
                 (idempotency.REPLAYED,)),),
        (*_INVALID_BODY, *_PROMPT_ERRORS, errors.IdempotencyConflict, errors.BudgetExceeded, errors.ModelNotAllowed,
         errors.RateLimitExceeded, errors.NoProviderConfigured),
        body=_ref("GenerateRequest"),
        parameters=(
            _header(
                idempotency.HEADER,
                {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_KEY, "pattern": "^[ -~]+$"},
                "Requests with the same key and body make one job; for 24 hours.",
            ),
        ),
        links=_TO_JOB,
    ),
    "/status/{jobId}": _Operation(
        "getJob",
        "Get a job.",
        "Each model's result is there the moment it is ready. Send the `ETag` of the last response as `If-"
        "None-Match` to get 304 while nothing has changed, and `wait` to be answered at the next change.",
        (_Response("The job.", _ref("Job"), ("ETag",)),
         _Response("The caller has this version.", None, ("ETag",), 304)),
        (errors.JobNotFound,),
        parameters=(
            _header("If-None-Match", _TEXT, "The `ETag` of an earlier answer."),
            _query(
                "wait",
                {"type": "number", "minimum": 0, "maximum": 99_999, "multipleOf": 0.001},
                "Most seconds to wait for a change, as the deployment allows. A job that has ended is not waited for.",
            ),
            _query(
                "since",
                {"type": "string", "pattern": f"^{SINCE}$"},
                "The `ETag` of the version to wait from, perhaps a weak one; it stands before `If-None-Match`.",
            ),
        ),
    ),
    "/cancel/{jobId}": _Operation(
        "cancelJob",
        "Cancel a job.",
        "Models that are not finished end as `cancelled`; finished images stay. A provider that was asked "
        "already may charge for it (`billable`). Cancelling a finished job changes nothing.",
        (_Response("The job.", _ref("Job")),),
        (*_INVALID_BODY, errors.JobNotFound),
        body=_ref("CancelRequest"),
        needs_body=False,
    ),
    "/retry/{jobId}": _Operation(
        "retryJob",
        "Run models without an image again.",
        "Begins the next run of a finished job. Images that are there, and requests that a provider is still "
        "working on, are used instead of paid for again.",
        (_Response("The run.", _ref("RunStarted")),),
        (*_INVALID_BODY, errors.NothingToRetry, errors.JobNotFound, errors.JobNotFinished,
         errors.BudgetExceeded, errors.ModelNotAllowed, errors.RateLimitExceeded),
        body=_ref("RetryRequest"),
        needs_body=False,
    ),
    "/enhance": _Operation(
        "enhancePrompt",
        "Expand a short prompt.",
        "A text model writes a vivid prompt of about 100 tokens. If it fails, or its text is blocked by "
        "moderation, the response has the original prompt and a warning.",
        (_Response("The prompt, or the original with a warning.", _ref("EnhancedPrompt")),),
        (*_INVALID_BODY, *_PROMPT_ERRORS, errors.BudgetExceeded, errors.RateLimitExceeded),
        body=_ref("EnhanceRequest"),
    ),
    "/uploads": _Operation(
        "createUpload",
        "Get a form that uploads an image.",
        "The form goes to the bucket, not to this API: post it as `multipart/form-data` to `url`, first the `fields`, "
        "then the image as `file`. The bucket accepts these fields only, with a file of 1 to `maxBytes` bytes, until "
        "`expiresAt`, and deletes the image after a day.",
        (_Response("The form.", _ref("Upload")),),
        (*_INVALID_BODY, errors.RateLimitExceeded),
        body=_ref("UploadRequest"),
    ),
    "/models": _Operation(
        "listModels",
        "List the models.",
        "Image models with the parameters that they support and the price of an image, and text models.",
        (_Response("The models.", _ref("ModelList")),)
    ),
    "/gallery/list": _Operation(
        "listGalleries",
        "List galleries, newest first.",
        "A gallery holds the images of a job. Use `nextCursor` as `cursor` to get the next page.",
        (_Response("The page.", _ref("GalleryPage")),),
        parameters=(
            _query(
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": galleries.MAX_LIMIT,
                    "default": galleries.DEFAULT_LIMIT,
                },
                "How many galleries at most.",
            ),
            _query(
                "cursor",
                {"type": "string", "maxLength": galleries.MAX_CURSOR},
                "`nextCursor` of the page before.",
            ),
        ),
    ),
    "/gallery/{galleryId}": _Operation(
        "getGallery",
        "Get the images of a gallery.",
        "A gallery that does not exist has no images.",
        (_Response("The images.", _ref("Gallery")),),
    ),
    "/usage": _Operation(
        "getUsage",
        "Get what was used, and what budgets have left.",
        "Jobs, images, and dollars of the caller, or of everybody for an admin and where the API is open. From one day "
        f"to another, at most {MAX_DAYS}, in UTC. A deployment has it where it has budgets or API keys.",
        (_Response("The usage.", _ref("Usage")),),
        parameters=(
            _query("from", _DAY, "The first day; default: the first of the month of `to`."),
            _query("to", _DAY, "The last day; default: today."),
            _query("by", {"type": "string", "enum": [*get_args(By)], "default": "day"}, "What each entry stands for."),
        ),
    ),
    "/openapi.json": _Operation(
        "getDescription",
        "Get this document.",
        "The description of this API in OpenAPI 3.1.", (_Response("OpenAPI 3.1.", _ANY_OBJECT),)),
}  # fmt: skip


def description() -> Schema:
    """The whole description.

    Raises
    ------
    KeyError : a route of ``pixelprompt.api.routes`` has no operation here
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pixel Prompt",
            "version": VERSION,
            "summary": "One text-to-image prompt to many image models at once.",
            "description": "Every route also answers `OPTIONS` (CORS). A path that is not listed answers 404 "
            "`NOT_FOUND`, a listed one with another method 405 `METHOD_NOT_ALLOWED`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {path: _path(route, _OPERATIONS[path]) for path, route in routes.ROUTES.items()},
        "components": {"schemas": _schemas(), "headers": _HEADERS},
    }


def _path(route: routes.Route, operation: _Operation) -> Schema:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ),
        *operation.parameters,
        _header("X-Correlation-ID", _TEXT, "A name for this request in the logs."),
    ]
    described: Schema = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": f"{operation.description} {_OPTIONAL}" if route.is_gallery else operation.description,
        "parameters": parameters,
        "responses": {
            **{str(response.status): _success(response, operation.links) for response in operation.responses},
            **_failures(operation.errors, route.method),
        },
    }
    if operation.body:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    return {route.method.lower(): described}


def _success(described: _Response, links: Schema) -> Schema:
    response: Schema = {"description": described.description, "headers": _headers(*described.headers)}
    if described.schema:
        response["content"] = {"application/json": {"schema": described.schema}}
    if links:
        response["links"] = links
    return response


def _failures(kinds: RequestErrors, method: str) -> Schema:
    """The error responses of an operation: its own, and those that every path has."""
    every: RequestErrors = (
        *kinds,
        *([errors.OriginNotAllowed] if method == "POST" else []),
        # An unknown parameter of the query string.
        errors.InvalidParameter,
        errors.RouteNotFound,
        errors.MethodNotAllowed,
        errors.ServiceUnavailable,
    )
    codes: dict[int, set[str]] = {}
    for kind in every:
        codes.setdefault(kind.status, set()).add(kind.code)
    responses = {str(status): _failure(_REASONS[status], sorted(codes[status]), status) for status in sorted(codes)}
    responses.setdefault("429", _failure(_REASONS[429], [], 429))
    responses["500"] = _failure("Internal error.", ["INTERNAL_SERVER_ERROR"], 500)
    return dict(sorted(responses.items()))


def _failure(reason: str, codes: Iterable[str], status: int) -> Schema:
    ours = {"allOf": [_ref("ErrorResponse"), {"properties": {"error": {"enum": [*codes]}}}]}
    gateways = _ref("GatewayError")
    schema = ours
    if status in _BY_GATEWAY:
        schema = {"anyOf": [ours, gateways]} if codes else gateways
    headers = _headers(*(["Allow"] if status == 405 else []), *(["Retry-After"] if status in (402, 429, 503) else []))
    if status in _BY_GATEWAY:
        headers.pop("X-Correlation-ID")
        headers = {"X-Correlation-ID": {**_HEADERS["X-Correlation-ID"], "required": False}, **headers}
    return {"description": reason, "headers": headers, "content": {"application/json": {"schema": schema}}}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Correlation-ID", *names)}
