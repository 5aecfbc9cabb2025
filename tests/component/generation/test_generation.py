"""One model's turn, from the item to its outcome, the row and the image, against a provider on a socket."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace
from PIL import Image as Picture

from local.simulator import Simulator
from pixelprompt import providers
from pixelprompt.errors import ConflictError, JobNotFound, StorageError
from pixelprompt.generation import factory, run
from pixelprompt.generation.failure import FailureRecorder
from pixelprompt.generation.item import MAX_WAIT, Item, Outcome
from pixelprompt.generation.run import Generation, InvocationBroke
from pixelprompt.jobs.finish import Completion, FinishRequest
from pixelprompt.jobs.progress import Progress, ResumeTokens
from pixelprompt.jobs.retry import progress
from pixelprompt.jobs.schema import ModelResult
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import Credentials, ErrorCode, Generated, Image, Model, ProviderError, Waiting
from pixelprompt.models.parameters import Receipt, receipt
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.providers.wire.image_bytes import read_image
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import reference_key
from pixelprompt.storage.references import ReferenceStorage
from tests.outcomes import give
from tests.shipped import FIRST
from tests.workflow_engine import Workflow, running_workflow

BUCKET = "test-bucket"
# 40 of them are in a payload of Step Functions, which has at most 256 KiB.
OUTCOME_BYTES = 4096
TOKEN = '{"tokens":{"0":"token-1"}}'
MODEL = Model("Painter", "openai", FIRST.id, 10)


class Secrets:
    """Secrets Manager with a key for OpenAI."""

    def __init__(self) -> None:
        self.text = '{"OPENAI_API_KEY": "test-key"}'
        self.error: Exception | None = None

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        if self.error:
            raise self.error
        return {"SecretString": self.text}


class Job:
    """A job of one model, and what its Lambdas work with."""

    def __init__(self, s3: Any, url: str) -> None:
        self.s3 = s3
        self.jobs = JobManager(s3, BUCKET, patience=0.5)
        self.images = ImageStorage(s3, BUCKET, patience=0.5)
        self.tokens = ResumeTokens(s3, BUCKET)
        self.slept: list[float] = []
        self.registry = ModelRegistry([MODEL])
        self.secrets = Secrets()
        self.keys = ProviderKeys(self.secrets, "keys", {"openai": f"{url}/openai/v1"})
        self.generation = Generation(
            self.jobs,
            self.images,
            self.tokens,
            lambda **_: self.registry,
            self.keys,
            lambda job_id, count: tuple(map(read_image, ReferenceStorage(s3, BUCKET).load(job_id, count))),
            sleep=self.slept.append,
        )
        self.created_at = self.jobs.now()
        rows = [{"name": MODEL.name, "provider": MODEL.provider}]
        self.id = self.jobs.create_job("a red fox", {"steps": 28}, rows, created_at=self.created_at)

    def item(self, attempt: int = 1, **fields: Any) -> Item:
        return Item(self.id, 0, MODEL.name, attempt, "a red fox", self.created_at, {"steps": 28}, **fields)

    def run(self, item: Item | None = None) -> Outcome:
        return self.generation.run(item or self.item(), 200)

    def start(self) -> None:
        """Write the row's start."""
        self.jobs.mark_model_started(self.id, MODEL.name, started_at=self.jobs.now(), run=1, place=0)

    def reset(self) -> None:
        """Write the document anew, with its row pending."""
        self.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{self.id}/status.json")
        rows = [{"name": MODEL.name, "provider": MODEL.provider}]
        self.jobs.create_job("a red fox", {"steps": 28}, rows, job_id=self.id, created_at=self.created_at)

    @property
    def row(self) -> ModelResult:
        document = self.jobs.get_job_status(self.id)
        assert document is not None
        return document["results"][0]


@pytest.fixture
def job(s3: Any, simulator: Simulator) -> Job:
    return Job(s3, simulator.url)


def test_an_image_is_stored_and_its_row_completed(job: Job) -> None:
    assert job.run() == {"state": "done", "index": 0, "model": "Painter", "recorded": True}
    row = job.row
    assert row["status"] == "completed"
    assert row["startedAt"] <= row["completedAt"]
    (image,) = row["images"]
    assert row["imageKey"] == image["imageKey"]
    record = job.images.get_image(image["imageKey"])
    assert record is not None
    assert (record["prompt"], record["jobId"], record["steps"]) == ("a red fox", job.id, 28)
    assert job.s3.head_object(Bucket=BUCKET, Key=image["binaryKey"])["ContentType"] == "image/png"


def test_a_receipt_is_that_of_the_request_whatever_the_catalogue_says_meanwhile(job: Job, simulator: Simulator) -> None:
    """An overlay that takes a quality away, or offers it again, makes no receipt untrue."""
    taken = Receipt(adjusted={"quality": {"requested": "xhigh", "used": "high"}}, ignored={"seed": "Not supported."})
    item = replace(job.item(), parameters={"quality": "xhigh", "seed": 7}, dumped_receipt=taken.dump())
    job.registry = ModelRegistry([replace(MODEL, supports={"quality": ["low"], "seed": True})])
    assert job.run(item)["state"] == "done"
    assert simulator.requests[0].body["quality"] == "high"
    assert "seed" not in simulator.requests[0].body


def test_several_calls_have_seeds_though_the_catalogue_takes_none_any_more(job: Job, simulator: Simulator) -> None:
    taken = Receipt(applied={"seed": 5, "n": 2})
    job.registry = ModelRegistry([replace(MODEL, supports={})])
    assert job.run(replace(job.item(), parameters={"seed": 5, "n": 2}, dumped_receipt=taken.dump()))["state"] == "done"
    assert len(job.row["images"]) == 2 and "missing" not in job.row


EDITOR = replace(MODEL, supports={"images": {"max": 2, "formats": ["jpeg"]}})


def picture(kind: str, color: str = "red") -> bytes:
    stream = io.BytesIO()
    Picture.new("RGB", (64, 48), color).save(stream, kind)
    return stream.getvalue()


def editing(job: Job, *references: bytes) -> Item:
    """The item of an editor in a job with these references, prepared."""
    job.registry = ModelRegistry([EDITOR])
    storage = ReferenceStorage(job.s3, BUCKET)
    for number, data in enumerate(references):
        storage.save(job.id, number, data, "image/jpeg")
    parameters = {"images": len(references)}
    taken = receipt(parameters, EDITOR.supports)
    return replace(job.item(), parameters=parameters, dumped_receipt=taken.dump())


