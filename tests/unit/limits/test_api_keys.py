"""API keys: their form, and what the ledger knows of them."""

import json
import math
import string
from typing import Any

import pytest
from msgspec.structs import replace

from pixelprompt.limits.api_keys import ApiKey, ApiKeys, hash_of, is_well_formed, new_key
from pixelprompt.storage.ledger import Ledger
from tests.conftest import LEDGER

NOW = 1_800_000_000.0


@pytest.fixture
def keys(dynamodb: Any) -> ApiKeys:
    return ApiKeys(Ledger(dynamodb, LEDGER), clock=lambda: NOW)


def described(key: str, **more: Any) -> ApiKey:
    return ApiKey(**{"id": "1f", "name": "team", "hash": hash_of(key), "created_at": 1_700_000_000, **more})


def test_a_key_has_256_bits_and_a_form_of_its_own() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100 and all(map(is_well_formed, made))
    assert {len(key) for key in made} == {3 + 43 + 6}
    assert 43 * math.log2(len(string.digits + string.ascii_letters)) > 256


@pytest.mark.parametrize("place", [3, 20, 45, 46, 51])
def test_a_key_with_one_other_letter_is_none(place: int) -> None:
    key = new_key()
    wrong = key[:place] + ("A" if key[place] != "A" else "B") + key[place + 1 :]
    assert not is_well_formed(wrong)


@pytest.mark.parametrize("text", ["", "pp_", "pp_" + "a" * 49, "Bearer x", "é" * 52, "a" * 10_000])
def test_other_texts_are_none_and_ask_nobody(keys: ApiKeys, text: str) -> None:
    assert keys.find(text) is None


def test_what_a_key_allows_is_found_by_it(keys: ApiKeys, dynamodb: Any) -> None:
    key = new_key()
    full = described(
        key, is_admin=True, daily=1_500_000, monthly=2, rate=30, models=("A", "B"), expires_at=int(NOW) + 1
    )
    keys.add(full)
    assert keys.find(key) == full
    assert keys.find(new_key()) is None
    # The key itself is nowhere.
    assert key not in json.dumps(dynamodb.scan(TableName=LEDGER)["Items"])


@pytest.mark.parametrize("over", [{"is_disabled": True}, {"expires_at": int(NOW)}, {"expires_at": 1}])
def test_a_key_that_is_over_allows_nothing(keys: ApiKeys, over: dict[str, Any]) -> None:
    key = new_key()
    keys.add(described(key, **over))
    assert keys.find(key) is None
    assert [found.name for found in keys.all()] == ["team"]


def test_a_disabled_key_is_still_listed(keys: ApiKeys) -> None:
    first, second = new_key(), new_key()
    for key in (first, second):
        keys.add(described(key))
    keys.disable(hash_of(first))
    assert keys.find(first) is None and keys.find(second) == described(second)
    assert {found.hash: found.is_disabled for found in keys.all()} == {hash_of(first): True, hash_of(second): False}


def test_disabling_what_is_not_there_makes_nothing(keys: ApiKeys) -> None:
    keys.disable(hash_of(new_key()))
    assert [*keys.all()] == []


def test_a_key_can_be_stored_twice(keys: ApiKeys) -> None:
    key = described(new_key(), rate=3)
    keys.add(key)
    keys.add(replace(key, rate=5))
    assert [found.rate for found in keys.all()] == [5]
