"""Provider keys into the secret."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local import __main__ as command
from local.aws.deployment import former_secret
from local.aws.keys import KeysError, collect, run, store
from local.cloud import CloudError
from local.confirmation import Unconfirmed
from pixelprompt.storage import clients
from tests.canned import Canned
from tests.stacks import stacks


@pytest.fixture
def deployed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ARN of the empty secret of the stage dev."""
    arn: str = clients.client("secretsmanager").create_secret(Name="ProviderKeys-x1Y2", SecretString="{}")["ARN"]
    with Canned(stacks({"PixelPrompt-dev": {"BucketName": "b", "ProviderSecretArn": arn}})) as formation:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        monkeypatch.delenv("YES", raising=False)
        yield arn


def test_keys_come_from_the_environment_or_a_prompt() -> None:
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return " typed " if "GEMINI" in text else ""

    found = collect({"OPENAI_API_KEY": "given"}, ask)
    assert found == {"OPENAI_API_KEY": "given", "GEMINI_API_KEY": "typed"}
    assert not any("OPENAI" in text for text in asked)
    assert collect({"OPENAI_API_KEY": ""}, None) == {}


@pytest.mark.parametrize("typed", ["sk one", "sk-\u200b1", "sk\n1", UnicodeDecodeError("ascii", b"\xe9", 0, 1, "no")])
def test_what_can_be_no_key_is_refused_by_name(typed: str | UnicodeDecodeError) -> None:
    def ask(text: str) -> str:
        if isinstance(typed, str):
            return typed
        raise typed

    with pytest.raises(KeysError, match=r"^OPENAI_API_KEY is not a key: .+ nothing is stored\.$"):
        collect({}, ask)


def test_other_keys_stay_as_they_are(s3: Any) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="keys", SecretString='{"GEMINI_API_KEY": "old"}')
    assert store(secrets, "keys", {"OPENAI_API_KEY": "new"}) == ["GEMINI_API_KEY", "OPENAI_API_KEY"]
    held = json.loads(secrets.get_secret_value(SecretId="keys")["SecretString"])
    assert held == {"GEMINI_API_KEY": "old", "OPENAI_API_KEY": "new"}


@pytest.mark.parametrize("text", ["not json", "[]", ""])
def test_a_secret_that_is_no_object_is_replaced(s3: Any, text: str) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="keys", SecretString=text or " ")
    assert store(secrets, "keys", {"OPENAI_API_KEY": "new"}) == ["OPENAI_API_KEY"]


def test_without_a_region_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(CloudError, match="AWS_REGION"):
        run("dev", {"OPENAI_API_KEY": "new"})


def test_a_missing_secret_says_what_to_do(s3: Any) -> None:
    with pytest.raises(KeysError, match="ResourceNotFoundException for the secret no-such-secret; check name"):
        store(clients.client("secretsmanager"), "no-such-secret", {"OPENAI_API_KEY": "new"})


def test_keys_that_would_be_replaced_are_asked_about(s3: Any) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="keys", SecretString='{"GEMINI_API_KEY": "old", "XAI_API_KEY": "same"}')
    asked: list[list[str]] = []

    def refuse(replaced: list[str]) -> None:
        asked.append(replaced)
        raise Unconfirmed

    given = {"GEMINI_API_KEY": "new", "XAI_API_KEY": "same", "OPENAI_API_KEY": "new"}
    with pytest.raises(Unconfirmed):
        store(secrets, "keys", given, refuse)
    assert asked == [["GEMINI_API_KEY"]]
    held = json.loads(secrets.get_secret_value(SecretId="keys")["SecretString"])
    assert held == {"GEMINI_API_KEY": "old", "XAI_API_KEY": "same"}


