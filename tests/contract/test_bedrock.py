"""Amazon Bedrock: what AWS answers beyond the cases that all providers have."""

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys
from msgspec.structs import replace

from local.simulator import Simulator
from pixelprompt.models.model import Credentials, Generated, ImageRequest, ProviderError
from pixelprompt.providers import bedrock
from tests.canned import Answer, Canned
from tests.contract.calls import PROMPT, ask_simulator, orders
from tests.contract.table import MODELS
from tests.outcomes import outcome

MODEL = MODELS["bedrock"]

# As AWS words them; the role's name has every word in it that could lead astray.
ROLE_NAME = "payments-marketplace-legacy"
ROLE = f"arn:aws:sts::123456789012:assumed-role/{ROLE_NAME}/generate"
RESOURCE = f"arn:aws:bedrock:us-west-2::foundation-model/{MODEL.id}"
UNFINISHED = (
    "Your AWS Marketplace subscription for this model cannot be completed at this time. If you recently fixed this "
    "issue, try again after 2 minutes."
)
MARKETPLACE = (
    "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace "
    "actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model. Refer to "
    f"the Amazon Bedrock documentation for further details. {UNFINISHED}"
)
MARKETPLACE_BY_ARN = (
    f"Model access is denied due to User: {ROLE} is not authorized to perform: aws-marketplace:Subscribe on resource: "
    f"* because no identity-based policy allows the aws-marketplace:Subscribe action. {UNFINISHED}"
)
PAYMENT = (
    "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.. "
    f"{UNFINISHED}"
)
NOT_INVOKABLE = f"User: {ROLE} is not authorized to perform: bedrock:InvokeModel on resource: {RESOURCE}"
NOT_IN_THE_ROLE = f"{NOT_INVOKABLE} because no identity-based policy allows the bedrock:InvokeModel action"
BY_THE_ORGANIZATION = (
    f"{NOT_INVOKABLE} with an explicit deny in a service control policy: "
    "arn:aws:organizations::123456789012:policy/o-abc/service_control_policy/p-abc"
)
NO_ACCESS = "You don't have access to the model with the specified model ID."
NOT_FOR_ACCOUNT = "Your account is not authorized to invoke this API operation."
NOT_FOR_ANY_ACCOUNT = "Account is not authorized to invoke this API operation."
NOT_FOR_ACCOUNT_ID = "Your account 123456789012 is not authorized to invoke this API operation."
# Denials of roles whose names say what AWS says for other reasons, by the names.
MISLEADING = {
    name: NOT_IN_THE_ROLE.replace(ROLE_NAME, name)
    for name in ("aws_marketplace_tools", "marked_as_legacy", "payment_instrument", "service_control_policy")
}
DENIED, INVALID = "AccessDeniedException", "ValidationException"
SUBSCRIBE, ACCOUNT = "subscribe with the command that `make doctor` prints", "contact AWS Support"
DENIALS = [
    pytest.param(403, DENIED, MARKETPLACE, "bad_credentials", True, SUBSCRIBE, id="no subscription"),
    pytest.param(403, DENIED, MARKETPLACE_BY_ARN, "bad_credentials", True, SUBSCRIBE, id="no subscription, by ARN"),
    pytest.param(403, DENIED, UNFINISHED, "bad_credentials", True, SUBSCRIBE, id="unfinished subscription"),
    pytest.param(403, DENIED, NO_ACCESS, "bad_credentials", True, SUBSCRIBE, id="no access to the model"),
    pytest.param(403, DENIED, PAYMENT, "quota_exhausted", True, "add a payment method", id="no payment method"),
    pytest.param(403, DENIED, NOT_IN_THE_ROLE, "bad_credentials", True, "models.json", id="not in the role's policy"),
    pytest.param(403, DENIED, BY_THE_ORGANIZATION, "bad_credentials", True, "service control policies", id="SCP"),
    pytest.param(403, DENIED, NOT_FOR_ACCOUNT, "bad_credentials", True, ACCOUNT, id="account not authorized"),
    pytest.param(400, INVALID, NOT_FOR_ACCOUNT, "bad_credentials", True, ACCOUNT, id="the same as invalid"),
    pytest.param(400, INVALID, NOT_FOR_ANY_ACCOUNT, "bad_credentials", True, ACCOUNT, id="invalid, any account"),
    pytest.param(400, INVALID, NOT_FOR_ACCOUNT_ID, "bad_credentials", True, ACCOUNT, id="invalid, with the ID"),
    pytest.param(403, DENIED, NOT_FOR_ACCOUNT_ID, "bad_credentials", True, ACCOUNT, id="account ID not authorized"),
    *(
        pytest.param(403, DENIED, text, "bad_credentials", True, "models.json", id=id)
        for id, text in MISLEADING.items()
    ),
    pytest.param(400, INVALID, "Operation not allowed", "bad_credentials", True, ACCOUNT, id="new account"),
    pytest.param(403, DENIED, "Something else.", "bad_credentials", True, ACCOUNT, id="another reason"),
]


