"""AWS charges for jobs, from requests that were counted.

Runs jobs of the default models on the laptop cloud, counts what each asks of AWS, and multiplies it with the list
prices of us-east-1 (aws.amazon.com/pricing, September 2026, without free tiers).
docs/explanation/cost.md has the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from benchmarks.figures import Figure, Result, rounds
from benchmarks.workbench import Part, Workbench
from infra.memory import MEMORY
from local.paths import ROOT
from tests.integration.conftest import Service
from tests.reliability.fault_proxy import FaultProxy

DOCUMENT = ROOT / "docs" / "explanation" / "cost.md"
BLOCK = re.compile(r"<!-- cost:begin (?P<counts>\{.*?\}) -->\n(?P<table>.*?)<!-- cost:end -->", re.DOTALL)

JOBS = 1000
COUNTED = 5
COUNTING = ("submit", "generate", "finish")
# Functions of a job's way, and those whose S3 requests are counted; memory in GB.
FUNCTIONS = {name: MEMORY[name] / 1024 for name in ("submit", "generate", "finish", "status")}
# What the table assumes where nothing was counted: the providers' time a model, an image, status requests of a client.
PROVIDER_SECONDS = 12
IMAGE_MEGABYTES = 1.5
STATUS_REQUESTS = 15
RETENTION_MONTHS = 1

# States of a Map item whose model need not wait; the emulator's history has no items, so they are not counted there.
STATES_OF_ITEM = 3

# US dollars.
PRICES = {
    "apiRequest": 1.00e-6,
    "lambdaRequest": 0.20e-6,
    "gigabyteSecond": 0.0000133334,
    "transition": 25e-6,
    "s3Write": 5e-6,
    "s3Read": 0.4e-6,
    "gigabyteMonth": 0.023,
    "logGigabyte": 0.50,
    "trace": 5e-6,
    "cdnRequest": 1.0e-6,
    "cdnGigabyte": 0.085,
}


def measure(bench: Workbench) -> Result:
    """Count the requests of five jobs."""
    service = bench.service
    # As with a real provider, every row's start is recorded before its response comes.
    bench.latency(1.5)
    service.run()
    proxy = FaultProxy(int(service.cloud.endpoints["aws"].rpartition(":")[2]))
    names = {part: service.function(part) for part in COUNTING}
    for function in names.values():
        bench.configure(function, AWS_ENDPOINT_URL_S3=proxy.url)
    try:
        counts = _count(bench, proxy)
    finally:
        for function in names.values():
            bench.configure(function, AWS_ENDPOINT_URL_S3=service.cloud.endpoints["aws"])
        proxy.refuse()
    lines = costs(counts)
    figures = [
        Figure("AWS requests of S3, a job of 9 models: writes", "requests", [counts["s3Writes"]]),
        Figure("AWS requests of S3, a job of 9 models: reads", "requests", [counts["s3Reads"]]),
        Figure("state transitions", "transitions", [counts["transitions"]]),
        Figure(f"GB-seconds, of {PROVIDER_SECONDS} s a model", "GB s", [_gigabyte_seconds(counts["models"])]),
        Figure("1000 jobs", "dollars", [sum(dollars for *_, dollars in lines) * JOBS]),
    ]
    return Result(figures, counts=counts)


def write(counts: Mapping[str, float]) -> None:
    """Write the table into docs/explanation/cost.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = f"<!-- cost:begin {json.dumps(counts)} -->\n{table(counts)}<!-- cost:end -->"
    DOCUMENT.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")


