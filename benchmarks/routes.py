"""Submit and status: their times, and their AWS requests."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.figures import Budget, Figure, Result, percentile, rounds
from benchmarks.requests import Sent, chain
from benchmarks.workbench import Part, Workbench, elapsed
from local import cdk
from local.cloud import Response
from local.paths import ROOT, SYSTEM_PATH
from pixelprompt.storage.keys import RATE_LIMIT_KEY

WARM = 150
COLD = 7
BODY = {"prompt": "a lighthouse in fog"}
BUDGETS = {"status": {"p50": 500.0, "cold": 500.0}, "submit": {"p50": 1000.0, "cold": 1000.0}}


def measure(bench: Workbench) -> Result:
    """Warm and cold requests over HTTP, and the requests to AWS behind them."""
    cloud = bench.service.cloud
    bench.service.s3.delete_object(Bucket=bench.service.bucket, Key=RATE_LIMIT_KEY)
    with bench.idle_machine():
        job_id = bench.service.generate()
        routes: dict[str, Callable[[], Response]] = {
            "submit": lambda: cloud.request("POST", "/generate", BODY),
            "status": lambda: cloud.request("GET", f"/status/{job_id}"),
        }
        address = bench.bare_address

        def bare() -> float:
            return elapsed(lambda: cloud.request("GET", address)) * 1000

        figures: list[Figure] = []
        for name, ask in routes.items():
            bench.progress(f"{name}, {WARM} warm requests")
            assert ask().status == cloud.request("GET", address).status == 200
            samples, floor = [], []
            for _ in range(WARM):
                floor.append(bare())
                samples.append(elapsed(ask) * 1000)
            for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                budget = BUDGETS[name].get(label)
                figures.append(
                    Figure(
                        f"{name}, warm, {label}",
                        "ms",
                        [percentile(samples, share)],
                        [percentile(floor, share)],
                        "a Lambda that does nothing",
                        Budget(budget) if budget else None,
                    )
                )
            samples, floor = [], []
            for _ in rounds(COLD, bench.progress, f"{name}, a cold request"):
                bench.make_cold(bench.bare_function)
                floor.append(bare())
                bench.make_cold(bench.service.function(name))
                samples.append(elapsed(ask) * 1000)
            figures.append(
                Figure(
                    f"{name}, cold",
                    "ms",
                    samples,
                    floor,
                    "cold Lambda that does nothing",
                    Budget(BUDGETS[name]["cold"]),
                )
            )
        bench.progress("counting requests to AWS")
        return Result(figures + _counts(bench, job_id))


def _counts(bench: Workbench, job_id: str) -> list[Figure]:
    submit = event("POST", "/generate", BODY)
    with_key = [event("POST", "/generate", BODY, {"idempotency-key": str(uuid.uuid4())}) for _ in range(2)]
    cold, warm, first, again = invoke(bench, "submit", [submit, submit, with_key[0], with_key[0]])
    status = event("GET", f"/status/{job_id}", parameters={"jobId": job_id})
    cold_status, warm_status = invoke(bench, "status", [status, status])
    paths = (
        ("submit, warm", warm, 4),
        ("submit, cold", cold, None),
        ("submit with an idempotency key, warm", first, 5),
        ("submit, a repeat with the key", again, None),
        ("status, warm", warm_status, 1),
        ("status, cold", cold_status, 1),
    )
    figures = []
    for name, call, most in paths:
        figures.append(Figure(f"{name}: AWS requests", "requests", [len(call)]))
        budget = Budget(most) if most else None
        row = chain(call)
        figures.append(Figure(f"{name}: one after the other ({', '.join(row)})", "requests", [len(row)], budget=budget))
    return figures + _row_counts(bench)


def _row_counts(bench: Workbench) -> list[Figure]:
    """The S3 requests of a model's row, of jobs that have no other."""
    bench.latency(0.0)
    items = [item(bench.service.status(bench.service.generate(models=bench.models[:1]))) for _ in range(2)]
    _, warm = invoke(bench, "generate", items)
    made = [request.operation.removeprefix("s3:") for request in warm if request.operation.startswith("s3:")]
    name = f"one model's row, no other writer: S3 requests ({', '.join(sorted(made))})"
    return [Figure(name, "requests", [len(made)], budget=Budget(6))]


def item(document: Mapping[str, Any]) -> dict[str, Any]:
    """The event of generate for the first row of a job."""
    return {
        **{name: document[name] for name in ("jobId", "run", "createdAt", "prompt", "parameters")},
        "index": 0,
        "model": document["results"][0]["model"],
        "attempt": 1,
    }


def event(
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "rawPath": path,
        "headers": {"content-type": "application/json", **(headers or {})},
        "pathParameters": parameters or {},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
        "body": json.dumps(body) if body is not None else None,
    }


def invoke(bench: Workbench, part: str, events: Sequence[Mapping[str, Any]]) -> list[list[Sent]]:
    """AWS requests of a Lambda's handler for each of these events, in one process, the first of them cold."""
    environment = {
        **bench.environment(bench.service.function(part)),
        **bench.service.cloud.access_key().environment(),
        "AWS_DEFAULT_REGION": cdk.REGION,
        "AWS_ENDPOINT_URL": bench.service.cloud.endpoints["aws"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "PATH": SYSTEM_PATH,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}",
    }
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.counted"],
        input=json.dumps({"module": part, "events": events}),
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stderr
    calls = json.loads(process.stdout)
    assert all(call["answer"].get("statusCode", 200) == 200 for call in calls), calls
    return [[Sent(**request) for request in call["sent"]] for call in calls]


PART = Part(
    "routes",
    "Submit and status",
    "Over HTTP, one request after the other; the execution ends at once, so only submit is measured. "
    "Floor: an HTTP API of the same emulator with a Lambda behind it that prints one line. Requests to AWS are counted "
    "by botocore's own events; *one after the other* is the longest row of them in which each waited for the one "
    "before.",
    measure,
)
