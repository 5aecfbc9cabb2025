"""Every error that the service reports, in one hierarchy.

::

    PixelPromptError
    ├── ConfigurationError         the deployment is wrong; the operator must change a setting
    ├── StorageError               S3 or DynamoDB cannot be used
    │   ├── PermissionDenied       a request was refused: the role lacks a permission
    │   ├── ConflictError          a conditional write lost every one of its attempts
    │   └── DeadlineExceeded       the time of the request is over
    │       └── Interrupted        likewise, while something was under way
    ├── ProviderError              a provider did not make the image; see ``models.model``
    ├── InvocationBroke            what an invocation before a redrive did is unknown; see ``generation.run``
    └── RequestError               the caller's mistake or limit; carries the HTTP status and code
        ├── BudgetExceeded         402 BUDGET_EXCEEDED
        ├── InvalidJson            400 INVALID_JSON
        ├── PromptRequired         400 PROMPT_REQUIRED
        ├── PromptTooLong          400 PROMPT_TOO_LONG
        ├── InvalidParameter       400 INVALID_PARAMETER
        ├── InappropriateContent   400 INAPPROPRIATE_CONTENT
        ├── NothingToRetry         400 NOTHING_TO_RETRY
        ├── OriginNotAllowed       403 ORIGIN_NOT_ALLOWED
        ├── JobNotFound            404 JOB_NOT_FOUND
        ├── RouteNotFound          404 NOT_FOUND
        ├── MethodNotAllowed       405 METHOD_NOT_ALLOWED
        ├── IdempotencyConflict    409 IDEMPOTENCY_CONFLICT
        ├── JobNotFinished         409 JOB_NOT_FINISHED
        ├── PayloadTooLarge        413 PAYLOAD_TOO_LARGE
        ├── RateLimitExceeded      429 RATE_LIMIT_EXCEEDED
        ├── NoProviderConfigured   503 NO_PROVIDER_CONFIGURED
        └── ServiceUnavailable     503 SERVICE_UNAVAILABLE
"""

from typing import Annotated, Any, Literal, Required, TypedDict

from msgspec import Meta


class PixelPromptError(Exception):
    """Base of every error that the service reports."""


class ConfigurationError(PixelPromptError):
    """The deployment is wrong; the message says which setting and what it must be."""


class StorageError(PixelPromptError):
    """S3 or DynamoDB cannot be used right now."""


class PermissionDenied(StorageError):
    """The role lacks a permission. S3 also says so of a key that does not exist, without ``s3:ListBucket``."""


class ConflictError(StorageError):
    """A conditional write lost to another writer at every attempt."""


class DeadlineExceeded(StorageError):
    """The time of the request is over."""


class Interrupted(DeadlineExceeded):
    """Something was under way when the time of the request was over; it may have been carried out."""


class UnsupportedParameter(TypedDict):
    """A parameter that a model doesn't support as it was given."""

    model: Annotated[str, Meta(description="Name of the model.", examples=["GPT Image 2"])]
    parameter: Annotated[str, Meta(description="Name of the parameter.", examples=["steps"])]
    reason: Annotated[
        str, Meta(description="One sentence for a person.", examples=["This model doesn't support `steps`."])
    ]


