"""Whom an API lets in, and the smoke test of an API that does not do what it should."""

import io
import json
from collections.abc import Iterator, Mapping

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local import __main__ as command
from local import smoke
from local.cloud import CloudError
from local.confirmation import Unconfirmed
from tests.canned import Answer, Asked, Canned
from tests.stacks import stacks

KEYS = Credentials("AKIDEXAMPLE", "secret-of-a-test", "session-of-a-test")
MODELS = Answer(content={"models": []})


def signed_by(asked: Asked, keys: Credentials) -> bool:
    """Whether a request is signed with these keys, for an HTTP API in eu-west-1, as AWS would find out."""
    found = asked.headers.get("authorization", "")
    if not found:
        return False
    names = found.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest(
        asked.method,
        f"http://{asked.headers['host']}{asked.path}",
        headers={name: asked.headers[name] for name in names if name != "host"},
        data=asked.body,
    )
    again.context["timestamp"] = asked.headers["x-amz-date"]
    auth = SigV4Auth(keys, "execute-api", "eu-west-1")
    text = auth.string_to_sign(again, auth.canonical_request(again))
    return found.endswith(f"Signature={auth.signature(text, again)}") and keys.access_key in found


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_PAUSES", (0, 0))


@pytest.fixture
def guarded() -> Iterator[Canned]:
    """An API with ``apiAuth=iam``."""

    def answer(asked: Asked) -> Answer:
        return MODELS if signed_by(asked, KEYS) else Answer(403, {"message": "Forbidden"})

    with Canned(answer) as running:
        yield running


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(KEYS.secret_key))
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(KEYS.token))


@pytest.mark.usefixtures("keys")
def test_requests_are_signed_where_the_api_asks_for_it(guarded: Canned) -> None:
    api = smoke.Api(guarded.url)
    assert api.enter({"AWS_REGION": "eu-west-1"}) == "with signed requests"
    assert api.request("POST", "/generate?x=1", {"prompt": "é"}).status == 200
    # Pictures are elsewhere: nobody else gets the caller's signature.
    api.request("GET", f"{guarded.url}/images/x.png")
    assert "authorization" not in guarded.asked[-1].headers
    assert "authorization" not in guarded.asked[0].headers


