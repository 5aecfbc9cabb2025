"""Error responses in the shapes and words that providers and gateways use."""

import base64
import json
from typing import Any

import httpx2
import pytest

from pixelprompt.providers.wire.error_response import read_error, sentence
from pixelprompt.providers.wire.errors import imageless, server_error, status_error
from pixelprompt.providers.wire.image_bytes import decode_base64
from pixelprompt.redaction import clean

ENCODED = base64.b64encode(bytes(range(256)) * 4).decode()
KEY = "test-key-0123456789"


def failure(status: int, body: Any, *, names_model: bool = False, headers: dict[str, str] | None = None) -> Any:
    """The error that such a response means."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx2.Response(status, content=content, headers=headers or {})
    return status_error(read_error(response, KEY), names_model=names_model)


def openai_like(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, openai_like("Your account is not active, please check your billing details on our website.")),
        (429, openai_like("x", "billing_not_active")),
        (429, openai_like("x", kind="insufficient_quota")),
        (429, openai_like("You exceeded your current quota, please check your plan and billing details.")),
        (400, openai_like("Billing hard limit has been reached")),
        (429, {"error": "Your team abc has either used all available credits or reached its monthly spending limit."}),
        (429, {"error": {"message": "Your prepayment credits are depleted."}}),
        (429, {"error": {"message": "Your project has exceeded its monthly spending cap."}}),
        (412, {"message": "The spending limit is reached."}),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
        (403, {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}),
        (403, {"error": {"code": "insufficient_user_quota", "message": "用户额度不足"}}),
        (400, {"code": "Arrearage", "message": "Access denied."}),
        (403, {"error": {"code": "AccountOverdueError", "message": "x"}}),
        (400, openai_like("Budget has been exceeded! Current cost: 10.1", kind="budget_exceeded")),
        (402, b""),
        (429, {"error": "Your newly created team doesn't have any credits yet."}),
        (429, openai_like("litellm.RateLimitError: OpenAIException - You exceeded your current quota.")),
        (429, {"error": {"message": "x", "type": "exceeded_current_quota_error"}}),
        (403, {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier is used."}),
        (403, {"error": {"message": "该令牌额度已用尽", "type": "new_api_error"}}),
        (403, {"error": {"message": "Key limit exceeded (total limit)."}}),
        (403, {"detail": "Please add credits to continue"}),
    ],
)
def test_no_credit_is_said_in_many_ways(status: int, body: Any) -> None:
    answer = failure(status, body)
    assert (answer.code, answer.safe_to_repeat, answer.billable) == ("quota_exhausted", False, "no")


@pytest.mark.parametrize(
    "body",
    [
        openai_like("Rate limit reached for gpt-image-2 on images per min. Limit: 5 / min.", "rate_limit_exceeded"),
        {"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests"}},
        openai_like("You exceeded your current quota. Please retry in 12s."),
        {"errors": ["You have exceeded the rate limit and have been timed out for 60 seconds."]},
        {"error": "The account has too many requests. Your credit is 12."},
        {"error": "You've exceeded the rate limit; buy credits to raise it."},
        {"error": "Token budget per minute exceeded, retry after 5s"},
        {"error": "Concurrency limit reached. Payment required for higher concurrency."},
        b"slow down",
        b"\xff\xfe\x00binary",
    ],
)
def test_too_many_requests_are_not_taken_for_no_credit(body: Any) -> None:
    answer = failure(429, body, headers={"Retry-After": "3"})
    assert (answer.code, answer.safe_to_repeat, answer.retry_after) == ("rate_limited", True, 3.0)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, openai_like("Country, region, or territory not supported", "unsupported_country_region_territory")),
        (400, {"error": {"message": "User location is not supported for the API use."}}),
        (403, openai_like("Your resource has been temporarily blocked because it may violate our content policy.")),
        (404, {"error": {"message": "No endpoints found matching your data policy (Free model publication)."}}),
        (404, {"error": {"message": "No allowed providers are available for the selected model."}}),
        (403, {"error": "The project is suspended."}),
        (404, {"error": {"message": "Your account 21 has not activated the model x.", "code": "ModelNotOpen"}}),
    ],
)
def test_an_account_may_be_kept_out(status: int, body: Any) -> None:
    answer = failure(status, body)
    assert answer.code == "bad_credentials"
    assert sentence(body) in answer.said, "the provider's sentence is what helps the operator"
    assert sentence(body) not in str(answer)


@pytest.mark.parametrize("said", ["Not authenticated", "Not authenticated - Invalid Authentication"])
def test_a_caller_who_is_not_authenticated_has_a_bad_key(said: str) -> None:
    answer = failure(403, {"detail": said})
    assert (answer.code, answer.said) == ("bad_credentials", said)
    assert "rejected the API key" in str(answer) and "this account" not in str(answer)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_wrong_key_is_not_repeated(status: int) -> None:
    answer = failure(status, openai_like(f"Incorrect API key provided: {KEY[:6]}****6789."))
    assert answer.code == "bad_credentials" and "6789" not in str(answer)


@pytest.mark.parametrize(
    ("status", "body", "billable"),
    [
        (451, b"", "no"),
        (451, {"code": 50507, "message": "x"}, "no"),
        (400, {"code": "DataInspectionFailed", "message": "x"}, "no"),
        (400, {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}, "no"),
        (400, openai_like("x", "InputTextSensitiveContentDetected"), "no"),
        (400, openai_like("x", "OutputImageSensitiveContentDetected"), "unknown"),
        (422, {"detail": "The generated image was flagged."}, "unknown"),
        (400, {"error": {"code": "ResponsibleAIPolicyViolation", "message": "x"}}, "no"),
        (400, openai_like("Your request was rejected by our moderation."), "no"),
        (400, openai_like("Prompt violates our content policy", "content_policy_violation", "invalid_type"), "no"),
        (400, openai_like("Your prompt contains forbidden words."), "no"),
        (400, openai_like("The request was rejected because it may violate our terms of use."), "no"),
        (422, {"detail": [{"loc": ["body", "prompt"], "msg": "x", "type": "content_policy_violation"}]}, "no"),
    ],
)
def test_a_refusal_is_said_in_many_ways(status: int, body: Any, billable: str) -> None:
    answer = failure(status, body)
    assert (answer.code, answer.billable) == ("refused", billable)


@pytest.mark.parametrize(
    "body",
    [
        openai_like("Invalid value: 'x'. Supported values are: 'auto' and 'low'.", "invalid_value"),
        openai_like("Unknown parameter: 'moderation'.", "unknown_parameter"),
        openai_like("'moderation' must be auto or low."),
        openai_like("The output_format must be png."),
        openai_like("timeout must be at most 60."),
        openai_like("request timeout must be between 1 and 600 seconds"),
        openai_like("moderation must be auto or low"),
        openai_like("Unrecognized request argument supplied: moderation"),
        openai_like("See our content policy for limits."),
        openai_like("For this model, the parameter 'style' is no longer supported."),
        openai_like("Model flux-dev: file not found for input_image"),
        openai_like("Region of interest not supported"),
        openai_like("'location' is not allowed here"),
        openai_like("white balance is too low"),
        openai_like("spend_limit must be a number"),
        openai_like("size 3x3 is out of range; see the credits page"),
        {
            "detail": [
                {"type": "literal_error", "loc": ["body", "moderation"], "msg": "Input should be 'auto' or 'low'"}
            ]
        },
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "safety_checker"], "msg": "Extra inputs"}]},
    ],
)
def test_a_parameter_about_safety_or_time_is_a_parameter(body: Any) -> None:
    assert failure(400, body).code == "invalid_request"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (408, b""),
        (499, b""),
        (499, openai_like("Client closed request")),
        (400, openai_like("Request timed out.")),
        (400, {"error": {"status": "CANCELLED", "message": "The operation was cancelled."}}),
        (409, {"message": "Deadline exceeded while waiting for the model."}),
        (404, {"error": "upstream timeout"}),
    ],
)
def test_what_was_cut_short_may_have_been_made(status: int, body: Any) -> None:
    answer = failure(status, body)
    assert (answer.code, answer.billable, answer.safe_to_repeat) == ("unknown_outcome", "unknown", False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, openai_like("Model x is not available at the moment, it is overloaded. Try again later.")),
        (404, openai_like("Model is currently loading")),
        (404, openai_like("No healthy deployment found for model x")),
        (404, openai_like("could not load model: rpc error: out of memory")),
        (400, openai_like("The server had an error while processing your request", kind="server_error")),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": "Internal server error"}}}),
        (422, {"detail": "Prediction failed: CUDA out of memory"}),
        (424, {"message": "Upstream provider failed"}),
    ],
)
def test_a_passing_failure_is_not_called_certain(status: int, body: Any) -> None:
    answer = failure(status, body)
    assert (answer.code, answer.billable, answer.safe_to_repeat) == ("provider_unavailable", "unknown", False)


@pytest.mark.parametrize(
    ("status", "body", "names_model", "code"),
    [
        (
            404,
            openai_like("The model `x` does not exist or you do not have access to it.", "model_not_found"),
            False,
            1,
        ),
        (404, openai_like("The API deployment for this resource does not exist.", "DeploymentNotFound"), False, 1),
        (404, {"error": {"message": "No endpoints found for black-forest-labs/flux-9."}}, False, 1),
        (400, openai_like("The model gpt-image-1 has been deprecated."), False, 1),
        (400, openai_like("foo/bar is not a valid model ID"), False, 1),
        (400, openai_like("Unable to access model x.", "model_not_available"), False, 1),
        (403, {"code": 30003, "message": "Model disabled", "data": None}, False, 1),
        (404, {"detail": "Not Found"}, True, 1),
        (410, {"name": "gone", "errors": []}, True, 1),
        (404, {"detail": "Not Found"}, False, 0),
        (404, openai_like("Invalid URL (POST /v1/models/images/generations)"), False, 0),
        (404, b"404 page not found", False, 0),
        (404, b"<html><title>404</title><p>Try another model.</p></html>", False, 0),
        (404, b"<html><title>404</title><p>Try another model.</p></html>", True, 0),
        (404, {"timestamp": 1, "status": 404, "error": "Not Found", "path": "/v1/images/generations"}, False, 0),
        (404, b"", False, 0),
    ],
)
def test_only_an_answer_about_the_model_retires_it(status: int, body: Any, names_model: bool, code: int) -> None:
    answer = failure(status, body, names_model=names_model)
    assert answer.code == ("model_retired" if code else "invalid_request")


FASTAPI = {"detail": [{"type": "less_than", "loc": ["body", "width"], "msg": "Too wide", "input": {"prompt": "nsfw"}}]}
ZOD = {"success": False, "error": {"name": "ZodError", "issues": [{"path": ["size"], "message": "Invalid option"}]}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (FASTAPI, "body.width: Too wide."),
        ({"detail": [{"loc": ["body", 0], "msg": "A."}, {"loc": ["q"], "msg": "B"}]}, "body.0: A. q: B."),
        (ZOD, "size: Invalid option."),
        (openai_like(json.dumps(ZOD["error"]["issues"])), "size: Invalid option."),  # type: ignore[index]
        (
            {"errors": {"Size": ["must be WxH"], "Seed": ["must be a number"]}},
            "Size: must be WxH. Seed: must be a number.",
        ),
        ({"errors": ["size: wrong", "seed: wrong"]}, "size: wrong. seed: wrong."),
        ({"error": ["Input is too long"]}, "Input is too long."),
        ({"type": "about:blank", "title": "Bad Request", "detail": "n is too large"}, "n is too large"),
        (
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": '{"error":{"message":"n is too large"}}'},
                }
            },
            "Provider returned error: n is too large",
        ),
    ],
)
def test_problems_are_sentences(body: Any, said: str) -> None:
    answer = failure(422, body)
    assert (answer.code, str(answer)) == ("invalid_request", said)


@pytest.mark.parametrize("value", [None, 5, True, [], {}, [[[[[[[["deep"]]]]]]]], {"error": {}}, {"detail": [None, 3]}])
def test_what_says_nothing_is_no_sentence(value: Any) -> None:
    assert sentence(value) == ""
    assert 10 < len(str(failure(400, value))) < 100


@pytest.mark.parametrize(
    "body",
    [
        {"created": 1, "data": [{"b64_json": ENCODED}]},
        openai_like(f"Cannot read data:image/png;base64,{ENCODED[:30]} as an image"),
        openai_like(f"Cannot read {ENCODED}"),
        openai_like(base64.encodebytes(bytes(range(256)) * 4).decode()),
        {"detail": [{"loc": ["body", "image"], "msg": f"bad: {ENCODED}"}]},
        ENCODED.encode(),
        openai_like("\n".join(ENCODED[start : start + 40] for start in range(0, 400, 40))),
        openai_like("cannot read " + ENCODED[:40] + "\\/" + ENCODED[42:90]),
        openai_like("data:image%2Fpng;base64," + ENCODED[:40]),
        openai_like(f"cannot read {bytes(range(128, 200))!r}"),
        openai_like(" ".join(f"{byte:02x}" for byte in range(64))),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        bytes(range(128, 256)) * 4,
    ],
)
@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_no_message_holds_image_data(body: Any, status: int) -> None:
    said = str(failure(status, body))
    assert ENCODED[:24] not in said and "�" not in said and "PNG" not in said
    assert len(said) <= 300


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([{"error": {"code": 400, "message": "n is too large"}}], "n is too large"),
        ("n is too large", "The provider responded with HTTP 400: n is too large"),
        (
            openai_like('litellm.BadRequestError: x - {"error":{"message":"n is too large"}}'),
            "litellm.BadRequestError: x: n is too large",
        ),
        (openai_like("Error code: 400 - {'error': {'message': 'n is too large'}}"), "Error code: 400: n is too large"),
        (openai_like("[{'type': 'missing', 'loc': ('body', 'n'), 'msg': 'Field required'}]"), "Field required"),
        (
            openai_like('Traceback (most recent call last):\n  File "/app/x.py", line 3, in f\nValueError: bad'),
            "ValueError: bad",
        ),
        (openai_like("n is bad\n\tat com.example.Main.run(Main.java:3)\n\tat x.Y.z(Y.java:1)"), "n is bad"),
        (openai_like("<html><head><title>502</title></head><body>bad gateway</body></html>"), "bad gateway"),
        (openai_like("width must be < 4096 and > 64"), "width must be < 4096 and > 64"),
        (openai_like("\x1b[31mn is bad\u202e"), "n is bad"),
        ({"errors": {"size": "must be WxH"}}, "size: must be WxH."),
        ({"error_msg": "n is too large"}, "n is too large"),
    ],
)
def test_a_message_is_for_people(body: Any, said: str) -> None:
    assert str(failure(400, body)) == said


@pytest.mark.parametrize("said", ["\u200b", "\x00", " \n ", "{}"])
def test_a_message_that_says_nothing_gives_way_to_ours(said: str) -> None:
    assert str(failure(400, openai_like(said))) == "The provider rejected these parameters."


def test_a_key_is_hidden_before_a_message_is_cut() -> None:
    for length in range(3950, 4010):
        page = b"<!--" + b"x" * length + b"-->your key: " + KEY.encode()
        assert KEY[:6] not in str(failure(400, page))
    answer = failure(400, openai_like("x" * 40 + " " + KEY + " " + "y " * 400))
    assert KEY not in str(answer) and "[hidden]" in str(answer) and len(str(answer)) <= 300
    assert clean("Bearer abcdefgh12345678") == "[hidden]"


@pytest.mark.parametrize(
    "said",
    [
        "S3 refused GetObject on jobs/ae305d88-5ac1-4077-b165-a6807ac10a81/status.json.",
        "S3 refused GetObject on enhanced/3f786850e387550fdab836ed7e6dc881de23001b89b81a7f39ac3a4ec5a0b3c4.json.",
        "See https://platform.example/docs/guides/error-codes/api-errors/how-to-solve-rate-limits-and-other-errors",
        "functions/pixelprompt/providers/something/that/is/deep is no image",
        "request 0bfe8cdc-5ac1-4077-b165-a6807ac10a81 0bfe8cdc-5ac1-4077-b165-a6807ac10a81 failed",
    ],
)
def test_a_path_or_an_id_is_no_image_data(said: str) -> None:
    assert clean(said) == said


@pytest.mark.parametrize(
    ("document", "code", "billable"),
    [
        ({"code": "DataInspectionFailed", "message": "x"}, "refused", "unknown"),
        ({"code": "Arrearage", "message": "x"}, "quota_exhausted", "no"),
        ({"error": {"message": "out of memory"}}, "no_image", "unknown"),
        ({"data": []}, "no_image", "unknown"),
    ],
)
def test_an_error_may_come_with_http_200(document: dict[str, Any], code: str, billable: str) -> None:
    answer = imageless(document, None)
    assert (answer.code, answer.billable) == (code, billable)


@pytest.mark.parametrize(
    ("status", "code", "safe", "billable"),
    [
        (500, "provider_unavailable", False, "unknown"),
        (502, "provider_unavailable", False, "unknown"),
        (503, "provider_unavailable", True, "no"),
        (504, "unknown_outcome", False, "unknown"),
        (524, "unknown_outcome", False, "unknown"),
        (529, "provider_unavailable", True, "no"),
    ],
)
def test_what_a_servers_failure_means(status: int, code: str, safe: bool, billable: str) -> None:
    answer = server_error(status, 3)
    assert (answer.code, answer.safe_to_repeat, answer.billable) == (code, safe, billable)


@pytest.mark.parametrize("data", [b"\xfb\xff\xfe fox", b"a", b"ab", b"abc" * 100])
def test_base64_comes_in_many_forms(data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    for form in (
        encoded,
        encoded.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
        base64.encodebytes(data).decode(),
        encoded.replace("\n", "\r\n"),
        f"data:image/png;base64,{encoded}",
        f" DATA:image/png;charset=utf-8;BASE64,{encoded.rstrip('=')}",
        "data:image/png;base64," + encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        f"data:;base64,{base64.encodebytes(data).decode()}",
    ):
        assert decode_base64(form) == data
    for broken in ("***", "data:image/png;base64,*", "a"):
        assert decode_base64(broken) is None
