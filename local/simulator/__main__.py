"""Run the simulators: `python -m local.simulator --help`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from threading import Event

from local import lease, terminal
from local.processes import write_port
from local.simulator.faults import FAULTS, FaultError, parse_faults
from local.simulator.latency import LatencyError
from local.simulator.protocols import PREFIXES
from local.simulator.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    terminal.prepare()
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m local.simulator",
        description=f"Plays image providers on 127.0.0.1: {', '.join(PREFIXES)}. Each has its own path below the "
        "port; /_simulator/ has health, requests, faults and latency.",
        epilog="SECONDS is how long throttled and poll_throttled ask the caller to wait, slow delays the response, "
        "and late_task keeps the task unknown. TIMES is how many requests meet the fault; without it, all do. "
        f"Faults: {', '.join(sorted(FAULTS))}.",
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, picks a free one")
    parser.add_argument("--port-file", type=Path, help="file that receives the port once requests are accepted")
    parser.add_argument("--latency-min", type=float, default=0.5, help="seconds the fastest model takes (default 0.5)")
    parser.add_argument("--latency-max", type=float, default=4.0, help="seconds the slowest model takes (default 4)")
    parser.add_argument(
        "--faults",
        default=os.environ.get("SIMULATOR_FAULTS", ""),
        help="MODEL=FAULT[:SECONDS[:TIMES]], comma-separated; MODEL is a model's ID (`make up` and `make demo` "
        "accept its name, too), or * for all; default: $SIMULATOR_FAULTS",
    )
    parser.add_argument("--cloud", type=Path, help="folder of the cloud that it belongs to, and ends with")
    options = parser.parse_args(arguments)
    try:
        latency = (options.latency_min, options.latency_max)
        simulator = Simulator(latency, parse_faults(options.faults), options.port, log=True)
    except (FaultError, LatencyError) as error:
        parser.error(str(error))
    except (OSError, OverflowError) as error:
        parser.exit(1, f"Cannot listen on port {options.port}: {error}. Use --port 0 to pick a free one.\n")

    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if options.cloud:
        lease.watch(options.cloud)
    with simulator:
        if options.port_file:
            write_port(options.port_file, simulator.port)
        print(f"Simulating {', '.join(PREFIXES)} at {simulator.url}", file=sys.stderr, flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
