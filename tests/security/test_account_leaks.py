"""Nothing of the operator's account reaches a caller: sentences that providers are known to say, over the wire."""

import io
import json
from typing import Any

import pytest

from local import doctor
from pixelprompt.providers.base import clean
from pixelprompt.providers.scrub import HIDDEN, scrub, without_key
from tests.canned import Answer, Canned
from tests.security.jobs import ENCODED, KEY, Job, row_of

ARN = "arn:aws:sts::123456789012:assumed-role/AcmeProdGenerate/pixel-prompt"
# Provider, status, sentence, and what of it nobody but the operator may read.
LEAKS = [
    ("openai", 400, f"Incorrect API key provided: {KEY[:8]}****WXYZ. You can find yours at x.", ["WXYZ", KEY[:8]]),
    ("openai", 400, "Key sk-...WXYZ cannot use n.", ["WXYZ"]),
    ("openai", 400, "The key sk-proj-****WXYZ cannot use n.", ["WXYZ"]),
    ("openai", 400, "The key ending in 'WXYZ' cannot use n.", ["WXYZ"]),
    ("openai", 400, f"The key {KEY[5:17]} cannot use n.", [KEY[5:17]]),
    ("openai", 400, f"Bad header Authorization: Bearer {KEY[:12]}", [KEY[:12]]),
    ("compatible", 400, "Bad header x-api-key: 0123456789abcdef, n is bad", ["0123456789abcdef"]),
    ("openai", 429, "Rate limit reached for gpt-image-2 in organization org-AbC123dEf456 on input-images per min: 5.",
     ["org-AbC123dEf456"]),
    ("openai", 400, "n is bad for gpt-image-2 in organization Acme Corp on tokens per min.", ["Acme"]),
    ("openai", 400, "n is bad. Organization: Acme Corp. Project: Skunk Works.", ["Acme", "Skunk"]),
    ("openai", 403, "Your organization org-AbC123dEf456 must be verified.", ["org-AbC123dEf456", "verified"]),
    ("openai", 403, "Project `proj_AbC123dEf456` does not have access to model `gpt-image-2`.", ["proj_AbC123dEf456"]),
    ("openai", 401, "You must be a member of Acme Corp to use the API.", ["Acme"]),
    ("openai", 429, "You exceeded your current quota, jane.doe@acme.example.", ["jane.doe", "acme"]),
    ("openai", 400, "n is bad; write to jane.doe@acme.example.", ["jane.doe", "acme"]),
    ("openai", 400, "n is bad; see https://platform.openai.com/settings/organization/org-Ab12/billing?x=1", ["Ab12"]),
    ("gemini", 403, "Permission denied on resource project 123456789.", ["123456789"]),
    ("gemini", 400, "Invalid n for projects/acme-prod-42/locations/global.", ["acme-prod-42"]),
    ("gemini", 403, "The API has not been used in project 123456789 before or it is disabled. Enable it by visiting "
     "https://console.developers.google.com/apis/api/overview?project=123456789 then retry.", ["123456789"]),
    ("gemini", 400, "n is bad for consumer 'project_number:123456789'.", ["123456789"]),
    ("bedrock", 403, f"User: {ARN} is not authorized to perform: bedrock:InvokeModel on resource: {ARN}",
     ["123456789012", "Acme"]),
    ("bedrock", 400, f"The role {ARN} gave a bad n; account 1234-5678-9012.", ["123456789012", "Acme", "1234-5678"]),
    ("stability", 402, "Your organization Acme Corp lacks credits: https://platform.stability.ai/account/credits?o=77",
     ["Acme", "o=77"]),
    ("recraft", 400, "not_enough_credits for user-AbC123dEf456", ["AbC123dEf456"]),
    ("bfl", 403, "Account jane.doe@acme.example is not active.", ["jane.doe", "acme"]),
]  # fmt: skip
ACCOUNT_CODES = ("bad_credentials", "quota_exhausted")


