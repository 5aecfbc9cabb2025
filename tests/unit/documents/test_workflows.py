"""The pipeline on GitHub: what it runs is what anybody runs, and it may do no more than it must."""

import json
import re
from typing import Any

import pytest
import yaml

from local.catalogue.proposal import BRANCH
from local.catalogue.provider_lists import KEY_NAMES
from local.paths import ROOT

WORKFLOWS = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / ".github/workflows").glob("*.yml")}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
JOBS = [(name, job, entry) for name, workflow in WORKFLOWS.items() for job, entry in workflow["jobs"].items()]
STEPS = [(name, job, step) for name, job, entry in JOBS for step in entry.get("steps", [])]


def commands() -> list[str]:
    """The shell commands of all steps."""
    return [line for _, _, step in STEPS for line in step.get("run", "").splitlines()]


def test_there_are_checks_and_deployments() -> None:
    told = {"make check", "make test", "make deploy YES=1 FORWARD=1", "make smoke YES=1", "make rollback YES=1"}
    assert told <= set(commands())


def test_a_missing_browser_fails_where_everything_is_tested() -> None:
    (step,) = (step for _, _, step in STEPS if step.get("run") == "make test")
    assert step["env"] == {"BROWSER_REQUIRED": "1"}


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_a_target_of_make(command: str) -> None:
    found = re.fullmatch(r"make ([a-z-]+)((?: [A-Z]+=[A-Za-z0-9]+)*)", command)
    assert found and found[1] in TARGETS


def test_actions_are_pinned_to_a_commit_whose_version_is_named() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
        for action in used:
            assert action.startswith("$/.github/") or re.fullmatch(
                r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action
            )


def test_nothing_is_allowed_that_no_job_needs() -> None:
    assert all(workflow["permissions"] == {} for workflow in WORKFLOWS.values())
    signed = {(name, job) for name, job, entry in JOBS if "id-token" in entry["permissions"]}
    assert signed == {("main.yml", "diff"), ("main.yml", "dev"), ("main.yml", "prod"), ("deploy.yml", "deploy")}
    written = {(name, job, what) for name, job, entry in JOBS for what, how in entry["permissions"].items()
               if how == "write" and what != "id-token"}  # fmt: skip
    assert written == {
        ("main.yml", "diff", "pull-requests"),
        ("models.yml", "refresh", "contents"),
        ("models.yml", "refresh", "pull-requests"),
    }
    secrets = {
        (path.name, name)
        for path in (ROOT / ".github/workflows").glob("*.yml")
        for name in re.findall(r"secrets\b\S*", path.read_text(encoding="utf-8"))
    }
    assert secrets == {("models.yml", f"secrets.{name}") for name in KEY_NAMES}


def test_no_token_stays_in_a_checkout_and_every_job_ends() -> None:
    checkouts = [step for _, _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert all(entry["timeout-minutes"] <= 60 for _, _, entry in JOBS if "steps" in entry)


def test_prod_follows_dev_and_no_deployment_overlaps_another() -> None:
    jobs = WORKFLOWS["main.yml"]["jobs"]
    assert (jobs["diff"]["needs"], jobs["dev"]["needs"], jobs["prod"]["needs"]) == ("ci", "diff", "dev")
    assert [jobs[name]["with"]["stage"] for name in ("dev", "prod")] == ["dev", "prod"]
    deploy = WORKFLOWS["deploy.yml"]["jobs"]["deploy"]
    assert deploy["environment"] == "${{ inputs.stage }}"
    assert deploy["concurrency"] == {"group": "deploy-${{ inputs.stage }}", "cancel-in-progress": False}


def test_the_pipeline_deploys_prod_with_the_python_that_prod_names() -> None:
    """Bytecode is of use only to the version that made it."""
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    named = {step["with"]["python-version"] for _, _, step in STEPS if "actions/setup-python@" in step.get("uses", "")}
    assert named == {context["stages"]["prod"]["pythonVersion"]}


def test_only_what_passed_the_smoke_test_is_good_and_what_failed_goes_back() -> None:
    steps: list[dict[str, Any]] = WORKFLOWS["deploy.yml"]["jobs"]["deploy"]["steps"]
    runs = [(step["run"], step.get("if", "")) for step in steps if "run" in step]
    assert runs == [
        ("make deploy YES=1 FORWARD=1", ""),
        ("make smoke YES=1", ""),
        ("make mark-good", ""),
        ("make rollback YES=1", "failure() && steps.smoke.outcome == 'failure'"),
        ("make smoke YES=1", "failure() && steps.rollback.outcome == 'success'"),
    ]


def test_the_catalogue_is_compared_each_week_and_by_hand_by_one_run_at_a_time() -> None:
    workflow = WORKFLOWS["models.yml"]
    # YAML takes the bare word for a truth value.
    started: dict[str, Any] = workflow[True]
    assert set(started) == {"schedule", "workflow_dispatch"}
    (schedule,) = started["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", schedule["cron"])
    assert workflow["concurrency"] == {"group": BRANCH, "cancel-in-progress": False}
    job = workflow["jobs"]["refresh"]
    assert job["permissions"] == {"contents": "write", "pull-requests": "write"}
    # By hand it may be started on any branch; the event of a schedule names no repository, and no branch.
    default = "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"
    assert job["if"] == f"github.event_name == 'schedule' || {default}"
    first, compare, propose = (step for step in job["steps"] if "run" in step)
    # Whatever is installed is not told any key, and nothing knows a key and a token.
    assert (first["run"], compare["run"], propose["run"]) == (
        "make prepare-python", "make models-refresh", "make models-refresh",
    )  # fmt: skip
    assert "env" not in {*first, *job, *workflow}
    folder = "${{ runner.temp }}/models-refresh"
    assert compare["env"] == {"SAVE": folder, **{name: f"${{{{ secrets.{name} }}}}" for name in KEY_NAMES}}
    assert propose["env"] == {"PROPOSE": folder, "GH_TOKEN": "${{ github.token }}"}
