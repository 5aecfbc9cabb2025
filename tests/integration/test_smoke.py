"""The smoke test, as `make smoke` runs it, against the deployed service."""

import os
import subprocess

import pytest

from local import smoke
from local.aws import deploy
from local.paths import ROOT
from local.progress import Progress
from tests.integration.conftest import Service
from tests.shipped import FIRST, OTHER

MEASURED = ("time to the job's id", "status, median of ", "first image", "all images")


def run(service: Service, models: str = "") -> smoke.Report:
    endpoints = service.cloud.endpoints
    return smoke.run(endpoints["api"], {"AWS_CA_BUNDLE": endpoints["certificate"], "MODELS": models})


def test_a_healthy_deployment_passes_and_is_measured(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(service)
    assert report.wrong == []
    assert len(report.seconds) == len(MEASURED)
    assert all(name.startswith(MEASURED) and seconds > 0 for name, seconds in report.seconds.items())
    printed = capsys.readouterr().out
    assert "(goal: below 1 s)" in printed and "(goal: below 0.5 s)" in printed and "(goal: below 300 s)" in printed
    assert report.images == smoke.CHEAPEST
    assert f"  images asked for: 2; cost of the job at the providers: ${report.cost['amount']:.4f}\n" in printed
    assert 0 < report.cost["amount"] < 0.1


def test_make_smoke_tries_any_address(service: Service) -> None:
    endpoints = service.cloud.endpoints
    done = subprocess.run(
        ["make", "smoke", f"API_URL={endpoints['api']}"],
        cwd=ROOT,
        env={**os.environ, "AWS_CA_BUNDLE": endpoints["certificate"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "time to the job's id" in done.stdout and "a prompt is enhanced" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_provider_that_is_down_is_told_and_no_image_at_all_is_wrong(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.fault(FIRST.id, "refused")
    both = f"{FIRST.name},{OTHER.name}"
    assert run(service, both).wrong == []
    assert f"! {FIRST.name} ended as refused" in capsys.readouterr().out
    service.fault("*", "bad_key")
    report = run(service, both)
    assert report.wrong == ["the job ends with an image"]


def test_a_deployment_without_any_model_is_wrong(service: Service) -> None:
    report = run(service, "no-such-model")
    assert (report.wrong, report.images) == (["it estimates the cost of a job"], 0)


def test_the_owners_commands_know_the_cloud_of_the_laptop(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = service.cloud.endpoints
    usage = {"AWS_ENDPOINT_URL": endpoints["aws"], "AWS_REGION": endpoints["region"]}
    usage["AWS_CA_BUNDLE"] = endpoints["certificate"]
    for name, value in {**usage, **service.cloud.access_key().environment()}.items():
        monkeypatch.setenv(name, value)
    target = deploy.Target.stage("dev", "", os.environ, service.cloud.directory)
    assert target.laptop
    assert "Number of stacks with differences: 0" in deploy.diff(target, Progress())
