"""Provider keys into the secret."""

import json
from typing import Any

import pytest

from local.keys import KeysError, collect, store
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


def test_a_missing_secret_says_what_to_do(s3: Any) -> None:
    with pytest.raises(KeysError, match="Is the stack deployed"):
        store(aws.client("secretsmanager"), "no-such-secret", {"OPENAI_API_KEY": "new"})
