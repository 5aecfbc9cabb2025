"""API keys: whom an operator lets call, and what each may ask for. Only their hashes are stored.

A key is ``pp_``, 43 random characters, which have 256 bits, and a checksum of six, by which scanners for leaked secrets
tell it from other text, and a typing mistake costs no request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from pixelprompt.identity import KeyLimits
from pixelprompt.storage.ledger import API_KEYS, Item, ItemKey, Ledger

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH, _CHECKSUM_LENGTH = 43, 6
_FORM = re.compile(rf"pp_([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})")


class ApiKey(KeyLimits, frozen=True, kw_only=True):
    """An API key, and what it allows.

    Attributes
    ----------
    hash : SHA-256 of the key, in hexadecimal
    created_at, expires_at : epoch seconds
    """

    name: str
    hash: str
    created_at: int
    expires_at: int | None = None
    is_disabled: bool = False


def new_key() -> str:
    """A key that nobody has."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return f"pp_{secret}{_checksum(secret)}"


def is_well_formed(key: str) -> bool:
    """Whether a text has the form of a key, with the right checksum."""
    found = _FORM.fullmatch(key)
    return found is not None and _checksum(found[1]) == found[2]


def hash_of(key: str) -> str:
    """SHA-256 of a key. Its 256 random bits cannot be guessed from it, so no slower hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """The keys in the ledger.

    Parameters
    ----------
    clock : epoch seconds
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def find(self, key: str) -> ApiKey | None:
        """What a caller's key allows; None where it is unknown, disabled, or has expired.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        if not is_well_formed(key):
            return None
        (item,) = self._ledger.read([ItemKey(API_KEYS, hash_of(key))])
        found = _read(item) if item else None
        if found is None or found.is_disabled or (found.expires_at or self._clock() + 1) <= self._clock():
            return None
        return found

    def all(self) -> Iterator[ApiKey]:
        """Every key that was made, also those that are of no use any more.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        return map(_read, self._ledger.query(API_KEYS))

    def add(self, key: ApiKey) -> None:
        """Store a key.

        Raises
        ------
        StorageError : DynamoDB kept failing; it may be stored
        """
        values = {f":{name}": value for name, value in _attributes(key).items()}
        names = {f"#{name}": name for name in _attributes(key)}
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in _attributes(key))
        self._ledger.update(ItemKey(API_KEYS, key.hash), update, values, names=names)

    def disable(self, hash: str) -> None:
        """Let nobody use a key any more.

        Raises
        ------
        StorageError : DynamoDB kept failing; it may be disabled
        """
        self._ledger.update(
            ItemKey(API_KEYS, hash), "SET isDisabled = :true", {":true": {"BOOL": True}}, "attribute_exists(pk)"
        )


def _checksum(secret: str) -> str:
    rest, digits = zlib.crc32(secret.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _attributes(key: ApiKey) -> dict[str, Any]:
    numbers = {"createdAt": key.created_at, "daily": key.daily, "monthly": key.monthly, "rate": key.rate}
    if key.expires_at is not None:
        # Not `expiresAt`, at which the table would delete it.
        numbers["validUntil"] = key.expires_at
    return {
        "id": {"S": key.id},
        "name": {"S": key.name},
        "isAdmin": {"BOOL": key.is_admin},
        "isDisabled": {"BOOL": key.is_disabled},
        **{name: {"N": str(value)} for name, value in numbers.items() if value is not None},
        **({"models": {"L": [{"S": model} for model in key.models]}} if key.models else {}),
    }


def _read(item: Item) -> ApiKey:
    def number(name: str) -> int | None:
        return int(Decimal(item[name]["N"])) if name in item else None

    models: Sequence[dict[str, str]] = item.get("models", {"L": []})["L"]
    return ApiKey(
        id=item["id"]["S"],
        name=item["name"]["S"],
        hash=item["sk"]["S"],
        created_at=number("createdAt") or 0,
        is_admin=item["isAdmin"]["BOOL"],
        daily=number("daily"),
        monthly=number("monthly"),
        rate=number("rate"),
        models=tuple(model["S"] for model in models),
        expires_at=number("validUntil"),
        is_disabled=item["isDisabled"]["BOOL"],
    )