def call(url: str) -> Any:
    return outcome(bedrock.generate, ImageRequest(PROMPT), MODEL, Credentials(None, url), time.time() + 10)


def failure(status: int, kind: str, message: str = "…", **more: Any) -> ProviderError:
    """The outcome of an error of AWS, after one request."""
    with Canned(Answer(status, {"message": message, **more}, {"x-amzn-ErrorType": kind})) as server:
        answer = call(server.url)
    assert isinstance(answer, ProviderError)
    assert len(server.asked) == 1
    return answer


@pytest.mark.parametrize(
    ("status", "kind", "message", "code"),
    [
        (403, "AccessDeniedException", "Access denied. This Model is marked by provider as Legacy", "model_retired"),
        (403, "ExpiredTokenException", "The security token included in the request is expired", "bad_credentials"),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life.", "model_retired"),
        (400, "ValidationException", "The provided model identifier is invalid.", "model_retired"),
        (400, "ValidationException", "This request has been blocked by our content filters.", "refused"),
        (400, "ValidationException", "#/aspect_ratio: 7:3 is not a valid enum value", "invalid_request"),
        (400, "ServiceQuotaExceededException", "quota", "quota_exhausted"),
        (408, "ModelTimeoutException", "too slow", "timeout"),
        (429, "ModelNotReadyException", "not ready", "rate_limited"),
        (500, "InternalServerException", "oops", "provider_unavailable"),
        (503, "ServiceUnavailableException", "oops", "provider_unavailable"),
    ],
)
def test_what_aws_says_is_told_apart(status: int, kind: str, message: str, code: str) -> None:
    assert failure(status, kind, message).code == code


@pytest.mark.parametrize(("status", "kind", "message", "code", "retryable", "says"), DENIALS)
def test_a_denial_names_its_cure_and_nothing_of_the_account(
    status: int, kind: str, message: str, code: str, retryable: bool, says: str
) -> None:
    answer = failure(status, kind, message)
    assert (answer.code, answer.retryable, answer.billable, answer.safe_to_repeat) == (code, retryable, "no", False)
    assert says in str(answer)
    assert not any(word in str(answer) for word in ("arn:", "123456789012", ROLE_NAME, "p-abc"))
    assert len(str(answer)) < 300


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, INVALID, "invalid_request"),
        (400, "ServiceQuotaExceededException", "quota_exhausted"),
        (424, "ModelErrorException", "invalid_request"),
    ],
)
def test_what_aws_says_of_roles_and_accounts_is_cut_from_a_row(status: int, kind: str, code: str) -> None:
    text = f"The request of {ROLE} in account 123456789012 (1234-5678-9012) has a seed of 12345678901234, too large."
    answer = failure(status, kind, text, originalStatusCode=400)
    assert answer.code == code
    if code == "quota_exhausted":
        assert str(answer) == "A quota of the AWS account is exhausted."
        assert "12345678901234" in answer.said
    else:
        assert str(answer).endswith(
            "The request of [hidden] in account [hidden] ([hidden]) has a seed of 12345678901234, too large."
        )


def test_a_refusal_of_a_content_filter_names_no_account() -> None:
    answer = failure(400, INVALID, f"A content filter of {ROLE} blocked it.")
    assert (answer.code, str(answer)) == ("refused", "A content filter of [hidden] blocked it.")


@pytest.mark.parametrize(
    ("reason", "code"),
    [("Filter reason: prompt", "refused"), ("Inference error", "provider_unavailable")],
)
def test_a_finish_reason_names_no_account(reason: str, code: str) -> None:
    document = {"finish_reasons": [f"{reason}, {ROLE}"], "images": []}
    with Canned(Answer(200, document, {"Content-Type": "application/json"})) as server:
        answer = call(server.url)
    assert isinstance(answer, ProviderError) and answer.code == code
    assert reason in str(answer) and "arn:" not in str(answer)


