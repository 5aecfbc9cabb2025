"""Cancel and retry: what they do to a job's rows, and what of an earlier run still counts."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import pytest

from pixelprompt.deadline import REQUEST_SECONDS, Deadline
from pixelprompt.errors import (
    InvalidParameter,
    JobNotFinished,
    JobNotFound,
    NothingToRetry,
    RateLimitExceeded,
    ServiceUnavailable,
)
from pixelprompt.generation.failure import FailureRecorder
from pixelprompt.generation.item import Item
from pixelprompt.generation.run import Generation
from pixelprompt.jobs.cancel import Cancellation
from pixelprompt.jobs.document import cancel_row, complete_row, fail_row, images_result, new_document, reopen_row
from pixelprompt.jobs.executions import Executions as StepFunctions
from pixelprompt.jobs.executions import execution_name, job_and_run
from pixelprompt.jobs.finish import Completion, FinishRequest
from pixelprompt.jobs.progress import Progress, ResumeTokens
from pixelprompt.jobs.retry import Retry, given_parameters
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Job, ModelResult, ResultFields, RowStatus, RunStarted
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.models.model import Failure, Image
from pixelprompt.models.parameters import Adjustment
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import RATE_LIMIT_KEY as RATE_LIMIT
from pixelprompt.storage.keys import StoredImage, epoch_milliseconds, gallery
from tests.unit.jobs.test_submit import Executions, start_error

BUCKET = "test-bucket"
IP = "192.0.2.1"
NOW = "2026-11-23T12:00:00.000Z"
LATER = "2026-11-23T12:00:12.500Z"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8ffff3f0005fe02fea7d6059b0000000049454e44ae426082"
)
UNKNOWN_FAILURE: Failure = {"error": "No answer.", "errorCode": "timeout", "retryable": True, "billable": "unknown"}
REFUSED: Failure = {"error": "No.", "errorCode": "refused", "retryable": False, "billable": "no"}
RESULT: ResultFields = {
    "imageKey": "group-images/g/A-1.json",
    "images": [{"imageKey": "group-images/g/A-1.json", "binaryKey": "b"}],
}


def no_references(job_id: str, count: int) -> tuple[Image, ...]:
    raise AssertionError("the job has no reference images")


def row(status: RowStatus, **fields: Unpack[ResultFields]) -> ModelResult:
    return {"index": 0, "model": "A", "provider": "openai", "status": status, **fields}


# The receipt of a model that takes the job's only parameter as it is given.
AS_GIVEN = {"applied": ["seed"], "adjusted": {}}


class TestRules:
    @pytest.mark.parametrize(
        ("before", "billable", "cost"),
        [
            (row("pending"), "no", False),
            (row("in_progress", startedAt=NOW), "unknown", True),
            (row("in_progress", startedAt=NOW, images=[{"imageKey": "k", "binaryKey": "b"}]), "yes", True),
        ],
    )
    def test_an_open_row_is_cancelled(self, before: ModelResult, billable: str, cost: bool) -> None:
        assert cancel_row(before, LATER)
        assert (before["status"], before["billable"], before["completedAt"]) == ("cancelled", billable, LATER)
        assert ("cost" in before) is cost
        assert not cost or before["cost"]["amount"] is None

    @pytest.mark.parametrize("status", ["completed", "error", "cancelled"])
    def test_a_closed_row_is_not_cancelled(self, status: RowStatus) -> None:
        closed = row(status)
        assert not cancel_row(closed, LATER)
        assert closed == row(status)

    def test_the_image_of_a_cancelled_row_is_kept(self) -> None:
        cancelled = row("in_progress", startedAt=NOW)
        cancel_row(cancelled, LATER)
        assert not fail_row(cancelled, REFUSED, LATER)
        assert complete_row(cancelled, RESULT, LATER)
        assert (cancelled["status"], cancelled["billable"]) == ("completed", "yes")

    @pytest.mark.parametrize("status", ["error", "cancelled"])
    def test_a_reopened_row_forgets_its_end_but_not_what_it_may_have_cost(self, status: str) -> None:
        failed = row("in_progress", startedAt=NOW, applied={"seed": 1})
        if status == "error":
            fail_row(failed, UNKNOWN_FAILURE, LATER)
        else:
            cancel_row(failed, LATER)
        cost = failed["cost"]
        assert reopen_row(failed)
        assert failed == row("pending", applied={"seed": 1}, earlierCosts=[cost])

    @pytest.mark.parametrize("status", ["completed", "pending", "in_progress"])
    def test_no_other_row_goes_back(self, status: RowStatus) -> None:
        other = row(status)
        assert not reopen_row(other)
        assert other == row(status)

    def test_names_of_executions(self) -> None:
        job_id = str(uuid.uuid4())
        for run in (1, 2, 13):
            assert job_and_run(execution_name(job_id, run)) == (job_id, run)
        assert execution_name(job_id, 1) == job_id and execution_name(job_id, 2) == f"{job_id}-r2"

    def test_a_retry_gives_the_models_what_the_caller_gave(self) -> None:
        adjusted: dict[str, Adjustment] = {"n": {"requested": 3, "used": 2}}
        parameters = {"steps": 20, "guidance": 5, "control": 1.0, "seed": 7, "n": 2}
        document = new_document(str(uuid.uuid4()), "a fox", parameters, [], NOW)
        document["results"] = [
            row("pending", applied={"seed": 7}, adjusted=adjusted, ignored={"steps": "no"}),
            row("pending", applied={}, adjusted={}, ignored={}),
        ]
        assert given_parameters(document) == {"steps": 20, "seed": 7, "n": 2}


class Machine:
    """Step Functions that knows its executions and stops them."""

    def __init__(self, *names: str) -> None:
        self.names = {*names}
        self.asked: list[str] = []
        self.error: Exception | None = None

    def stop_execution(self, executionArn: str, cause: str) -> None:
        arn, _, name = executionArn.rpartition(":")
        assert arn == "arn:aws:states:us-east-1:1:execution:m"
        self.asked.append(name)
        if self.error:
            raise self.error
        if name not in self.names:
            raise start_error("ExecutionDoesNotExist", 400)


class World:
    """A job of three models with a clock set by hand."""

    def __init__(self, s3: Any, ip_limit: int = 50) -> None:
        self.s3 = s3
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.jobs = JobManager(s3, BUCKET, clock=lambda: self.now)
        self.images = ImageStorage(s3, BUCKET)
        self.tokens = ResumeTokens(s3, BUCKET)
        receipt = {"applied": {"seed": 7}, "adjusted": {}, "ignored": {}}
        rows = [{"name": name, "provider": "openai", **receipt} for name in "ABC"]
        self.id = self.jobs.create_job("a fox", {"steps": 28, "seed": 7}, rows)
        self.created_at = self.jobs.now()
        self.machine = Machine(self.id)
        self.slept: list[float] = []
        self.sleep: Callable[[float], None] = self.slept.append
        stop = StepFunctions(self.machine, "arn:aws:states:us-east-1:1:stateMachine:m").stop
        self.cancellation = Cancellation(
            self.jobs, stop, clock=lambda: self.now.timestamp(), sleep=lambda seconds: self.sleep(seconds)
        )
        self.executions = Executions()
        limiter = RateLimiter(s3, BUCKET, 100, ip_limit, clock=lambda: self.now.timestamp())
        self.deadline = Deadline()
        self.retries = Retry(
            self.jobs, self.images, self.tokens, limiter, self.executions, trust_body_ip=True, deadline=self.deadline
        )

    def retry(self, **body: Any) -> RunStarted:
        return self.retries.retry(self.id, body, IP, "c")

    @property
    def document(self) -> Job:
        document = self.jobs.get_job_status(self.id)
        assert document is not None
        return document

    @property
    def states(self) -> str:
        return " ".join(row["status"] for row in self.document["results"])

    @property
    def charged(self) -> dict[str, int]:
        try:
            document = json.loads(self.s3.get_object(Bucket=BUCKET, Key=RATE_LIMIT)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return {}
        return {address: len(times) for address, times in document["ip_requests"].items()}

    def store(self, model: str, number: int = 0) -> StoredImage:
        """Put an image of a model into S3, without a word in the document."""
        about = {
            "model": model,
            "target": gallery(self.id, self.created_at),
            "timestamp": epoch_milliseconds(self.created_at),
        }
        return self.images.save(PNG, about, number)

    def end(self, a: str = "completed", b: str = "error", c: str = "error") -> None:
        """Bring the rows to their ends."""
        for name, end in zip("ABC", (a, b, c), strict=True):
            if end == "completed":
                self.jobs.mark_model_complete(self.id, name, RESULT)
            elif end == "error":
                self.jobs.mark_model_error(self.id, name, REFUSED)
            elif end == "timeout":
                self.jobs.mark_model_error(self.id, name, UNKNOWN_FAILURE)


@pytest.fixture
def world(s3: Any) -> World:
    return World(s3)


class TestCancel:
    def test_what_is_finished_stays_and_the_rest_is_cancelled(self, world: World) -> None:
        world.jobs.mark_model_complete(world.id, "A", RESULT)
        world.jobs.mark_model_started(world.id, "B")
        document = world.cancellation.cancel(world.id)
        assert document == world.document
        assert world.states == "completed cancelled cancelled"
        assert [row["billable"] for row in document["results"]] == ["yes", "unknown", "no"]
        assert (document["status"], document["cancelRequested"]) == ("cancelled", world.jobs.now())
        assert world.machine.asked == [world.id]

    def test_what_may_be_charged_measures_an_unknown_cost_once(
        self, world: World, metrics: Callable[[], list[dict[str, Any]]]
    ) -> None:
        world.jobs.mark_model_started(world.id, "B")
        metrics()
        for _ in range(2):
            world.cancellation.cancel(world.id)
        assert metrics() == [{"UnknownCosts": 1}]
        assert world.document["cost"]["unknown"] == 1

    def test_a_second_cancel_changes_nothing(self, world: World) -> None:
        first = world.cancellation.cancel(world.id)
        world.now += timedelta(seconds=5)
        assert world.cancellation.cancel(world.id) == first

    def test_a_finished_job_is_left_alone(self, world: World) -> None:
        world.end()
        before = world.document
        assert world.cancellation.cancel(world.id) == before == world.document
        assert world.machine.asked == []

    @pytest.mark.parametrize("job_id", ["00000000-0000-4000-8000-000000000000", "nonsense", "../x"])
    def test_an_unknown_job_is_not_found(self, world: World, job_id: str) -> None:
        with pytest.raises(JobNotFound):
            world.cancellation.cancel(job_id)

    def test_an_execution_that_is_about_to_be_started_is_waited_for(self, world: World) -> None:
        world.machine.names.clear()
        world.sleep = lambda _: world.machine.names.add(world.id)
        world.cancellation.cancel(world.id)
        assert world.machine.asked == [world.id, world.id]

    def test_an_execution_that_never_was_is_not_waited_for_for_long(self, world: World) -> None:
        world.machine.names.clear()
        world.cancellation.cancel(world.id)
        assert world.slept == sorted(world.slept)
        assert 2.5 < sum(world.slept) < 3.5
        # It asks before each pause, and once after the last.
        assert len(world.machine.asked) == len(world.slept) + 1
        world.slept.clear()
        world.now += timedelta(seconds=REQUEST_SECONDS + 1)
        world.cancellation.cancel(world.id)
        assert world.slept == []

    def test_an_execution_that_has_ended_is_stopped_enough(self, world: World) -> None:
        world.machine.error = start_error("ValidationException", 400)
        assert world.cancellation.cancel(world.id)["status"] == "cancelled"

    def test_an_execution_that_cannot_be_stopped_is_stopped_by_the_repeat(self, world: World) -> None:
        world.machine.error = start_error("ThrottlingException", 400)
        with pytest.raises(ServiceUnavailable):
            world.cancellation.cancel(world.id)
        assert world.document["status"] == "cancelled"
        world.machine.error = None
        world.cancellation.cancel(world.id)
        assert world.machine.asked == [world.id, world.id]

    def test_finish_makes_no_errors_of_cancelled_rows(self, world: World) -> None:
        world.jobs.mark_model_started(world.id, "B")
        world.cancellation.cancel(world.id)
        given = json.dumps({"jobId": world.id, "correlationId": "c"})
        event = {"detail": {"name": world.id, "status": "ABORTED", "input": given}}
        Completion(world.jobs, world.images).finish(FinishRequest.from_event(event))
        assert world.states == "cancelled cancelled cancelled"

    def test_late_starts_and_errors_change_nothing_and_a_late_image_counts(self, world: World) -> None:
        world.jobs.mark_model_started(world.id, "B", run=1)
        before = world.cancellation.cancel(world.id)
        world.jobs.mark_model_started(world.id, "B", run=1)
        world.jobs.mark_model_error(world.id, "B", REFUSED, run=1)
        assert world.document == before
        world.jobs.mark_model_complete(world.id, "B", RESULT)
        assert world.states == "cancelled completed cancelled"
        assert world.document["completedModels"] == 1

    def test_a_late_start_says_that_the_provider_was_asked(self, world: World) -> None:
        assert world.cancellation.cancel(world.id)["results"][0]["billable"] == "no"
        world.jobs.mark_model_started(world.id, "A", run=1)
        first, second, _ = world.document["results"]
        assert (first["status"], first["billable"], first["cost"]["amount"]) == ("cancelled", "unknown", None)
        assert (second["billable"], "cost" in second) == ("no", False)


class TestRetry:
    def test_only_rows_without_image_run_again(self, world: World) -> None:
        world.end("completed", "error", "timeout")
        world.now += timedelta(seconds=30)
        answer = world.retry()
        assert (answer["jobId"], answer["run"], answer["totalModels"]) == (world.id, 2, 2)
        assert world.states == "completed pending pending"
        document = world.document
        assert (document["run"], document["status"], document["runStartedAt"]) == (2, "in_progress", world.jobs.now())
        assert document["cost"]["unknown"] == 2, "the image's and that of the timeout"
        ((name, given),) = world.executions.started
        assert name == f"{world.id}-r2"
        assert given == {
            "jobId": world.id,
            "run": 2,
            "createdAt": world.created_at,
            "correlationId": "c",
            "prompt": "a fox",
            "parameters": {"seed": 7},
            "models": [
                {"index": index, "model": model, "resume": None, "receipt": AS_GIVEN}
                for index, model in ((1, "B"), (2, "C"))
            ],
        }

    def test_a_run_that_others_have_ended_is_followed_by_the_next(self, world: World) -> None:
        """The function that began it knows the document only as it was then, with one row open."""
        world.end(b="completed", c="error")
        world.retry()
        elsewhere = JobManager(world.s3, BUCKET, clock=lambda: world.now)
        elsewhere.mark_model_error(world.id, "C", REFUSED, run=2)
        assert world.retry()["run"] == 3
        assert world.states == "completed completed pending"

    def test_cancelled_rows_run_again_and_the_cancellation_is_forgotten(self, world: World) -> None:
        world.cancellation.cancel(world.id)
        assert world.retry()["totalModels"] == 3
        assert world.document["status"] == "pending"
        assert "cancelRequested" not in world.document
        world.machine.names.add(f"{world.id}-r2")
        world.cancellation.cancel(world.id)
        assert world.machine.asked == [world.id, f"{world.id}-r2"]
        assert world.retry()["run"] == 3

    def test_it_is_charged_once(self, world: World) -> None:
        world.end()
        world.retry()
        assert world.charged == {IP: 1}

    def test_the_bodys_ip_counts_where_it_is_trusted(self, world: World) -> None:
        world.end()
        world.retry(ip="198.51.100.1")
        assert world.charged == {"198.51.100.1": 1}

    def test_over_the_limit_nothing_changes(self, s3: Any) -> None:
        world = World(s3, ip_limit=0)
        world.end()
        before = world.document
        with pytest.raises(RateLimitExceeded):
            world.retry()
        assert world.document == before and not world.executions.started

    def test_named_models_run_again_and_the_others_stay_as_they_are(self, world: World) -> None:
        world.end("completed", "error", "timeout")
        before = world.document["results"]
        answer = world.retry(models=["B", "B"])
        assert (answer["run"], answer["totalModels"]) == (2, 1)
        assert world.states == "completed pending error"
        assert world.document["status"] == "in_progress"
        assert world.document["results"][0] == before[0]
        assert world.document["results"][2] == {**before[2], "run": 1}
        assert [item["model"] for item in world.executions.started[0][1]["models"]] == ["B"]
        world.jobs.mark_model_started(world.id, "B", run=2)
        world.jobs.mark_model_complete(world.id, "B", RESULT)
        outcome = {"state": "done", "index": 1, "model": "B", "recorded": True}
        document = Completion(world.jobs, world.images).finish(
            FinishRequest.from_event({"jobId": world.id, "run": 2, "outcomes": [outcome]})
        )
        assert (document["status"], world.states) == ("partial", "completed completed error")
        assert document["results"][2] == {**before[2], "run": 1}

    def test_a_completed_model_may_be_named_among_others(self, world: World) -> None:
        world.end()
        assert world.retry(models=["A", "C"])["totalModels"] == 1
        assert world.states == "completed error pending"

    def test_a_model_that_was_left_can_be_taken_by_a_later_run(self, world: World) -> None:
        world.end()
        world.retry(models=["B"])
        world.jobs.mark_model_error(world.id, "B", REFUSED, run=2)
        assert world.document["status"] == "partial"
        answer = world.retry()
        assert (answer["run"], answer["totalModels"]) == (3, 2)
        assert world.states == "completed pending pending"
        assert not any("run" in row for row in world.document["results"])

    def test_the_request_of_a_model_that_was_left_is_resumed_by_a_later_run(self, world: World) -> None:
        world.tokens.save(world.id, 2, 1, Progress(tokens={0: "token-1"}).dump())
        world.end("completed", "error", "timeout")
        for run in (2, 3):
            assert world.retry(models=["B"])["run"] == run
            world.jobs.mark_model_error(world.id, "B", REFUSED, run=run)
        world.retry(models=["C"])
        (item,) = world.executions.started[-1][1]["models"]
        assert item["resume"] == '{"tokens":{"0":"token-1"}}'
        world.jobs.mark_model_error(world.id, "C", UNKNOWN_FAILURE, run=4)
        world.retry(models=["C"])
        assert world.executions.started[-1][1]["models"][0]["resume"] is None

    def test_a_cancelled_model_that_was_left_stays_cancelled(self, world: World) -> None:
        world.cancellation.cancel(world.id)
        world.retry(models=["B"])
        assert world.states == "cancelled pending cancelled"
        # A Lambda of the first run reports late that it has asked its provider.
        world.jobs.mark_model_started(world.id, "C", run=1)
        assert [row.get("billable") for row in world.document["results"]] == ["no", None, "unknown"]
        world.jobs.mark_model_complete(world.id, "B", RESULT)
        assert (world.document["status"], world.states) == ("cancelled", "cancelled completed cancelled")
        assert "cancelRequested" not in world.document

    def test_images_in_s3_complete_a_model_that_was_left(self, world: World) -> None:
        world.end()
        world.store("C")
        assert world.retry(models=["B"])["totalModels"] == 1
        assert world.states == "completed pending completed"

    def test_where_the_named_model_has_its_image_in_s3_no_run_begins(self, world: World) -> None:
        world.end()
        world.store("C")
        answer = world.retry(models=["C"])
        assert (answer["totalModels"], answer["run"]) == (0, 1)
        assert world.states == "completed error completed"
        assert "run" not in world.document["results"][1]
        assert world.charged == {} and not world.executions.started

    @pytest.mark.parametrize("models", [[], "B", {"B": True}, ["B", 1], [None], 1, False])
    def test_what_is_no_list_of_names_is_refused(self, world: World, models: Any) -> None:
        world.end()
        before = world.document
        with pytest.raises(InvalidParameter) as refused:
            world.retry(models=models)
        assert refused.value.details == {"parameter": "models"}
        assert world.document == before and world.charged == {}

    def test_without_names_all_run_again(self, world: World) -> None:
        world.end()
        assert world.retry(models=None)["totalModels"] == 2

    def test_a_name_that_the_job_does_not_have_is_told_with_those_it_has(self, world: World) -> None:
        world.end()
        before = world.document
        with pytest.raises(InvalidParameter) as refused:
            world.retry(models=["B", "D"])
        assert refused.value.message == "This job has no model 'D'. Available: A, B, C."
        assert refused.value.details == {"parameter": "models"}
        assert world.document == before and world.charged == {}

    def test_named_models_with_their_images_have_nothing_to_retry(self, world: World) -> None:
        world.end()
        with pytest.raises(NothingToRetry, match=r"^Nothing to retry: every one of these models succeeded\.$"):
            world.retry(models=["A"])
        assert world.charged == {} and world.document["run"] == 1

    def test_a_named_model_whose_image_comes_meanwhile_is_not_run(self, world: World) -> None:
        world.end()
        with pytest.raises(NothingToRetry):
            world.jobs.begin_run(world.id, NextRun(earlier=1, stored={}, images_wanted=1, names={"A"}))
        assert world.states == "completed error error"

    def test_an_open_job_is_not_retried(self, world: World) -> None:
        world.end("completed", "error", "open")
        with pytest.raises(JobNotFinished) as refused:
            world.retry()
        assert refused.value.status == 409
        assert world.charged == {} and world.document["run"] == 1

    def test_a_job_with_all_its_images_has_nothing_to_retry(self, world: World) -> None:
        world.end("completed", "completed", "completed")
        with pytest.raises(NothingToRetry, match=r"^Nothing to retry: every model succeeded\.$"):
            world.retry()
        assert world.charged == {}

    def test_an_unknown_job_is_not_found(self, world: World) -> None:
        for job_id in ("00000000-0000-4000-8000-000000000000", "nonsense"):
            with pytest.raises(JobNotFound):
                world.retries.retry(job_id, {}, IP, "c")

    def test_of_two_at_the_same_instant_one_begins_a_run(self, world: World) -> None:
        world.end()
        rival = World.__new__(World)
        rival.__dict__ = dict(world.__dict__)
        met: list[bool] = []

        def interfere(params: Any, **_: Any) -> None:
            if "If-Match" in params["headers"] and "status.json" in params["url_path"] and not met:
                met.append(True)
                assert rival.retry()["run"] == 2

        world.s3.meta.events.register("before-call.s3.PutObject", interfere)
        with pytest.raises(JobNotFinished):
            world.retry()
        assert met
        assert world.document["run"] == 2
        assert [name for name, _ in world.executions.started] == [f"{world.id}-r2"]

    def test_an_image_that_lies_in_s3_is_not_made_again(self, world: World) -> None:
        world.end()
        stored = world.store("B")
        assert world.retry()["totalModels"] == 1
        assert world.states == "completed completed pending"
        assert world.document["results"][1]["images"] == [stored]
        assert [item["model"] for item in world.executions.started[0][1]["models"]] == ["C"]

    def test_where_every_image_lies_in_s3_no_run_begins_and_nothing_is_charged(self, world: World) -> None:
        world.end("completed", "completed", "error")
        world.store("C")
        answer = world.retry()
        assert (answer["totalModels"], answer["run"]) == (0, 1)
        assert world.document["status"] == "completed"
        assert world.charged == {} and not world.executions.started

    def test_a_request_that_the_provider_may_be_working_on_is_resumed_once(self, world: World) -> None:
        item = Item(world.id, 1, "B", 1, "a fox", world.created_at, {})
        world.tokens.save(*item.row_id, Progress(tokens={0: "token-1"}).dump())
        world.tokens.save(world.id, 2, 1, Progress(tokens={0: "x"}).dump())
        world.end("completed", "timeout", "error")
        world.retry()
        items = world.executions.started[0][1]["models"]
        assert [item["resume"] for item in items] == ['{"tokens":{"0":"token-1"}}', None]
        world.jobs.mark_model_error(world.id, "B", UNKNOWN_FAILURE, run=2)
        world.jobs.mark_model_error(world.id, "C", REFUSED, run=2)
        world.retry()
        assert [item["resume"] for item in world.executions.started[1][1]["models"]] == [None, None]

    def test_a_run_that_cannot_be_started_ends_and_can_be_retried(self, world: World) -> None:
        world.end()
        world.executions.error = start_error("ThrottlingException", 400)
        with pytest.raises(ServiceUnavailable):
            world.retry()
        assert world.states == "completed error error"
        world.executions.error = None
        assert world.retry()["run"] == 3


class TestEarlierRun:
    """What run 1 still says while run 2 is at work."""

    @pytest.fixture
    def running(self, world: World) -> World:
        world.end()
        world.retry()
        world.jobs.mark_model_started(world.id, "B", run=2)
        assert world.states == "completed in_progress pending"
        return world

    def test_its_starts_errors_and_parts_change_nothing(self, running: World) -> None:
        before = running.document
        running.jobs.mark_model_started(running.id, "C", run=1)
        running.jobs.mark_model_error(running.id, "B", REFUSED, run=1)
        running.jobs.mark_model_images(running.id, "B", RESULT, run=1)
        assert running.document == before

    @pytest.mark.parametrize("input_", [True, False])
    def test_its_end_closes_nothing(self, running: World, input_: bool) -> None:
        before = running.document
        detail = {"name": running.id, "status": "ABORTED"}
        if input_:
            detail["input"] = json.dumps({"jobId": running.id})
        ending = FinishRequest.from_event({"detail": detail})
        Completion(running.jobs, running.images).finish(ending)
        Completion(running.jobs, running.images).finish(FinishRequest.from_event({"jobId": running.id, "run": 1}))
        assert running.document == before

    def test_the_end_of_the_present_run_closes_its_rows(self, running: World) -> None:
        ending = FinishRequest.from_event({"detail": {"name": f"{running.id}-r2", "status": "TIMED_OUT"}})
        assert ending.job_id == running.id
        Completion(running.jobs, running.images).finish(ending)
        assert running.states == "completed error error"

    def test_its_image_counts(self, running: World) -> None:
        running.jobs.mark_model_complete(running.id, "B", RESULT)
        outcome = {"state": "done", "index": 2, "model": "C", "recorded": False, "row": RESULT}
        ending = FinishRequest.from_event({"jobId": running.id, "run": 1, "outcomes": [outcome]})
        Completion(running.jobs, running.images).finish(ending)
        assert running.states == "completed completed completed"
        assert running.document["status"] == "completed"

    def test_a_row_that_has_its_image_meanwhile_asks_no_provider(self, running: World) -> None:
        running.jobs.mark_model_complete(running.id, "C", RESULT)

        def no_registry() -> ModelRegistry:
            raise AssertionError("the provider is about to be asked")

        generation = Generation(running.jobs, running.images, running.tokens, no_registry, None, no_references)  # type: ignore[arg-type]
        item = Item(running.id, 2, "C", 1, "a fox", running.created_at, {}, run=2)
        assert generation.run(item, 200)["state"] == "done"
        with pytest.raises(AssertionError):
            generation.run(Item(running.id, 1, "B", 1, "a fox", running.created_at, {}, run=2), 200)

    def test_an_item_of_it_that_begins_late_asks_no_provider(self, running: World) -> None:
        running.jobs.mark_model_error(running.id, "B", REFUSED, run=2)
        running.jobs.mark_model_error(running.id, "C", REFUSED, run=2)
        running.retry()
        generation = Generation(running.jobs, running.images, running.tokens, None, None, no_references)  # type: ignore[arg-type]
        item = Item(running.id, 1, "B", 1, "a fox", running.created_at, {}, run=2)
        assert generation.run(item, 200)["state"] == "failed"
        assert running.states == "completed pending pending"

    def test_a_crash_does_not_lose_the_request_that_a_retry_resumes(self, running: World) -> None:
        token = Progress(tokens={0: "token-1"}).dump()
        item = Item(running.id, 1, "B", 1, "a fox", running.created_at, {}, resume=token, run=2)
        outcome = FailureRecorder(running.jobs, running.images, running.tokens).record(item, "Lambda.Unknown")
        assert (outcome["state"], outcome["resume"]) == ("wait", token)

    def test_its_tokens_are_not_those_of_the_present_one(self, running: World) -> None:
        first = Item(running.id, 1, "B", 1, "a fox", running.created_at, {})
        second = Item(running.id, 1, "B", 1, "a fox", running.created_at, {}, run=2)
        running.tokens.save(*first.row_id, "old")
        assert running.tokens.load(*second.row_id) is None
        running.tokens.save(*second.row_id, "new")
        assert (running.tokens.load(*first.row_id), running.tokens.load(*second.row_id)) == ("old", "new")


class TestSeveralImages:
    """A model that was to make three images and has made some of them."""

    def test_only_what_is_missing_is_made(self, world: World) -> None:
        rows = [{"name": "A", "provider": "openai", "applied": {"n": 3}, "adjusted": {}, "ignored": {}}]
        world.id = world.jobs.create_job("a fox", {"n": 3}, rows)
        images = [world.store("A", number) for number in (0, 2)]
        shown = images_result(images)
        world.jobs.mark_model_started(world.id, "A")
        world.jobs.mark_model_images(world.id, "A", shown)
        assert world.cancellation.cancel(world.id)["results"][0]["billable"] == "yes"
        world.retry()
        (row_,) = world.document["results"]
        assert (row_["status"], row_["images"]) == ("pending", images)
        ((_, given),) = world.executions.started
        assert given["parameters"] == {"n": 3}
        brought = Progress.load(given["models"][0]["resume"])
        assert [call for call in range(3) if not brought.is_closed(call)] == [1]
        assert brought.result()["images"] == images

    def test_images_of_a_model_that_was_left_do_not_complete_it_while_some_are_missing(self, world: World) -> None:
        rows = [{"name": name, "provider": "openai", "applied": {"n": 3}} for name in "AB"]
        world.id = world.jobs.create_job("a fox", {"n": 3}, rows)
        image = world.store("A")
        world.jobs.mark_model_started(world.id, "A")
        world.jobs.mark_model_images(world.id, "A", images_result([image]))
        world.cancellation.cancel(world.id)
        world.retry(models=["B"])
        Completion(world.jobs, world.images).finish(FinishRequest.from_event({"jobId": world.id, "run": 2}))
        assert world.states == "cancelled error"
        world.retry()
        first, _ = world.executions.started[-1][1]["models"]
        assert [call for call in range(3) if not Progress.load(first["resume"]).is_closed(call)] == [1, 2]
