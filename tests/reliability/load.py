"""What the processes of a fleet do; in a module of its own, because each of them imports it."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pixelprompt.errors import ConflictError
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.ledger_rate_limit import LedgerRateLimiter
from pixelprompt.limits.limiter import Decision, Limiter
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.storage.ledger import Ledger

from .emulator import BUCKET, TABLE

RESULT = {"imageKey": "group-images/g/m-1.json", "images": [{"imageKey": "group-images/g/m-1.json"}]}


@dataclass(frozen=True)
class Closing:
    """A row to close."""

    job_id: str
    model: str


def close(client: Any, task: Closing, await_instant: Callable[[int], None]) -> None:
    """Close a row with an image that names it; each task has a manager of its own, as each Lambda has."""
    jobs = JobManager(client, BUCKET)
    await_instant(0)
    jobs.mark_model_complete(task.job_id, task.model, {"imageKey": f"group-images/{task.job_id}/{task.model}.json"})


def drop_conditions(params: dict[str, Any], **_: Any) -> None:
    """Send a write without its conditions."""
    for name in ("IfMatch", "IfNoneMatch"):
        params.pop(name, None)


def close_without_condition(client: Any, task: Closing, await_instant: Callable[[int], None]) -> None:
    """Close a row by writing over whatever is there."""
    client.meta.events.register("before-parameter-build.s3.PutObject", drop_conditions)
    jobs = JobManager(client, BUCKET)
    await_instant(0)
    jobs.mark_model_complete(task.job_id, task.model, {"imageKey": f"group-images/{task.job_id}/{task.model}.json"})


@dataclass(frozen=True)
class Turn:
    """One row's way: when it starts and closes, in seconds after the common instants, and its place in the job."""

    job_id: str
    model: str
    offset: float
    place: int = 0


def turn(client: Any, task: Turn, await_instant: Callable[[int], None]) -> tuple[float, float]:
    """Start a row and close it; how long both waited to be recorded."""
    jobs = JobManager(client, BUCKET)
    answered = False

    def start() -> float:
        began = time.monotonic()
        with contextlib.suppress(ConflictError):
            jobs.mark_model_started(task.job_id, task.model, place=task.place, give_up=lambda: answered)
        return time.monotonic() - began

    with ThreadPoolExecutor(1) as pool:
        await_instant(0)
        time.sleep(task.offset)
        starting = pool.submit(start)
        await_instant(1)
        time.sleep(task.offset)
        answered = True
        began = time.monotonic()
        jobs.mark_model_complete(task.job_id, task.model, RESULT)
        return starting.result(), time.monotonic() - began


@dataclass(frozen=True)
class Caller:
    """Somebody who sends requests one after the other."""

    addresses: tuple[str, ...]
    global_limit: int
    ip_limit: int


def limiter_of(client: Any, global_limit: int, ip_limit: int) -> Limiter:
    """A limiter as each Lambda has one, in the store that the client is of."""
    if client.meta.service_model.service_name == "dynamodb":
        return LedgerRateLimiter(Ledger(client, TABLE), "jobs", global_limit, ip_limit)
    return RateLimiter(client, BUCKET, global_limit, ip_limit)


def call(client: Any, task: Caller, await_instant: Callable[[int], None]) -> list[tuple[Decision, float]]:
    """What became of each request, and the seconds that it took."""
    limiter = limiter_of(client, task.global_limit, task.ip_limit)
    await_instant(0)
    answers = []
    for address in task.addresses:
        began = time.monotonic()
        answers.append((limiter.check(address), time.monotonic() - began))
    return answers