def _count(bench: Workbench, proxy: FaultProxy) -> dict[str, float]:
    """Average AWS requests of one job of the default models."""
    service = bench.service
    transitions = log_bytes = models = 0
    for _ in rounds(COUNTED, bench.progress, "a job of the default models"):
        document = service.run()
        assert document["status"] == "completed", document
        models += document["totalModels"]
        arn = service.execution(document["jobId"])["executionArn"]
        pages = service.cloud.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
        transitions += STATES_OF_ITEM * document["totalModels"]
        transitions += sum(event["type"].endswith("StateEntered") for page in pages for event in page["events"])
        log_bytes += _log_bytes(service, document["jobId"])
    writes, reads = proxy.total("PUT"), proxy.total("GET") + proxy.total("HEAD")
    return {
        "models": models / COUNTED,
        "transitions": transitions / COUNTED,
        "s3Writes": round(writes / COUNTED, 1),
        "s3Reads": round(reads / COUNTED, 1),
        "logBytes": round(log_bytes / COUNTED),
    }


def _log_bytes(service: Service, job_id: str) -> int:
    """Bytes of the Lambdas' log lines of a job; CloudWatch adds 26 to each."""
    logs = service.cloud.client("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    return sum(
        len(event["message"]) + 26
        for group in groups
        if not group["logGroupName"].endswith("-status")
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in page["events"]
        if job_id in event["message"]
    )


def _gigabyte_seconds(models: float) -> float:
    # Submit, finish and status take about a tenth of a second each.
    short = 0.1 * (FUNCTIONS["submit"] + FUNCTIONS["finish"] + STATUS_REQUESTS * FUNCTIONS["status"])
    return models * (PROVIDER_SECONDS + 1) * FUNCTIONS["generate"] + short


def costs(counts: Mapping[str, float]) -> tuple[tuple[str, str, float], ...]:
    """By service, what one job uses and what that costs, in dollars."""
    models = counts["models"]
    status = STATUS_REQUESTS
    invocations = 2 + models + status
    seconds = _gigabyte_seconds(models)
    log_gigabytes = (counts["logBytes"] + status * 600 + invocations * 350 + counts["transitions"] * 900) / 1e9
    stored = models * IMAGE_MEGABYTES / 1000
    return (
        ("Lambda, time", f"{seconds:.0f} GB-seconds", seconds * PRICES["gigabyteSecond"]),
        ("Lambda, requests", f"{invocations:.0f}", invocations * PRICES["lambdaRequest"]),
        ("Step Functions", f"{counts['transitions']:.0f} transitions", counts["transitions"] * PRICES["transition"]),
        (
            "S3, requests",
            f"{counts['s3Writes']:.1f} writes, {counts['s3Reads'] + status:.1f} reads",
            counts["s3Writes"] * PRICES["s3Write"] + (counts["s3Reads"] + status) * PRICES["s3Read"],
        ),
        ("S3, storage", f"{stored * 1000:.1f} MB for a month", stored * RETENTION_MONTHS * PRICES["gigabyteMonth"]),
        (
            "CloudFront",
            f"each image seen once, {stored * 1000:.1f} MB",
            stored * PRICES["cdnGigabyte"] + models * PRICES["cdnRequest"],
        ),
        ("API Gateway", f"{1 + status} requests", (1 + status) * PRICES["apiRequest"]),
        ("CloudWatch Logs", f"{log_gigabytes * 1e6:.0f} kB", log_gigabytes * PRICES["logGigabyte"]),
        ("X-Ray", f"{1 + status} traces", (1 + status) * PRICES["trace"]),
    )


def table(counts: Mapping[str, float]) -> str:
    """The table in Markdown of what ``JOBS`` jobs cost, by service."""
    models, rows = counts["models"], costs(counts)
    lines = [f"| service | one job of {models:.0f} models | {JOBS} jobs, US dollars |", "| --- | --- | ---: |"]
    lines += [f"| {service} | {amount} | {dollars * JOBS:.2f} |" for service, amount, dollars in rows]
    lines.append(f"| **all** | | **{sum(dollars for *_, dollars in rows) * JOBS:.2f}** |")
    return "\n".join(lines) + "\n"


PART = Part(
    "cost",
    "AWS requests of a job",
    "Counted in five jobs of the nine default models; [Costs](cost.md#what-a-job-costs) has the table by "
    "service, which this part writes as well.",
    measure,
)
