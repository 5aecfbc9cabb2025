"""Runs an entry point from an archive, as Lambda does, and measures it; started by ``benchmarks.archive``.

Reads ``{"code", "module", "events": […]}`` from standard input: code that makes the entry point ready, and events for
its handler. Prints the processor time of the code and of each event, the responses, and the peak memory of the process.
It imports nothing of the project but what the archive holds.
"""

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace


def main() -> None:
    """Get ready, handle the events, print a line of JSON after what the handlers log."""
    asked = json.load(sys.stdin)
    context = SimpleNamespace(function_name="f", get_remaining_time_in_millis=lambda: 200_000)
    began = time.process_time()
    exec(asked["code"], {})
    ready = time.process_time() - began
    seconds, answers = [], []
    for event in asked["events"]:
        handler = sys.modules[asked["module"]].handler
        began = time.process_time()
        answers.append(handler(event, context))
        seconds.append(time.process_time() - began)
    print(json.dumps({"ready": ready, "seconds": seconds, "answers": answers, "peak": _peak()}))


def _peak() -> int:
    """The most memory that the process had so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, `ru_maxrss` counts the process that started this one, too.
        (line,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
