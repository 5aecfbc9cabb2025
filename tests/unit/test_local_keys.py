"""Provider keys into the secret."""

import io
import json
from typing import Any

import pytest

from local.confirmation import Unconfirmed
from local.keys import KeysError, collect, run, store
from pixelprompt import aws


def test_keys_come_from_the_environment_or_a_prompt() -> None:
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return " typed " if "GEMINI" in text else ""

    found = collect({"OPENAI_API_KEY": "given"}, ask)
    assert found == {"OPENAI_API_KEY": "given", "GEMINI_API_KEY": "typed"}
    assert not any("OPENAI" in text for text in asked)
    assert collect({"OPENAI_API_KEY": ""}, None) == {}


def test_other_keys_stay_as_they_are(s3: Any) -> None:
    secrets = aws.client("secretsmanager")
    secrets.create_secret(Name="keys", SecretString='{"GEMINI_API_KEY": "old"}')
    assert store(secrets, "keys", {"OPENAI_API_KEY": "new"}) == ["GEMINI_API_KEY", "OPENAI_API_KEY"]
    held = json.loads(secrets.get_secret_value(SecretId="keys")["SecretString"])
    assert held == {"GEMINI_API_KEY": "old", "OPENAI_API_KEY": "new"}


@pytest.mark.parametrize("text", ["not json", "[]", ""])
def test_a_secret_that_is_no_object_is_replaced(s3: Any, text: str) -> None:
    secrets = aws.client("secretsmanager")
    secrets.create_secret(Name="keys", SecretString=text or " ")
    assert store(secrets, "keys", {"OPENAI_API_KEY": "new"}) == ["OPENAI_API_KEY"]


def test_without_a_region_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(KeysError, match="AWS_REGION"):
        run("dev", {"OPENAI_API_KEY": "new"})


def test_a_missing_secret_says_what_to_do(s3: Any) -> None:
    with pytest.raises(KeysError, match="Is the stack deployed"):
        store(aws.client("secretsmanager"), "no-such-secret", {"OPENAI_API_KEY": "new"})


def test_keys_that_would_be_replaced_are_asked_about(s3: Any) -> None:
    secrets = aws.client("secretsmanager")
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
    s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    secrets = aws.client("secretsmanager")
    name = "pixel-prompt-dev/provider-keys"
    secrets.create_secret(Name=name, SecretString='{"OPENAI_API_KEY": "old"}')
    with pytest.raises(Unconfirmed, match="YES=1 says yes beforehand"):
        run("dev", {"OPENAI_API_KEY": "new"})
    assert json.loads(secrets.get_secret_value(SecretId=name)["SecretString"]) == {"OPENAI_API_KEY": "old"}
    assert run("dev", {"OPENAI_API_KEY": "new", "YES": "1"}) == 0
    assert json.loads(secrets.get_secret_value(SecretId=name)["SecretString"]) == {"OPENAI_API_KEY": "new"}
    assert f"Puts OPENAI_API_KEY into the secret {name} in " in capsys.readouterr().out