def test_a_model_that_an_arn_names_is_not_shown() -> None:
    arn = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc"
    model = replace(MODEL, id=arn)
    refusal = Answer(400, {"message": "The provided model identifier is invalid."}, {"x-amzn-ErrorType": INVALID})
    with Canned(refusal) as server:
        answer = outcome(bedrock.generate, ImageRequest(PROMPT), model, Credentials(None, server.url), time.time() + 10)
    assert isinstance(answer, ProviderError) and answer.code == "model_retired"
    assert "123456789012" not in str(answer)


def test_the_simulator_plays_an_account_without_a_subscription(simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "no_subscription")
    answer = ask_simulator(simulator, MODEL)
    assert isinstance(answer, ProviderError)
    assert (answer.code, answer.retryable, answer.billable) == ("bad_credentials", True, "no")
    assert "isn't subscribed to this model" in str(answer)
    simulator.clear_faults()
    assert isinstance(ask_simulator(simulator, MODEL), Generated)


def test_what_may_be_repeated() -> None:
    assert failure(429, "ModelNotReadyException").safe_to_repeat
    assert failure(503, "ServiceUnavailableException").safe_to_repeat
    assert not failure(500, "InternalServerException").safe_to_repeat
    assert not failure(408, "ModelTimeoutException").safe_to_repeat


@pytest.mark.parametrize(("original", "code"), [(400, "invalid_request"), (500, "provider_unavailable")])
def test_a_failure_inside_the_model_is_judged_by_its_own_status(original: int, code: str) -> None:
    answer = failure(424, "ModelErrorException", originalStatusCode=original, resourceName="x")
    assert (answer.code, answer.billable, answer.safe_to_repeat) == (code, "unknown", False)


def test_an_inference_error_is_no_refusal(simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "inference_error")
    answer = ask_simulator(simulator, MODEL)
    assert isinstance(answer, ProviderError)
    assert (answer.code, answer.retryable, answer.safe_to_repeat) == ("provider_unavailable", True, False)


@pytest.mark.parametrize(
    ("model_id", "code"),
    [
        ("stability.stable-image-core-v1:1", None),
        ("stability.stable-image-ultra-v1:1", None),
        ("stability.sd3-5-large-v1:0", None),
        ("stability.stable-image-core-v1:0", "model_retired"),
        ("amazon.nova-canvas-v1:0", "model_retired"),
        ("amazon.titan-image-generator-v2:0", "model_retired"),
    ],
)
def test_models_of_today_and_of_yesterday(simulator: Simulator, model_id: str, code: str | None) -> None:
    answer = ask_simulator(simulator, replace(MODEL, id=model_id))
    assert isinstance(answer, Generated) if code is None else isinstance(answer, ProviderError) and answer.code == code


def test_the_models_live_in_one_region(simulator: Simulator) -> None:
    assert isinstance(ask_simulator(simulator, replace(MODEL, region=None)), Generated)
    elsewhere = ask_simulator(simulator, replace(MODEL, region="eu-central-1"))
    assert isinstance(elsewhere, ProviderError) and "eu-central-1" in str(elsewhere)


def test_without_credentials_nothing_is_sent(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bedrock.session.cache_clear()
    try:
        answer = ask_simulator(simulator, MODEL)
    finally:
        bedrock.session.cache_clear()
    assert isinstance(answer, ProviderError) and answer.code == "bad_credentials"
    assert orders(simulator) == []


def test_the_signature_is_that_of_what_is_sent() -> None:
    with Canned(Answer(200, {"images": []}, {"Content-Type": "application/json"})) as server:
        call(server.url)
    (asked,) = server.asked
    scope, signed, signature = (part.partition("=")[2] for part in asked.headers["authorization"].split(", "))
    assert "/us-west-2/bedrock/aws4_request" in scope
    # What AWS does: build the request from what arrived, with the headers that were signed, and sign it as the owner.
    again = AWSRequest("POST", server.url + asked.path, data=asked.body)
    again.context["timestamp"] = asked.headers["x-amz-date"]
    signer = SigV4Auth(Keys("test", "test"), "bedrock", "us-west-2")
    for name in signed.split(";"):
        again.headers[name] = asked.headers[name]
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert signer.signature(text, again) == signature
    assert urlsplit(asked.path).path == "/model/stability.sd3-5-large-v1%3A0/invoke"