def test_a_model_gets_as_many_references_as_it_accepts(job: Job, simulator: Simulator) -> None:
    sent = [picture("JPEG", color) for color in ("red", "green", "blue")]
    assert job.run(editing(job, *sent))["state"] == "done"
    (request,) = simulator.requests
    assert request.path.endswith("/images/edits")
    told = json.dumps(request.body)
    digests = [hashlib.sha256(data).hexdigest() for data in sent]
    assert [digest in told for digest in digests] == [True, True, False]
    assert told.index(digests[0]) < told.index(digests[1])


def test_a_reference_that_the_model_does_not_accept_is_not_sent(job: Job, simulator: Simulator) -> None:
    assert job.run(editing(job, picture("JPEG"), picture("PNG")))["errorCode"] == "invalid_request"
    assert job.row["error"] == "Reference image 2 is a PNG; this model accepts jpeg."
    assert (job.row["billable"], job.row["retryable"], simulator.requests) == ("no", False, [])


def test_references_that_are_gone_cost_nothing(job: Job, simulator: Simulator) -> None:
    item = editing(job, picture("JPEG"))
    job.s3.delete_object(Bucket=BUCKET, Key=reference_key(job.id, 0))
    assert job.run(item)["errorCode"] == "internal"
    assert "reference images could not be read" in job.row["error"]
    assert (job.row["billable"], simulator.requests) == ("no", [])


def test_a_job_without_references_reads_none(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> list[bytes]:
        raise AssertionError("references are read")

    monkeypatch.setattr(ReferenceStorage, "load", load)
    job.registry = ModelRegistry([EDITOR])
    assert job.run()["state"] == "done"


def test_a_wait_hands_the_receipt_on(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=40)
    dumped = Receipt(applied={"steps": 28}).dump()
    outcome = job.run(replace(job.item(), dumped_receipt=dumped))
    assert (outcome["state"], outcome["receipt"]) == ("wait", dumped)


def test_a_refusal_closes_the_row_and_is_not_tried_again(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "refused")
    outcome = job.run()
    assert (outcome["state"], outcome["errorCode"], outcome["recorded"]) == ("failed", "refused", True)
    row = job.row
    assert (row["status"], row["errorCode"], row["retryable"], row["billable"]) == ("error", "refused", False, "no")
    assert row["error"].endswith(".")
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("fault", ["", "refused", "throttled"])
def test_no_log_line_has_the_prompt(job: Job, simulator: Simulator, log: io.StringIO, fault: str) -> None:
    if fault:
        simulator.set_fault(MODEL.id, fault)
    job.run()
    assert log.getvalue()
    assert "red fox" not in log.getvalue()


def test_a_short_wait_happens_in_the_lambda(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=2, times=2)
    assert job.run()["state"] == "done"
    assert job.slept == [2, 2]
    assert len(simulator.requests) == 3


def test_a_long_wait_goes_back_to_the_state_machine(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=15)
    outcome = job.run()
    assert (outcome["state"], outcome["waitSeconds"], outcome["attempt"], outcome["resume"]) == ("wait", 15, 2, None)
    # However long the item waited for a free Lambda before this first invocation.
    assert outcome["deadline"] == pytest.approx(time.time() + MAX_WAIT, abs=5)
    assert job.slept == []
    assert job.row["status"] == "in_progress"
    simulator.clear_faults()
    assert job.run(job.item(outcome["attempt"], deadline=outcome["deadline"]))["state"] == "done"


def test_waits_in_the_lambda_add_up_to_ten_seconds_at_most(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=4)
    outcome = job.run()
    assert (outcome["state"], outcome["waitSeconds"]) == ("wait", 4)
    assert job.slept == [4, 4]


def test_throttling_ends_with_the_deadline(job: Job, simulator: Simulator) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=15)
    outcome = job.run(job.item(9, deadline=time.time() + 10))
    assert (outcome["state"], outcome["errorCode"]) == ("failed", "rate_limited")
    assert job.row["retryable"] is True


def test_a_missing_key_and_a_missing_model_say_so(job: Job) -> None:
    job.secrets.text = "{}"
    assert job.run()["errorCode"] == "bad_credentials"
    assert "make keys" in job.row["error"]
    job.registry = ModelRegistry([])
    assert job.run()["errorCode"] == "model_retired"


