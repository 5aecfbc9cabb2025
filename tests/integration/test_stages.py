"""A stage from its first deployment to its end, by the owner's commands, in an emulator that has nothing else."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from local import cdk
from local.paths import ROOT
from tests.reliability.emulator import ACCESS_KEY, emulator

Make = Callable[..., subprocess.CompletedProcess[str]]
ALARM = "pixel-prompt-dev-api-errors"
GOOD, OTHER = "SERVER_ERRORS = 5", "SERVER_ERRORS = 6"
GIT = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, with what this one has, as its first commit."""
    folder: Path = tmp_path_factory.mktemp("stage") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".local").mkdir()
    (ROOT / ".local" / "cache").mkdir(parents=True, exist_ok=True)
    for name in (".venv", "node_modules", ".local/cache"):
        (folder / name).symlink_to(ROOT / name)
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, **GIT}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit all there is; the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a commit")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulator without the stack."""
    with emulator(tmp_path_factory.mktemp("emulator")) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def make(checkout: Path, endpoint: str) -> Make:
    """Runs a target of make as its owner does, with AWS_ENDPOINT_URL at the emulator and nobody at a terminal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    aws = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": cdk.REGION, **ACCESS_KEY.environment()}
    isolated = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", *words],
            cwd=checkout,
            env={**inherited, **aws, **isolated},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert (done.returncode != 0) == bool(code), done.stdout + done.stderr
        return done

    return run


def client_of(endpoint: str, service: str) -> Any:
    keys = ACCESS_KEY.client_options()
    return boto3.client(service, endpoint_url=endpoint, region_name=cdk.REGION, **keys)


def everything(endpoint: str) -> dict[str, set[str]]:
    """The names of all that the emulator holds, by kind."""

    def listed(service: str, operation: str, entries: str, name: str = "") -> set[str]:
        client = client_of(endpoint, service)
        if client.can_paginate(operation):
            found = [entry for page in client.get_paginator(operation).paginate() for entry in page.get(entries, [])]
        else:
            found = getattr(client, operation)().get(entries, [])
        return {entry[name] if name else entry for entry in found}

    kinds: dict[str, tuple[str, ...]] = {
        "stacks": ("cloudformation", "describe_stacks", "Stacks", "StackName"),
        "functions": ("lambda", "list_functions", "Functions", "FunctionName"),
        "log groups": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "buckets": ("s3", "list_buckets", "Buckets", "Name"),
        "state machines": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
        "alarms": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        "dashboards": ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        "topics": ("sns", "list_topics", "Topics", "TopicArn"),
        "queues": ("sqs", "list_queues", "QueueUrls"),
        "rules": ("events", "list_rules", "Rules", "Name"),
        "APIs": ("apigatewayv2", "get_apis", "Items", "Name"),
        "secrets": ("secretsmanager", "list_secrets", "SecretList", "Name"),
        "parameters": ("ssm", "describe_parameters", "Parameters", "Name"),
        "roles": ("iam", "list_roles", "Roles", "RoleName"),
    }
    return {kind: listed(*arguments) for kind, arguments in kinds.items()}


def threshold(endpoint: str) -> float:
    """The threshold of the alarm that the test changes."""
    (alarm,) = client_of(endpoint, "cloudwatch").describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]
    return float(alarm["Threshold"])


def change(checkout: Path, old: str, new: str) -> None:
    path = checkout / "infra" / "monitoring.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_a_stage_comes_changes_goes_back_and_leaves_nothing(checkout: Path, endpoint: str, make: Make) -> None:
    assert "`make bootstrap` prepares it" in make("deploy", "YES=1", code=1).stderr
    make("bootstrap", "YES=1")
    before = everything(endpoint)

    said = make("deploy", "YES=1", "FORWARD=1", "CDK=-c ipLimit=7").stdout
    assert "The API is PUBLIC" in said and "ipLimit=7" in said and "[+] AWS::S3::Bucket" in said
    good = git(checkout, "rev-parse", "HEAD")
    assert good in make("mark-good").stdout
    assert "Number of stacks with differences: 0" in make("diff", "CDK=-c ipLimit=7").stdout
    assert threshold(endpoint) == 5

    change(checkout, GOOD, OTHER)
    commit(checkout)
    make("deploy", "YES=1", "FORWARD=1", "CDK=-c ipLimit=7")
    assert threshold(endpoint) == 6

    make("rollback", "YES=1", "CDK=-c ipLimit=7")
    assert threshold(endpoint) == 5
    assert git(checkout, "worktree", "list").count("\n") == 0

    asked = make("destroy", code=1)
    assert "Nothing was done" in asked.stderr and "Lambda Function" in asked.stdout
    make("destroy", "YES=1")
    # All of it: the emulator removes log groups, roles and the bucket with the stack, and `destroy` the parameter.
    assert everything(endpoint) == before
    assert "nothing was deleted" in make("destroy", "YES=1").stdout
