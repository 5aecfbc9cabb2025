"""What a refused request costs: it writes nothing, and only the work of a model is counted."""

import json
from typing import Any

import pytest

from pixelprompt.api.http import Request
from pixelprompt.errors import (
    IdempotencyConflict,
    InappropriateContent,
    RateLimitExceeded,
    RequestError,
    ServiceUnavailable,
)
from pixelprompt.identity import Identity
from pixelprompt.jobs.idempotency import body_hash
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.prompts.moderation.filter import ContentFilter
from tests.conftest import BUCKET
from tests.unit.jobs.test_idempotency import BODY, IP, World

BLOCKED = {"prompt": "a n.u.d.e portrait"}


def keys(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def full(s3: Any) -> World:
    """A deployment in which this address has had its one request."""
    world = World(s3, ip_limit=1)
    world.submit("first")
    return world


def submit(world: World, key: str | None, body: Any) -> Any:
    return world.submission.submit(body, IP, "c") if key is None else world.submit(key, body)


@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        BLOCKED, {**BODY, "negativePrompt": "clothes"}, {**BLOCKED, "dryRun": True}, {**BODY, "models": ["x"]},
        {**BODY, "unknown": 1}, {**BODY, "n": 99}, {"prompt": ""},
    ],
    ids=str,
)  # fmt: skip
def test_twenty_refusals_write_nothing(s3: Any, body: Any, with_keys: bool) -> None:
    world = World(s3)
    for number in range(20):
        with pytest.raises(RequestError):
            submit(world, f"key-{number}" if with_keys else None, body)
    assert keys(s3) == []


@pytest.mark.parametrize("with_keys", [True, False])
def test_over_the_limit_nothing_is_written_either(s3: Any, with_keys: bool) -> None:
    world = full(s3)
    before = keys(s3)
    for number in range(20):
        with pytest.raises(RateLimitExceeded):
            submit(world, f"key-{number}" if with_keys else None, BODY)
    assert keys(s3) == before
    assert world.charged == 1


def test_limits_come_before_moderation_except_for_a_dry_run(s3: Any) -> None:
    world = full(s3)
    with pytest.raises(RateLimitExceeded):
        world.submit(body=BLOCKED)
    assert world.estimate(BODY)[0]["dryRun"]
    with pytest.raises(InappropriateContent):
        world.estimate(BLOCKED)


def test_a_replay_is_free_where_a_new_request_is_refused(s3: Any) -> None:
    world = full(s3)
    _, replayed = world.submit("first")
    assert replayed
    assert world.charged == 1
    with pytest.raises(IdempotencyConflict):
        world.submit("first", {"prompt": "a wolf"})


