"""Costs of a job document: S3 requests, and how long its last row waits to be recorded.

A job of n rows is written by n processes, as by n invocations of the generate Lambda: each starts its row beside its
work and closes it afterwards.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.figures import Budget, Curve, Figure, Result, rounds
from benchmarks.workbench import Part, Workbench
from pixelprompt.jobs.document import FINAL_ROW
from pixelprompt.jobs.store import START_SLOT, JobManager
from tests.reliability.emulator import BUCKET, s3_client
from tests.reliability.fault_proxy import FaultProxy
from tests.reliability.fleet import Fleet
from tests.reliability.load import Turn, turn

ROWS = (1, 9, 20, 40)
LATENCIES = (0.0, 0.07)
ROUNDS = 3
SPACING = 0.4


@dataclass(frozen=True)
class Cost:
    """Results of one job; times in seconds."""

    requests: int
    lost_races: int
    last_start: float
    last_row: float
    mean_row: float
    lost: int


def model_names(count: int) -> list[dict[str, str]]:
    """A list of so many models."""
    return [{"name": f"Model {number}", "provider": "openai"} for number in range(count)]


def measure(proxy: FaultProxy, rows: int, latency: float, spacing: float) -> Cost:
    """One job.

    Parameters
    ----------
    latency : seconds added to each S3 request
    spacing : seconds between the rows' starts, and between their ends; 0: all in the same instant
    """
    jobs = JobManager(s3_client(proxy.url), BUCKET)
    # Its connection is made, as in a warm Lambda.
    jobs.documents.s3.list_buckets()
    proxy.latency = latency
    proxy.clear()
    job_id = jobs.create_job("a red fox", {}, model_names(rows))
    tasks = [[Turn(job_id, model["name"], spacing * number, number)] for number, model in enumerate(model_names(rows))]
    # By then all starts are recorded.
    closing = max(1.0, (0.15 if latency else 0.05) * rows, (spacing + START_SLOT) * rows)
    proxy.latency = latency
    waits = Fleet(proxy.url, tasks).run(turn, instants=(0.0, closing))
    # Each process made its connection with one request.
    requests = proxy.total() - rows
    jobs.finish(job_id, {}, lambda document: {})
    requests += 1
    lost_races = proxy.requests["PUT", 412]
    proxy.latency = 0.0
    document = jobs.get_job_status(job_id)
    assert document is not None
    return Cost(
        requests=requests,
        lost_races=lost_races,
        last_start=max(start for start, _ in waits),
        last_row=max(close for _, close in waits),
        mean_row=statistics.mean(close for _, close in waits),
        lost=sum(row["status"] not in FINAL_ROW for row in document["results"]),
    )


def measure_contention(bench: Workbench) -> Result:
    """Jobs whose rows start and close in the same instant, and one whose rows come one after the other."""
    proxy = FaultProxy(bench.s3_port)
    figures: list[Figure] = []
    times: dict[str, list[tuple[float, list[float]]]] = {}
    requests: dict[str, list[tuple[float, list[float]]]] = {}
    for latency in LATENCIES:
        label = f"{latency * 1000:.0f} ms of latency"
        for rows in ROWS:
            name = f"{rows} row{'s' * (rows > 1)} at once, {label}"
            costs = [measure(proxy, rows, latency, 0.0) for _ in rounds(ROUNDS, bench.progress, name)]
            assert not any(cost.lost for cost in costs)
            last = [cost.last_row for cost in costs]
            each = [cost.requests / rows for cost in costs]
            # Of writers that contend, one succeeds in the time from a read to its write, which is one latency.
            floor = [latency * rows] if latency else []
            figures.append(Figure(f"{name}: last row recorded", "s", last, floor, "one write in each round trip"))
            figures.append(Figure(f"{name}: requests a row", "requests", each))
            times.setdefault(label, []).append((rows, last))
            requests.setdefault(label, []).append((rows, each))
            if latency:
                times.setdefault("floor: one write a round trip, 70 ms", []).append((rows, floor))
    spaced = measure(proxy, 9, 0.07, SPACING)
    each = [spaced.requests / 9]
    figures.append(
        Figure("9 rows, 0.4 s apart, 70 ms of latency: requests a row", "requests", each, budget=Budget(4.3))
    )
    proxy.refuse()
    curves = [
        Curve("Rows that close at once: last one recorded", "rows", "seconds", times),
        Curve("Rows that close at once: S3 requests a row", "rows", "requests", requests),
    ]
    return Result(figures, curves)


CONTENTION = Part(
    "contention",
    "Contention for the job document",
    "As many processes as rows; all start their row in the same 10 ms, and all close it in the same 10 ms. Requests "
    "are those for the job document only, those of the job itself shared out among the rows.",
    measure_contention,
)
