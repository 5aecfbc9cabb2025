"""Runs an entry point in this process and tells what it asked of AWS; started by ``benchmarks.routes``.

Reads ``{"module": "submit", "events": […]}`` from standard input, prints for each event the requests and the response.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import TextIO

from benchmarks.requests import Requests
from pixelprompt.storage import clients


def main() -> None:
    """Invoke the handler with each event."""
    asked = json.load(sys.stdin)
    requests = Requests(clients.session())
    context = SimpleNamespace(function_name=asked["module"], get_remaining_time_in_millis=lambda: 200_000)
    out = own_output()
    handler = importlib.import_module(asked["module"]).handler
    found = []
    for event in asked["events"]:
        with requests.during() as sent:
            answer = handler(event, context)
        found.append({"sent": [asdict(request) for request in sent], "answer": answer})
    json.dump(found, out)


def own_output() -> TextIO:
    """The standard output, from now on without what the handlers log: that goes where errors go."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
