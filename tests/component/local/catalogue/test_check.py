"""Overlays of the model catalogue, before they reach the bucket and on the way there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local.catalogue.check import describe
from local.paths import ROOT
from pixelprompt.errors import ConfigurationError
from pixelprompt.storage.keys import OVERLAY_KEY
from tests.canned import Answer, Canned
from tests.conftest import BUCKET
from tests.stacks import stacks
from tests.today import TODAY

MINE = {"name": "Mine", "provider": "compatible", "id": "my-model", "baseUrl": "http://127.0.0.1:8080/v1"}


def lines(*models: Any, **options: Any) -> list[str]:
    hosts = {"MY_KEY": ["127.0.0.1:8080"]}
    return describe({"models": list(models)}, day=lambda: TODAY, key_hosts=hosts, **options)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my-models.json"
    path.write_text(json.dumps({"models": [MINE]}), encoding="utf-8")
    return path


def run(file: Path, *arguments: str) -> int:
    return command.main(["--directory", str(file.parent), "models-check", str(file), *arguments])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (MINE, "added     Mine (compatible, my-model)"),
        ({**MINE, "apiKeyName": "MY_KEY"}, "added     Mine (compatible, my-model), needs the key MY_KEY in the secret"),
        ({**MINE, "enabled": False}, "added     Mine (compatible, my-model), but disabled"),
        ({"name": "FLUX 3", "enabled": False}, "disabled  FLUX 3 (bfl, flux-3-image)"),
        ({"name": "FLUX 3", "timeLimit": 90}, "changed   FLUX 3 (bfl, flux-3-image): timeLimit nothing → 90"),
        ({"name": "FLUX 3", "enabled": True}, "unchanged FLUX 3 (bfl, flux-3-image)"),
        ({"name": "FLUX 3", "default": True}, "unchanged FLUX 3 (bfl, flux-3-image)"),
        ({"name": "FLUX 3", "default": False}, "changed   FLUX 3 (bfl, flux-3-image): default true → false"),
        (
            {"name": "FLUX 3", "shutdown": "2026-11-23", "replacement": "flux-2-pro"},
            "retired   FLUX 3 (bfl, flux-3-image), shut down on 2026-11-23; requests for it name flux-2-pro",
        ),
    ],
)
def test_each_entry_is_said_in_a_line(entry: dict[str, Any], says: str) -> None:
    assert lines(entry)[0] == says


def test_the_models_of_a_plain_job_are_named() -> None:
    last = lines(MINE, {"name": "FLUX 3", "enabled": False})[-1]
    assert last.startswith("Default models: ")
    assert "Mine" in last
    assert "FLUX 3" not in last


def test_an_end_that_is_near_is_said() -> None:
    assert any(
        "will be shut down on 2026-12-24" in text for text in lines({"name": "FLUX 3", "shutdown": "2026-12-24"})
    )


def test_an_entry_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names a model twice"):
        lines({"name": "FLUX 3", "timeLimit": 90}, {"name": "FLUX 3", "timeLimit": 80})


def test_the_text_model_in_use_must_stay() -> None:
    changes = {"textModels": [{"name": "Gemini 3.8 Flash", "enabled": False}]}
    assert describe(changes, prompt_model="1", day=lambda: TODAY)[0].startswith("disabled  Gemini 3.8 Flash")
    with pytest.raises(ConfigurationError, match="promptModelIndex is 4"):
        describe(changes, prompt_model="4", day=lambda: TODAY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        ('{"model": []}', "must be an object with the lists models or textModels"),
        ('{"models": [{"name": "X", "provider": "nobody", "id": "x"}]}', "provider='nobody'; it must be one of"),
        ('{"models": [{"name": "X"}]}', "needs 'provider'"),
        ('{"models": [{"name": "FLUX 3", "timeLimit": 9000}]}', "timeLimit=9000; it must be a number from 1 to 200"),
    ],
)
def test_a_wrong_overlay_is_one_sentence(file: Path, capsys: pytest.CaptureFixture[str], text: str, says: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert run(file) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{file}: ")
    assert says in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_wrong_value_under_a_former_name_is_told_with_both(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(json.dumps({"models": [{**MINE, "takes": 5}]}), encoding="utf-8")
    assert run(file) == 1
    wrong, former = capsys.readouterr().err.splitlines()
    assert "(Mine) has supports=5; it must be" in wrong
    assert former == "models (Mine) has `takes`; rename it to `supports` before 3.0.0."


def test_a_missing_file_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file.with_name("missing.json")) == 1
    assert "missing.json: Failed to read the overlay" in capsys.readouterr().err


def test_a_right_overlay_is_uploaded_only_when_asked_for(
    s3: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "--bucket", BUCKET) == 0
    assert "nothing was uploaded" in capsys.readouterr().out
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    assert run(file, "--put", "--bucket", BUCKET) == 0
    assert f"s3://{BUCKET}/config/models.json" in capsys.readouterr().out
    stored = s3.get_object(Bucket=BUCKET, Key=OVERLAY_KEY)
    assert json.loads(stored["Body"].read()) == {"models": [MINE]}


def test_a_wrong_overlay_is_never_uploaded(s3: Any, file: Path) -> None:
    file.write_text('{"models": [{"name": "X"}]}', encoding="utf-8")
    assert run(file, "--put", "--bucket", BUCKET) == 1
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_it_goes_into_the_bucket_of_the_stage(s3: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"BucketName": BUCKET, "ProviderSecretArn": "keys"}
    settings = {"Environment": {"Variables": {"PROMPT_MODEL_INDEX": "GPT-5.4 mini"}}}
    with Canned(stacks({"PixelPrompt-dev": outputs})) as formation, Canned(Answer(content=settings)) as functions:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.url)
        assert run(file, "--put", "--stage", "dev") == 0
        # What the deployment would not use does not reach it.
        without = [{"name": "GPT-5.4 mini", "enabled": False}]
        file.write_text(json.dumps({"textModels": without}), encoding="utf-8")
        assert run(file, "--put", "--stage", "dev") == 1
    assert json.loads(s3.get_object(Bucket=BUCKET, Key=OVERLAY_KEY)["Body"].read()) == {"models": [MINE]}


def test_a_bucket_that_is_not_there_is_a_sentence(s3: Any, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "--put", "--bucket", "no-such-bucket-here") == 1
    assert "S3 returned NoSuchBucket" in capsys.readouterr().err


def test_the_overlay_in_the_documentation_is_right() -> None:
    page = (ROOT / "docs" / "reference" / "catalogue.md").read_text(encoding="utf-8")
    example = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
    said = describe(json.loads(example), day=lambda: TODAY)
    assert said[0].startswith("added     LocalAI FLUX")
    assert said[1].startswith("  sends no key to 127.0.0.1:8080: COMPATIBLE_API_KEY may go there only with keyHosts=")
    assert said[2] == "changed   FLUX.2 Max (bfl, flux-2-max): default false → true"
    assert said[3] == "  sends BFL_API_KEY to api.bfl.ai"
    assert said[4].startswith("disabled  FLUX.2 Pro")


def test_the_hosts_of_keys_are_those_of_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps({"models": [{**MINE, "apiKeyName": "MY_KEY"}]}), encoding="utf-8")
    assert run(file) == 1
    assert 'keyHosts={"MY_KEY": ["127.0.0.1:8080"]}' in capsys.readouterr().err
    monkeypatch.setenv("KEY_HOSTS", '{"MY_KEY": ["127.0.0.1:8080"]}')
    assert run(file) == 0
    assert "  sends MY_KEY to 127.0.0.1:8080\n" in capsys.readouterr().out
    monkeypatch.setenv("KEY_HOSTS", "127.0.0.1")
    assert run(file) == 1
    assert "KEY_HOSTS is '127.0.0.1'; it must be a JSON object" in capsys.readouterr().err
