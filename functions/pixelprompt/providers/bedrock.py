"""Amazon Bedrock: the Stability models through ``InvokeModel``, under the role that the caller runs with.

Facts: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-stability-diffusion.html
boto3 signs requests and reads responses, with its retries off; between the two, the request travels as those of all
adapters do, so that it ends by the deadline and a response has a limit. A refusal comes with HTTP 200.
"""

import base64
import functools
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import httpx2
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from msgspec.structs import replace

from pixelprompt.aws_errors import error_code
from pixelprompt.models.model import Billable, Credentials, Generated, Image, ImageRequest, Model, ProviderError
from pixelprompt.models.references import DEFAULT_STRENGTH
from pixelprompt.providers.wire.error_response import ErrorResponse, read_error
from pixelprompt.providers.wire.errors import status_error
from pixelprompt.providers.wire.image_bytes import decode_image
from pixelprompt.providers.wire.members import text, whole
from pixelprompt.providers.wire.transport import exchange, json_object, parse_json, unreadable
from pixelprompt.redaction import without_account

# The region that serves the Stability models.
_REGION = "us-west-2"
_THROTTLED = frozenset({"ThrottlingException", "ModelNotReadyException", "TooManyRequestsException"})
_UNKNOWN_CALLER = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
        "ExpiredTokenException",
        "InvalidClientTokenId",
    }
)
# What AWS says to accounts, mostly new ones, that are not open to Bedrock yet, also as a ValidationException.
_CLOSED_ACCOUNT = re.compile(r"operation not allowed|\baccount (?:id )?(?:\S+ )?is not authorized")
# Images that are read; a call makes one.
_MAX_IMAGES = 2
_NO_CALLER = "AWS does not accept the credentials that this deployment runs with."


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """One image, made from the reference image where there is one.

    There is no ``n``, no size but the ratio, or that of the reference image, no steps and no guidance. With an image
    the API requires a strength: without one of the request or of the catalogue it is ``DEFAULT_STRENGTH``.
    """
    asked = {
        "aspect_ratio": request.aspect_ratio,
        "seed": request.seed,
        "output_format": request.output_format,
        "negative_prompt": request.negative_prompt,
    }
    body = {
        **model.parameters,
        "prompt": request.prompt,
        **{name: value for name, value in asked.items() if value is not None},
    }
    if request.references:
        body = _edit(body, request)
    else:
        # Rejected without an image.
        body.pop("strength", None)
    region = model.region or _REGION
    responses: list[httpx2.Response] = []
    try:
        response = _runtime(region, credentials.base_url, deadline, responses).invoke_model(
            modelId=model.id,
            body=json.dumps(body, allow_nan=False),
            contentType="application/json",
            accept="application/json",
        )
        document, request_id = parse_json(response["body"].read()), response["ResponseMetadata"].get("RequestId")
    except ClientError as error:
        raise _client_error(error, responses[-1], model.id, region) from error
    except NoCredentialsError as error:
        raise ProviderError("bad_credentials", _NO_CALLER) from error
    except (BotoCoreError, ValueError) as error:
        if responses and not responses[-1].is_success:
            raise status_error(read_error(responses[-1], None)) from error
        raise unreadable() from error
    # The text of the response is larger than its images; it need not be there while they are decoded.
    del response
    return _read(document, request_id)


def _edit(body: Mapping[str, Any], request: ImageRequest) -> dict[str, Any]:
    """The body of a request that starts from an image, whose shape the result has.

    Raises
    ------
    ProviderError
    """
    if len(request.references) > 1:
        # The body has one member for an image.
        message = f"The request has {len(request.references)} reference images; this model accepts 1."
        raise ProviderError("invalid_request", message)
    strength = body.get("strength", DEFAULT_STRENGTH) if request.strength is None else request.strength
    return {
        **{name: value for name, value in body.items() if name != "aspect_ratio"},
        "mode": "image-to-image",
        "image": base64.b64encode(request.references[0].data).decode(),
        "strength": strength,
    }


@functools.cache
def session() -> boto3.session.Session:
    return boto3.session.Session()


def _runtime(region: str, endpoint_url: str | None, deadline: float, responses: list[httpx2.Response]) -> Any:
    """Return a client for one call, which appends its response to ``responses``."""
    client = session().client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(retries={"total_max_attempts": 1}),
    )

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        response = _send(request, deadline)
        responses.append(response)
        content = response.content if response.is_success else _error_body(response)
        return AWSResponse(request.url, response.status_code, dict(response.headers), _Content(content))

    client.meta.events.register("before-send.bedrock-runtime.InvokeModel", send)
    return client


def _send(request: AWSPreparedRequest, deadline: float) -> httpx2.Response:
    """Carry a signed request to AWS, as it is, and the response back."""
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    with exchange(deadline) as http:
        return http.request(request.method, request.url, headers=headers, content=request.body)