def test_an_sdk_is_loaded_while_the_keys_are_read(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, read = threading.Event(), job.keys.credentials

    def load(provider: str) -> ModuleType:
        loading.set()
        return providers.adapter(provider)

    def credentials(model: Model) -> Credentials | None:
        assert loading.wait(30)
        return read(model)

    monkeypatch.setattr(factory, "adapter", load)
    monkeypatch.setattr(job.keys, "credentials", credentials)
    assert job.run()["state"] == "done"


def test_an_sdk_that_cannot_be_loaded_is_our_failure(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError("secret detail")

    monkeypatch.setattr(factory, "adapter", missing)
    monkeypatch.setattr(run, "adapter", missing)
    assert job.run()["errorCode"] == "internal"
    assert "secret" not in job.row["error"]


def test_a_broken_adapter_is_our_failure(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(providers.adapter("openai"), "generate", broken)
    assert job.run()["errorCode"] == "internal"
    assert "secret" not in job.row["error"]


def fail_writes(s3: Any, part: str) -> None:
    """Make S3 refuse every write to a key with this part."""

    def refuse(params: Any, **_: Any) -> None:
        if part in params["url_path"]:
            raise ClientError({"Error": {"Code": "InternalError"}}, "PutObject")

    s3.meta.events.register("before-call.s3.PutObject", refuse)


def test_a_row_that_cannot_be_written_travels_in_the_outcome(job: Job) -> None:
    fail_writes(job.s3, "status.json")
    outcome = job.run()
    assert (outcome["state"], outcome["recorded"]) == ("done", False)
    assert outcome["row"]["imageKey"].startswith("group-images/")
    assert job.row["status"] == "pending"


def test_finish_writes_what_generate_could_not(job: Job, s3: Any) -> None:
    row = {"imageKey": "group-images/a/b-1.json", "images": [{"imageKey": "group-images/a/b-1.json"}]}
    outcome = {"state": "done", "index": 0, "recorded": False, "row": row}
    document = Completion(job.jobs, job.images).finish(FinishRequest(job.id, (outcome,)))
    assert document is not None
    assert (document["status"], document["completedModels"]) == ("completed", 1)
    assert document["results"][0]["imageKey"] == row["imageKey"]


def test_an_image_that_cannot_be_stored_was_billed(job: Job) -> None:
    fail_writes(job.s3, "/images/")
    outcome = job.run()
    assert (outcome["state"], outcome["errorCode"]) == ("failed", "internal")
    assert job.row["billable"] == "yes"


def test_a_passing_failure_of_s3_does_not_lose_the_image(job: Job) -> None:
    failures = [503, 503]

    def refuse(params: Any, **_: Any) -> None:
        if "/images/" in params["url_path"] and failures:
            failures.pop()
            raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")

    job.images.patience = 10
    job.s3.meta.events.register("before-call.s3.PutObject", refuse)
    assert job.run()["state"] == "done"
    assert failures == []


def test_keys_that_cannot_be_read_cost_nothing(job: Job) -> None:
    job.secrets.error = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue")
    assert job.run()["errorCode"] == "internal"
    assert job.row["billable"] == "no"


def test_the_provider_is_not_kept_waiting_by_the_start_write(job: Job, simulator: Simulator) -> None:
    waited: list[bool] = []

    def wait_for_provider(params: Any, **_: Any) -> None:
        if "status.json" in params["url_path"]:
            limit = time.monotonic() + 20
            while not simulator.requests and time.monotonic() < limit:
                time.sleep(0.01)
            waited.append(bool(simulator.requests))

    job.s3.meta.events.register("before-call.s3.PutObject", wait_for_provider)
    job.run()
    assert waited and all(waited)
    assert job.row["status"] == "completed" and "startedAt" in job.row


def test_a_late_item_asks_nobody_for_a_row_that_was_closed(job: Job, simulator: Simulator) -> None:
    """Its execution was started by the repeat of a request, when the job had been closed as never started."""
    job.jobs.finish(job.id, {}, lambda document: {}, run=1)
    outcome = job.run(job.item(late=True))
    assert (outcome["state"], outcome["recorded"]) == ("failed", True)
    assert simulator.requests == []
    assert job.row["billable"] == "no"


def test_a_late_item_makes_what_is_open(job: Job) -> None:
    assert job.run(job.item(late=True))["state"] == "done"


class TestRedrive:
    """An execution that broke is redriven, and runs again every state of an item that it had not finished."""

    @pytest.mark.parametrize("attempt", [1, 3])
    @pytest.mark.parametrize("met", [0, 1])
    def test_a_cancelled_row_asks_nobody(self, job: Job, simulator: Simulator, attempt: int, met: int) -> None:
        job.jobs.cancel(job.id)
        outcome = job.run(job.item(attempt, redrives=1, redrives_met=met))
        assert (outcome["state"], outcome["recorded"]) == ("failed", True)
        assert simulator.requests == []
        assert job.row["status"] == "cancelled"

    def test_a_completed_row_asks_nobody(self, job: Job, simulator: Simulator) -> None:
        job.run()
        simulator.clear_requests()
        assert job.run(job.item(redrives=1))["state"] == "done"
        assert simulator.requests == []

    def test_what_never_began_is_made(self, job: Job) -> None:
        assert job.run(job.item(redrives=1))["state"] == "done"

    def test_what_has_left_the_wait_since_then_goes_on(self, job: Job) -> None:
        job.start()
        assert job.run(job.item(2, redrives=1, redrives_met=1))["state"] == "done"

    @pytest.mark.parametrize("trace", ["row", "token", "image", "lost document", "later attempt"])
    def test_what_may_have_begun_is_left_to_record_failure(self, job: Job, simulator: Simulator, trace: str) -> None:
        item = job.item(2 if trace == "later attempt" else 1, redrives=1)
        if trace == "row":
            job.start()
        elif trace == "token":
            job.tokens.save(*item.row_id, TOKEN)
        elif trace == "image":
            job.run()
            job.reset()
        elif trace == "lost document":
            job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{job.id}/status.json")
        simulator.clear_requests()
        with pytest.raises(InvocationBroke):
            job.run(item)
        assert simulator.requests == []

    def test_the_row_is_read_beforehand_only_then(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        monkeypatch.setattr(job.jobs, "get_job_status", asked.append)
        assert job.run()["state"] == "done"
        assert asked == []
        with pytest.raises(InvocationBroke):
            job.run(job.item(redrives=1))
        assert asked == [job.id]

    @pytest.mark.parametrize("error", ["InvocationBroke", "Lambda.TooManyRequestsException"])
    def test_record_failure_believes_that_the_provider_was_asked(self, job: Job, error: str) -> None:
        job.start()
        outcome = FailureRecorder(job.jobs, job.images, job.tokens).record(job.item(redrives=1), error)
        assert (outcome["state"], outcome["errorCode"]) == ("failed", "unknown_outcome")
        assert job.row["billable"] == "unknown"


class Redriven:
    """A redriven execution from end to end: the definition, the payloads, the document, and the provider.

    The engine cannot redrive. A changed definition begins at the state that was not finished, with the item it had.
    """

    def __init__(self, job: Job, workflow: Workflow) -> None:
        self.job = job
        self.workflow = workflow
        self.recorder = FailureRecorder(job.jobs, job.images, job.tokens)

    def generate(self, payload: dict[str, Any]) -> Outcome:
        return self.job.run(self._item(payload))

    def record(self, payload: dict[str, Any]) -> Outcome:
        return self.recorder.record(self._item(payload), payload["error"]["Error"])

    def redrive(self, state: str = "Generate image", **item: Any) -> Any:
        """Run the rest of the execution from a state of its one item, which was given these fields."""
        begun = {"index": 0, "model": MODEL.name, "attempt": 1, "resume": None, "deadline": None, **item}

        def begin(definition: dict[str, Any]) -> None:
            items = definition["States"]["Generate images"]
            items["ItemSelector"] = begun
            items["ItemProcessor"]["StartAt"] = state

        self.workflow.redrives = 1
        self.workflow.changed(begin)
        return self.workflow.run([MODEL.name], generate=self.generate, record_failure=self.record)

    def _item(self, payload: dict[str, Any]) -> Item:
        job = self.job
        execution = {"jobId": job.id, "prompt": "a red fox", "createdAt": job.created_at, "parameters": {"steps": 28}}
        return Item.from_event({**payload, **execution})


class TestRedrivenExecution:
    """What becomes of a job whose execution is redriven, by where it was stopped."""

    @pytest.fixture
    def redriven(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redriven]:
        with running_workflow(monkeypatch) as workflow:
            yield Redriven(job, workflow)

    @pytest.fixture
    def asynchronous(self, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
        """A provider that works asynchronously; the tokens that it was asked with, None for a new request."""
        asked: list[str | None] = []
        data = io.BytesIO()
        Picture.new("RGB", (8, 8)).save(data, "PNG")

        def generate(request: Any, *_: Any) -> Any:
            asked.append(request.resume)
            if request.resume is None:
                return Waiting(20, "token-1")
            return Generated((Image(data.getvalue(), "image/png", 8, 8),), "r-1", cost=0.03)

        monkeypatch.setattr(providers.adapter("openai"), "generate", generate)
        return asked

    def test_a_redrive_after_a_cancellation_pays_for_nothing(self, redriven: Redriven, simulator: Simulator) -> None:
        redriven.job.start()
        redriven.job.jobs.cancel(redriven.job.id)
        for state in ("Generate image", "Wait for the provider"):
            ran = redriven.redrive(state, waitSeconds=1)
            assert [outcome["state"] for outcome in ran.outcomes] == ["failed"]
        assert simulator.requests == []
        assert redriven.job.row["status"] == "cancelled"

    @pytest.mark.parametrize("state", ["Generate image", "Wait for the provider"])
    @pytest.mark.parametrize("attempt", [1, 2])
    def test_a_request_that_was_sent_is_resumed(
        self, redriven: Redriven, asynchronous: list[str | None], state: str, attempt: int
    ) -> None:
        job = redriven.job
        job.start()
        job.tokens.save(*job.item().row_id, TOKEN)
        resume = TOKEN if (state, attempt) != ("Generate image", 1) else None
        ran = redriven.redrive(state, attempt=attempt, resume=resume, waitSeconds=1)
        assert [outcome["state"] for outcome in ran.outcomes] == ["done"]
        assert asynchronous == ["token-1"]
        assert job.row["status"] == "completed"

    def test_a_throttled_model_that_waited_is_made(self, redriven: Redriven, simulator: Simulator) -> None:
        redriven.job.start()
        ran = redriven.redrive("Wait for the provider", attempt=2, waitSeconds=15)
        assert [outcome["state"] for outcome in ran.outcomes] == ["done"]
        assert len(simulator.requests) == 1

    def test_what_never_began_is_made_and_may_wait(self, redriven: Redriven, asynchronous: list[str | None]) -> None:
        ran = redriven.redrive()
        assert [outcome["state"] for outcome in ran.outcomes] == ["done"]
        assert asynchronous == [None, "token-1"]

    def test_a_request_without_an_answer_is_not_sent_again(self, redriven: Redriven, simulator: Simulator) -> None:
        redriven.job.start()
        ran = redriven.redrive()
        assert [outcome["errorCode"] for outcome in ran.outcomes] == ["unknown_outcome"]
        assert simulator.requests == []


class TestPolling:
    """A provider that works asynchronously."""

    @pytest.fixture
    def polled(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
        monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: Waiting(11, "token-1"))
        return job

    def test_it_brings_the_item_back_with_its_token(self, polled: Job) -> None:
        outcome = polled.run()
        assert (outcome["state"], outcome["waitSeconds"]) == ("wait", 11)
        assert outcome["resume"] == polled.tokens.load(*polled.item().row_id) == TOKEN

    def test_a_token_that_is_too_long_to_keep_breaks_its_model_only(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: Waiting(11, "x" * 300_000))
        outcome = job.run()
        assert (outcome["state"], outcome["errorCode"]) == ("failed", "unknown_outcome")
        assert len(json.dumps(outcome)) <= OUTCOME_BYTES

    def test_it_ends_with_the_deadline(self, polled: Job) -> None:
        outcome = polled.run(polled.item(5, resume=TOKEN, deadline=time.time() + 2))
        assert (outcome["state"], outcome["errorCode"]) == ("failed", "timeout")
        assert polled.row["billable"] == "unknown"


def test_an_order_that_has_ended_is_not_asked_for_again_by_a_retry(
    job: Job, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry orders anew, and the cost of the first order counts once."""
    withheld = ProviderError("refused", billable="unknown", cost=0.05)
    answers: list[Any] = [Waiting(0.1, "order-1"), withheld]
    monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: give(answers.pop(0)))
    job.run()
    document = job.jobs.get_job_status(job.id)
    assert document is not None
    token = job.tokens.load(job.id, 0, 1)
    assert progress(document, job.row, [], token) is None, "no token is handed on"
    assert document["cost"]["amount"] == 0.05


@pytest.mark.parametrize("code", ["unknown_outcome", "timeout", "bad_credentials"])
def test_an_order_whose_end_is_unknown_is_asked_for_again(
    job: Job, code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [Waiting(0.1, "order-1"), ProviderError(code, billable="unknown")]
    monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: give(answers.pop(0)))
    job.run()
    document = job.jobs.get_job_status(job.id)
    assert document is not None
    assert progress(document, job.row, [], job.tokens.load(job.id, 0, 1)) == '{"tokens":{"0":"order-1"}}'


class TestFailureRecorder:
    """What becomes of an item whose Lambda died."""

    def recorder(self, job: Job) -> FailureRecorder:
        return FailureRecorder(job.jobs, job.images, job.tokens)

    def test_an_image_in_s3_completes_the_row(self, job: Job) -> None:
        job.run()
        job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{job.id}/status.json")
        rows = [{"name": MODEL.name, "provider": MODEL.provider}]
        job.jobs.create_job("a red fox", {}, rows, job_id=job.id, created_at=job.created_at)
        assert self.recorder(job).record(job.item(), "States.Timeout")["state"] == "done"
        assert job.row["status"] == "completed" and job.row["images"]

    def test_a_token_brings_the_item_back(self, job: Job) -> None:
        job.tokens.save(*job.item().row_id, TOKEN)
        outcome = self.recorder(job).record(job.item(), "Runtime.HandlerError")
        assert (outcome["state"], outcome["resume"], outcome["attempt"]) == ("wait", TOKEN, 2)

    def test_a_token_does_not_outlive_the_deadline(self, job: Job) -> None:
        job.tokens.save(*job.item().row_id, TOKEN)
        item = job.item(3, deadline=time.time() - 1)
        assert self.recorder(job).record(item, "Runtime.HandlerError")["state"] == "failed"

    @pytest.mark.parametrize(
        ("error", "code", "billable"),
        [
            ("Runtime.HandlerError", "unknown_outcome", "unknown"),
            ("States.Timeout", "unknown_outcome", "unknown"),
            ("Lambda.TooManyRequestsException", "internal", "no"),
            ("Lambda.AccessDeniedException", "internal", "no"),
        ],
    )
    def test_otherwise_the_row_says_what_happened(self, job: Job, error: str, code: str, billable: str) -> None:
        outcome = self.recorder(job).record(job.item(), error)
        assert (outcome["state"], outcome["errorCode"]) == ("failed", code)
        assert (job.row["status"], job.row["errorCode"], job.row["billable"]) == ("error", code, billable)
        assert job.row["retryable"] is True

    def test_what_an_earlier_invocation_sent_may_still_be_charged_for(self, job: Job) -> None:
        job.tokens.save(*job.item().row_id, TOKEN)
        item = job.item(2, resume=TOKEN, deadline=time.time() - 1)
        outcome = self.recorder(job).record(item, "Lambda.TooManyRequestsException")
        assert (outcome["state"], outcome["errorCode"], job.row["billable"]) == ("failed", "internal", "unknown")


class TestCompletion:
    """The end of a job whose execution failed."""

    def test_the_failure_rule_keeps_images_and_closes_the_rest(self, job: Job) -> None:
        document = job.jobs.get_job_status(job.id)
        assert document is not None
        job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{job.id}/status.json")
        rows = [{"name": name, "provider": "openai"} for name in ("Painter", "Second", "Third")]
        job.jobs.create_job("a red fox", {}, rows, job_id=job.id, created_at=job.created_at)
        job.run()
        job.jobs.mark_model_started(job.id, "Second")
        event = {"detail": {"name": job.id, "status": "ABORTED", "input": f'{{"jobId": "{job.id}"}}'}}
        ended = Completion(job.jobs, job.images).finish(FinishRequest.from_event(event))
        assert ended is not None
        assert ended["status"] == "partial"
        assert [row["status"] for row in ended["results"]] == ["completed", "error", "error"]
        assert [row.get("errorCode") for row in ended["results"]] == [None, "unknown_outcome", "internal"]

    def test_an_image_without_its_row_is_found(self, job: Job) -> None:
        job.run()
        job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{job.id}/status.json")
        rows = [{"name": MODEL.name, "provider": "openai"}]
        job.jobs.create_job("a red fox", {}, rows, job_id=job.id, created_at=job.created_at)
        ended = Completion(job.jobs, job.images).finish(FinishRequest.from_event({"jobId": job.id}))
        assert ended is not None and ended["status"] == "completed"

    def test_finishing_twice_changes_nothing(self, job: Job) -> None:
        job.run()
        before = job.jobs.read(job.id)
        Completion(job.jobs, job.images).finish(FinishRequest(job.id))
        assert job.jobs.read(job.id) == before

    def test_broken_outcomes_are_no_obstacle(self, job: Job) -> None:
        job.run()
        event = {"jobId": job.id, "outcomes": [None, "x", {"state": "wait"}, {"state": "failed", "recorded": False}]}
        ended = Completion(job.jobs, job.images).finish(FinishRequest.from_event(event))
        assert ended is not None and ended["status"] == "completed"


class TestSeveralImages:
    """A job of n images with a model that makes one in a call."""

    @pytest.fixture
    def answers(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Any]]:
        """What the provider answers, by seed; every request takes the next of its list."""
        planned: dict[int, list[Any]] = {}
        monkeypatch.setattr(
            providers.adapter("openai"), "generate", lambda request, *_: give(planned[request.seed].pop(0))
        )
        job.registry = ModelRegistry([replace(MODEL, supports={"seed": {"min": 0, "max": 100}})])
        return planned

    def item(self, job: Job, attempt: int = 1, **fields: Any) -> Item:
        return replace(job.item(attempt, **fields), parameters={"n": 3, "seed": 5})

    def made(self, seed: int) -> Generated:
        data = io.BytesIO()
        Picture.new("RGB", (8, 8), (seed * 40, 0, 0)).save(data, "PNG")
        return Generated((Image(data.getvalue(), "image/png", 8, 8, seed=seed),), "r-1", cost=0.03)

    def test_an_outcome_with_its_row_has_at_most_4_kb(
        self, job: Job, answers: dict[int, list[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Four images whose row cannot be written, and a provider that says all that it can."""
        used = dict.fromkeys(("size", "quality", "background", "output_format"), "x" * 9000)
        kinds = ("inputTextTokens", "inputImageTokens", "outputTextTokens", "outputImageTokens")
        usage = dict.fromkeys(kinds, 2**53)
        for seed in (5, 6, 7, 8):
            answers[seed] = [replace(self.made(seed), request_id="r" * 9000, usage=usage, used=used)]

        def refuse(*_: Any, **__: Any) -> None:
            raise ConflictError("No.")

        for write in ("mark_model_complete", "mark_model_images"):
            monkeypatch.setattr(job.jobs, write, refuse)
        outcome = job.run(replace(self.item(job), parameters={"n": 4, "seed": 5}))
        assert (outcome["recorded"], len(outcome["row"]["images"])) == (False, 4)
        assert len(json.dumps(outcome)) <= OUTCOME_BYTES

    @pytest.mark.parametrize(
        ("second", "amount"),
        [
            (ProviderError("refused", billable="unknown", cost=0.02), 0.08),
            (ProviderError("refused", billable="unknown"), None),
            (ProviderError("refused"), 0.06),
        ],
    )
    def test_a_call_without_an_image_counts_with_what_it_cost(
        self, job: Job, answers: dict[int, list[Any]], second: ProviderError, amount: float | None
    ) -> None:
        answers.update({5: [self.made(5)], 6: [second], 7: [self.made(7)]})
        job.run(self.item(job))
        assert job.row["cost"]["amount"] == amount
        assert "cost" not in job.row["missing"] and job.row["missing"]["images"] == 1

    @pytest.mark.parametrize(
        ("says_cost", "price", "last", "amount"),
        [
            (False, 0.05, None, 0.1),
            (False, 0.05, ProviderError("refused"), 0.05),
            (True, None, None, 0.06),
            (True, None, ProviderError("refused", billable="unknown"), None),
        ],
    )
    def test_a_retry_costs_what_its_own_images_cost(
        self,
        job: Job,
        answers: dict[int, list[Any]],
        says_cost: bool,
        price: float | None,
        last: ProviderError | None,
        amount: float | None,
    ) -> None:
        """The images of the run before were paid for in it."""
        unit = {"unit": "image", "amount": price} if price else None
        supports = {"seed": {"min": 0, "max": 100}}
        job.registry = ModelRegistry([replace(MODEL, supports=supports, price=unit)])
        item = self.item(job)
        (image,) = self.made(5).images
        job.images.save(image.data, item.record(image), 0)
        document = job.jobs.require(job.id)
        left = progress(document, job.row, job.images.find(item.stem), None)
        for seed in (6, 7):
            made = self.made(seed)
            answers[seed] = [made if says_cost else replace(made, cost=None)]
        if last:
            answers[7] = [last]
        job.run(replace(item, resume=left))
        assert len(job.row["images"]) == (2 if last else 3)
        assert job.row["cost"]["amount"] == amount

    def test_a_retry_that_makes_no_image_costs_nothing(self, job: Job, answers: dict[int, list[Any]]) -> None:
        item = self.item(job)
        (image,) = self.made(5).images
        job.images.save(image.data, item.record(image), 0)
        left = progress(job.jobs.require(job.id), job.row, job.images.find(item.stem), None)
        answers.update({6: [ProviderError("refused")], 7: [ProviderError("refused")]})
        job.run(replace(item, resume=left))
        assert (job.row["status"], job.row["cost"]["amount"]) == ("completed", 0.0)

    def test_an_error_of_ours_hides_no_error_that_was_paid_for(self, job: Job, answers: dict[int, list[Any]]) -> None:
        paid = ProviderError("refused", billable="yes", cost=0.05)
        throttled = ProviderError("rate_limited", safe_to_repeat=True, retry_after=15)
        answers.update({5: [paid], 6: [throttled]})
        waiting = job.run(replace(self.item(job), parameters={"n": 2, "seed": 5}))
        assert waiting["state"] == "wait"
        job.registry = ModelRegistry([])
        again = replace(job.item(2, resume=waiting["resume"]), parameters={"n": 2, "seed": 5})
        assert job.run(again)["state"] == "failed"
        assert (job.row["billable"], job.row["cost"]["amount"]) == ("yes", 0.05)

    def test_an_image_without_a_size_has_a_receipt(self, job: Job, answers: dict[int, list[Any]]) -> None:
        """Adapters refuse an image whose header says 0; should one not, the receipt divides by nothing."""
        takes = {"seed": {"min": 0, "max": 9}, "aspectRatio": ["16:9"], "resolution": ["1K"]}
        job.registry = ModelRegistry([replace(MODEL, supports=takes)])
        answers[5] = [Generated((replace(self.made(5).images[0], height=0),))]
        asked = {"seed": 5, "aspectRatio": "16:9", "resolution": "1K"}
        assert job.run(replace(job.item(), parameters=asked))["state"] == "done"
        assert job.row["status"] == "completed"

    @pytest.mark.parametrize(
        ("second", "amount"),
        [({"outputImageTokens": 1000}, 0.09), ({"inputTextTokens": 9}, None), ({}, None), (None, None)],
    )
    def test_tokens_are_a_cost_where_each_call_counted_them(
        self, job: Job, answers: dict[int, list[Any]], second: dict[str, int] | None, amount: float | None
    ) -> None:
        price = {"unit": "token", "inputText": 5e-6, "outputImage": 3e-5, "estimate": 0.03}
        job.registry = ModelRegistry([replace(MODEL, supports={"seed": {"min": 0, "max": 100}}, price=price)])
        counts: dict[int, dict[str, int] | None] = {
            5: {"outputImageTokens": 1000},
            6: second,
            7: {"outputImageTokens": 1000},
        }
        for seed, usage in counts.items():
            answers[seed] = [replace(self.made(seed), cost=None, usage=usage)]
        job.run(self.item(job))
        assert len(job.row["images"]) == 3 and job.row["cost"]["amount"] == amount

    def test_a_reported_cost_of_zero_says_nothing(self, job: Job, answers: dict[int, list[Any]]) -> None:
        nothing = ProviderError("refused", billable="unknown", cost=0.0)
        answers.update({5: [replace(self.made(5), cost=0.0)], 6: [nothing], 7: [replace(self.made(7), cost=0.0)]})
        job.run(self.item(job))
        assert (len(job.row["images"]), job.row["cost"]["amount"]) == (2, None)

    def test_counted_tokens_are_the_cost_of_an_image_of_any_size(self, job: Job, answers: dict[int, list[Any]]) -> None:
        price = {"unit": "token", "outputImage": 3e-5, "estimate": 0.03, "byResolution": {"4K": 0.12}}
        takes = {"resolution": ["1K", "4K"], "seed": {"min": 0, "max": 100}}
        job.registry = ModelRegistry([replace(MODEL, supports=takes, price=price)])
        answers[5] = [replace(self.made(5), cost=None, usage={"outputImageTokens": 1000})]
        job.run(replace(self.item(job), parameters={"seed": 5, "resolution": "4K"}))
        assert job.row["adjusted"]["resolution"]["used"] == "8x8"
        assert job.row["cost"] == {"amount": 0.03, "currency": "USD", "basis": "computed"}

    def test_an_image_of_another_size_has_no_price_by_resolution(self, job: Job, answers: dict[int, list[Any]]) -> None:
        price = {"unit": "image", "amount": 0.03, "byResolution": {"4K": 0.11}}
        takes = {"seed": {"min": 0, "max": 9}, "resolution": ["4K"]}
        job.registry = ModelRegistry([replace(MODEL, supports=takes, price=price)])
        answers[5] = [Generated(self.made(5).images)]
        job.run(replace(job.item(), parameters={"seed": 5, "resolution": "4K"}))
        assert job.row["adjusted"]["resolution"]["used"] == "8x8"
        assert job.row["cost"]["basis"] == "unknown"

    def test_an_image_of_another_shape_changes_the_receipt(self, job: Job, answers: dict[int, list[Any]]) -> None:
        job.registry = ModelRegistry([replace(MODEL, supports={"seed": {"min": 0, "max": 9}, "aspectRatio": ["16:9"]})])
        answers[5] = [self.made(5)]
        job.run(replace(job.item(), parameters={"seed": 5, "aspectRatio": "16:9"}))
        assert job.row["applied"] == {"seed": 5}
        assert job.row["adjusted"] == {"aspectRatio": {"requested": "16:9", "used": "8x8"}}

    def test_each_call_has_a_seed_of_its_own_and_all_images_lie_in_one_row(
        self, job: Job, answers: dict[int, list[Any]]
    ) -> None:
        answers.update({seed: [self.made(seed)] for seed in (5, 6, 7)})
        assert job.run(self.item(job))["state"] == "done"
        row = job.row
        assert [image["seed"] for image in row["images"]] == [5, 6, 7]
        assert len({image["binaryKey"] for image in row["images"]}) == 3
        assert row["cost"] == {"amount": 0.09, "currency": "USD", "basis": "reported"}

    def test_what_is_missing_is_said(self, job: Job, answers: dict[int, list[Any]]) -> None:
        answers.update({5: [self.made(5)], 6: [ProviderError("refused")], 7: [self.made(7)]})
        job.run(self.item(job))
        row = job.row
        assert row["status"] == "completed" and len(row["images"]) == 2
        assert (row["missing"]["images"], row["missing"]["errorCode"]) == (1, "refused")

    def test_a_later_attempt_does_not_pay_again_for_what_is_made(self, job: Job, answers: dict[int, list[Any]]) -> None:
        slow = ProviderError("rate_limited", safe_to_repeat=True, retry_after=20)
        answers.update({5: [self.made(5)], 6: [slow], 7: [Waiting(20, "t-7")]})
        outcome = job.run(self.item(job))
        assert (outcome["state"], outcome["waitSeconds"]) == ("wait", 20)
        assert (job.row["status"], len(job.row["images"])) == ("in_progress", 1)
        answers.update({6: [self.made(6)], 7: [self.made(7)]})
        again = self.item(job, outcome["attempt"], resume=outcome["resume"], deadline=outcome["deadline"])
        assert job.run(again)["state"] == "done"
        assert [image["seed"] for image in job.row["images"]] == [5, 6, 7]
        assert answers == {5: [], 6: [], 7: []}

    def test_after_a_crash_the_stored_images_are_kept(self, job: Job, answers: dict[int, list[Any]]) -> None:
        answers.update({5: [self.made(5)], 6: [Waiting(20, "t-6")], 7: [Waiting(20, "t-7")]})
        job.run(self.item(job))
        recorder = FailureRecorder(job.jobs, job.images, job.tokens)
        outcome = recorder.record(self.item(job), "Runtime.HandlerError")
        assert outcome["state"] == "wait"
        answers.update({6: [self.made(6)], 7: [ProviderError("refused")]})
        again = self.item(job, outcome["attempt"], resume=outcome["resume"], deadline=outcome["deadline"])
        assert job.run(again)["state"] == "done"
        assert [image["seed"] for image in job.row["images"]] == [5, 6]
        assert job.row["missing"]["images"] == 1

    def test_after_a_crash_a_call_without_a_token_is_not_sent_again(
        self, job: Job, answers: dict[int, list[Any]]
    ) -> None:
        job.tokens.save(*self.item(job).row_id, '{"tokens":{"1":"t-6"}}')
        outcome = FailureRecorder(job.jobs, job.images, job.tokens).record(self.item(job), "Runtime.HandlerError")
        answers.update({6: [self.made(6)]})
        job.run(self.item(job, outcome["attempt"], resume=outcome["resume"], deadline=outcome["deadline"]))
        assert [image["seed"] for image in job.row["images"]] == [6]
        assert (job.row["missing"]["images"], job.row["missing"]["errorCode"]) == (2, "unknown_outcome")

    def test_a_call_that_found_no_free_lambda_is_still_sent(self, job: Job, answers: dict[int, list[Any]]) -> None:
        resume = '{"tokens":{"1":"t-6"}}'
        item = self.item(job, 2, resume=resume, deadline=time.time() + 100)
        recorder = FailureRecorder(job.jobs, job.images, job.tokens)
        outcome = recorder.record(item, "Lambda.TooManyRequestsException")
        assert (outcome["state"], outcome["resume"]) == ("wait", resume)
        answers.update({seed: [self.made(seed)] for seed in (5, 6, 7)})
        job.run(self.item(job, outcome["attempt"], resume=outcome["resume"], deadline=outcome["deadline"]))
        assert [image["seed"] for image in job.row["images"]] == [5, 6, 7]

    def test_without_any_image_the_first_error_counts(self, job: Job, answers: dict[int, list[Any]]) -> None:
        answers.update({seed: [ProviderError("quota_exhausted")] for seed in (5, 6, 7)})
        assert job.run(self.item(job))["errorCode"] == "quota_exhausted"
        assert "cost" not in job.row

    def test_a_server_that_sends_too_many_gives_one_image_a_call(self, job: Job, answers: dict[int, list[Any]]) -> None:
        for seed in (5, 6, 7):
            made = self.made(seed)
            answers[seed] = [replace(made, images=made.images * 2)]
        job.run(self.item(job))
        assert [image["seed"] for image in job.row["images"]] == [5, 6, 7]

    def test_what_may_have_been_billed_is_said_for_all_calls(self, job: Job, answers: dict[int, list[Any]]) -> None:
        answers.update({5: [ProviderError("refused")], 6: [ProviderError("unknown_outcome")], 7: [self.made(7)]})
        job.run(self.item(job))
        assert (job.row["missing"]["errorCode"], job.row["missing"]["billable"]) == ("refused", "unknown")
        assert job.row["cost"]["basis"] == "unknown"


def test_what_a_later_version_handed_on_is_read() -> None:
    handed_on = json.loads(Progress(tokens={0: "token-1"}, counted=[1]).dump())
    assert Progress.load(json.dumps({**handed_on, "later": {"0": 1}})) == Progress(tokens={0: "token-1"}, counted=[1])


def test_a_provider_that_says_now_is_not_asked_in_a_loop(
    job: Job, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def throttled(*_: Any) -> None:
        asked.append(1)
        raise ProviderError("rate_limited", safe_to_repeat=True, retry_after=0)

    monkeypatch.setattr(providers.adapter("openai"), "generate", throttled)
    assert job.run()["state"] == "wait"
    assert len(asked) < 20


def test_an_order_of_a_model_that_left_the_catalogue_may_still_be_billed(job: Job) -> None:
    job.registry = ModelRegistry([])
    job.run(job.item(2, resume=TOKEN))
    assert (job.row["errorCode"], job.row["billable"]) == ("model_retired", "unknown")


def test_a_model_measures_its_outcome_its_time_and_its_cost(
    job: Job, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    job.run()
    done, *costs = metrics()
    assert (done["ModelsCompleted"], done["model"]) == (1, MODEL.name)
    assert 0 <= done["ModelSeconds"] < 60
    # This model has no price.
    assert costs == [{"UnknownCosts": 1}]


def test_known_dollars_are_measured_by_model_and_in_all(
    s3: Any, simulator: Simulator, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    job = Job(s3, simulator.url)
    job.registry = ModelRegistry([replace(MODEL, price={"unit": "image", "amount": 0.04})])
    job.run()
    assert metrics()[1:] == [{"ModelDollars": 0.04, "model": MODEL.name}, {"Dollars": 0.04}]


def test_a_failure_measures_its_code_and_each_throttling(
    job: Job, simulator: Simulator, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    simulator.set_fault(MODEL.id, "throttled", retry_after=1, times=2)
    job.run()
    assert metrics()[:2] == [{"ProviderThrottles": 1, "model": MODEL.name}] * 2
    simulator.set_fault(MODEL.id, "refused")
    job.run(job.item(2))
    assert metrics() == failed("refused")


def failed(code: str) -> list[dict[str, Any]]:
    """What a model measures that has made no image."""
    return [{"ModelsCompleted": 0, "ModelsFailed": 1, "model": MODEL.name}, {"ModelErrors": 1, "errorCode": code}]


def test_a_model_that_was_cancelled_measures_its_unknown_cost_no_second_time(
    job: Job, simulator: Simulator, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    job.jobs.mark_model_started(job.id, MODEL.name)
    job.jobs.cancel(job.id)
    simulator.set_fault(MODEL.id, "dropped")
    metrics()
    job.run()
    assert job.row["status"] == "cancelled"
    assert metrics() == failed("unknown_outcome")


def test_a_failure_that_may_be_billed_measures_an_unknown_cost(
    job: Job, simulator: Simulator, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    simulator.set_fault(MODEL.id, "dropped")
    job.run()
    assert job.row["billable"] == "unknown"
    assert metrics() == [*failed("unknown_outcome"), {"UnknownCosts": 1}]


def test_a_cost_that_the_provider_reports_is_kept_without_an_image(
    job: Job, monkeypatch: pytest.MonkeyPatch, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    withheld = ProviderError("refused", billable="unknown", cost=0.02)
    monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: give(withheld))
    assert job.run()["errorCode"] == "refused"
    reported = {"amount": 0.02, "currency": "USD", "basis": "reported"}
    assert (job.row["billable"], job.row["cost"]) == ("unknown", reported)
    document = Completion(job.jobs, job.images).finish(FinishRequest(job.id))
    assert document["cost"] == {"amount": 0.02, "currency": "USD", "known": 1, "unknown": 0}
    assert metrics() == [*failed("refused"), {"ModelDollars": 0.02, "model": MODEL.name}, {"Dollars": 0.02}]


def test_the_end_of_a_job_measures_the_models_whose_invocation_could_not(
    job: Job, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    job.jobs.mark_model_started(job.id, MODEL.name)
    for _ in range(2):
        Completion(job.jobs, job.images).finish(FinishRequest(job.id))
    assert metrics() == [*failed("unknown_outcome"), {"UnknownCosts": 1}], "once, however often the job is finished"


def test_the_end_of_a_job_measures_no_model_twice(job: Job, metrics: Callable[[], list[dict[str, Any]]]) -> None:
    outcome = job.run()
    metrics()
    Completion(job.jobs, job.images).finish(FinishRequest(job.id, (outcome,)))
    assert metrics() == []


def test_a_broken_invocation_is_measured_when_it_is_recorded(
    job: Job, metrics: Callable[[], list[dict[str, Any]]]
) -> None:
    recorder = FailureRecorder(job.jobs, job.images, job.tokens)
    recorder.record(job.item(), "Sandbox.Timedout")
    assert metrics() == [*failed("unknown_outcome"), {"UnknownCosts": 1}]
    job.s3.delete_object(Bucket=BUCKET, Key=f"jobs/{job.id}/status.json")
    with pytest.raises(JobNotFound):
        recorder.record(job.item(), "Sandbox.Timedout")
    assert metrics() == []


class TestShare:
    """With budgets, a row claims its share before its provider is asked."""

    @pytest.fixture
    def claims(self, job: Job) -> list[tuple[str, int, int]]:
        """The claims of a row that has a share."""
        made: list[tuple[str, int, int]] = []

        def claim(*row: Any) -> bool:
            made.append(row)
            return True

        self.answer(job, claim)
        return made

    def answer(self, job: Job, claim_share: Callable[[str, int, int], bool]) -> None:
        vars(job.generation)["_claim_share"] = claim_share

    def test_it_is_claimed_once_in_an_invocation(
        self, job: Job, claims: list[tuple[str, int, int]], simulator: Simulator
    ) -> None:
        simulator.set_fault(FIRST.id, "throttled", retry_after=1, times=2)
        assert job.run()["state"] == "done"
        assert claims == [(job.id, 1, 0)]

    def test_without_a_share_nobody_is_asked(self, job: Job, simulator: Simulator) -> None:
        self.answer(job, lambda *row: False)
        assert job.run()["state"] == "failed"
        assert (job.row["errorCode"], job.row["billable"]) == ("internal", "no")
        assert "Retry the job." in job.row["error"]
        assert simulator.requests == []

    def test_what_was_ordered_is_fetched_without_another_claim(
        self, job: Job, claims: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(providers.adapter("openai"), "generate", lambda *_: Waiting(30, "token-1"))
        outcome = job.run()
        assert (outcome["state"], len(claims)) == ("wait", 1)
        job.run(job.item(2, resume=outcome["resume"], deadline=outcome["deadline"]))
        assert len(claims) == 1

    def test_a_ledger_that_is_busy_is_asked_again_and_at_last_the_row_fails(
        self, job: Job, simulator: Simulator
    ) -> None:
        def fail(*row: Any) -> bool:
            raise StorageError("DynamoDB is busy.")

        self.answer(job, fail)
        outcome = job.run()
        assert (outcome["state"], outcome["attempt"]) == ("wait", 2)
        assert job.run(job.item(2, deadline=time.time() - 1))["state"] == "failed"
        assert job.row["billable"] == "no"
        assert simulator.requests == []