class ErrorResponse(TypedDict, total=False):
    """An error. Which members it has beside `error` and `message` follows from `error`."""

    error: Required[Annotated[str, Meta(description="Constant for programs.", examples=["INVALID_PARAMETER"])]]
    message: Required[
        Annotated[
            str,
            Meta(
                description="One or two sentences for a person.",
                examples=["`steps` must be a whole number from 1 to 150."],
            ),
        ]
    ]
    limit: Annotated[int, Meta(ge=0, description="The limit that was exceeded.", examples=[1000])]
    parameter: Annotated[
        str, Meta(description="The member, query parameter, or header that is wrong.", examples=["steps"])
    ]
    nearest: Annotated[
        str | None, Meta(description="The accepted name that resembles an unknown one.", examples=["aspectRatio"])
    ]
    unsupported: Annotated[list[UnsupportedParameter], Meta(description="What `strict` objects to.")]
    misfits: Annotated[
        list[UnsupportedParameter],
        Meta(
            description="The former name of `unsupported`, until 3.0.0.",
            extra_json_schema={"deprecated": True},
        ),
    ]
    category: Annotated[str | None, Meta(description="Why moderation blocked the prompt.", examples=["violence"])]
    retryAfter: Annotated[int, Meta(ge=1, description="Seconds after which the next request may pass.", examples=[120])]
    scope: Annotated[
        Literal["global", "ip", "key", "busy", "deployment"] | None,
        Meta(description="Which limit is reached, or with `BUDGET_EXCEEDED`, whose budget.", examples=["ip"]),
    ]
    jobId: Annotated[
        str,
        Meta(description="The job that the request is about.", examples=["3f2b8c1e-5d6a-4b7c-8d9e-0f1a2b3c4d5e"]),
    ]
    shutdown: Annotated[str | None, Meta(description="Day when the model was shut down.", examples=["2026-12-01"])]
    replacement: Annotated[str | None, Meta(description="ID of the model to use instead.", examples=["gpt-image-2.5"])]
    path: Annotated[str, Meta(description="The path of the request.", examples=["/genrate"])]
    method: Annotated[str, Meta(description="The method of the request.", examples=["PUT"])]


class RequestError(PixelPromptError):
    """A response other than 200 that the caller can act on.

    Attributes
    ----------
    status : HTTP status
    code : constant for programs
    details : further members of the JSON response
    headers : further headers of the response
    """

    status = 400
    code = "BAD_REQUEST"

    def __init__(self, message: str, *, headers: dict[str, str] | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}
        self.details = details


class InvalidJson(RequestError):
    """The body isn't a JSON object."""

    code = "INVALID_JSON"


class PromptRequired(RequestError):
    """The prompt is missing or blank."""

    code = "PROMPT_REQUIRED"


class PromptTooLong(RequestError):
    """The prompt has more characters than the route accepts."""

    code = "PROMPT_TOO_LONG"


class InvalidParameter(RequestError):
    """A parameter has the wrong type or lies outside its range."""

    code = "INVALID_PARAMETER"


class InappropriateContent(RequestError):
    """Moderation blocked the prompt."""

    code = "INAPPROPRIATE_CONTENT"


class NothingToRetry(RequestError):
    """Every model of the job has made its image."""

    code = "NOTHING_TO_RETRY"


class OriginNotAllowed(RequestError):
    """A page sent this whose origin the deployment doesn't name."""

    status = 403
    code = "ORIGIN_NOT_ALLOWED"


class ModelNotAllowed(RequestError):
    """The caller's API key does not allow a model of the request."""

    status = 403
    code = "MODEL_NOT_ALLOWED"


class JobNotFound(RequestError):
    """No job has this ID."""

    status = 404
    code = "JOB_NOT_FOUND"


class RouteNotFound(RequestError):
    """The path is unknown."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(RequestError):
    """The path exists, but not with this method."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class IdempotencyConflict(RequestError):
    """The key came with another body before."""

    status = 409
    code = "IDEMPOTENCY_CONFLICT"


class JobNotFinished(RequestError):
    """Models of the job are still at work."""

    status = 409
    code = "JOB_NOT_FINISHED"


class PayloadTooLarge(RequestError):
    """The body is larger than any valid request."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class BudgetExceeded(RequestError):
    """The job may cost more than a budget has left."""

    status = 402
    code = "BUDGET_EXCEEDED"


class RateLimitExceeded(RequestError):
    """The IP address or the whole deployment has exhausted its requests."""

    status = 429
    code = "RATE_LIMIT_EXCEEDED"


class NoProviderConfigured(RequestError):
    """No provider has a key."""

    status = 503
    code = "NO_PROVIDER_CONFIGURED"


class ServiceUnavailable(RequestError):
    """A part of the service is busy or out of reach; trying again later helps."""

    status = 503
    code = "SERVICE_UNAVAILABLE"