def test_without_a_terminal_somebody_must_have_said_yes_before_a_key_is_replaced(
    deployed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    secrets, name = clients.client("secretsmanager"), deployed
    secrets.put_secret_value(SecretId=name, SecretString='{"OPENAI_API_KEY": "old"}')
    with pytest.raises(Unconfirmed, match="Set YES=1 to confirm in advance"):
        run("dev", {"OPENAI_API_KEY": "new"})
    assert json.loads(secrets.get_secret_value(SecretId=name)["SecretString"]) == {"OPENAI_API_KEY": "old"}
    assert run("dev", {"OPENAI_API_KEY": "new", "YES": "1"}) == 0
    assert json.loads(secrets.get_secret_value(SecretId=name)["SecretString"]) == {"OPENAI_API_KEY": "new"}
    assert f"Puts OPENAI_API_KEY into the secret {name}; other keys stay." in capsys.readouterr().out


def test_the_secret_is_found_by_the_outputs_of_the_stack(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = clients.client("secretsmanager")
    named = secrets.create_secret(Name=former_secret("dev"), SecretString="{}")["ARN"]
    unnamed = secrets.create_secret(Name="ProviderKeys-x1Y2", SecretString="{}")["ARN"]
    # The stack of an earlier version has the name for an output.
    for output, value, arn in (
        ("ProviderSecretName", former_secret("dev"), named),
        ("ProviderSecretArn", unnamed, unnamed),
    ):
        with Canned(stacks({"PixelPrompt-dev": {"BucketName": "b", output: value}})) as formation:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
            assert run("dev", {"OPENAI_API_KEY": output}) == 0
        assert json.loads(secrets.get_secret_value(SecretId=arn)["SecretString"]) == {"OPENAI_API_KEY": output}
    with Canned(stacks({"PixelPrompt-dev": {"BucketName": "b"}})) as formation:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        with pytest.raises(CloudError, match="PixelPrompt-dev has no output 'ProviderSecretArn'"):
            run("dev", {"OPENAI_API_KEY": "new"})


def test_keys_are_copied_from_another_secret_and_never_shown(
    deployed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = clients.client("secretsmanager")
    keys = {"OPENAI_API_KEY": "key-one", "MY_SERVER_KEY": "key-two"}
    secrets.create_secret(Name="former", SecretString=json.dumps(keys))
    # The environment does not count: one command copies, another one stores.
    arguments = ["keys", "--stage", "dev", "--from", "former"]
    monkeypatch.setenv("YES", "1")
    assert command.main(arguments) == 0
    assert json.loads(secrets.get_secret_value(SecretId=deployed)["SecretString"]) == keys
    shown = capsys.readouterr()
    assert "Puts MY_SERVER_KEY, OPENAI_API_KEY into the secret" in shown.out
    assert "key-one" not in shown.out + shown.err and "key-two" not in shown.out + shown.err
    secrets.put_secret_value(SecretId=deployed, SecretString='{"OPENAI_API_KEY": "newer"}')
    monkeypatch.delenv("YES")
    assert command.main(arguments) == 1
    assert json.loads(secrets.get_secret_value(SecretId=deployed)["SecretString"]) == {"OPENAI_API_KEY": "newer"}


def test_a_secret_without_keys_is_not_copied(deployed: str) -> None:
    clients.client("secretsmanager").create_secret(Name="former", SecretString="{}")
    with pytest.raises(KeysError, match="The secret former holds no keys"):
        run("dev", {"OPENAI_API_KEY": "new"}, source="former")
    with pytest.raises(KeysError, match="ResourceNotFoundException for the secret no-such-secret"):
        run("dev", {}, source="no-such-secret")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_secret_is_not_copied_onto_itself(deployed: str, by_name: bool) -> None:
    secrets = clients.client("secretsmanager")
    secrets.put_secret_value(SecretId=deployed, SecretString='{"OPENAI_API_KEY": "key"}')
    source = "ProviderKeys-x1Y2" if by_name else deployed
    with pytest.raises(KeysError, match=f"The secret {source} is the one of the stage dev itself; name another one"):
        run("dev", {"YES": "1"}, source=source)


def test_nothing_is_copied_into_a_secret_that_the_next_deployment_replaces(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets, former = clients.client("secretsmanager"), former_secret("dev")
    secrets.create_secret(Name=former, SecretString="{}")
    secrets.create_secret(Name="saved", SecretString='{"OPENAI_API_KEY": "key"}')
    with Canned(stacks({"PixelPrompt-dev": {"BucketName": "b", "ProviderSecretName": former}})) as formation:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        with pytest.raises(KeysError, match=f"still of an earlier version, .* its secret {former}; deploy first"):
            run("dev", {"YES": "1"}, source="saved")
    assert secrets.get_secret_value(SecretId=former)["SecretString"] == "{}"


def test_only_strings_that_are_not_blank_are_keys(deployed: str) -> None:
    secrets = clients.client("secretsmanager")
    secrets.put_secret_value(SecretId=deployed, SecretString='{"GEMINI_API_KEY": "here", "note": 7}')
    values = {"OPENAI_API_KEY": "key", "GEMINI_API_KEY": " ", "XAI_API_KEY": "", "BFL_API_KEY": 5, "MINE": None}
    secrets.create_secret(Name="former", SecretString=json.dumps(values))
    assert run("dev", {}, source="former") == 0
    held = json.loads(secrets.get_secret_value(SecretId=deployed)["SecretString"])
    assert held == {"GEMINI_API_KEY": "here", "note": 7, "OPENAI_API_KEY": "key"}
    secrets.put_secret_value(SecretId="former", SecretString='{"OPENAI_API_KEY": "", "username": 5}')
    with pytest.raises(KeysError, match="The secret former holds no keys"):
        run("dev", {}, source="former")


def test_a_name_that_no_model_uses_is_asked_about_before_it_is_copied(
    deployed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="database", SecretString='{"username": "u", "password": "p", "XAI_API_KEY": "key"}')
    with pytest.raises(Unconfirmed):
        run("dev", {}, source="database")
    asked: list[str] = []

    def refuse(question: str) -> str:
        asked.append(question)
        return "no"

    monkeypatch.setattr("local.confirmation.require_terminal", lambda *_: None)
    monkeypatch.setattr("builtins.input", refuse)
    with pytest.raises(Unconfirmed):
        run("dev", {}, source="database")
    (question,) = asked
    assert "Copy password, username, too" in question
    assert secrets.get_secret_value(SecretId=deployed)["SecretString"] == "{}"


def test_a_binary_secret_is_one_sentence(deployed: str) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="binary", SecretBinary=b"{}")
    with pytest.raises(KeysError, match="The secret binary holds binary data instead of a JSON object"):
        run("dev", {}, source="binary")


def test_a_secret_that_is_scheduled_for_deletion_says_how_to_restore_it(deployed: str) -> None:
    secrets = clients.client("secretsmanager")
    secrets.create_secret(Name="former", SecretString='{"OPENAI_API_KEY": "key"}')
    secrets.delete_secret(SecretId="former")
    with pytest.raises(KeysError, match=r"restore it \(aws secretsmanager restore-secret --secret-id former\)"):
        run("dev", {}, source="former")
