"""What a request must be, and what becomes of it."""

import contextlib
import io
import json
import re
from typing import Any
from unittest.mock import MagicMock

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from hypothesis import assume, given
from hypothesis import strategies as st

from pixelprompt.api.body import read_json
from pixelprompt.deadline import Deadline
from pixelprompt.errors import (
    DeadlineExceeded,
    InappropriateContent,
    Interrupted,
    InvalidParameter,
    NoProviderConfigured,
    PromptRequired,
    PromptTooLong,
    RateLimitExceeded,
    RequestError,
    ServiceUnavailable,
)
from pixelprompt.jobs.executions import START_SECONDS
from pixelprompt.jobs.idempotency import IdempotencyRecords
from pixelprompt.jobs.request import GenerateRequest, read_models
from pixelprompt.jobs.schema import Estimate, JobStarted
from pixelprompt.jobs.store import JobManager
from pixelprompt.jobs.submit import Submission
from pixelprompt.limits.caller import read_ip
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import Receipt
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.moderation.filter import ContentFilter
from pixelprompt.prompts.prompt import read_body_with_prompt, read_prompt
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.storage.references import ReferenceStorage
from pixelprompt.validation import check_names

BUCKET = "test-bucket"
REGISTRY = ModelRegistry([Model("Painter", "openai", "painter-1"), Model("Sketcher", "gemini", "sketcher-2")])


MEMBERS = GenerateRequest.__struct_encode_fields__


def read_request(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The prompt and the parameters of a request's body."""
    request = read_body_with_prompt(body, GenerateRequest)
    return read_prompt(request.prompt), request.given()


class Secrets:
    """Secrets Manager with one secret."""

    def __init__(self, **keys: str) -> None:
        self.text = json.dumps(keys)
        self.reads = 0
        self.error: Exception | None = None

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        self.reads += 1
        if self.error:
            raise self.error
        return {"SecretString": self.text}


def start_error(code: str, status: int) -> ClientError:
    """An error answer of AWS."""
    metadata = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "StartExecution")


