"""The emulator, changed where it is unlike AWS in what jobs depend on.

- A deployment lets invocations under way end. The emulator kills them; AWS only begins no new one with the old code
  (Lambda Developer Guide, "Lambda function states": a function can be invoked while it is updated).
- A stopped execution begins no further state. The emulator lets the items of a Map go on: one that waits for its
  provider would ask it again when its time has come, long after the job was cancelled.
- An invocation has all log lines that it wrote. The emulator waits some milliseconds for them; on a busy machine they
  come with the response to a later invocation, or never.
- Where it enforces IAM, policies can tell conditional writes (``s3:if-match``, ``s3:if-none-match``) and presigned URLs
  (``s3:authType``), and S3 returns 403 instead of 404 for a missing key to a role that may not list the bucket
  (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).

Where it enforces IAM, it writes the calls of roles into the file that ``CALLS_LOG`` names, a JSON object a line:
``{"role", "action", "resource", "context"}``, the last with the condition keys of the request. A call for a missing key
has another line, ``{"role", "action", "resource", "missing": true}``.

It is started by its server, hypercorn: its own command would, run as root with TLS, listen on port 443 as well.

It serves only its own cloud: `local.emulator.authentication` refuses the requests of others.

Usage: python -P local/emulator/emulator.py --cloud FOLDER ARGUMENTS OF HYPERCORN; with the cloud of the folder it ends
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from hypercorn.__main__ import main as serve
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses, router
from ministack.services import lambda_svc, s3, stepfunctions

# Workers of functions that have been updated or removed since; they end with what they are doing.
_outdated: set[Any] = set()
_kill, _invalidate, _release = lambda_runtime.kill_workers, lambda_svc.invalidate_worker, lambda_svc.release_worker
_execute_task = stepfunctions._execute_task
_enforce, _handle_s3_request = iam_evaluator.enforce, s3.handle_request
_s3_service_context = iam_actions.s3_service_context
_calls: IO[str] | None = None
_LOG_SECONDS = 10.0


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


def stderr_reader(worker: Any) -> Callable[[], None]:
    """The queue of a worker's log lines; under its lock, every line is either in the pipe or in the queue.

    The emulator asks for it when it has started the process, and runs it in a thread.
    """
    stream, lines = worker._proc.stderr, worker._stderr_queue
    # A poll may be used by one thread at a time only.
    reading, worker.log_pipe, worker.log_lock = select.poll(), select.poll(), threading.Lock()
    for pipe in (reading, worker.log_pipe):
        pipe.register(stream, select.POLLIN)
    return functools.partial(_read_stderr, stream, lines, reading, worker.log_lock)


def _read_stderr(stream: IO[str], lines: Any, pipe: Any, lock: threading.Lock) -> None:
    rest = b""
    # A stream that is closed by now belongs to a process that has ended.
    with contextlib.suppress(OSError, ValueError):
        while True:
            pipe.poll()
            with lock:
                chunk = os.read(stream.fileno(), 65536)
                *ended, rest = (rest + chunk).split(b"\n")
                for line in ended if chunk else filter(None, [rest]):
                    lines.put(line.decode(errors="replace"))
            if not chunk:
                return


def drain_stderr(worker: Any, **_: float) -> str:
    """The log lines that a worker wrote before its response."""
    until = time.monotonic() + _LOG_SECONDS
    while time.monotonic() < until:
        with worker.log_lock:
            if not any(event & select.POLLIN for _, event in worker.log_pipe.poll(0)):
                break
        time.sleep(0.001)
    return str(worker._drain_stderr())


def enforce(access_key_id: str, iam_action: str, *arguments: Any, **options: Any) -> Any:
    """Judge a call, and record it if a role has made it."""
    if role := _role(access_key_id):
        resource, context = options.get("resource_arn", "*"), options.get("service_context") or {}
        _record(role=_name(role), action=iam_action, resource=resource, context=context)
    return _enforce(access_key_id, iam_action, *arguments, **options)


def s3_service_context(action: str, query: Any, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The condition keys of an S3 request, with those of conditional writes and of presigned URLs."""
    keys = {f"s3:{name}": headers[name] for name in ("if-match", "if-none-match") if name in headers}
    keys["s3:authType"] = "REST-QUERY-STRING" if "X-Amz-Credential" in (query or {}) else "REST-HEADER"
    return {**_s3_service_context(action, query, path, headers), **keys}


async def handle_s3_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query_params: Mapping[str, Any], **options: Any
) -> Any:
    """Handle a request of S3; a missing key is forbidden to a role that may not list the bucket."""
    response = await _handle_s3_request(method, path, headers, body, query_params, **options)
    # A response to HEAD has no body.
    if response[0] != 404 or not (method == "HEAD" or (method == "GET" and b"NoSuchKey" in response[2])):
        return response
    bucket, key = s3._parse_bucket_key(path, headers)
    role = _role(router.extract_access_key_id(headers, query_params))
    if not key or not role:
        return response
    _record(role=_name(role), action="s3:GetObject", resource=f"arn:aws:s3:::{bucket}/{key}", missing=True)
    if _may_list(role, f"arn:aws:s3:::{bucket}"):
        return response
    status, answered, content = iam_actions.access_denied_response("s3", "s3:ListBucket", role.arn, "", headers=headers)
    return status, answered, b"" if method == "HEAD" else content


def _role(access_key_id: str) -> Any:
    """The role whose credentials these are; None where they are not a role's."""
    principal = iam_evaluator.resolve_principal(access_key_id or "", responses.get_account_id())
    return principal if getattr(principal, "type", "") == "AssumedRole" else None


def _name(role: Any) -> str:
    return str(iam_evaluator._role_name_from_assumed_arn(role.arn))


def _may_list(role: Any, bucket: str) -> bool:
    # A request for an object carries nothing that a condition could be met by.
    unconditional = [[s for s in policy if s.effect == "Deny" or not s.conditions] for policy in role.policies]
    request = iam_evaluator.EvalContext(
        role.arn, role.type, role.account, "s3:ListBucket", bucket, "", principal_keys=role.keys
    )
    return bool(iam_evaluator.evaluate(request, unconditional, *role.limits).decision == "Allow")


def _record(**call: Any) -> None:
    if _calls:
        print(json.dumps(call), file=_calls, flush=True)


if __name__ == "__main__":
    if os.environ.get("AUTH") == "true":
        iam_evaluator.enforce, s3.handle_request = enforce, handle_s3_request
        iam_actions.s3_service_context = s3_service_context
        if path := os.environ.get("CALLS_LOG"):
            _calls = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for as long as the process runs
    stepfunctions._execute_task = execute_task
    lambda_runtime.Worker._read_stderr = property(stderr_reader)
    lambda_runtime.Worker._drain_stderr_bounded = drain_stderr
    lambda_svc.invalidate_worker, lambda_svc.release_worker = invalidate_worker, release_worker
    # Only for these imports: the Lambdas are to find no module of ours by the emulator's path.
    before = sys.path[:]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from local import lease
    from local.emulator import access_key, authentication

    sys.path[:] = before
    folder = Path(sys.argv[2])
    lease.watch(folder)
    authentication.install(
        access_key.AccessKey.of(os.environ), int(os.environ["GATEWAY_PORT"]), folder / "origins.json"
    )
    # Each connection and each worker needs file descriptors; macOS does not accept infinity.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (10240 if most == resource.RLIM_INFINITY else most, most))
    sys.exit(serve(sys.argv[3:]))