def test_wrong_credentials_name_the_permission(guarded: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(CloudError, match="403 Forbidden to a signed request, too; allow your role execute-api:Invoke"):
        smoke.Api(guarded.url).enter({"AWS_REGION": "eu-west-1"})


def test_missing_credentials_are_asked_for(guarded: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(CloudError, match=r"asks for signed requests .* set AWS credentials"):
        smoke.Api(guarded.url).enter({"AWS_REGION": "eu-west-1"})


def test_a_token_goes_along_where_the_api_asks_for_one() -> None:
    def answer(asked: Asked) -> Answer:
        return MODELS if asked.headers.get("authorization") == "Bearer right" else Answer(401, {"message": "no"})

    with Canned(answer) as running:
        assert smoke.Api(running.url, "right").enter({}) == "with API_TOKEN"
        with pytest.raises(CloudError, match=r"set API_KEY to an API key .+, or API_TOKEN to a token \(apiAuth=jwt\)"):
            smoke.Api(running.url).enter({})
        with pytest.raises(CloudError, match="rejected API_TOKEN"):
            smoke.Api(running.url, "wrong").enter({})


def test_a_key_goes_along_where_the_api_asks_for_one() -> None:
    def answer(asked: Asked) -> Answer:
        # As API Gateway answers for a Lambda authorizer.
        given = asked.headers.get("authorization")
        if given == "Bearer right":
            return MODELS
        return Answer(403, {"message": "Forbidden"}) if given else Answer(401, {"message": "Unauthorized"})

    said: list[str] = []
    with Canned(answer) as running:
        smoke.run(running.url, {"API_KEY": " right "}, said.append)
        assert any("it responds; with API_KEY" in line for line in said)
        with pytest.raises(CloudError, match=r"rejected API_KEY: the key is unknown, disabled, or expired"):
            smoke.run(running.url, {"API_KEY": "wrong"}, said.append)
        with pytest.raises(CloudError, match=r"`make key` makes one"):
            smoke.run(running.url, {}, said.append)
        with pytest.raises(CloudError, match="Both API_KEY and API_TOKEN are set"):
            smoke.run(running.url, {"API_KEY": "right", "API_TOKEN": "right"}, said.append)


def test_no_proxy_is_asked_for_an_api_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with Canned(MODELS) as running:
        assert smoke.Api(running.url).request("GET", "/models").status == 200


@pytest.mark.parametrize("hiccup", ["503", "dropped"])
def test_a_hiccup_is_told_and_asked_again(hiccup: str) -> None:
    def answer(asked: Asked) -> Answer:
        if len(running.asked) > 2:
            return MODELS
        # Shorter than it says, so that the client finds the connection closed.
        return Answer(503) if hiccup == "503" else Answer(200, b"", {"Content-Length": "9", "Connection": "close"})

    said: list[str] = []
    with Canned(answer) as running:
        api = smoke.Api(running.url, say=said.append)
        assert api.request("GET", f"{running.url}/image?signature=secret").status == 200
    assert len(said) == 2 and len(running.asked) == 3
    assert all(f"/image after: {'503' if hiccup == '503' else ''}" in line and "secret" not in line for line in said)


def test_a_server_that_hangs_up_is_one_sentence_without_signature() -> None:
    hanging_up = Answer(200, b"", {"Content-Length": "9", "Connection": "close"})
    with Canned(hanging_up) as running, pytest.raises(CloudError) as raised:
        smoke.Api(running.url).request("GET", f"{running.url}/image?signature=secret")
    assert str(raised.value).startswith(f"No response from {running.url}: ") and "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["api.example/x", "http://[::1", "ftp://api.example", "https://me:secret@api.example"])
def test_an_address_that_cannot_be_asked_is_one_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["smoke", "--url", url]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "secret" not in told


def test_an_api_of_something_else_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Canned(Answer(content={"models": [{"name": "a"}]})) as running:
        assert command.main(["smoke", "--url", running.url]) == 1
    assert "its responses are Pixel Prompt's: KeyError('cost')" in capsys.readouterr().out


def test_the_cheapest_models_of_different_providers_are_asked() -> None:
    def row(model: str, provider: str, amount: float | None) -> dict[str, object]:
        return {"model": model, "provider": provider, "cost": {"amount": amount}}

    rows = [row("a", "x", 0.2), row("b", "x", 0.1), row("c", "y", 0.3), row("d", "z", None), row("e", "x", 0.11)]

    def answer(asked: Asked) -> Answer:
        named = asked.json().get("models")
        return Answer(content={"models": [entry for entry in rows if not named or entry["model"] in named]})

    with Canned(answer) as running:
        api, report = smoke.Api(running.url), smoke.Report(lambda line: None)
        for wanted, models in (("", "bc"), ("all", "abcde"), ("d, a", "ad")):
            chosen = smoke.choose_models(api, report, wanted)
            assert chosen and [entry["model"] for entry in chosen] == [*models]


def test_what_it_costs_is_told_before_anything_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"model": "a", "provider": "x", "cost": {"amount": 0.2}}
    other = {"model": "b", "provider": "y", "cost": {"amount": None}}
    monkeypatch.setattr(smoke, "LOOPBACK_HOSTS", ())
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with Canned(Answer(content={"models": [row, other]})) as running:
        with pytest.raises(Unconfirmed, match="no terminal to ask for confirmation"):
            smoke.run(running.url, {"MODELS": "a,b"}, lambda line: None)
        assert all(asked.method == "GET" or asked.json().get("dryRun") for asked in running.asked)
        said: list[str] = []

        def refuse(question: str) -> str:
            said.append(question)
            return "no"

        monkeypatch.setattr("builtins.input", refuse)
        monkeypatch.setattr("local.confirmation.require_terminal", lambda *_: None)
        with pytest.raises(Unconfirmed, match="Nothing was done"):
            smoke.run(running.url, {"MODELS": "a,b"}, lambda line: None)
    assert said == ["Ask 2 models for an image each, about $0.20, and some of unknown price? Type yes to go on: "]


def test_a_limit_that_is_reached_is_told_and_proves_nothing_wrong() -> None:
    limited = Answer(429, {"error": "RATE_LIMIT_EXCEEDED", "message": "This deployment has reached its limit."})
    offered = Answer(content={"models": [{"model": "a", "provider": "x", "cost": {"amount": 0.2}}]})

    def answer(asked: Asked) -> Answer:
        if asked.path == "/generate" and asked.body != b"{":
            return offered if asked.json().get("dryRun") else limited
        if asked.path == "/openapi.json":
            return Answer(content={"openapi": "3.1.0"})
        if asked.path == "/models":
            return MODELS
        if asked.path == "/enhance":
            return limited
        error = (400, "INVALID_JSON") if asked.path == "/generate" else (404, "JOB_NOT_FOUND")
        return Answer(error[0], {"error": error[1]})

    said: list[str] = []
    with Canned(answer) as running:
        report = smoke.run(running.url, {}, said.append)
    assert report.wrong == []
    assert said.count("  ! not tried: This deployment has reached its limit.") == 3


GALLERIES = Answer(content={"galleries": []})
GALLERY_OFF = Answer(404, {"error": "NOT_FOUND", "message": "There is no GET /gallery/list."})


@pytest.mark.parametrize(
    ("gallery", "answer", "wrong", "said"),
    [
        ("", GALLERIES, [], "it lists galleries"),
        ("", GALLERY_OFF, [], "! its gallery is off; the deployed setting isn't known here"),
        ("", Answer(404, {"message": "Not Found"}), ["it lists galleries"], "404 Not Found"),
        ("", Answer(500, {"error": "INTERNAL_SERVER_ERROR"}), ["it lists galleries"], "500 INTERNAL_SERVER_ERROR"),
        ("public", GALLERIES, [], "it lists galleries"),
        ("public", GALLERY_OFF, ["it lists galleries"], "404 NOT_FOUND"),
        ("off", GALLERY_OFF, [], "its gallery is off, as deployed"),
        ("off", GALLERIES, ["its gallery is off, as deployed"], "200"),
    ],
    ids=["any on", "any off", "no API", "broken", "public", "public but lost", "off", "off but there"],
)
def test_a_gallery_is_as_it_was_deployed(gallery: str, answer: Answer, wrong: list[str], said: str) -> None:
    lines: list[str] = []
    report = smoke.Report(lines.append)
    with Canned(answer) as running:
        smoke.try_gallery(smoke.Api(running.url), report, gallery)
    assert report.wrong == wrong
    assert said in "\n".join(lines)


@pytest.mark.parametrize(
    ("output", "gallery"), [({"Gallery": "off"}, "off"), ({"Gallery": "public"}, "public"), ({}, "")], ids=str
)
def test_a_stage_tells_the_gallery_that_it_was_deployed_with(
    output: dict[str, str], gallery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"BucketName": "b", "ProviderSecretArn": "a", "ApiUrl": "https://api.example/", **output}
    tried: list[tuple[str, str]] = []

    def try_out(url: str, environment: Mapping[str, str], *, gallery: str) -> int:
        tried.append((url, gallery))
        return 0

    monkeypatch.setattr(smoke, "command", try_out)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with Canned(stacks({"PixelPrompt-dev": outputs})) as formation:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        assert command.main(["smoke", "--stage", "dev"]) == 0
        assert command.main(["smoke", "--url", "https://other.example"]) == 0
    assert tried == [("https://api.example", gallery), ("https://other.example", "")]


def test_an_api_that_is_broken_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with Canned(Answer(500, {"error": "INTERNAL_SERVER_ERROR", "message": "Something went wrong."})) as running:
        assert command.main(["smoke", "--url", running.url]) == 1
    told = f"GET {running.url}/models returned 500 INTERNAL_SERVER_ERROR: the API is broken, or the URL is wrong.\n"
    assert capsys.readouterr().err == told


def test_nothing_that_answers_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with Canned(MODELS) as running:
        url = running.url
    assert command.main(["smoke", "--url", url]) == 1
    assert json.dumps(capsys.readouterr().err).count("\\n") == 1


def test_what_to_give_is_said(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--directory", str(tmp_path), "smoke"]) == 1
    assert "make smoke API_URL=https://…" in capsys.readouterr().err
