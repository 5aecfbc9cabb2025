"""API keys of a deployment: make one, list, rotate, and disable them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec.structs import replace

from pixelprompt.limits.api_keys import ApiKey, ApiKeys, hash_of, new_key
from pixelprompt.models.cost import dollars, micros

MAX_NAME = 64


class ApiKeyError(Exception):
    """A key cannot be made or changed; the message says why and what to do."""


class Wishes:
    """What a new key is to allow, as the operator wrote it.

    Raises
    ------
    ApiKeyError : a value is not allowed
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self.daily = _dollars("DAILY", options.get("daily", ""))
        self.monthly = _dollars("MONTHLY", options.get("monthly", ""))
        self.rate = _whole("RATE", options.get("rate", ""))
        self.models = tuple(name.strip() for name in options.get("models", "").split(",") if name.strip())
        self.expires_at = _last_day("EXPIRES", options.get("expires", ""))


def key_name(text: str) -> str:
    """The name of a key, as the operator wrote it.

    Raises
    ------
    ApiKeyError : it is empty, or no name
    """
    name = text.strip()
    if not name:
        raise ApiKeyError("NAME is empty; say whose key it is, such as NAME=web-team.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ApiKeyError(f"NAME is {name!r}; it must be a line of at most {MAX_NAME} characters.")
    return name


class Keyring:
    """The API keys of one deployment.

    Parameters
    ----------
    clock : epoch seconds
    """

    def __init__(self, keys: ApiKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def has(self, name: str) -> bool:
        """Whether there is a key of this name that is not disabled.

        Raises
        ------
        StorageError : DynamoDB cannot be used
        """
        return bool(self._usable(name))

    def make(self, name: str, wishes: Wishes, *, is_admin: bool = False) -> str:
        """Make a key; the key itself, which is shown nowhere else.

        Raises
        ------
        ApiKeyError : a key of this name can be used, or it would have expired already
        StorageError : DynamoDB cannot be used
        """
        if wishes.expires_at is not None and wishes.expires_at <= self._clock():
            last = _day(wishes.expires_at - 1)
            raise ApiKeyError(f"EXPIRES is {last}, which is past; it must be today (UTC) or later.")
        if self._usable(name):
            raise ApiKeyError(f"There is a key {name!r} already; rotate it, disable it, or choose another name.")
        secret = new_key()
        self._keys.add(
            ApiKey(
                id=secrets.token_hex(8),
                name=name,
                hash=hash_of(secret),
                created_at=int(self._clock()),
                is_admin=is_admin,
                daily=wishes.daily,
                monthly=wishes.monthly,
                rate=wishes.rate,
                models=wishes.models,
                expires_at=wishes.expires_at,
            )
        )
        return secret

    def rotate(self, name: str) -> str:
        """Make another key for the same caller, and disable the present one; the new key.

        Raises
        ------
        ApiKeyError : no key of this name can be used, or it has expired
        StorageError : DynamoDB cannot be used; both keys may be usable
        """
        present, former = self._require(name), self._usable(name)
        if present.expires_at is not None and present.expires_at <= self._clock():
            last = _day(present.expires_at - 1)
            raise ApiKeyError(f"The key {name!r} expired at the end of {last}; disable it, and make another one.")
        secret = new_key()
        self._keys.add(replace(present, hash=hash_of(secret), created_at=int(self._clock())))
        # After a rotation that broke off, there are two.
        for key in former:
            self._keys.disable(key.hash)
        return secret

    def disable(self, name: str) -> None:
        """Let nobody use the key of this name any more.

        Raises
        ------
        ApiKeyError : no key of this name can be used
        StorageError : DynamoDB cannot be used; it may be disabled
        """
        self._require(name)
        for key in self._usable(name):
            self._keys.disable(key.hash)

    def rows(self) -> list[Sequence[str]]:
        """A row for each key, the oldest first: name, id, when it was made, and what it allows."""
        found = sorted(self._keys.all(), key=lambda key: (key.created_at, key.name))
        return [(key.name, key.id, _day(key.created_at), _allowed(key, self._clock())) for key in found]

    def _usable(self, name: str) -> list[ApiKey]:
        return [key for key in self._keys.all() if key.name == name and not key.is_disabled]

    def _require(self, name: str) -> ApiKey:
        usable = self._usable(name)
        if not usable:
            names = sorted({key.name for key in self._keys.all() if not key.is_disabled})
            there = f"There are: {', '.join(names)}." if names else "There is none."
            raise ApiKeyError(f"There is no key {name!r} that can be used. {there}")
        return max(usable, key=lambda key: key.created_at)


def _allowed(key: ApiKey, now: float) -> str:
    parts = [
        *(["admin"] if key.is_admin else []),
        *([f"${dollars(key.daily):g} a day"] if key.daily is not None else []),
        *([f"${dollars(key.monthly):g} a month"] if key.monthly is not None else []),
        *([f"{key.rate} jobs an hour"] if key.rate is not None else []),
        *([", ".join(key.models)] if key.models else []),
        *([f"until {_day(key.expires_at - 1)}"] if key.expires_at is not None else []),
    ]
    if key.is_disabled:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "; ".join(parts) or "everything"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _dollars(name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= 1_000_000:
        raise ApiKeyError(f"{name} is {text!r}; it must be an amount of US dollars such as 12.5.")
    return micros(amount)


def _whole(name: str, text: str) -> int | None:
    if text and not (text.isdecimal() and int(text) <= 5000):
        raise ApiKeyError(f"{name} is {text!r}; it must be a whole number of jobs an hour, from 0 to 5000.")
    return int(text) if text else None


def _last_day(name: str, text: str) -> int | None:
    """The epoch second at which the day after this one begins, UTC."""
    if not text:
        return None
    try:
        last = date.fromisoformat(text)
    except ValueError:
        raise ApiKeyError(f"{name} is {text!r}; it must be a day such as 2027-01-31.") from None
    return int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() + timedelta(days=1).total_seconds())
