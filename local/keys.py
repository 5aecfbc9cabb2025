"""Provider keys into the secret of a deployment, from the environment or a prompt; never through the command line."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from local.confirmation import confirm
from local.options import key_names


class KeysError(Exception):
    """The keys cannot be stored; the message says why and what to do."""


def collect(environment: Mapping[str, str], ask: Callable[[str], str] | None) -> dict[str, str]:
    """The keys that are given: in the environment, else by whoever answers `ask`; a blank answer gives none."""
    found = {}
    for name in key_names():
        key = environment.get(name) or (ask(f"{name} (empty: leave as it is): ") if ask else "")
        if key.strip():
            found[name] = key.strip()
    return found


def store(
    secrets: Any, secret: str, keys: Mapping[str, str], agree: Callable[[list[str]], None] = lambda replaced: None
) -> list[str]:
    """Put keys into the secret beside those that are there; returns the names of all that it then holds.

    Parameters
    ----------
    agree : gets the names of the keys that would be replaced, and raises where they must not be

    Raises
    ------
    KeysError : there is no such secret, or it cannot be used
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        present = _object(secrets.get_secret_value(SecretId=secret)["SecretString"])
        merged = {**(present or {}), **keys}
        agree(sorted(name for name in keys if present and present.get(name, keys[name]) != keys[name]))
        if merged != present:
            secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(merged))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise KeysError(f"Secrets Manager answered {code} for {secret}. Is the stack deployed here, by you?") from None
    except BotoCoreError as error:
        raise KeysError(f"AWS cannot be used: {error}") from None
    return sorted(merged)


def _object(text: str) -> dict[str, str] | None:
    """The JSON object in a text, or None: what is no object holds no keys, and is replaced."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def run(stage: str, environment: Mapping[str, str]) -> int:
    """Store the caller's keys in the secret of a stage in the caller's AWS account; the exit code."""
    import boto3

    keys = collect(environment, getpass.getpass if sys.stdin.isatty() else None)
    if not keys:
        print(f"No key is given. Set one or more of {', '.join(key_names())} in the environment.", file=sys.stderr)
        return 1
    # As the CDK does, and unlike boto3, AWS_REGION counts first.
    session = boto3.Session(region_name=environment.get("AWS_REGION") or None)
    if not session.region_name:
        raise KeysError("No AWS region is set; set AWS_REGION to the region of the deployment.")
    secret = f"pixel-prompt-{stage}/provider-keys"
    print(f"Puts {', '.join(sorted(keys))} into the secret {secret} in {session.region_name}; other keys stay.")

    def agree(replaced: list[str]) -> None:
        if replaced:
            confirm(f"Replace {', '.join(replaced)}?", environment)

    held = store(session.client("secretsmanager"), secret, keys, agree)
    print(f"{secret} holds {', '.join(held)}. Running functions see them within five minutes.")
    return 0
