"""The emulator, changed where it is unlike AWS in what jobs depend on.

- A deployment lets invocations under way end. The emulator kills them; AWS only begins no new one with the old code
  (Lambda Developer Guide, "Lambda function states": a function can be invoked while it is updated).
- A stopped execution begins no further state. The emulator lets the items of a Map go on: one that waits for its
  provider would ask it again when its time has come, long after the job was cancelled.

It is started by its server, hypercorn: its own command would, run as root with TLS, listen on port 443 as well.

Usage: python -P local/emulator.py ARGUMENTS OF HYPERCORN
"""

from __future__ import annotations

import resource
import sys
from typing import Any

from hypercorn.__main__ import main as serve
from ministack.core import lambda_runtime
from ministack.services import lambda_svc, stepfunctions

# Workers of functions that were updated or removed meanwhile; they end with what they are doing.
_outdated: set[Any] = set()
_kill, _invalidate, _release = lambda_runtime.kill_workers, lambda_svc.invalidate_worker, lambda_svc.release_worker
_execute_task = stepfunctions._execute_task


def invalidate_worker(*arguments: Any, **options: Any) -> None:
    """Take the workers of a function out of their pool; kill those that are idle."""

    def kill_idle(workers: list[Any]) -> None:
        busy = {worker for worker in workers if worker.in_use}
        _outdated.update(busy)
        _kill([worker for worker in workers if worker not in busy])

    lambda_runtime.kill_workers = kill_idle
    try:
        _invalidate(*arguments, **options)
    finally:
        lambda_runtime.kill_workers = _kill


def release_worker(worker: Any) -> None:
    """Give a worker back to its pool, or end it where that is gone."""
    _release(worker)
    if worker in _outdated:
        _outdated.discard(worker)
        _kill([worker])


def execute_task(state: Any, value: Any, execution: dict[str, Any], context: Any) -> Any:
    """Run a Task state, unless its execution was stopped; the Map's Catch then leads nowhere."""
    if execution["status"] == "ABORTED":
        raise stepfunctions._ExecutionError("States.Aborted", "The execution was stopped.")
    return _execute_task(state, value, execution, context)


if __name__ == "__main__":
    stepfunctions._execute_task = execute_task
    lambda_svc.invalidate_worker, lambda_svc.release_worker = invalidate_worker, release_worker
    # Each connection and each worker takes file descriptors; macOS takes no infinity.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (10240 if most == resource.RLIM_INFINITY else most, most))
    sys.exit(serve(sys.argv[1:]))
