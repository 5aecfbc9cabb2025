"""Provider keys into the secret of a deployment, from the environment or a prompt; never through the command line."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pixelprompt.providers import PROVIDERS


class KeysError(Exception):
    """The keys cannot be stored; the message says why and what to do."""


def collect(environment: Mapping[str, str], ask: Callable[[str], str] | None) -> dict[str, str]:
    """The keys that are given: in the environment, else by whoever answers `ask`; a blank answer gives none."""
    found = {}
    for provider in PROVIDERS.values():
        name = provider.key_name
        if name:
            key = environment.get(name) or (ask(f"{name} (empty: leave as it is): ") if ask else "")
            found.update({name: key.strip()} if key.strip() else {})
    return found


def store(secrets: Any, secret: str, keys: Mapping[str, str]) -> list[str]:
    """Put keys into the secret beside those that are there; returns the names of all that it then holds.

    Raises
    ------
    KeysError : there is no such secret, or it cannot be used
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        present = json.loads(secrets.get_secret_value(SecretId=secret)["SecretString"])
        merged = {**present, **keys}
        if merged != present:
            secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(merged))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise KeysError(f"Secrets Manager answered {code} for {secret}. Is the stack deployed here, by you?") from None
    except BotoCoreError as error:
        raise KeysError(f"AWS cannot be used: {error}") from None
    return sorted(merged)


def run(stage: str, environment: Mapping[str, str]) -> int:
    """Store the caller's keys in the secret of a stage in the caller's AWS account; the exit code."""
    import boto3

    keys = collect(environment, getpass.getpass if sys.stdin.isatty() else None)
    if not keys:
        names = ", ".join(provider.key_name for provider in PROVIDERS.values() if provider.key_name)
        print(f"No key is given. Set one or more of {names} in the environment.", file=sys.stderr)
        return 1
    secret = f"pixel-prompt-{stage}/provider-keys"
    held = store(boto3.client("secretsmanager"), secret, keys)
    print(f"{secret} holds {', '.join(held)}. Running functions see them within five minutes.")
    return 0
