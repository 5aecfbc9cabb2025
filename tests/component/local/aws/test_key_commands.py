"""`make key` and its like: what they print where, and what they say when they can't."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local import __main__ as command
from local.aws import key_commands
from local.aws.api_keys import MAX_NAME, ApiKeyError
from local.aws.deployment import Deployment
from local.cloud import CloudError, own_key
from pixelprompt.limits.api_keys import ApiKeys, is_well_formed
from pixelprompt.storage.keys import OVERLAY_KEY
from pixelprompt.storage.ledger import Ledger
from tests.canned import Answer, Canned
from tests.conftest import BUCKET, LEDGER, LEDGER_SCHEMA
from tests.stacks import stacks

OUTPUTS = {
    "BucketName": BUCKET, "ProviderSecretArn": "secret", "ApiUrl": "https://api.example/",
    "ApiAuth": "keys", "LedgerTable": LEDGER,
}  # fmt: skip
Printed = tuple[int, str, str]


class Bench:
    """Runs commands against the stage dev of an account."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._directory = directory
        self.keys = ApiKeys(Ledger(boto3.client("dynamodb"), LEDGER))

    def run(self, *arguments: str) -> Printed:
        code = command.main(["--directory", str(self._directory), *arguments])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def make(self, *arguments: str) -> str:
        code, key, _ = self.run("key", *arguments)
        assert code == 0
        return key.strip()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, str]]]:
    """An account; its stacks, by their outputs."""
    with mock_aws():
        boto3.client("dynamodb").create_table(TableName=LEDGER, **LEDGER_SCHEMA)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        deployed = {"PixelPrompt-dev": dict(OUTPUTS)}
        with Canned(stacks(deployed)) as formation:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
            yield deployed


@pytest.fixture
def bench(aws: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bench:
    return Bench(capsys, tmp_path)


def test_a_key_is_printed_alone_and_all_else_elsewhere(bench: Bench) -> None:
    code, out, err = bench.run("key", "--name", " web-team ", "--daily", "5", "--expires", "2999-01-31")
    key = out.removesuffix("\n")
    assert code == 0 and is_well_formed(key)
    assert key not in err
    assert err.startswith("The key 'web-team' of stage dev in ")
    assert 'curl -H "Authorization: Bearer $KEY" https://api.example/models\n' in err
    found = bench.keys.find(key)
    assert found is not None
    assert (found.name, found.daily, found.is_admin) == ("web-team", 5_000_000, False)


@pytest.mark.parametrize(("given", "is_admin"), [("", False), ("0", False), ("1", True)])
def test_who_is_an_admin_was_said_so(bench: Bench, given: str, is_admin: bool) -> None:
    found = bench.keys.find(bench.make("--name", "a", f"--admin={given}"))
    assert found is not None and found.is_admin == is_admin


def test_models_are_names_or_ids_and_kept_by_name(bench: Bench) -> None:
    mine = {"id": "my-model", "name": "My Model", "provider": "compatible", "baseUrl": "https://my.example/v1"}
    boto3.client("s3").put_object(Bucket=BUCKET, Key=OVERLAY_KEY, Body=json.dumps({"models": [mine]}))
    found = bench.keys.find(bench.make("--name", "a", "--models", "gpt image 2, recraftv4_1,MY-MODEL, GPT Image 2"))
    assert found is not None
    assert found.models == ("GPT Image 2", "Recraft V4.1", "My Model")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "NAME is empty; say whose key it is, such as NAME=web-team."),
        (("--name", " "), "NAME is empty"),
        (("--name", "a\nb"), r"NAME is 'a\nb'; it must be a line"),
        (("--name", "a" * (MAX_NAME + 1)), "at most 64 characters"),
        (("--name", "\udcff"), "NAME is not valid UTF-8"),
        (("--name", "a", "--daily", "five"), "DAILY is 'five'; it must be an amount of US dollars"),
        (("--name", "a", "--monthly", "-1"), "MONTHLY is '-1'"),
        (("--name", "a", "--rate", "1.5"), "RATE is '1.5'; it must be a whole number"),
        (("--name", "a", "--expires", "tomorrow"), "EXPIRES is 'tomorrow'; it must be a day such as 2027-01-31."),
        (("--name", "a", "--expires", "2020-01-31"), "EXPIRES is 2020-01-31, which is past; it must be today"),
        (("--name", "a", "--admin", "yes"), "ADMIN is 'yes'; it must be 1 or 0."),
        (("--name", "a", "--models", "GPT Imag 2"), "unknown model 'GPT Imag 2'. Did you mean GPT Image 2"),
        (("--name", "a", "--models", "?"), "MODELS has the unknown model '?'. Available: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_makes_no_key(
    bench: Bench, arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = bench.run("key", *arguments)
    assert (code, out) == (1, "")
    assert sentence in err and err.count("\n") == 1
    assert list(bench.keys.all()) == []


def test_a_key_is_of_use_on_its_last_day(bench: Bench) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert bench.keys.find(bench.make("--name", "a", "--expires", today))


def test_a_rotated_key_and_a_disabled_one_are_of_no_use(bench: Bench) -> None:
    first = bench.make("--name", "a")
    code, out, err = bench.run("key-rotate", "--name", "a")
    second = out.strip()
    assert code == 0 and second not in err and "stops within a minute" in err
    assert bench.keys.find(first) is None and bench.keys.find(second)
    code, out, err = bench.run("key-disable", "--name", "a")
    assert (code, err) == (0, "")
    assert out.startswith("The key 'a' of stage dev in ") and out.endswith("is disabled; it stops within a minute.\n")
    assert bench.keys.find(second) is None
    assert bench.run("key-disable", "--name", "a") == (
        1, "", "There is no key 'a' that can be used. There is none.\n",
    )  # fmt: skip


def test_the_list_fits_a_terminal_and_shows_no_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert bench.run("key-list")[1].endswith("has no keys yet; `make key NAME=web-team` makes one.\n")
    models = ("--models", "GPT Image 2, Recraft V4.1, FLUX.2 Pro")
    limits = ("--daily", "5", "--monthly", "100", "--rate", "20", "--expires", "2999-01-31")
    keys = [
        bench.make("--name", "w" * MAX_NAME, *models, *limits, "--admin=1"),
        bench.make("--name", "a"),
        bench.make("--name", "b"),
    ]
    bench.run("key-disable", "--name", "b")
    code, out, _ = bench.run("key-list")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert out.split()[:4] == ["name", "id", "made", "allows"]
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines()}
    assert (rows["a"], rows["b"]) == ("everything", "disabled")
    text = " ".join(out.split())
    for part in ("admin", "$5 a day", "20 jobs an hour", "2999-01-31"):
        assert part in text
    assert not any(key[3:20] in out for key in keys)


