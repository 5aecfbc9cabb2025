"""Time that the service adds to that of the slowest model."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.figures import Budget, Curve, Figure, Result, number, rounds
from benchmarks.workbench import Part, Workbench, elapsed, epoch

SECONDS = 2.0
COUNTS = (1, 9, 20, 40)
ROUNDS = {1: 5, 9: 5, 20: 3, 40: 3}
MIXED_ROUNDS = 3
# Seconds of the quickest model; the others lie evenly between it and the slowest.
KINDS = {"all take 2 s": SECONDS, "from 0.5 to 2 s": 0.5}
# How long the bare invocations sleep beside equally fast models: what they add does not depend on it.
BARE_SECONDS = 0.5
WIRE_ROUNDS = 7


def measure(bench: Workbench) -> Result:
    """Jobs of 1 to 40 models, and as many bare invocations of a Lambda."""
    figures: list[Figure] = []
    series: dict[str, list[tuple[float, list[float]]]] = {}
    bench.progress("warming 40 Lambdas")
    bench.latency(SECONDS)
    _bare(bench, [BARE_SECONDS] * max(COUNTS))
    for _ in range(2):
        bench.job(SECONDS, models=bench.models)
    reference = 0.0
    profiles: dict[int, list[Stages]] = {}
    for kind, quickest in KINDS.items():
        for count in COUNTS:
            models = bench.models[:count]
            times = [SECONDS - (SECONDS - quickest) * place / count for place in range(count)]
            bench.latency(SECONDS, dict(zip(models, times, strict=True)))
            overheads: list[float] = []
            floors, maps = [], []
            turns = ROUNDS[count] if quickest == SECONDS else MIXED_ROUNDS
            sleeps = [BARE_SECONDS] * count if quickest == SECONDS else times
            for _ in rounds(turns, bench.progress, f"a job of {count}, {kind}"):
                floors.append(_bare(bench, sleeps))
                overhead, stages = _overhead(bench, models)
                overheads.append(overhead)
                if quickest == SECONDS:
                    maps.append(_bare_map(bench, sleeps))
                    profiles.setdefault(count, []).append(stages)
            budget = Budget(0.35) if count == 9 else None
            if count == 9 and not reference:
                reference = sorted(overheads)[len(overheads) // 2]
            if count == 40 and reference:
                budget = Budget(round(3 * reference, 3))
            name = f"overhead, {count} model{'s' * (count > 1)}, {kind}"
            figures.append(Figure(name, "s", overheads, floors, "bare invocations", budget))
            series.setdefault(f"jobs, {kind}", []).append((count, overheads))
            series.setdefault(f"floor: bare invocations, {kind}", []).append((count, floors))
            if maps:
                figures.append(Figure(f"of which the emulator's Map of {count} bare invocations takes", "s", maps))
                series.setdefault("floor: a Map of them", []).append((count, maps))
    return Result(
        figures, [Curve("Orchestration overhead", "models of the job", "seconds", series)], [_profile(profiles)]
    )


class Stages(NamedTuple):
    """Parts of a job's time beside that of its models, in seconds.

    Attributes
    ----------
    asked : from the request to us until the last model's provider has been asked
    stored : from the last response until the last row is about to be closed, its images stored
    recorded : from then until the document holds all rows
    """

    asked: float
    stored: float
    recorded: float


def _overhead(bench: Workbench, models: list[str]) -> tuple[float, Stages]:
    bench.service.simulator("DELETE", "/requests")
    began = time.time()
    seconds, document = bench.job(SECONDS, models=models)
    entries = bench.service.simulator("GET", "/requests")
    slowest: float = max(entry["answered"] - entry["received"] for entry in entries)
    answered = max(entry["answered"] for entry in entries)
    closing = max(epoch(row["completedAt"]) for row in document["results"])
    stages = Stages(
        max(entry["received"] for entry in entries) - began, closing - answered, epoch(document["updatedAt"]) - closing
    )
    return seconds - slowest, stages


def _profile(profiles: Mapping[int, list[Stages]]) -> str:
    lines = [
        "Where the overhead of equally fast models goes (medians):\n",
        "| models | until the last provider is asked | last response → last image stored | → last row recorded |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for count, runs in profiles.items():
        cells = [number(statistics.median(values), "s") for values in zip(*runs, strict=True)]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bare(bench: Workbench, times: list[float]) -> float:
    client, name = bench.service.cloud.client("lambda"), bench.bare_function

    def invoke(seconds: float) -> None:
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"seconds": seconds}))
        assert "FunctionError" not in answer, answer["Payload"].read()

    with ThreadPoolExecutor(len(times)) as pool:
        return elapsed(lambda: list(pool.map(invoke, times))) - max(times)


def _bare_map(bench: Workbench, times: list[float]) -> float:
    client = bench.service.cloud.client("stepfunctions")
    began = time.time()
    arn = client.start_execution(stateMachineArn=bench.bare_machine, input=json.dumps(times))["executionArn"]
    time.sleep(max(times))
    while (execution := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.05)
    assert execution["status"] == "SUCCEEDED", execution
    ended: float = execution["stopDate"].timestamp()
    return ended - began - max(times)


def measure_wire(bench: Workbench) -> Result:
    """Jobs of one model each, by all protocols, in a Lambda that has called the provider before."""
    bench.latency(0.05)
    bench.make_cold(bench.service.function("generate"))
    models = [model for model in bench.service.cloud.request("GET", "/models").json()["models"] if model["default"]]
    figures = []
    for model in models:
        bench.job(0.05, models=[model["name"]])
        samples = [_wire(bench, model["name"]) for _ in rounds(WIRE_ROUNDS, bench.progress, model["name"])]
        name = f"row in progress → request at the provider, {model['name']} ({model['provider']})"
        figures.append(Figure(name, "ms", samples, budget=Budget(20)))
    return Result(figures)


def _wire(bench: Workbench, model: str) -> float:
    bench.service.simulator("DELETE", "/requests")
    _, document = bench.job(0.05, models=[model])
    received: float = min(entry["received"] for entry in bench.service.simulator("GET", "/requests"))
    # The document has milliseconds.
    return max(0.0, received - epoch(document["results"][0]["startedAt"])) * 1000


ORCHESTRATION = Part(
    "orchestration",
    "Orchestration",
    "From `POST /generate` until the last row of the job is recorded, less the time that the slowest model itself took "
    "by the simulator's own log; warm. Floor: as many invocations at once of a Lambda that only sleeps, by the same "
    "emulator, less that sleep. The budget of 40 models is three times what 9 take.",
    measure,
)
WIRE = Part(
    "wire",
    "First byte to the provider",
    "From the moment at which a row says it is in progress until its request has reached the provider; warm, one model "
    "at a time. The row's write goes on beside it.",
    measure_wire,
)