class Executions:
    """Collects what would be started."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def __call__(self, name: str, payload: str) -> None:
        if self.error:
            raise self.error
        self.started.append((name, json.loads(payload)))


def submission(
    s3: Any,
    executions: Executions,
    secrets: Secrets,
    ip_limit: int = 50,
    deadline: Deadline | None = None,
    *,
    registry: ModelRegistry | None = None,
) -> Submission:
    return Submission(
        JobManager(s3, BUCKET),
        RateLimiter(s3, BUCKET, 100, ip_limit),
        ContentFilter(),
        lambda: registry or REGISTRY,
        ProviderKeys(secrets, "keys"),
        executions,
        IdempotencyRecords(s3, BUCKET),
        lambda: ReferenceStorage(s3, BUCKET),
        trust_body_ip=True,
        deadline=deadline,
    )


def started(response: JobStarted | Estimate) -> JobStarted:
    """The response to a request that started a job."""
    assert "jobId" in response
    return response


BOTH = {"OPENAI_API_KEY": "a", "GEMINI_API_KEY": "b"}


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        (None, PromptRequired),
        ("", PromptRequired),
        ("   \n\t ", PromptRequired),
        (123, InvalidParameter),
        (["a"], InvalidParameter),
        ({}, InvalidParameter),
        (True, InvalidParameter),
        ("x" * 1001, PromptTooLong),
        ("a\x00b", InvalidParameter),
        ("a\x1b[31mb", InvalidParameter),
    ],
)
def test_a_prompt_must_be_a_text_of_1_to_1000_characters(prompt: Any, error: type[RequestError]) -> None:
    with pytest.raises(error):
        read_request({"prompt": prompt})


@pytest.mark.parametrize("prompt", ["x", "x" * 1000, "  " + "x" * 1000 + "  ", "two\nlines", "кот 猫 🐈"])
def test_a_prompt_is_trimmed(prompt: str) -> None:
    assert read_request({"prompt": prompt}) == (prompt.strip(), {})


@pytest.mark.parametrize(
    "body",
    [
        {"steps": "banana"},
        {"steps": 0},
        {"steps": 151},
        {"steps": 2.5},
        {"steps": True},
        {"steps": [1]},
        {"guidance": -5},
        {"guidance": 30.1},
        {"guidance": "7"},
        {"guidance": float("inf")},
        {"control": 2.01},
        {"control": {}},
        {"steps": 10**400},
        {"aspectRatio": "16x9"},
        {"aspectRatio": 1.5},
        {"resolution": "8K"},
        {"n": 0},
        {"n": 5},
        {"seed": -1},
        {"seed": 2**32},
        {"quality": "best"},
        {"outputFormat": "gif"},
        {"negativePrompt": ""},
        {"negativePrompt": "a\x00b"},
    ],
)
def test_a_parameter_must_be_a_number_in_its_range(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_request({"prompt": "a fox", **body})
    assert refused.value.details["parameter"] in body


@pytest.mark.parametrize("value", ["`$.foo`", "`$.steps`", "x' - at `$.steps`", "`$.aspect_ratio`", "`", "\\", "$.foo"])
@pytest.mark.parametrize("name", ["aspectRatio", "quality", "outputFormat", "background", "providerModeration"])
def test_no_value_changes_which_member_is_wrong(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=rf"^`{name}` must be one of ") as refused:
        read_request({"prompt": "a fox", name: value})
    assert refused.value.details["parameter"] == name


def test_what_is_wrong_with_the_prompt_comes_first() -> None:
    for body, error in (
        ({"steps": "x"}, PromptRequired),
        ({"steps": "x", "prompt": " "}, PromptRequired),
        ({"n": 9, "prompt": "x" * 1001}, PromptTooLong),
    ):
        with pytest.raises(error):
            read_request(body)


def test_only_what_is_given_is_read() -> None:
    body = read_json(b'{"prompt": "a fox", "steps": 25.0, "guidance": null, "control": 1, "aspectRatio": "16:9"}')
    _, parameters = read_request(body)
    assert json.dumps(parameters) == '{"steps": 25, "control": 1, "aspectRatio": "16:9"}'


NAMES = st.sampled_from(["prompt", "models", "ip", "n", "seed", "steps", "guidance", "aspectRatio", "negativePrompt"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, VALUES))
def test_no_body_breaks_the_readers(body: dict[str, Any]) -> None:
    with contextlib.suppress(RequestError):
        request = read_body_with_prompt(body, GenerateRequest)
        read_prompt(request.prompt)
        request.given()
        read_models(request.models, REGISTRY)
        read_ip(request.ip, "192.0.2.1", True)


@st.composite
def typos(draw: st.DrawFn) -> tuple[str, str]:
    """A known name, and the same with one edit that makes it unknown."""
    name = draw(st.sampled_from(MEMBERS))
    place = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from("abcdeijmnoprstuxzAEPRS_-1 "))
    typo = draw(
        st.sampled_from(
            [
                name[:place] + letter + name[place + 1 :],
                name[:place] + letter + name[place:],
                name[:place] + name[place + 1 :],
                name[:place] + name[place : place + 2][::-1] + name[place + 2 :],
                name.upper(),
                re.sub("([A-Z])", lambda match: f"_{match[1].lower()}", name),
            ]
        )
    )
    assume(typo not in MEMBERS)
    return name, typo


@given(typos(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
def test_a_typo_in_any_member_starts_nothing(edited: tuple[str, str], value: Any) -> None:
    """It is rejected before all other checks, null or not, and before anything is read or counted."""
    name, typo = edited
    untouched = MagicMock(spec=())
    service = Submission(*[untouched] * 8, trust_body_ip=True)
    for body in ({"prompt": "a red fox", typo: value}, {typo: value, "prompt": 5, "n": "many"}):
        with pytest.raises(InvalidParameter) as caught:
            service.submit(body, "192.0.2.1", "c-1")
        assert caught.value.details["parameter"] == typo
        if len(name) > 4:
            assert caught.value.details["nearest"] == name
            assert f"`{name}`" in caught.value.message


@pytest.mark.parametrize(
    ("member", "nearest"),
    [
        ("model", "models"),
        ("aspect_ratio", "aspectRatio"),
        ("negative-prompt", "negativePrompt"),
        ("PROMPT", "prompt"),
        ("output_format", "outputFormat"),
        ("stream", None),
        ("x" * 500, None),
        ("", None),
    ],
)
def test_an_unknown_member_names_what_was_meant(member: str, nearest: str | None) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_names({"prompt": "a fox", member: None}, MEMBERS)
    assert caught.value.details == {"parameter": member[:80], "nearest": nearest}
    assert len(caught.value.message) < 350


@pytest.mark.parametrize("text", ["no text\nno border", "👩‍🎨 painters", "kein\u00a0Rahmen", "a\tb", "می‌خواهم"])
def test_a_negative_prompt_may_be_what_a_prompt_may_be(text: str) -> None:
    body = {"prompt": text, "negativePrompt": f" {text}\n"}
    assert read_request(body) == (text, {"negativePrompt": text})


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[31m", " \n", "", 5])
def test_a_negative_prompt_may_not_be_what_a_prompt_may_not_be(text: Any) -> None:
    with pytest.raises(InvalidParameter):
        read_request({"prompt": "a fox", "negativePrompt": text})
    with pytest.raises(RequestError):
        read_request({"prompt": text})


def test_models_are_named_by_name_or_id_and_keep_the_registrys_order() -> None:
    wanted = ["sketcher-2", "painter", "Painter"]
    assert [model.name for model in read_models(wanted, REGISTRY) or []] == ["Painter", "Sketcher"]


@pytest.mark.parametrize("models", ["Painter", [], [1], ["no-such-model"], {}, 5])
def test_an_unknown_model_is_refused(models: Any) -> None:
    with pytest.raises(InvalidParameter):
        read_models(read_body_with_prompt({"prompt": "a fox", "models": models}, GenerateRequest).models, REGISTRY)


def test_the_bodys_ip_counts_only_where_it_is_trusted() -> None:
    assert read_ip("198.51.100.1", "192.0.2.1", True) == "198.51.100.1"
    assert read_ip("198.51.100.1", "192.0.2.1", False) == "192.0.2.1"
    assert read_ip("nonsense", "192.0.2.1", False) == "192.0.2.1"
    with pytest.raises(InvalidParameter):
        read_ip("nonsense", "192.0.2.1", True)


class TestSubmission:
    def test_a_job_is_not_begun_when_there_is_no_time_to_start_it(self, s3: Any) -> None:
        executions, deadline = Executions(), Deadline()
        deadline.begin(START_SECONDS - 0.1)
        body = {"prompt": "a red fox"}
        with pytest.raises(DeadlineExceeded):
            submission(s3, executions, Secrets(**BOTH), deadline=deadline).submit(body, "192.0.2.1", "c")
        assert executions.started == []
        assert not s3.list_objects_v2(Bucket=BUCKET, Prefix="jobs/").get("Contents")

    @pytest.mark.parametrize(("error", "sent"), [(Interrupted, True), (DeadlineExceeded, False)])
    def test_a_start_that_may_have_been_sent_is_answered_with_its_job(
        self, s3: Any, error: type[DeadlineExceeded], sent: bool
    ) -> None:
        executions = Executions(error("The request reached its deadline."))
        made = submission(s3, executions, Secrets(**BOTH))
        if sent:
            assert started(made.submit({"prompt": "a red fox"}, "192.0.2.1", "c"))["jobId"]
        else:
            with pytest.raises(ServiceUnavailable):
                made.submit({"prompt": "a red fox"}, "192.0.2.1", "c")

    def test_a_job_is_stored_and_started(self, s3: Any) -> None:
        executions = Executions()
        job = started(submission(s3, executions, Secrets(**BOTH)).submit({"prompt": " a fox "}, "192.0.2.1", "corr"))
        ((name, given_input),) = executions.started
        assert name == job["jobId"] == given_input["jobId"]
        assert [item["model"] for item in given_input["models"]] == ["Painter", "Sketcher"]
        assert (given_input["prompt"], given_input["correlationId"], given_input["run"]) == ("a fox", "corr", 1)
        document = JobManager(s3, BUCKET).get_job_status(job["jobId"])
        assert document is not None and document["totalModels"] == 2
        assert document["createdAt"] == given_input["createdAt"]

    def test_parameters_are_stored_as_given_and_receipts_travel_with_the_items(self, s3: Any) -> None:
        executions = Executions()
        job = started(
            submission(s3, executions, Secrets(**BOTH)).submit({"prompt": "a fox", "seed": 7}, "192.0.2.1", "c")
        )
        document = JobManager(s3, BUCKET).get_job_status(job["jobId"])
        given_input = executions.started[0][1]
        assert document is not None and document["parameters"] == given_input["parameters"] == {"seed": 7}
        for row, item in zip(document["results"], given_input["models"], strict=True):
            assert Receipt.load(item["receipt"], {"seed": 7}) == Receipt(row["applied"], row["adjusted"])

    def test_only_the_job_and_its_execution_hold_the_prompt(self, s3: Any, log: io.StringIO) -> None:
        executions, body = Executions(), {"prompt": "a quokka at dusk", "negativePrompt": "a wombat"}
        made = submission(s3, executions, Secrets(**BOTH))
        answer, _ = made.submit_once(body, "192.0.2.1", "c", "key")
        job_id = started(answer)["jobId"]
        assert executions.started[0][1]["prompt"] == body["prompt"]
        with pytest.raises(InappropriateContent):
            made.submit({"prompt": "a quokka, n.u.d.e"}, "192.0.2.1", "c")
        stored = {
            entry["Key"]: s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read().decode()
            for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        }
        assert {key.partition("/")[0] for key in stored} == {"jobs", "rate-limit", "idempotency"}
        holders = {key for key, text in stored.items() if "quokka" in text or "wombat" in text}
        assert holders == {f"jobs/{job_id}/status.json"}
        assert log.getvalue()
        assert "quokka" not in log.getvalue() and "wombat" not in log.getvalue()

    def test_only_models_with_a_key_take_part(self, s3: Any) -> None:
        executions = Executions()
        submission(s3, executions, Secrets(GEMINI_API_KEY="b")).submit({"prompt": "a fox"}, "192.0.2.1", "c")
        assert [item["model"] for item in executions.started[0][1]["models"]] == ["Sketcher"]

    @pytest.mark.parametrize("body", [{"prompt": "a fox"}, {"prompt": "a fox", "models": ["painter-1"]}])
    def test_without_a_key_the_answer_names_the_cure(self, s3: Any, body: dict[str, Any]) -> None:
        with pytest.raises(NoProviderConfigured, match="make keys") as refused:
            submission(s3, Executions(), Secrets()).submit(body, "192.0.2.1", "c")
        assert refused.value.status == 503

    def test_over_the_limit_nothing_is_started(self, s3: Any) -> None:
        executions = Executions()
        submit = submission(s3, executions, Secrets(**BOTH), ip_limit=1).submit
        submit({"prompt": "a fox", "ip": "198.51.100.1"}, "192.0.2.1", "c")
        with pytest.raises(RateLimitExceeded) as refused:
            submit({"prompt": "a fox", "ip": "198.51.100.1"}, "192.0.2.1", "c")
        assert len(executions.started) == 1
        assert 86_000 < int(refused.value.headers["Retry-After"]) <= 86_400
        assert refused.value.details["retryAfter"] == int(refused.value.headers["Retry-After"])
        submit({"prompt": "a fox", "ip": "198.51.100.2"}, "192.0.2.1", "c")

    def test_a_blocked_prompt_leaves_no_job(self, s3: Any) -> None:
        executions = Executions()
        with pytest.raises(InappropriateContent) as refused:
            submission(s3, executions, Secrets(**BOTH)).submit({"prompt": "a n.u.d.e portrait"}, "192.0.2.1", "c")
        assert refused.value.details["category"] == "sexual"
        assert "nude" not in str(refused.value)
        assert not executions.started
        assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0

    @pytest.mark.parametrize("body", [{}, {"prompt": "a fox", "steps": "banana"}, {"prompt": "a fox", "models": ["x"]}])
    def test_a_wrong_request_stores_nothing(self, s3: Any, body: dict[str, Any]) -> None:
        with pytest.raises(RequestError):
            submission(s3, Executions(), Secrets(**BOTH)).submit(body, "192.0.2.1", "c")
        assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0

    def test_a_job_that_cannot_be_started_ends_as_failed(self, s3: Any) -> None:
        error = ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        with pytest.raises(ServiceUnavailable) as refused:
            submission(s3, Executions(error), Secrets(**BOTH)).submit({"prompt": "a fox"}, "192.0.2.1", "c")
        document = JobManager(s3, BUCKET).get_job_status(refused.value.details["jobId"])
        assert document is not None and document["status"] == "failed"
        assert {row["billable"] for row in document["results"]} == {"no"}


@pytest.mark.parametrize(
    ("error", "may_have"),
    [
        (ReadTimeoutError(endpoint_url="u"), True),
        (ConnectTimeoutError(endpoint_url="u"), False),
        (EndpointConnectionError(endpoint_url="u"), False),
        (start_error("ThrottlingException", 400), False),
        (start_error("AccessDeniedException", 403), False),
        (start_error("ExecutionAlreadyExists", 400), True),
        (start_error("InternalFailure", 500), True),
    ],
)
def test_a_lost_answer_of_the_start_is_not_taken_for_a_refusal(s3: Any, error: Exception, may_have: bool) -> None:
    submit = submission(s3, Executions(error), Secrets(**BOTH)).submit
    if may_have:
        job_id = started(submit({"prompt": "a fox"}, "192.0.2.1", "c"))["jobId"]
        expected = "pending"
    else:
        with pytest.raises(ServiceUnavailable) as refused:
            submit({"prompt": "a fox"}, "192.0.2.1", "c")
        job_id, expected = refused.value.details["jobId"], "failed"
    document = JobManager(s3, BUCKET).get_job_status(job_id)
    assert document is not None and document["status"] == expected


def test_a_key_that_is_none_is_not_used() -> None:
    keys = ProviderKeys(Secrets(OPENAI_API_KEY=" sk-abc\n", GEMINI_API_KEY="sk-…"), "keys")
    openai, gemini = REGISTRY.get_all_models()
    credentials = keys.credentials(openai)
    assert credentials is not None and credentials.key == "sk-abc"
    assert keys.credentials(gemini) is None


def test_when_secrets_manager_fails_the_last_keys_are_used() -> None:
    now = [0.0]
    secrets = Secrets(OPENAI_API_KEY="a")
    keys = ProviderKeys(secrets, "keys", clock=lambda: now[0])
    openai = REGISTRY.get_all_models()[0]
    fresh = ProviderKeys(secrets, "keys")
    assert keys.credentials(openai) is not None
    secrets.error = start_error("ThrottlingException", 400)
    now[0] = 400.0
    assert keys.credentials(openai) is not None
    with pytest.raises(ServiceUnavailable):
        fresh.credentials(openai)


def test_the_secret_is_read_once_in_five_minutes() -> None:
    now = [0.0]
    secrets = Secrets(OPENAI_API_KEY="a")
    keys = ProviderKeys(secrets, "keys", clock=lambda: now[0])
    openai, gemini = REGISTRY.get_all_models()
    for now[0] in (0.0, 100.0, 299.0):
        assert keys.credentials(openai) is not None
        assert keys.credentials(gemini) is None
    assert secrets.reads == 1
    secrets.text = json.dumps({"GEMINI_API_KEY": "b", "OPENAI_API_KEY": ""})
    now[0] = 301.0
    assert keys.credentials(openai) is None
    assert keys.credentials(gemini) is not None
    assert secrets.reads == 2
