"""Provider keys into the secret of a deployment: from the environment, a prompt or another secret."""

from __future__ import annotations

import getpass
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from local.aws import deployment
from local.confirmation import confirm
from local.options import key_names
from pixelprompt.aws_errors import error_code


class KeysError(Exception):
    """The keys cannot be stored; the message says why and what to do."""


def collect(environment: Mapping[str, str], ask: Callable[[str], str] | None) -> dict[str, str]:
    """Return the caller's keys: from the environment, else from `ask`, where a blank line gives none.

    Raises
    ------
    KeysError : one of them has a character that no key has, because no HTTP header allows it
    """
    found = {}
    for name in key_names():
        try:
            key = environment.get(name) or (ask(f"{name} (empty: leave as it is): ") if ask else "")
        except UnicodeDecodeError:
            # The typed bytes are not valid in the terminal's encoding.
            key = "\ufffd"
        if key := key.strip():
            if not re.fullmatch(r"[!-~]+", key):
                why = "it has a space or a character outside ASCII"
                raise KeysError(f"{name} is not a key: {why}. Copy it again; nothing is stored.")
            found[name] = key
    return found


def held(secrets: Any, secret: str) -> dict[str, str]:
    """Return the keys in a secret, by name: its strings that are not blank; none where it is not a JSON object.

    Raises
    ------
    KeysError : Secrets Manager refuses to read the secret, or its value is binary
    """
    document = _document(secrets, secret)
    return {name: value for name, value in document.items() if isinstance(value, str) and value.strip()}


def _document(secrets: Any, secret: str) -> dict[str, Any]:
    with _failures_named(secret):
        text = secrets.get_secret_value(SecretId=secret).get("SecretString")
    if text is None:
        raise KeysError(
            f"The secret {secret} holds binary data instead of a JSON object of keys; name another secret, or replace "
            "its value."
        )
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def store(
    secrets: Any, secret: str, keys: Mapping[str, str], agree: Callable[[list[str]], None] = lambda replaced: None
) -> list[str]:
    """Put keys into the secret beside those that are there; returns the names of all that it then holds.

    Parameters
    ----------
    agree : gets the names of the keys that would be replaced, and raises where they must not be

    Raises
    ------
    KeysError : the secret does not exist, or it cannot be used
    """
    present = _document(secrets, secret)
    merged = {**present, **keys}
    agree(sorted(name for name in keys if present.get(name, keys[name]) != keys[name]))
    if merged != present:
        with _failures_named(secret):
            secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(merged))
    return sorted(merged)


@contextmanager
def _failures_named(secret: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        # AWS has no code of its own for a secret that is scheduled for deletion.
        if code == "InvalidRequestException" and "delet" in error.response["Error"].get("Message", ""):
            raise KeysError(
                f"The secret {secret} is scheduled for deletion; restore it "
                f"(aws secretsmanager restore-secret --secret-id {secret}), then try again."
            ) from None
        cure = f"Secrets Manager returned {{code}} for the secret {secret}; check name, region and your permissions."
        raise KeysError(str(deployment.aws_failure(error, cure))) from None
    except BotoCoreError as error:
        raise KeysError(str(deployment.aws_failure(error))) from None


def run(stage: str, environment: Mapping[str, str], *, source: str = "") -> int:
    """Store keys in the secret of a stage in the caller's AWS account; the exit code.

    Parameters
    ----------
    source : name or ARN of another secret, whose keys are copied; without it the caller's keys are stored

    Raises
    ------
    CloudError : the stage is not deployed, or AWS cannot be used
    KeysError : one of the secrets cannot be used, or keys cannot be copied from `source`
    Unconfirmed : the caller did not agree to replace keys, or to copy keys of unknown names
    """
    # Before any key is asked for.
    deployed = deployment.on_aws(stage, environment)
    secrets, secret = deployed.client("secretsmanager"), deployed.secret
    if source:
        keys = _copied(deployed, source)
        if unknown := sorted(keys.keys() - key_names().keys()):
            confirm(f"Copy {', '.join(unknown)}, too, which no model in models.json uses?", environment)
    else:
        keys = collect(environment, getpass.getpass if sys.stdin.isatty() else None)
    if not keys:
        print(f"No key found. Set one or more of {', '.join(key_names())} in the environment.", file=sys.stderr)
        return 1
    print(f"Puts {', '.join(sorted(keys))} into the secret {secret}; other keys stay.")

    def agree(replaced: list[str]) -> None:
        if replaced:
            confirm(f"Replace {', '.join(replaced)}?", environment)

    names = store(secrets, secret, keys, agree)
    print(f"{secret} holds {', '.join(names)}. Running functions see them within five minutes.")
    return 0


def _copied(deployed: deployment.Deployment, source: str) -> dict[str, str]:
    """Return the keys in `source`, which is to be another secret than the deployment's.

    Raises
    ------
    KeysError : it is the same secret, it holds no keys, or the next deployment replaces the deployment's secret
    """
    if deployed.earlier_version:
        raise KeysError(
            f"The stack of the stage {deployed.stage} is still of an earlier version, and the next deployment replaces "
            f'its secret {deployed.secret}; deploy first (CHANGELOG.md, "Upgrading").'
        )
    secrets = deployed.client("secretsmanager")
    if _arn(secrets, source) == _arn(secrets, deployed.secret):
        raise KeysError(f"The secret {source} is the one of the stage {deployed.stage} itself; name another one.")
    keys = held(secrets, source)
    if not keys:
        raise KeysError(f"The secret {source} holds no keys; name the one that does.")
    return keys


def _arn(secrets: Any, secret: str) -> str:
    with _failures_named(secret):
        return str(secrets.describe_secret(SecretId=secret)["ARN"])