def _error_body(response: httpx2.Response) -> bytes:
    """The body of an error, as botocore can read it: it breaks over members of other types."""
    document = json_object(response) or {}
    body = {name: value for name in ("message", "Message", "__type", "code") if (value := text(document, name))}
    original = whole(document, "originalStatusCode")
    return json.dumps(body if original is None else {**body, "originalStatusCode": original}).encode()


class _Content(io.BytesIO):
    """The body of a response, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _read(document: Any, request_id: str | None) -> Generated:
    if not isinstance(document, dict):
        raise unreadable()
    reasons = [reason for reason in _list(document, "finish_reasons") if reason]
    filtered = [reason for reason in reasons if isinstance(reason, str) and reason.startswith("Filter reason")]
    if filtered:
        raise _withheld(filtered[0])
    seeds = _list(document, "seeds")
    images: list[Image] = []
    failure: ProviderError | None = None
    for encoded, seed in itertools.islice(itertools.zip_longest(_list(document, "images"), seeds), _MAX_IMAGES):
        if isinstance(encoded, str):
            try:
                images.append(decode_image(encoded, seed=whole({"seed": seed}, "seed")))
            except ProviderError as error:
                failure = failure or error
    if images:
        return Generated(tuple(images), request_id)
    said = next((reason for reason in reasons if isinstance(reason, str)), None)
    if failure is None and said:
        raise ProviderError("provider_unavailable", f"The model failed: {said}.", billable="unknown")
    raise failure or ProviderError("no_image", billable="unknown")


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return value if isinstance(value, list) else []


def _withheld(reason: str) -> ProviderError:
    # Filtered before anything was made, or after.
    billable: Billable = "unknown" if "output" in reason else "no"
    what = "the reference image" if "input image" in reason else "this prompt"
    return ProviderError("refused", f"The provider refused {what} ({reason}).", billable=billable)


def _client_error(error: ClientError, response: httpx2.Response, model_id: str, region: str) -> ProviderError:
    code = error_code(error)
    said = read_error(response, None)
    # Roles may be named after anything, such as what is looked for here.
    message = without_account(said.message)
    said = replace(said, codes=code, words=without_account(said.words))
    if code in _THROTTLED or said.status == 429:
        return ProviderError("rate_limited", said=said.message, safe_to_repeat=True, retry_after=said.retry_after)
    if code in _UNKNOWN_CALLER:
        return ProviderError("bad_credentials", _NO_CALLER, said=said.message)
    if code == "AccessDeniedException" or said.status == 403:
        return _denied(said, region)
    if code == "ModelTimeoutException" or said.status == 408:
        return ProviderError("timeout")
    if code == "ModelErrorException":
        original = error.response.get("originalStatusCode")
        if isinstance(original, int) and 400 <= original < 500:
            return ProviderError("invalid_request", message, billable="unknown")
        return ProviderError("provider_unavailable", "The model failed.", billable="unknown")
    if code == "ServiceQuotaExceededException":
        return ProviderError("quota_exhausted", "A quota of the AWS account is exhausted.", said=said.message)
    if "model identifier is invalid" in message:
        return ProviderError("model_retired", f"Bedrock has no model {model_id} in {region}.")
    if said.status < 500 and _CLOSED_ACCOUNT.search(message.lower()):
        return _denied(said, region)
    return status_error(said, names_model=True)


def _denied(error: ErrorResponse, region: str) -> ProviderError:
    """Return the error of a caller without access, with the cure."""
    words = without_account(error.message).lower()
    if "as legacy" in words:
        return ProviderError("model_retired")
    if re.search("payment[ _]instrument", words):
        return ProviderError(
            "quota_exhausted",
            "The AWS account has no valid payment method for this model. The operator can add a payment method in AWS "
            "Billing, and retry a few minutes later.",
            said=error.message,
            retryable=True,
        )
    # An action of AWS Marketplace that a policy denies is a missing subscription, too: with one, Bedrock does not ask
    # for the action.
    if any(sign in words for sign in ("aws-marketplace:", "aws marketplace", "have access to the model")):
        cure = (
            "The AWS account isn't subscribed to this model. The operator can subscribe with the command that "
            "`make doctor` prints, and retry a few minutes later."
        )
    elif "service control policy" in words:
        cure = (
            f"The AWS organization denies this model in {region}. The operator can have its service control policies "
            "allow bedrock:InvokeModel, and retry."
        )
    elif "bedrock:invokemodel" in words and not _CLOSED_ACCOUNT.search(words):
        cure = (
            "The deployment's role isn't allowed to invoke this model. The operator can add the model to "
            "functions/pixelprompt/models/models.json and deploy, or remove what denies bedrock:InvokeModel, and retry."
        )
    else:
        cure = (
            f"AWS doesn't let this account use the model in {region}. The operator can find the reason with "
            "`make doctor` or contact AWS Support, and retry."
        )
    return ProviderError("bad_credentials", cure, said=error.message, retryable=True)
