"""The API key with which the commands of this laptop call its cloud, where the API asks for one: an admin's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.cloud.http import CloudError

# Its name among the keys of the cloud, and its file in the cloud's folder.
NAME = "local"
_FILE = "api-key"


def load(directory: Path) -> str:
    """The key of the cloud in a folder.

    Raises
    ------
    CloudError : it is gone
    """
    if key := _read(directory):
        return key
    raise CloudError("The API key of this laptop's own requests is gone; `make up` makes another one.")


def ensure(directory: Path, client: Callable[[str], Any], table: str) -> None:
    """Have a key in the folder that the cloud accepts: the present one, or a new one."""
    # Imported here: most clouds are open.
    from local.aws.api_keys import Keyring, Wishes
    from pixelprompt.limits.api_keys import ApiKeys
    from pixelprompt.storage.ledger import Ledger

    keys = ApiKeys(Ledger(client("dynamodb"), table))
    if keys.find(_read(directory)):
        return
    ring = Keyring(keys)
    # The key that is lost belongs to the same caller.
    save(directory, ring.rotate(NAME) if ring.has(NAME) else ring.make(NAME, Wishes({}), is_admin=True))


def save(directory: Path, key: str) -> None:
    """Write the key into the folder of a cloud; only its user can read the file."""
    draft = directory / f"{_FILE}.new"
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(f"{key}\n", encoding="ascii")
    draft.replace(directory / _FILE)


def remove(directory: Path) -> None:
    """Remove the key, which is of no use any longer."""
    (directory / _FILE).unlink(missing_ok=True)


def _read(directory: Path) -> str:
    try:
        return (directory / _FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
