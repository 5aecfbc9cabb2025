"""What the commands say where something is missing or mistaken, before anything is started."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import boto3
import pytest

from infra.settings import Settings
from local import __main__ as command
from local import cdk, cloud, demo
from local.cloud import Endpoints
from local.cloud.chosen import models_of
from local.options import OptionError, Options
from local.paths import ROOT
from local.reference import left_out
from local.simulator.faults import parse_faults
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.prompt import PROMPT_LIMIT
from pixelprompt.storage.keys import OVERLAY_KEY
from tests.conftest import BUCKET
from tests.today import TODAY

REGISTRY = ModelRegistry.load(day=lambda: TODAY)
MINE = {"name": "Mine", "provider": "compatible", "id": "my-model", "baseUrl": "http://127.0.0.1:8080/v1"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials nor a region."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize("arguments", [["doctor"], ["models-check", "--put", "my-models.json"], ["smoke"]])
def test_with_nothing_to_look_at_both_ways_are_named(
    bare: None, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--directory", str(tmp_path), *arguments]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "make up" in sentence
    assert "STAGE=dev" in sentence
    assert "credentials" in sentence or arguments == ["smoke"]


def test_a_stage_that_was_named_is_on_aws(bare: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--directory", str(tmp_path), "doctor", "--stage", "dev"]) == 1
    assert capsys.readouterr().err.startswith("AWS credentials not found; ")


class _Synthesis:
    """A command of the CDK that writes an empty template."""

    told: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, title: str, arguments: list[str], **_: Any) -> None:
        output = Path(arguments[arguments.index("--output") + 1])
        output.mkdir()
        context = dict(given.split("=", 1) for flag, given in itertools.pairwise(arguments) if flag == "-c")
        (output / f"PixelPrompt-{context['stage']}.template.json").touch()
        self.told.append(context)

    def __enter__(self) -> "_Synthesis":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self) -> None:
        pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The contexts that the CDK would get."""
    monkeypatch.setattr(cdk, "Command", _Synthesis)
    _Synthesis.told.clear()
    return _Synthesis.told


def test_the_templates_for_aws_are_of_the_stage(
    told: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in ("dev", "prod"):
        assert command.main(["--directory", str(tmp_path), "synth", "--stage", stage]) == 0
    assert [(context["target"], context["stage"]) for context in told] == [
        ("aws", "dev"), ("local", "dev"), ("aws", "prod"), ("local", "dev"),
    ]  # fmt: skip
    assert Settings.from_context({**cdk.default_context(), **told[2]}).api_auth == "iam"
    assert "synthesizing the stage prod for aws" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "synth" / "aws").iterdir()] == ["PixelPrompt-prod.template.json"]


