"""The commands for the API keys of a deployment: `make key`, `key-list`, `key-rotate`, and `key-disable`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from local import terminal
from local.aws import deployment
from local.aws.api_keys import ApiKeyError, Keyring, Wishes, key_name
from local.aws.deployment import Deployment
from local.cloud import own_key
from local.cloud.chosen import models_deployed
from pixelprompt.errors import StorageError
from pixelprompt.limits.api_keys import ApiKeys
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.storage.ledger import Ledger


def make(found: Deployment, name: str, options: Mapping[str, str]) -> int:
    """Make a key and print it; the exit code.

    Parameters
    ----------
    options : daily, monthly, rate, models, expires, admin, as the operator wrote them

    Raises
    ------
    ApiKeyError, CloudError : it cannot be made
    """
    name, wishes = _name(name), Wishes(options)
    is_admin = _is_admin(options.get("admin", ""))
    with _keyring(found) as ring:
        wishes.models = _models(wishes.models, models_deployed(found)) if wishes.models else ()
        key = ring.make(name, wishes, is_admin=is_admin)
    _say(f"The key {name!r} of {found.name}. Only its hash is stored, so it cannot be shown again:")
    return _hand_out(found, key)


def show(found: Deployment) -> int:
    """Print a table of the keys; the exit code.

    Raises
    ------
    ApiKeyError, CloudError : they cannot be read
    """
    with _keyring(found) as ring:
        rows = ring.rows()
    if rows:
        _print_table(rows)
    else:
        print(f"{found.name[:1].upper()}{found.name[1:]} has no keys yet; `make key NAME=web-team` makes one.")
    return 0


def rotate(found: Deployment, name: str, directory: Path) -> int:
    """Replace a key by another one, and print that; the exit code.

    Parameters
    ----------
    directory : where the cloud on a laptop lives, whose own key may be the one

    Raises
    ------
    ApiKeyError, CloudError : it cannot be done
    """
    name = _name(name)
    with _keyring(found) as ring:
        key = ring.rotate(name)
    if _is_own(found, name):
        own_key.save(directory, key)
    _say(f"The new key {name!r} of {found.name}; the former one stops within a minute. It cannot be shown again:")
    return _hand_out(found, key)


def disable(found: Deployment, name: str, directory: Path) -> int:
    """Let nobody use a key any more; the exit code.

    Parameters
    ----------
    directory : as for `rotate`

    Raises
    ------
    ApiKeyError, CloudError : it cannot be done
    """
    name = _name(name)
    with _keyring(found) as ring:
        ring.disable(name)
    print(f"The key {name!r} of {found.name} is disabled; it stops within a minute.")
    if _is_own(found, name):
        own_key.remove(directory)
        print("Commands such as `make demo` used it; `make up` makes them another one.")
    return 0


@contextmanager
def _keyring(found: Deployment) -> Iterator[Keyring]:
    """The keys of a deployment, in a block in which failures of DynamoDB become sentences for its operator."""
    from botocore.exceptions import BotoCoreError, ClientError

    if found.api_auth != "keys" or not found.ledger:
        cure = "API_AUTH=keys make up" if found.on_laptop else f'make deploy STAGE={found.stage} CDK="-c apiAuth=keys"'
        raise ApiKeyError(f"There are no API keys in {found.name}: it is deployed without apiAuth=keys. Run `{cure}`.")
    try:
        yield Keyring(ApiKeys(Ledger(found.client("dynamodb"), found.ledger)))
    except StorageError as error:
        cure = (
            f"DynamoDB returned {{code}} for the table {found.ledger}; see that it is there, and allow yourself "
            "dynamodb:Query and dynamodb:UpdateItem on it."
        )
        if isinstance(error.__cause__, ClientError | BotoCoreError):
            raise deployment.aws_failure(error.__cause__, cure) from None
        raise


def _name(text: str) -> str:
    try:
        return key_name(terminal.typed(text))
    except ValueError:
        raise ApiKeyError("NAME is not valid UTF-8; write it in a terminal that is set to UTF-8.") from None


def _is_admin(text: str) -> bool:
    if text not in ("", "0", "1"):
        raise ApiKeyError(f"ADMIN is {text!r}; it must be 1 or 0.")
    return text == "1"


def _models(wanted: Sequence[str], registry: ModelRegistry) -> tuple[str, ...]:
    """The names of the models that are named or have these IDs."""
    found = []
    for text in wanted:
        model = registry.find(text)
        if model is None:
            models = registry.get_all_models()
            names = {known.casefold(): entry.name for entry in models for known in (entry.name, entry.id)}
            close = dict.fromkeys(names[key] for key in difflib.get_close_matches(text.casefold(), names))
            available = ", ".join(entry.name for entry in models)
            hint = f"Did you mean {' or '.join(close)}?" if close else f"Available: {available}."
            raise ApiKeyError(f"MODELS has the unknown model {text!r}. {hint}")
        found.append(model.name)
    return tuple(dict.fromkeys(found))


def _is_own(found: Deployment, name: str) -> bool:
    return found.on_laptop and name == own_key.NAME


def _hand_out(found: Deployment, key: str) -> int:
    """Print a key alone on the standard output, for a pipe, and how to use it on the other one."""
    print(key, flush=True)
    _say(f'Use it, as KEY: curl -H "Authorization: Bearer $KEY" {found.api}/models')
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = terminal.console()
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "id", "made", "allows"):
        table.add_column(heading, no_wrap=heading in ("id", "made"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(terminal.shown(text, console.encoding)) for text in row))
    console.print(table)
