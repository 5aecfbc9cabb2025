"""The API key with which a laptop's commands call its cloud."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local.aws.api_keys import Keyring
from local.cloud import Cloud, CloudError, Endpoints, own_key
from local.cloud.running import stop_locked
from pixelprompt.limits.api_keys import ApiKeys
from pixelprompt.storage.ledger import Ledger
from tests.canned import Answer, Asked, Canned
from tests.conftest import LEDGER


class Bench:
    """A cloud's table, and its folder."""

    def __init__(self, dynamodb: Any, folder: Path) -> None:
        self._dynamodb = dynamodb
        self._folder = folder
        self.keys = ApiKeys(Ledger(dynamodb, LEDGER))

    def ensure(self) -> str:
        own_key.ensure(self._folder, lambda service: self._dynamodb, LEDGER)
        return own_key.load(self._folder)


@pytest.fixture
def bench(dynamodb: Any, tmp_path: Path) -> Bench:
    return Bench(dynamodb, tmp_path)


def test_it_is_an_admins_and_only_its_user_can_read_it(bench: Bench, tmp_path: Path) -> None:
    found = bench.keys.find(bench.ensure())
    assert found is not None and found.is_admin and found.name == "local"
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_stays_as_long_as_the_cloud_accepts_it(bench: Bench) -> None:
    assert bench.ensure() == bench.ensure()
    assert len(list(bench.keys.all())) == 1


@pytest.mark.parametrize("lost", ["", "pp_x", "\xe9"])
def test_a_lost_one_is_replaced_for_the_same_caller(bench: Bench, tmp_path: Path, lost: str) -> None:
    before = bench.keys.find(bench.ensure())
    (tmp_path / "api-key").write_text(lost, encoding="utf-8")
    after = bench.keys.find(bench.ensure())
    assert before and after and before.id == after.id


def test_a_disabled_one_is_replaced(bench: Bench) -> None:
    first = bench.ensure()
    Keyring(bench.keys).disable(own_key.NAME)
    assert bench.keys.find(bench.ensure()) and bench.ensure() != first


def test_it_goes_with_the_cloud(bench: Bench, tmp_path: Path) -> None:
    bench.ensure()
    stop_locked(tmp_path)
    with pytest.raises(CloudError, match="`make up` makes another one"):
        own_key.load(tmp_path)


@pytest.mark.parametrize("lost", [False, True])
def test_what_runs_is_said_with_the_key_and_without(
    bench: Bench, tmp_path: Path, lost: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = bench.ensure()
    if lost:
        own_key.remove(tmp_path)
    monkeypatch.setattr("local.cloud.find", lambda directory: cloud_at("http://127.0.0.1:1", tmp_path, "keys"))
    assert command.main(["--directory", str(tmp_path), "status"]) == 0
    printed = capsys.readouterr()
    assert "API=http://127.0.0.1:1\n" in printed.out
    assert (f"KEY={key} " in printed.out) is not lost
    assert ("`make up` makes another one" in printed.err) is lost


def cloud_at(url: str, folder: Path, api_auth: str) -> Cloud:
    endpoints: Any = {**dict.fromkeys(Endpoints.__required_keys__, ""), "api": url, "apiAuth": api_auth}
    return Cloud(folder, endpoints)


def test_it_goes_along_to_the_api_and_nowhere_else(bench: Bench, tmp_path: Path) -> None:
    key = bench.ensure()

    def answer(asked: Asked) -> Answer:
        return Answer(content={"authorization": asked.headers.get("authorization", "")})

    with Canned(answer) as api:
        cloud = cloud_at(api.url, tmp_path, "keys")
        # As of an upload's form, or an image.
        for path, headers, sent in (
            ("/models", None, f"Bearer {key}"),
            ("/models", {"Authorization": "Bearer other"}, "Bearer other"),
            (f"{api.url}/image", None, ""),
        ):
            assert json.loads(cloud.request("GET", path, headers=headers).body) == {"authorization": sent}
        assert cloud_at(api.url, tmp_path, "none").request("GET", "/models").json() == {"authorization": ""}
