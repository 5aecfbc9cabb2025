"""What a job's document costs: S3 requests, and how long its last row waits to be recorded.

``python -m tests.reliability.measure_job_document --help``; docs/reliability.md has the figures. A job of n rows is
written by n processes, as by n invocations of the generate Lambda: each starts its row beside its work and closes it
afterwards.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixelprompt.jobs import FINAL_ROW, JobManager

from .emulator import BUCKET, emulator, s3_client
from .fault_proxy import FaultProxy
from .fleet import Fleet
from .load import Turn, turn


@dataclass(frozen=True)
class Cost:
    """What one job took; times in seconds."""

    requests: int
    lost_races: int
    last_start: float
    last_row: float
    mean_row: float
    lost: int


def model_names(count: int) -> list[dict[str, str]]:
    """So many models."""
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
    tasks = [[Turn(job_id, model["name"], spacing * number)] for number, model in enumerate(model_names(rows))]
    closing = max(1.0, 0.2 * rows, spacing * rows)
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


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 9, 20, 40], help="rows of the job")
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 70], help="ms added to each S3 request")
    parser.add_argument("--spacing", type=float, nargs="+", default=[0], help="ms between one row and the next")
    parser.add_argument("--rounds", type=int, default=3, help="jobs of each kind")
    options = parser.parse_args(arguments)
    print("| rows | S3 latency | between rows | S3 requests | per row | lost races | mean wait | last row | lost |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    lost = 0
    with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as port:
        proxy = FaultProxy(port)
        for latency in options.latency:
            for spacing in options.spacing:
                for rows in options.rows:
                    costs = [measure(proxy, rows, latency / 1000, spacing / 1000) for _ in range(options.rounds)]
                    lost += sum(cost.lost for cost in costs)
                    requests = statistics.mean(cost.requests for cost in costs)
                    print(
                        f"| {rows} | {latency:g} ms | {spacing:g} ms | {requests:.0f} | {requests / rows:.1f} "
                        f"| {statistics.mean(cost.lost_races for cost in costs):.0f} "
                        f"| {statistics.mean(cost.mean_row for cost in costs):.2f} s "
                        f"| {max(cost.last_row for cost in costs):.2f} s | {sum(cost.lost for cost in costs)} |",
                        flush=True,
                    )
        proxy.refuse()
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
