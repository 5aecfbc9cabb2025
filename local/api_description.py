"""The description of the HTTP API in OpenAPI 3.1, made from the routes, parameters, limits and errors of the code.

``python -m local openapi`` writes it; the service returns the file, and never imports this module.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pixelprompt import errors
from pixelprompt.api import routes
from pixelprompt.api.enhance import EnhanceRequest
from pixelprompt.jobs import idempotency
from pixelprompt.jobs.document import FINAL_ROW, JOB_STATUSES
from pixelprompt.jobs.request import CancelRequest, GenerateRequest, RetryRequest
from pixelprompt.jobs.status import SINCE
from pixelprompt.models.model import ERROR_CODES
from pixelprompt.providers.response import MAX_FACT
from pixelprompt.storage import galleries

VERSION = "1.0.0"

Schema = dict[str, Any]
RequestErrors = tuple[type[errors.RequestError], ...]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ANY_OBJECT: Schema = {"type": "object"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_URL: Schema = {"type": "string", "format": "uri"}

_INVALID_BODY: RequestErrors = (errors.InvalidJson, errors.PayloadTooLarge)
_PROMPT_ERRORS: RequestErrors = (
    errors.PromptRequired, errors.PromptTooLong, errors.InvalidParameter, errors.InappropriateContent,
)  # fmt: skip
_DETAILS: Schema = {
    "limit": {**_COUNT, "description": "The most that is taken."},
    "parameter": {**_TEXT, "description": "The member, query parameter or header that is wrong."},
    "nearest": {"type": ["string", "null"], "description": "The accepted name that resembles an unknown one."},
    "misfits": {"type": "array", "items": _ANY_OBJECT, "description": "What `strict` objects to."},
    "category": {"type": ["string", "null"], "description": "Why moderation blocked the prompt."},
    "retryAfter": {"type": "integer", "minimum": 1, "description": "Seconds after which the next request may pass."},
    "scope": {"type": ["string", "null"], "enum": ["global", "ip", "busy", None]},
    "jobId": _TEXT,
    "shutdown": {"type": ["string", "null"]},
    "replacement": {"type": ["string", "null"]},
    "path": _TEXT,
    "method": _TEXT,
}
_OPTIONAL = "A deployment may have its gallery off; this path then returns 404 `NOT_FOUND`."
_REASONS = {
    400: "The request is wrong; `error` says how.",
    403: "A page of an origin that the deployment does not name has sent this, or the caller is not authorized.",
    404: "There is no such job, or no such path.",
    405: "The path exists, but not with this method; `Allow` names those it takes.",
    409: "The request does not fit the present state.",
    413: "The body is larger than any valid request.",
    429: "A limit is reached; `Retry-After` says when the next request may pass.",
    503: "A part of the service is missing or out of reach.",
}
# API Gateway answers for itself when it knows no caller, throttles, takes no body of this size, or reaches no function.
_BY_GATEWAY = (403, 413, 429, 500, 503)
_HEADERS: Schema = {
    "X-Correlation-ID": {
        "description": "Names this request in every log line; the caller's own where it is a plain token.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "Allow": {"description": "The methods that the path takes.", "required": True, "schema": _TEXT},
    "ETag": {"description": "The version of the document.", "required": True, "schema": _TEXT},
    idempotency.REPLAYED: {
        "description": "`true`: an earlier request with the same key has made this job.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}


@dataclass(frozen=True)
class _Answer:
    """A successful answer: its schema (None: no body) and the headers beside ``X-Correlation-ID``."""

    description: str
    schema: Schema | None
    headers: tuple[str, ...] = ()
    status: int = 200


@dataclass(frozen=True)
class _Operation:
    """What the description says of a route; method and path are those of ``pixelprompt.api.routes``."""

    id: str
    summary: str
    answers: tuple[_Answer, ...]
    errors: RequestErrors = ()
    body: Schema | None = None
    needs_body: bool = True
    parameters: tuple[Schema, ...] = ()
    links: Schema = field(default_factory=dict)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": [*required], "properties": properties, **more}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


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
    plain = {name: _plain(value) for name, value in schema.items() if name != "title"}
    if "default" in plain and plain["default"] is None:
        del plain["default"]
    if isinstance(plain.get("enum"), list):
        plain = {"type": "string", **plain}
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
    receipt = {
        "applied": {**_ANY_OBJECT, "description": "Parameters that are used as they were given."},
        "adjusted": {**_ANY_OBJECT, "description": "By name, `requested` and `used`."},
        "ignored": {**_ANY_OBJECT, "description": "By name, the reason."},
    }
    image = _object(
        {"imageKey": _TEXT, "binaryKey": _TEXT, "imageUrl": _URL},
        {"width": _COUNT, "height": _COUNT, "seed": {"type": "integer"}},
    )
    row = _object(
        {
            "index": _COUNT,
            "model": _TEXT,
            "provider": _TEXT,
            "status": {"type": "string", "enum": sorted(FINAL_ROW | {"pending", "in_progress"})},
        },
        {
            **receipt,
            "startedAt": _MOMENT,
            "completedAt": _MOMENT,
            "duration": {"type": "number", "minimum": 0, "description": "Seconds."},
            "imageKey": _TEXT,
            "imageUrl": _URL,
            "images": _list_of(_ref("Image")),
            "error": {**_TEXT, "maxLength": 300, "description": "One sentence for a person."},
            "errorCode": {"type": "string", "enum": sorted(ERROR_CODES)},
            "retryable": {"type": "boolean"},
            "billable": {"type": "string", "enum": ["no", "yes", "unknown"]},
            "cost": _ref("Cost"),
            "earlierCosts": _list_of(_ref("Cost")),
            "run": {
                "type": "integer",
                "minimum": 1,
                "description": "The last run it took part in, where a later one has left it as it was.",
            },
            "requestId": {"type": "string", "maxLength": MAX_FACT},
            "usage": _ANY_OBJECT,
            "missing": _ANY_OBJECT,
            "warning": _TEXT,
        },
    )
    job = _object(
        {
            "jobId": {"type": "string", "format": "uuid"},
            "status": {"type": "string", "enum": sorted(JOB_STATUSES)},
            "run": {"type": "integer", "minimum": 1},
            "createdAt": _MOMENT,
            "updatedAt": _MOMENT,
            "schemaVersion": {"type": "integer"},
            "totalModels": _COUNT,
            "completedModels": _COUNT,
            "prompt": _TEXT,
            "parameters": _ANY_OBJECT,
            "results": _list_of(_ref("Row")),
        },
        {"runStartedAt": _MOMENT, "cancelRequested": _MOMENT, "cost": _ref("TotalCost")},
    )
    amount = {"type": ["number", "null"], "minimum": 0, "description": "Null where it is unknown."}
    cost = {
        "amount": amount,
        "currency": _TEXT,
        "basis": {"type": "string", "enum": ["computed", "reported", "unknown"]},
    }
    model = _object(
        {
            "name": _TEXT,
            "id": _TEXT,
            "provider": _TEXT,
            "default": {"type": "boolean", "description": "Whether a job without `models` takes it."},
            "configured": {"type": "boolean", "description": "Whether its provider's key is there."},
            "parameters": _ANY_OBJECT,
            "price": _ref("Price"),
            "timeLimit": {"type": "number", "description": "Seconds."},
        },
        {"released": _TEXT, "shutdown": _TEXT, "replacement": _TEXT, "warning": _TEXT},
    )
    text_model = _object({"name": _TEXT, "id": _TEXT, "provider": _TEXT, "enhances": {"type": "boolean"}})
    return {
        **_components(GenerateRequest, CancelRequest, RetryRequest, EnhanceRequest),
        "JobStarted": _object(
            {"jobId": {"type": "string", "format": "uuid"}, "message": _TEXT, "totalModels": _COUNT, "statusUrl": _URL},
            {"warnings": _list_of(_TEXT)},
        ),
        "Estimate": _object(
            {
                "dryRun": {"const": True},
                "totalModels": _COUNT,
                "models": _list_of(_object({"model": _TEXT, "provider": _TEXT, "cost": _ref("Cost"), **receipt})),
                "cost": _ref("TotalCost"),
            }
        ),
        "Job": job,
        "Row": row,
        "Image": image,
        "Cost": _object(cost),
        "Price": _object(
            cost,
            {
                "date": {**_TEXT, "description": "The day the price was read."},
                "source": {**_TEXT, "description": "Where."},
                "uncorroborated": {**_TEXT, "description": "Which part of it rests on a single source."},
            },
        ),
        "TotalCost": _object({"amount": amount, "currency": _TEXT, "known": _COUNT, "unknown": _COUNT}),
        "RunStarted": _object(
            {
                "jobId": {"type": "string", "format": "uuid"},
                "message": _TEXT,
                "run": {"type": "integer", "minimum": 1},
                "totalModels": _COUNT,
                "statusUrl": _URL,
            }
        ),
        "Enhancement": _object(
            {"original": _TEXT, "enhanced": _TEXT, "short_prompt": _TEXT, "long_prompt": _TEXT},
            {"warning": {**_TEXT, "description": "Why the prompt is the original."}},
        ),
        "Models": _object({"models": _list_of(model), "total": _COUNT, "textModels": _list_of(text_model)}),
        "GalleryPage": _object(
            {
                "galleries": _list_of(
                    _object(
                        {
                            "galleryId": _TEXT,
                            "createdAt": _MOMENT,
                            "coverUrl": _URL,
                            "images": {"type": "integer", "minimum": 1, "description": "How many it has."},
                        }
                    )
                ),
                "total": {**_COUNT, "description": f"Galleries in all, counted to {galleries.LISTING}."},
                "totalIsExact": {"type": "boolean", "description": "False: there are more than `total`."},
                "nextCursor": {
                    "type": ["string", "null"],
                    "description": "`cursor` of the next page; null at the end.",
                },
            }
        ),
        "Gallery": _object(
            {
                "galleryId": _TEXT,
                "images": _list_of(
                    _object(
                        {"model": _TEXT, "imageUrl": _URL, "imageKey": _TEXT},
                        {"width": _COUNT, "height": _COUNT, "seed": {"type": "integer"}},
                    )
                ),
                "total": _COUNT,
            }
        ),
        "Error": _object({"error": {**_TEXT, "description": "Constant for programs."}, "message": _TEXT}, _DETAILS),
        "GatewayError": _object(
            {"message": _TEXT},
            description="What API Gateway itself answers: above its throttling, or when a function cannot be reached.",
            additionalProperties=False,
        ),
    }


_TO_JOB: Schema = {
    name: {"operationId": operation, "parameters": {"jobId": "$response.body#/jobId"}}
    for name, operation in (("status", "getJob"), ("cancel", "cancelJob"), ("retry", "retryJob"))
}

_OPERATIONS = {
    "/generate": _Operation(
        "generate",
        "Start a job: one prompt to many models.",
        (_Answer("The job, or with `dryRun` its cost.", {"oneOf": [_ref("JobStarted"), _ref("Estimate")]},
                 (idempotency.REPLAYED,)),),
        (*_INVALID_BODY, *_PROMPT_ERRORS, errors.IdempotencyConflict, errors.RateLimitExceeded,
         errors.NoProviderConfigured),
        body=_ref("GenerateRequest"),
        parameters=(
            _header(
                idempotency.HEADER,
                {"type": "string", "minLength": 1, "maxLength": idempotency.LONGEST_KEY, "pattern": "^[ -~]+$"},
                "Requests with the same key and body make one job; for 24 hours.",
            ),
        ),
        links=_TO_JOB,
    ),
    "/status/{jobId}": _Operation(
        "getJob",
        "A job as it is now.",
        (_Answer("The job.", _ref("Job"), ("ETag",)), _Answer("The caller has this version.", None, ("ETag",), 304)),
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
        "End a job; what is finished stays.",
        (_Answer("The job.", _ref("Job")),),
        (*_INVALID_BODY, errors.JobNotFound),
        body=_ref("CancelRequest"),
        needs_body=False,
    ),
    "/retry/{jobId}": _Operation(
        "retryJob",
        "Run a job's models again that have made no image.",
        (_Answer("The run.", _ref("RunStarted")),),
        (*_INVALID_BODY, errors.NothingToRetry, errors.JobNotFound, errors.JobNotFinished,
         errors.RateLimitExceeded),
        body=_ref("RetryRequest"),
        needs_body=False,
    ),
    "/enhance": _Operation(
        "enhance",
        "Make a prompt vivid.",
        (_Answer("The prompt, or the original with a warning.", _ref("Enhancement")),),
        (*_INVALID_BODY, *_PROMPT_ERRORS, errors.RateLimitExceeded),
        body=_ref("EnhanceRequest"),
    ),
    "/models": _Operation(
        "listModels", "The models and what they take and cost.", (_Answer("The models.", _ref("Models")),)
    ),
    "/gallery/list": _Operation(
        "listGalleries",
        "A page of galleries, newest first.",
        (_Answer("The page.", _ref("GalleryPage")),),
        parameters=(
            _query(
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": galleries.LARGEST_LIMIT,
                    "default": galleries.DEFAULT_LIMIT,
                },
                "How many galleries at most.",
            ),
            _query(
                "cursor",
                {"type": "string", "maxLength": galleries.LONGEST_CURSOR},
                "`nextCursor` of the page before.",
            ),
        ),
    ),
    "/gallery/{galleryId}": _Operation(
        "getGallery",
        "The images of a gallery; one that does not exist has none.",
        (_Answer("The images.", _ref("Gallery")),),
    ),
    "/openapi.json": _Operation("getDescription", "This description.", (_Answer("OpenAPI 3.1.", _ANY_OBJECT),)),
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
        **({"description": _OPTIONAL} if route.is_gallery else {}),
        "parameters": parameters,
        "responses": {
            **{str(answer.status): _success(answer, operation.links) for answer in operation.answers},
            **_failures(operation.errors, route.method),
        },
    }
    if operation.body:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    return {route.method.lower(): described}


def _success(answer: _Answer, links: Schema) -> Schema:
    response: Schema = {"description": answer.description, "headers": _headers(*answer.headers)}
    if answer.schema:
        response["content"] = {"application/json": {"schema": answer.schema}}
    if links:
        response["links"] = links
    return response


def _failures(kinds: RequestErrors, method: str) -> Schema:
    """The answers that an operation gives when it fails: its own, and those that every path has."""
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
    responses["500"] = _failure("Something went wrong on our side.", ["INTERNAL_SERVER_ERROR"], 500)
    return dict(sorted(responses.items()))


def _failure(reason: str, codes: Iterable[str], status: int) -> Schema:
    ours = {"allOf": [_ref("Error"), {"properties": {"error": {"enum": [*codes]}}}]}
    gateways = _ref("GatewayError")
    schema = ours
    if status in _BY_GATEWAY:
        schema = {"anyOf": [ours, gateways]} if codes else gateways
    headers = _headers(*(["Allow"] if status == 405 else []), *(["Retry-After"] if status in (429, 503) else []))
    if status in _BY_GATEWAY:
        headers.pop("X-Correlation-ID")
        headers = {"X-Correlation-ID": {**_HEADERS["X-Correlation-ID"], "required": False}, **headers}
    return {"description": reason, "headers": headers, "content": {"application/json": {"schema": schema}}}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Correlation-ID", *names)}