@pytest.mark.parametrize("name", ["key", "key-list", "key-rotate", "key-disable"])
@pytest.mark.parametrize("outputs", [{}, {"ApiAuth": "iam", "LedgerTable": LEDGER}, {"ApiAuth": "keys"}])
def test_a_deployment_without_keys_says_how_to_have_some(
    bench: Bench, aws: dict[str, dict[str, str]], outputs: dict[str, str], name: str
) -> None:
    kept = {key: value for key, value in OUTPUTS.items() if key not in ("ApiAuth", "LedgerTable")}
    aws["PixelPrompt-dev"] = {**kept, **outputs}
    arguments = () if name == "key-list" else ("--name", "a")
    code, out, err = bench.run(name, "--stage", "dev", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("There are no API keys in stage dev in ")
    assert err.endswith('Run `make deploy STAGE=dev CDK="-c apiAuth=keys"`.\n')


def test_a_stage_that_is_not_there_is_one_sentence(bench: Bench) -> None:
    code, out, err = bench.run("key", "--stage", "prod", "--name", "a")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("Stack PixelPrompt-prod not found in ")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("AccessDeniedException", "allow yourself dynamodb:Query and dynamodb:UpdateItem on it."),
        ("ExpiredTokenException", "AWS rejected the credentials (ExpiredTokenException)"),
    ],
)
def test_a_caller_without_access_reads_what_to_allow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: str, sentence: str
) -> None:
    denied = {"__type": f"com.amazon.coral.service#{code}", "message": "no"}
    with Canned(Answer(400, denied)) as dynamodb:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
        for arguments in (("key", "--name", "a"), ("key-list",)):
            exit_code, out, err = bench.run(*arguments)
            assert (exit_code, out, err.count("\n")) == (1, "", 1)
            assert sentence in err


@pytest.fixture
def laptop(aws: Any) -> Deployment:
    def client(service: str, **_: Any) -> Any:
        return boto3.client(service)

    return Deployment(
        "the cloud on this laptop", "dev", "us-east-1", BUCKET, "secret", client,
        on_laptop=True, api="http://127.0.0.1:1/api", api_auth="keys", ledger=LEDGER,
    )  # fmt: skip


def test_the_laptops_own_key_follows_what_is_done_to_it(
    laptop: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_key.ensure(tmp_path, laptop.client, LEDGER)
    key_commands.make(laptop, "other", {})
    first = own_key.load(tmp_path)
    key_commands.rotate(laptop, "other", tmp_path)
    key_commands.disable(laptop, "other", tmp_path)
    assert own_key.load(tmp_path) == first
    capsys.readouterr()
    key_commands.rotate(laptop, own_key.NAME, tmp_path)
    assert own_key.load(tmp_path) == capsys.readouterr().out.strip() != first
    key_commands.disable(laptop, own_key.NAME, tmp_path)
    assert "`make up` makes them another one" in capsys.readouterr().out
    with pytest.raises(CloudError, match="`make up` makes another one"):
        own_key.load(tmp_path)


def test_an_open_cloud_says_how_it_gets_keys(laptop: Deployment) -> None:
    with pytest.raises(ApiKeyError, match="Run `API_AUTH=keys make up`"):
        key_commands.show(replace(laptop, api_auth="none"))