def test_only_what_is_answered_with_a_refusal_is_measured_as_one(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = full(s3)
    assert world.submit("first")[1]
    assert "RateLimited" not in capsys.readouterr().out
    for key in ("second", None):
        with pytest.raises(RateLimitExceeded):
            submit(world, key, BODY)
        assert capsys.readouterr().out.count('"RateLimited":[1') == 1


def test_who_is_refused_waits_for_a_request_that_lives_and_for_no_other(s3: Any) -> None:
    world = full(s3)
    world.sleep = lambda seconds: None
    world.records.claim(IP, "held", body_hash(BODY))
    # Its job may be there in a second.
    with pytest.raises(ServiceUnavailable):
        world.submit("held")
    world.later(seconds=60)
    with pytest.raises(RateLimitExceeded):
        world.submit("held")


def test_where_a_job_is_being_made_a_refused_repeat_waits_for_it(s3: Any) -> None:
    world = World(s3, ip_limit=1)
    naps: list[float] = []

    def others(**_: Any) -> None:
        # The same request, sent twice at once: the other one takes the last place.
        world.s3.meta.events.unregister("before-call.s3.PutObject", others)
        world.sleep = naps.append
        answers.append(world.submit())

    answers: list[Any] = []
    world.s3.meta.events.register("before-call.s3.PutObject", others)
    job, replayed = world.submit()
    assert answers == [(job, False)]
    assert replayed
    assert world.charged == 1


def test_the_answer_says_that_the_negative_prompt_is_why(s3: Any) -> None:
    world = World(s3)
    with pytest.raises(InappropriateContent, match=r"^The prompt was blocked"):
        world.submit(body={**BLOCKED, "negativePrompt": "rain"})
    with pytest.raises(InappropriateContent, match=r"^The negative prompt was blocked"):
        world.submit(body={**BODY, "negativePrompt": "clothes"})


def test_of_two_that_have_looked_only_one_gets_the_last_place(s3: Any) -> None:
    world = World(s3, ip_limit=1)
    look = world.limiter.look(IP)
    assert not look.decision.limited
    assert not world.limiter.check(IP).limited
    assert world.limiter.check(IP, look).limited
    assert world.charged == 1


def test_a_look_that_is_out_of_date_loses_no_count(s3: Any) -> None:
    world = World(s3)
    looks = [world.limiter.look(IP) for _ in range(5)]
    assert not any(world.limiter.check(IP, look).limited for look in looks)
    assert world.charged == 5


def test_a_look_saves_a_read(s3: Any) -> None:
    world = World(s3)
    world.limiter.check("192.0.2.7")
    requests: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    world.limiter.check(IP, world.limiter.look(IP))
    assert requests == ["GetObject", "PutObject"]


def test_what_a_model_blocks_stays_counted_and_leaves_the_key_free(s3: Any) -> None:
    verdicts = [True, False]
    asked: list[tuple[str, str]] = []

    def classify(prompt: str, negative: str) -> bool:
        asked.append((prompt, negative))
        return verdicts.pop(0)

    world = World(s3, content_filter=ContentFilter(classifier=classify))
    with pytest.raises(InappropriateContent):
        world.submit(body={**BODY, "negativePrompt": "nudity"})
    assert (world.charged, world.documents) == (1, 0)
    # Prompt and negative prompt are one question.
    assert asked == [("a fox", "nudity")]
    assert not world.submit()[1]
    assert world.charged == 2


def test_a_model_is_not_asked_about_what_is_refused_anyway(s3: Any) -> None:
    full(s3)

    def classify(prompt: str, negative: str) -> bool:
        raise AssertionError(f"asked about {prompt}")

    world = World(s3, ip_limit=1, content_filter=ContentFilter(classifier=classify))
    for body in (BODY, BLOCKED, {**BODY, "dryRun": True, "negativePrompt": "clothes"}):
        with pytest.raises(RequestError):
            world.submit("other", body)


def test_an_allowed_address_is_neither_looked_at_nor_counted(s3: Any) -> None:
    world = World(s3, limiter=RateLimiter(s3, BUCKET, 0, 0, ["192.0.2.0/24"]))
    assert not world.submit()[1]
    assert not [key for key in keys(s3) if key.startswith("rate-limit/")]


def test_a_key_belongs_to_whom_api_gateway_has_authenticated(s3: Any) -> None:
    world = World(s3)

    def submit_as(principal: str, address: str) -> Any:
        return world.submission.submit_once(BODY, address, "c", "k", Identity(principal))

    ada, replayed = submit_as("jwt sub ada", IP)
    assert not replayed
    # Neither a neighbor behind the same address nor an unknown caller gets her job; she does, wherever she is.
    assert submit_as("jwt sub eve", IP)[0]["jobId"] != ada["jobId"]
    assert submit_as("", IP)[0]["jobId"] != ada["jobId"]
    assert submit_as("jwt sub ada", "192.0.2.2") == (ada, True)


@pytest.mark.parametrize(
    ("authorizer", "principal"),
    [
        ({"jwt": {"claims": {"sub": "ada", "client_id": "x"}, "scopes": None}}, "jwt sub ada"),
        ({"jwt": {"claims": {"client_id": "program"}}}, "jwt client_id program"),
        ({"jwt": {"claims": {"azp": "program"}}}, "jwt azp program"),
        # Copies of a program have sessions of their own.
        ({"iam": {"userId": "AROAEXAMPLE:session", "userArn": "arn:aws:sts::1:x"}}, "iam AROAEXAMPLE"),
        ({"iam": {"userId": "AROAEXAMPLE:another", "cognitoIdentity": None}}, "iam AROAEXAMPLE"),
        ({"iam": {"userId": "AIDAEXAMPLE"}}, "iam AIDAEXAMPLE"),
        ({"iam": {"userId": "123456789012:ada"}}, "iam 123456789012:ada"),
        # The users of an identity pool share a session.
        (
            {"iam": {"userId": "AROAEXAMPLE:CognitoIdentityCredentials", "cognitoIdentity": {"identityId": "r:ada"}}},
            "iam r:ada",
        ),
        # Whom API Gateway lets pass is somebody, even without a name.
        ({"iam": {"userId": None}}, "iam"),
        ({"jwt": {"claims": None}}, "jwt"),
        ({"lambda": {"keyId": "9c1f", "limits": "{}"}}, "key 9c1f"),
        ({}, ""),
        (None, ""),
    ],
)
def test_the_principal_is_the_one_of_the_authorizer(authorizer: Any, principal: str) -> None:
    headers = {"authorization": "Bearer forged", "x-principal": "jwt sub ada"}
    event = {"rawPath": "/generate", "headers": headers, "requestContext": {"authorizer": authorizer}}
    assert Request.from_event(event).identity.principal == principal


def test_the_record_of_a_key_says_nothing_of_it(s3: Any) -> None:
    world = World(s3)
    world.submit("my secret key")
    (record,) = [key for key in keys(s3) if key.startswith("idempotency/")]
    body = s3.get_object(Bucket=BUCKET, Key=record)["Body"].read()
    assert b"my secret key" not in body + record.encode()
    assert set(json.loads(body)) == {"bodyHash", "jobId", "createdAt", "holder"}
