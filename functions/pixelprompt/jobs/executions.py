"""Executions of the state machine: their names, and how they are started and stopped."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.aws_errors import error_code, http_status
from pixelprompt.errors import DeadlineExceeded, ServiceUnavailable
from pixelprompt.jobs.schema import Job, ModelResult
from pixelprompt.models.parameters import Receipt
from pixelprompt.observability import log_failure
from pixelprompt.storage.clients import NOT_SENT, was_unanswered

# What writing a job's document and starting its execution may take, in seconds; with less, neither is begun.
START_SECONDS = 5.0
# What keeps an execution from being started or stopped.
FAILURES = (ClientError, BotoCoreError, DeadlineExceeded)
Failure: TypeAlias = ClientError | BotoCoreError | DeadlineExceeded


def execution_name(job_id: str, run: int) -> str:
    """Name of the execution of a job's run: the job id, from run 2 on with the run."""
    return job_id if run == 1 else f"{job_id}-r{run}"


def job_and_run(name: str) -> tuple[str, int]:
    """The job id and the run of an execution's name."""
    job_id, _, run = name.partition("-r")
    return job_id, int(run) if run.isdecimal() else 1


def may_have_started(error: Failure) -> bool:
    """Whether an execution may run although StartExecution failed: its response was lost, or it ran already."""
    if was_unanswered(error):
        return True
    if isinstance(error, ClientError):
        refused = 400 <= (http_status(error) or 400) < 500
        return not refused or error_code(error) == "ExecutionAlreadyExists"
    return not isinstance(error, NOT_SENT)


def map_item(row: ModelResult, resume: str | None = None) -> dict[str, Any]:
    """A row as input of the state machine's Map; ``resume`` is its progress in earlier runs."""
    receipt = Receipt.of_row(row)
    return {
        "index": row["index"],
        "model": row["model"],
        "resume": resume,
        "receipt": receipt.dump() if receipt else None,
    }


def start_run(
    start: Callable[[str, str], None],
    document: Job,
    parameters: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    correlation_id: str,
    *,
    late: bool = False,
) -> None:
    """Start the execution of a job's present run; one that was started already counts.

    Parameters
    ----------
    start : starts the execution of this name with this input
    parameters : as the caller gave them
    items : see ``map_item``
    late : whether rows may have been closed in the meantime, as never started; such rows are not run

    Raises
    ------
    ServiceUnavailable : it certainly does not run
    """
    execution = {
        "jobId": document["jobId"],
        "run": document["run"],
        "createdAt": document["createdAt"],
        "correlationId": correlation_id,
        "prompt": document["prompt"],
        "parameters": parameters,
        "models": items,
        **({"owner": document["owner"]} if "owner" in document else {}),
        **({"late": True} if late else {}),
    }
    try:
        start(execution_name(document["jobId"], document["run"]), json.dumps(execution, allow_nan=False))
    except FAILURES as error:
        if error_code(error) == "ExecutionAlreadyExists":
            return
        log_failure("The execution could not be started.", error)
        if may_have_started(error):
            # The caller gets the job; if it does not run after all, it is closed as an abandoned one.
            return
        what = "job" if document["run"] == 1 else "run"
        message = f"The {what} could not be started. Try again in a few seconds."
        raise ServiceUnavailable(message, headers={"Retry-After": "5"}, jobId=document["jobId"]) from error


class Executions:
    """Starts and stops executions of one state machine.

    Parameters
    ----------
    client : boto3 Step Functions client
    machine : ARN of the state machine
    """

    def __init__(self, client: Any, machine: str) -> None:
        self._client = client
        self._machine = machine

    def start(self, name: str, payload: str) -> None:
        """Start the execution of this name with this input.

        Raises
        ------
        ClientError, BotoCoreError, DeadlineExceeded : see ``may_have_started``
        """
        self._client.start_execution(stateMachineArn=self._machine, name=name, input=payload)

    def is_running(self, name: str) -> bool:
        """Whether the execution of this name runs; what Step Functions says may be some seconds old.

        Raises
        ------
        ClientError, BotoCoreError, DeadlineExceeded
        """
        return self._status(name) == "RUNNING"

    def exists(self, name: str) -> bool:
        """Whether an execution had this name within the last 90 days.

        Raises
        ------
        ClientError, BotoCoreError, DeadlineExceeded
        """
        return self._status(name) is not None

    def stop(self, name: str) -> bool:
        """Stop an execution, if it still runs. False: none has this name.

        Raises
        ------
        ClientError, BotoCoreError, DeadlineExceeded : it may go on
        """
        try:
            self._client.stop_execution(executionArn=self._arn(name), cause="The job was cancelled.")
        except ClientError as error:
            # One that has ended cannot be stopped.
            if error_code(error) == "ValidationException":
                return True
            if error_code(error) != "ExecutionDoesNotExist":
                raise
            return False
        return True

    def _status(self, name: str) -> str | None:
        try:
            execution = self._client.describe_execution(executionArn=self._arn(name))
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise
            return None
        return str(execution["status"])

    def _arn(self, name: str) -> str:
        return f"{self._machine.replace(':stateMachine:', ':execution:', 1)}:{name}"