def test_a_former_name_of_a_setting_is_told(
    told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {**cdk.default_context(), "stages": {"dev": {"removal": "destroy"}}}
    monkeypatch.setattr(cdk, "default_context", lambda: own)
    assert command.main(["--directory", str(tmp_path), "synth", "local"]) == 0
    assert "The setting removal is now removalPolicy; rename it before 3.0.0." in capsys.readouterr().err


def test_a_wrong_stage_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--directory", str(tmp_path), "synth", "--stage", "a'b"]) == 1
    assert capsys.readouterr().err == 'stage is "a\'b"; it must be one of dev, prod.\n'
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ([" "], {}, "`prompt` is blank."),
        ([""], {"PROMPT": "a fox"}, "`prompt` is blank."),
        ([], {"PROMPT": "\u00a0"}, "`prompt` is blank."),
        (["a" * (PROMPT_LIMIT + 1)], {}, f"has {PROMPT_LIMIT + 1} characters; the limit is {PROMPT_LIMIT}"),
        (["a\x07b"], {}, "control characters"),
    ],
)
def test_a_prompt_that_the_api_refuses_starts_nothing(
    arguments: list[str],
    environment: dict[str, str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("PROMPT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloud, "start", lambda *_, **__: pytest.fail("a cloud was started"))
    assert command.main(["--directory", str(tmp_path), "demo", *arguments]) == 1
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_fault_is_given_by_name_or_id() -> None:
    options = Options(faults="Recraft V4.1=refused, FLUX-3-IMAGE=slow:2:1,*=throttled,gpt-5.4-mini=dropped").resolved(
        REGISTRY
    )
    assert options.faults == "recraftv4_1=refused,flux-3-image=slow:2:1,*=throttled,gpt-5.4-mini=dropped"
    assert options.faulted(REGISTRY) == ["Recraft V4.1", "FLUX 3", "gpt-5.4-mini"]
    assert Options(faults="omni-moderation-latest=slow").resolved(REGISTRY).faults == "omni-moderation-latest=slow"


def test_a_fault_of_an_unknown_model_is_refused_with_those_that_it_may_mean() -> None:
    with pytest.raises(OptionError, match=r"unknown model 'nano-banana'\. Did you mean gemini-nano-banana-2\.1\?"):
        Options(faults="nano-banana=refused").resolved(REGISTRY)
    with pytest.raises(OptionError, match=r"unknown model 'zzz'\. Available: .*flux-3-image.* \*"):
        Options(faults="zzz=refused").resolved(REGISTRY)


def test_a_fault_of_an_overlays_model_is_taken_where_the_overlay_is() -> None:
    options = Options(faults="mine=refused")
    overlaid = ModelRegistry.load(overlay={"models": [MINE]}, day=lambda: TODAY)
    assert options.resolved(overlaid).faults == "my-model=refused"
    with pytest.raises(OptionError, match="overlay"):
        options.resolved(REGISTRY)


@pytest.mark.parametrize("name", ["up", "demo"])
def test_an_unknown_model_starts_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMULATOR_FAULTS", "zzz=refused")
    monkeypatch.setattr(cloud, "start", lambda *_, **__: pytest.fail("a cloud was started"))
    assert command.main(["--directory", str(tmp_path), name]) == 1
    assert "unknown model 'zzz'" in capsys.readouterr().err


def test_default_models_without_support_for_images_are_named() -> None:
    def model(name: str, default: bool = True, **parameters: Any) -> dict[str, Any]:
        return {"name": name, "default": default, "configured": True, "parameters": parameters}

    class Playing:
        def request(self, method: str, path: str) -> Any:
            return self

        def json(self) -> dict[str, Any]:
            return {"models": [model("A", images={"max": 1}), model("B"), model("C", default=False)]}

    playing: Any = Playing()
    assert left_out(playing) == "B"


def test_faulted_models_that_a_job_does_not_ask_are_named() -> None:
    class Playing:
        def request(self, method: str, path: str) -> Any:
            return self

        def json(self) -> dict[str, Any]:
            return {"results": [{"model": "Recraft V4.1"}]}

    playing: Any = Playing()
    assert demo.without_effect(playing, "id", ["Recraft V4.1", "GPT Image 2", "FLUX 3"]) == "FLUX 3, GPT Image 2"
    assert demo.without_effect(playing, "id", ["Recraft V4.1"]) == demo.without_effect(playing, "id", []) == ""


@pytest.mark.parametrize("document", ["docs/reference/settings.md", "Makefile"])
def test_the_examples_of_faults_show_in_a_default_job_and_soon(document: str) -> None:
    defaults = {model.name for model in REGISTRY.defaults(lambda model: True)}
    examples = re.findall(r"SIMULATOR_FAULTS=([\w.:=,*-]+)", (ROOT / document).read_text(encoding="utf-8"))
    assert examples
    for text in examples:
        options = Options(faults=text).resolved(REGISTRY)
        assert set(options.faulted(REGISTRY)) <= defaults
        for fault in parse_faults(options.faults).values():
            # Other faults are met at every attempt until the time is up.
            assert fault.name == "refused" or (fault.times == 1 and (fault.retry_after or 0) <= 5)


def test_the_commands_in_the_documents_name_the_python_that_has_the_packages() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?<!\.venv/bin/)\bpython3? -m (?!json\.tool).*", text), path
    for module in ("local", "local.simulator"):
        run = [sys.executable, "-m", module, "--help"]
        shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        (_, *program), written = shlex.split(shown.partition("[")[0]), shown
        assert program == [".venv/bin/python", "-m", module]
    assert "SECONDS is how long" in written
    assert "TIMES is how many" in written


@pytest.mark.parametrize(
    ("content", "known"), [(json.dumps({"models": [MINE]}), True), ("{", False), ('{"models": [{}]}', False)]
)
def test_the_models_of_a_running_cloud_are_read_in_silence(
    s3: Any, content: str, known: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    s3.put_object(Bucket=BUCKET, Key=OVERLAY_KEY, Body=content)
    endpoints = {**dict.fromkeys(Endpoints.__required_keys__, ""), "bucket": BUCKET}
    running: Any = SimpleNamespace(client=boto3.client, endpoints=endpoints)
    assert (models_of(running).find("Mine") is not None) is known
    assert capfd.readouterr() == ("", "")
