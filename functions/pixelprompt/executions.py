"""Executions of the state machine: their names, and how they are started and stopped."""

from typing import Any, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.aws import NOT_SENT, was_unanswered
from pixelprompt.errors import DeadlineExceeded

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


def error_code(error: Failure) -> str:
    """AWS's code of an error; empty where AWS has not answered."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def may_have_started(error: Failure) -> bool:
    """Whether an execution may run although StartExecution failed: its answer was lost, or it ran already."""
    if was_unanswered(error):
        return True
    if isinstance(error, ClientError):
        refused = 400 <= error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) < 500
        return not refused or error_code(error) == "ExecutionAlreadyExists"
    return not isinstance(error, NOT_SENT)


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
        try:
            execution = self._client.describe_execution(executionArn=self._arn(name))
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise
            return False
        return bool(execution["status"] == "RUNNING")

    def stop(self, name: str) -> bool:
        """Stop an execution, if it still runs. False: there is none of this name.

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

    def _arn(self, name: str) -> str:
        return f"{self._machine.replace(':stateMachine:', ':execution:', 1)}:{name}"
