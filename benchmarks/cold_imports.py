"""Time of a fresh interpreter until an entry point is ready for its first request."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.figures import Budget, Figure, Result, rounds
from benchmarks.workbench import Part, Workbench
from local import cdk
from local.paths import ROOT, SYSTEM_PATH

RUNS = 20
HEAVIEST = 10
# By entry point, the AWS clients that it makes.
CLIENTS = {
    "submit": ("s3", "secretsmanager", "stepfunctions"),
    "status": ("s3",),
    "enhance": ("s3", "secretsmanager"),
    "upload": ("s3",),
    "models": ("s3", "secretsmanager"),
    "cancel": ("s3", "stepfunctions"),
    "retry": ("s3", "stepfunctions"),
    "gallery": ("s3",),
    "finish": ("s3",),
    "record_failure": ("s3",),
    "prepare_references": ("s3",),
}
# By adapter, what its SDK is imported as.
SDKS = {
    "openai": "import openai",
    "gemini": "from google import genai",
    "bedrock": "import httpx2",
    "stability": "import httpx2",
}
BUDGETED = ("submit", "status")
LIMIT = Budget(1.15, of="ratio")

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": cdk.REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "PATH": SYSTEM_PATH,
    "PYTHONPATH": str(ROOT / "functions"),
    "AWS_LAMBDA_FUNCTION_NAME": "pixel-prompt",
    "BUCKET_NAME": "bucket",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:000000000000:stateMachine:machine",
    "FINISH_FUNCTION": "finish",
    "PROVIDER_SECRET": "secret",
}


def measure(bench: Workbench) -> Result:
    """Every entry point beside boto3 with the clients that it makes."""
    ready = {name: entry_point(name) for name in CLIENTS}
    floors = {name: _clients(clients) for name, clients in CLIENTS.items()}
    for provider, sdk in SDKS.items():
        name = f"generate with {provider}"
        ready[name] = with_adapter("generate", provider)
        floors[name] = f"{_clients(('s3',))}; {sdk}"
    times: dict[str, list[float]] = defaultdict(list)
    codes = list(dict.fromkeys([*ready.values(), *floors.values()]))
    for _ in rounds(RUNS, bench.progress, "every entry point in a fresh interpreter"):
        for code in codes:
            times[code].append(_seconds(code) * 1000)
    figures = []
    for name, code in ready.items():
        budget = LIMIT if name in BUDGETED or name.startswith("generate") else None
        floor = (
            "boto3, S3 client, SDK" if name.startswith("generate") else f"boto3, clients: {', '.join(CLIENTS[name])}"
        )
        figures.append(Figure(f"{name}, ready", "ms", times[code], times[floors[name]], floor, budget))
    notes = ["The ten heaviest imports of each, by their own time (`-X importtime`, one run, ms):\n"]
    notes += [f"- `{name}`: {_heaviest(code)}" for name, code in ready.items()]
    return Result(figures, notes=["\n".join(notes)])


def entry_point(name: str) -> str:
    """Code that imports an entry point, which makes its services and clients as in Lambda."""
    return f"import {name}"


def with_adapter(name: str, provider: str) -> str:
    """Code that does the same and loads the adapter of a provider, with its SDK."""
    return f"{entry_point(name)}; from pixelprompt.providers import adapter; adapter({provider!r})"


def _clients(services: Sequence[str]) -> str:
    return "; ".join(["import boto3", *(f"boto3.client({service!r})" for service in services)])


def _run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    process = subprocess.run(
        [sys.executable, *options, "-c", code], env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False
    )
    assert process.returncode == 0, process.stderr
    return process


def _seconds(code: str) -> float:
    timed = f"import time; began = time.process_time()\n{code}\nprint(time.process_time() - began)"
    return float(_run(timed).stdout.splitlines()[-1])


@functools.cache
def _heaviest(code: str) -> str:
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", _run(code, "-X", "importtime").stderr)
    heavy = sorted(((int(own), name) for own, name in lines), reverse=True)[:HEAVIEST]
    return ", ".join(f"{name} {own / 1000:.1f}" for own, name in heavy)


PART = Part(
    "imports",
    "Cold imports",
    "Processor time until an entry point is imported and its clients are made, in a fresh interpreter, without a "
    "request. Floor: boto3 and the same clients, as boto3 makes them; for generate boto3, the S3 client and the SDK of "
    "the model's provider.",
    measure,
)
