"""Many real processes that do something to one S3, or one DynamoDB, in the same instant."""

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .emulator import dynamodb_client, s3_client

# The child's work: the client, its task, and a function that waits for the common instant number n.
Work = Callable[[Any, Any, Callable[[int], None]], Any]
# All begin within it.
INSTANT = 0.01

# A copy of this process would inherit its threads' locks; so all are copies of a fresh one with the imports behind it.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.reliability.warm"])


@dataclass(frozen=True)
class Fleet:
    """Processes, each with tasks that run in threads of their own, and a client of ``s3`` or ``dynamodb``."""

    endpoint: str
    tasks: Sequence[Sequence[Any]]
    service: str = "s3"

    def run(
        self,
        work: Work,
        *,
        instants: Sequence[float] = (0.0,),
        ready: Callable[[], object] = lambda: None,
        seconds: float = 120,
    ) -> list[Any]:
        """What the work gave back, process by process, thread by thread.

        Parameters
        ----------
        work : a function of a module, run once a task
        instants : the common instants, in seconds after all are ready
        ready : called when all processes have made their connections
        """
        count = len(self.tasks)
        barrier, answers = _CONTEXT.Barrier(count + 1), _CONTEXT.Queue()
        begin = _CONTEXT.Value("d", 0.0)
        processes = [
            _CONTEXT.Process(
                target=_process,
                args=(number, self.service, self.endpoint, tasks, work, barrier, begin, tuple(instants), answers),
            )
            for number, tasks in enumerate(self.tasks)
        ]
        for process in processes:
            process.start()
        try:
            barrier.wait(seconds)
            ready()
            begin.value = time.monotonic() + 0.1
            barrier.wait(seconds)
            gathered = dict(answers.get(timeout=seconds) for _ in processes)
        finally:
            for process in processes:
                process.join(seconds)
                if process.is_alive():
                    process.kill()
                    process.join()
        failures = [answer for answer in gathered.values() if isinstance(answer, str)]
        assert not failures, failures[0]
        return [result for number in range(count) for result in gathered[number]]


def _client(service: str, endpoint: str, connections: int) -> tuple[Any, Callable[[], object]]:
    """A client, and what makes a connection of its own."""
    if service == "dynamodb":
        dynamodb = dynamodb_client(endpoint, connections=connections)
        return dynamodb, dynamodb.list_tables
    s3 = s3_client(endpoint, connections=connections)
    return s3, s3.list_buckets


def _process(
    number: int,
    service: str,
    endpoint: str,
    tasks: Sequence[Any],
    work: Work,
    barrier: Any,
    begin: Any,
    instants: Sequence[float],
    answers: Any,
) -> None:
    # What the writers log belongs to no test.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it ends with the process
    try:
        client, warm = _client(service, endpoint, len(tasks))
        with ThreadPoolExecutor(len(tasks)) as pool:
            # Connections and threads are made before the common instant.
            list(pool.map(lambda _: warm(), tasks))
            barrier.wait(120)
            barrier.wait(120)

            def await_instant(which: int) -> None:
                time.sleep(max(0.0, begin.value + instants[which] + random.uniform(0, INSTANT) - time.monotonic()))

            results: Any = list(pool.map(lambda task: work(client, task, await_instant), tasks))
    except BaseException as error:
        results = f"{type(error).__name__}: {error}"
        barrier.abort()
    answers.put((number, results))