def body_of(provider: str, sentence: str) -> dict[str, Any]:
    return {"message": sentence} if provider == "bedrock" else {"error": {"message": sentence}, "message": sentence}


@pytest.mark.parametrize(("provider", "status", "sentence", "secrets"), LEAKS, ids=[leak[2][:50] for leak in LEAKS])
def test_no_caller_reads_anything_of_the_account(
    s3: Any, log: io.StringIO, provider: str, status: int, sentence: str, secrets: list[str]
) -> None:
    row = row_of(s3, provider, Answer(status, body_of(provider, sentence)))
    assert row["status"] == "error"
    shown = json.dumps(row)
    assert not [secret for secret in secrets if secret in shown], row["error"]
    assert not [part for part in (KEY, KEY[:8], KEY[-8:]) if part in log.getvalue()]


@pytest.mark.parametrize(
    ("provider", "status", "sentence"),
    [
        ("openai", 401, "You must be a member of Acme Corp to use the API."),
        ("openai", 403, "Your organization Acme must be verified to use the model."),
        ("openai", 403, "The project is suspended."),
        ("openai", 402, "The account of Acme is out of credits."),
        ("gemini", 400, "User location is not supported for the API use of Acme."),
        ("bedrock", 403, f"User: {ARN} is not authorized to perform: bedrock:InvokeModel"),
    ],
)
def test_the_operator_finds_the_sentence_in_the_log(
    s3: Any, log: io.StringIO, provider: str, status: int, sentence: str
) -> None:
    with Canned(Answer(status, body_of(provider, sentence))) as server:
        row = Job(s3, provider, server.url, beside=0).run()
    assert row["errorCode"] in ACCOUNT_CODES
    assert sentence.rstrip(".") not in row["error"]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (told,) = [line for line in lines if "provider_message" in line]
    assert sentence.rstrip(".") in told["provider_message"]
    assert told["error_code"] == row["errorCode"]


@pytest.mark.parametrize(
    "request_id", [f"Bearer {KEY}", KEY, f"r-{KEY[3:14]}", "org-AbC123dEf456", "jane@acme.example", "a b"]
)
def test_a_request_id_names_neither_key_nor_account(s3: Any, request_id: str) -> None:
    answer = Answer(content={"data": [{"b64_json": ENCODED}]}, headers={"x-request-id": request_id})
    row = row_of(s3, "openai", answer)
    assert row["status"] == "completed"
    assert "requestId" not in row


@pytest.mark.parametrize("request_id", ["req_8f14e45fceea167a5a36dedd4bea2543", "d290f1ee-6c54-4b01-90e6-d701748f0851"])
def test_a_request_id_stays(s3: Any, request_id: str) -> None:
    answer = Answer(content={"data": [{"b64_json": ENCODED}]}, headers={"x-request-id": request_id})
    assert row_of(s3, "openai", answer)["requestId"] == request_id


@pytest.mark.parametrize(
    "sentence",
    [
        "Invalid value: 'size' must be one of 1024x1024, 1536x1024... (got 4096x4096).",
        "Your request was rejected by the safety system. If you think this is wrong, see https://openai.com/policies.",
        "The organization-wide policy forbids a logo; project a user-generated image instead.",
        "Add the organization to the list, then start with 'a fox'.",
        "Rate limit reached for requests per minute. Try again in 20s.",
        "The prompt has 1200 characters; the limit is 1000. Request 20260101.",
    ],
)
def test_a_sentence_about_the_request_stays(sentence: str) -> None:
    assert scrub(sentence, KEY) == sentence


def test_a_long_key_is_hidden_before_a_message_is_cut() -> None:
    for length in range(280, 300):
        assert KEY[:8] not in clean(without_key("x" * length + f" {KEY} and more words", KEY))


def test_the_operator_sees_the_sentence_of_a_failed_subscription() -> None:
    said = "The payment of organization Acme was rejected."
    assert said in doctor.clean(said)
    assert scrub("organization: Acme Corp", KEY) == f"organization: {HIDDEN}"
