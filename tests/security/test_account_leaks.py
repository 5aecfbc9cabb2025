"""Nothing of the operator's account reaches a caller: sentences that providers are known to say, over the wire."""

import io
import json
import random
import uuid
from functools import partial
from typing import Any

import pytest

from pixelprompt.models.model import Generated, Image, ProviderError
from pixelprompt.providers.response import accept, accept_answer
from pixelprompt.redaction import HIDDEN, clean, scrub, without_key
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


def test_a_long_key_is_hidden_before_a_message_is_cut() -> None:
    for length in range(280, 300):
        assert KEY[:8] not in clean(without_key("x" * length + f" {KEY} and more words", KEY))


def test_the_operator_sees_the_sentence_of_a_failed_subscription() -> None:
    said = "The payment of organization Acme was rejected."
    assert said in clean(said)
    assert scrub("organization: Acme Corp", KEY) == f"organization: {HIDDEN}"


KEYS = [
    "sk-proj-Abcd1234efgh5678WXYZ",
    "3f2b9c1e-7a44-4d0e-9b1f-8c2d6e5a4b3c",
    "AIzaSyD4fGhJkLmNoPqRsTuVwXyZ0123456789A",
    "xai-Qw3rTyUiOpAsDfGhJkLzXcVbNm123456",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_recognized_however_it_is_masked_or_written(key: str) -> None:
    head, tail = key[:4], key[-4:]
    masks = (
        "...",
        "..",
        "…",
        "****",
        " ... ",
        "####",
        "----",
        "xxx",
        "[REDACTED]",
        "<...>",
        " * * * * ",
        "____",
        "••••",
    )
    ends = ("last four: {}", "last 4 characters of the key are {}", "ending {}", "(ending in {})", "ends in `{}`")
    forms = [
        *(f"{head}{mask}{tail}" for mask in masks),
        *(f"{mask}{tail}" for mask in masks),
        *(f"{head}{mask}" for mask in masks),
        *(end.format(tail) for end in (*ends, 'suffix "{}"')),
        f"prefix {key[:6]}",
        key.upper(),
        key.lower(),
        key.replace("-", "%2D"),
        key.replace("-", "\\u002d"),
        key.replace("-", "\u2011"),
        "".join(f"%{ord(character):02x}" for character in key),
        "\u200d".join(key[place : place + 5] for place in range(0, len(key), 5)),
    ]
    for form in forms:
        error = ProviderError("invalid_request", f"The key {form} cannot use n.", said=f"Said of {form} now.")
        error.hide(key)
        for shown in (str(error), error.said):
            assert HIDDEN in shown, form
            assert tail.lower() not in shown.lower() and key[:6].lower() not in shown.lower(), (form, shown)


@pytest.mark.parametrize(
    ("sentence", "hidden"),
    [
        ("The key sk-abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key key-abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key gsk_abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key hf_abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key r8_abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key sk_live_abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("The key pk_live_abcdefghijk1234 is bad.", "abcdefghijk1234"),
        ("Header was Basic c2stcHJvai1BYmNkMTIzNA== here.", "c2stcHJvai1"),
        ("Incorrect API key provided: xa***zz.", "xa***zz"),
        ("Organization Acme Inc. is disabled.", "Acme"),
        ("The account #123456 is blocked.", "123456"),
        ("Account 1234 5678 9012 is blocked.", "5678"),
        ("The customer no. 42-1234 is blocked.", "42-1234"),
        ("The resource group rg-prod-contoso is full.", "contoso"),
        ("Bad role of '123456789012' here.", "123456789012"),
        ("See https://console.example/overview?project=acme now.", "acme"),
        ("See https://console.example/team/0f3a1c2d-1111-2222-3333-444455556666.", "0f3a1c2d"),
        ("See https://user:secret@console.example/.", "secret"),
    ],
)
def test_what_names_a_key_or_the_account_is_hidden(sentence: str, hidden: str) -> None:
    assert hidden not in scrub(sentence, KEY)
    assert HIDDEN in scrub(sentence, KEY)


@pytest.mark.parametrize(
    "sentence",
    [
        "Invalid value: 'size' must be one of 1024x1024, 1536x1024... (got 4096x4096).",
        "Your request was rejected by the safety system. If you think this is wrong, see https://openai.com/policies.",
        "The organization-wide policy forbids a logo; project a user-generated image instead.",
        "Add the organization to the list, then start with 'a fox'.",
        "Rate limit reached for requests per minute. Try again in 20s.",
        "The prompt has 1200 characters; the limit is 1000. Request 20260101.",
        "The seed 123456789012 is out of range.",
        "account: field required",
        "project: must be a text of 3-20 characters",
        "Your account: has insufficient credits",
        "Go to https://platform.openai.com/settings/organization/general and verify.",
        "See https://platform.openai.com/account/rate-limits.",
        "See https://platform.openai.com/docs/guides/images-2024",
        "See https://docs.stability.ai/docs/api-reference?section=errors for styles.",
        "Contact support@bfl.ai or help@bfl.ai.",
        "A desk-mounted key-lime pie, dusk-tinted, task-driven; a flag bearer marching in Basic Instinct style.",
        "***Short:*** use **bold** or ***both***.",
        "Your org-verification is pending; org-policies deny it.",
    ],
)
def test_a_useful_sentence_stays(sentence: str) -> None:
    assert scrub(sentence, KEY) == sentence


def test_what_a_model_writes_loses_the_key_only() -> None:
    words = (
        "***Short:*** a key-lime pie on a desk-mounted stand, dusk-tinted, a flag bearer marching in Basic "
        "Instinct style, a sign reads Authorization: Granted1, project: Skunk Works, "
        "jane@acme.example, account 123456789012"
    )
    assert accept_answer(lambda: words, KEY) == words
    image = Image(b"", "image/png", 1, 1, revised_prompt=f"{words} {KEY} and {KEY[:6]}\u200b{KEY[6:]}")
    found = accept(lambda: Generated((image,)), KEY, images=1)
    assert isinstance(found, Generated)
    assert found.images[0].revised_prompt == f"{words} {HIDDEN} and {HIDDEN}"
    assert accept_answer(lambda: f"a {KEY[:5]}\x1b[0m{KEY[5:]}", KEY) == f"a {HIDDEN}"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("john.doe@corp.example.com", "john.doe"),
        ("org-AbC123dEf456", "AbC12"),
        ("account 123456789012", "12345"),
        (KEY, KEY[:8]),
    ],
)
def test_what_a_limit_cuts_in_half_is_hidden(secret: str, part: str) -> None:
    for length in range(290 - len(secret), 300):
        error = ProviderError("invalid_request", "x " * (length // 2) + "x" * (length % 2) + f" {secret} rest")
        error.hide(KEY)
        assert part not in str(error)
        assert len(str(error)) <= 300
    found = accept(lambda: Generated((), used={"size": "x" * 185 + f" {secret}"}), KEY, images=1)
    assert isinstance(found, Generated) and found.used
    assert part not in found.used["size"]


def test_an_address_at_the_end_of_what_is_looked_at_is_hidden() -> None:
    message = "Ab1" * 1320 + " john.doe@corp.example.com"
    for length in range(3960, 4000):
        assert "john.doe@" not in clean(" " * (length - 3960) + message, public=True)


def test_ordinary_request_ids_stay() -> None:
    chance = random.Random(1)
    for _ in range(20_000):
        name = uuid.UUID(int=chance.getrandbits(128), version=4)
        for request_id in (str(name), f"req_{name.hex}"):
            found = accept(partial(Generated, (), request_id), None, images=1)
            assert isinstance(found, Generated) and found.request_id == request_id


def test_the_log_has_the_sentence_of_a_rate_limit(s3: Any, log: io.StringIO) -> None:
    sentence = "Rate limit reached in organization org-AbC123dEf456 on images per min"
    with Canned(Answer(429, body_of("openai", sentence))) as server:
        Job(s3, "openai", server.url, beside=0).run()
    assert sentence in log.getvalue()
