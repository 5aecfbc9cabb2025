"""What an operator sees of a job: its log lines, its metrics."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from local.cloud import Cloud
from pixelprompt.jobs.store import JobManager
from tests.integration.conftest import Service
from tests.shipped import ASYNCHRONOUS, OTHER

PROMPT = "a heron beside a very particular lighthouse"


def lines_of(service: Service, job_id: str) -> list[dict[str, Any]]:
    """The JSON lines of all functions that name the job."""
    logs = service.cloud.client("logs")
    return [
        json.loads(event["message"])
        for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
        for page in logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"], filterPattern=f'"{job_id}"'
        )
        for event in page["events"]
        if job_id in event["message"] and event["message"].lstrip().startswith("{")
    ]


def everything(service: Service) -> str:
    logs = service.cloud.client("logs")
    return "\n".join(
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in page["events"]
    )


def test_every_line_about_a_job_says_so_and_none_has_the_prompt(service: Service) -> None:
    answer = service.cloud.request("POST", "/generate", {"prompt": PROMPT}, {"X-Correlation-ID": "operator-1"})
    job = service.wait(answer.json()["jobId"])
    job_id, models = job["jobId"], {row["model"] for row in job["results"]}
    limit = time.monotonic() + 15
    while True:
        lines = lines_of(service, job_id)
        ended = [line for line in lines if "JobsEnded" in line]
        if ended or time.monotonic() > limit:
            break
        time.sleep(0.5)
    by_function: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_function.setdefault(line["function"].removeprefix("pixel-prompt-dev-"), []).append(line)
    assert {"submit", "generate", "finish", "status"} <= set(by_function)
    for line in lines:
        assert line["job_id"] == job_id
        assert line["correlation_id"]
        assert line["service"] == "pixel-prompt-dev"
    for name in ("submit", "generate", "finish"):
        assert {line["correlation_id"] for line in by_function[name]} == {"operator-1"}, name
    assert {line["model"] for line in by_function["generate"]} == models
    assert PROMPT not in everything(service)


def test_who_finds_an_abandoned_job_finds_its_end_in_the_logs(service: Service) -> None:
    jobs = JobManager(service.s3, service.bucket, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    job_id = jobs.create_job("a red fox", {}, [{"name": "fine", "provider": "openai"}])
    service.cloud.request("GET", f"/status/{job_id}", headers={"X-Correlation-ID": "operator-2"})
    limit = time.monotonic() + 15
    while not (ended := [line for line in lines_of(service, job_id) if "JobsEnded" in line]):
        assert time.monotonic() < limit
        time.sleep(0.5)
    assert {(line["function"], line["correlation_id"]) for line in ended} == {("pixel-prompt-dev-finish", "operator-2")}


@pytest.mark.parametrize("faults", [{}, {OTHER.id: "dropped", ASYNCHRONOUS.id: "refused"}], ids=["fine", "faults"])
def test_a_job_is_measured_once_in_all_its_parts(service: Service, faults: dict[str, str]) -> None:
    for model, fault in faults.items():
        service.fault(model, fault)
    job = service.run(PROMPT)
    failed = [row["billable"] for row in job["results"] if row["status"] == "error"]
    assert sorted(failed) == sorted({"dropped": "unknown", "refused": "no"}[fault] for fault in faults.values())
    limit = time.monotonic() + 15
    while True:
        measured = [line for line in lines_of(service, job["jobId"]) if "_aws" in line]
        if any("JobSeconds" in line for line in measured) or time.monotonic() > limit:
            break
        time.sleep(0.5)
    values: dict[str, float] = {}
    for line in measured:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "PixelPrompt"
        for metric in directive["Metrics"]:
            values[metric["Name"]] = values.get(metric["Name"], 0) + line[metric["Name"]][0]
    assert values["JobsEnded"] == 1
    assert values["ModelsCompleted"] == job["totalModels"] - len(faults)
    assert values["ModelsFailed"] == len(faults)
    assert round(values["Dollars"], 6) == job["cost"]["amount"]
    assert values.get("UnknownCosts", 0) == job["cost"]["unknown"]
    assert values["JobSeconds"] > 0


def test_what_a_cloud_keeps_is_for_its_owner_only(cloud: Cloud) -> None:
    # These hold copies of the service's source, with the permissions that Lambda needs.
    copies = {"cache", "deploy"}
    found = [p for p in cloud.directory.rglob("*") if copies.isdisjoint(p.relative_to(cloud.directory).parts)]
    assert {"state.json", "endpoints.json", "access-key.json", "aws.sh", "emulator.log"} <= {
        path.name for path in found
    }
    assert cloud.directory.stat().st_mode & 0o777 == 0o700
    open_to_others = [path for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert not open_to_others
    secret = cloud.access_key().secret.encode()
    holding = {path.name for path in found if path.is_file() and secret in path.read_bytes()}
    assert holding == {"access-key.json", "aws.sh"}
