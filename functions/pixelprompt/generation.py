"""One model's part of a job: ask the provider, store the image, close the row.

What the state machine gets back is data, whatever the provider did:

- ``{"state": "done", …}``: the image is stored and the row says ``completed``;
- ``{"state": "failed", "errorCode": …}``: the row says ``error``;
- ``{"state": "wait", "waitSeconds": n, "attempt": k, "resume": token, "deadline": epoch}``: come again.

An outcome whose row could not be written carries the row and ``recorded: false``; *Finish job* writes it.
"""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pixelprompt.documents import DocumentStore
from pixelprompt.errors import ConflictError, PixelPromptError, StorageError
from pixelprompt.images import ImageStorage, StoredImage, stem
from pixelprompt.jobs import JobManager, Row, epoch_milliseconds, gallery, images_result, resume_key, seconds_between
from pixelprompt.observability import log_failure, logger
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.providers import PROVIDERS, adapter
from pixelprompt.providers.base import Generated, ImageRequest, ProviderError, Waiting
from pixelprompt.registry import ModelRegistry

# Throttling and polling of one model, in seconds; within it, what the Lambda itself may wait for.
MAX_WAIT = 180.0
WAIT_HERE = 10.0
# What storing and recording may need after the provider has answered: at most this, and at most a quarter of the time.
_RESERVE = 30.0

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """What the state machine hands to an invocation for one model; ``deadline`` in epoch seconds."""

    job_id: str
    index: int
    model: str
    attempt: int
    prompt: str
    created_at: str
    parameters: Mapping[str, Any]
    resume: str | None = None
    deadline: float | None = None
    correlation_id: str | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Item":
        """The item of a Lambda's event."""
        return cls(
            job_id=event["jobId"],
            index=event["index"],
            model=event["model"],
            attempt=event["attempt"],
            prompt=event["prompt"],
            created_at=event["createdAt"],
            parameters=event["parameters"],
            resume=event.get("resume"),
            deadline=event.get("deadline"),
            correlation_id=event.get("correlationId"),
        )

    @property
    def target(self) -> str:
        """Name of the gallery that holds the job's images."""
        return gallery(self.job_id, self.created_at)

    @property
    def stem(self) -> str:
        """What the keys of this model's images begin with."""
        return stem(self.target, self.model, epoch_milliseconds(self.created_at))

    def outcome(self, state: str, **fields: Any) -> Outcome:
        """An outcome of this item."""
        return {"state": state, "index": self.index, "model": self.model, **fields}

    def wait(self, seconds: float, resume: str | None, deadline: float) -> Outcome:
        """The outcome that brings the item back after a pause."""
        pause = round(max(seconds, 1.0), 1)
        return self.outcome(
            "wait", waitSeconds=pause, attempt=self.attempt + 1, resume=resume, deadline=round(deadline, 3)
        )


def backoff(attempt: int) -> float:
    """Seconds to wait before an attempt that nobody gave a time for: jittered, growing to 10."""
    return random.uniform(0.5, 1.0) * min(10.0, 2.0 ** (attempt - 1))


class ResumeTokens:
    """Tokens of requests that a provider has taken and is working on, so that nobody sends them again."""

    def __init__(self, s3_client: Any, bucket: str) -> None:
        self._documents = DocumentStore(s3_client, bucket)

    def save(self, item: Item, token: str) -> None:
        """Keep a token; a token that is there already stays."""
        self._documents.create(resume_key(item.job_id, item.index), {"resume": token})

    def load(self, item: Item) -> str | None:
        """The token of a row's request, or None."""
        found = self._documents.read(resume_key(item.job_id, item.index))
        return found.value.get("resume") if found else None


class Generation:
    """Runs items.

    Parameters
    ----------
    clock : epoch seconds
    sleep : waits for seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        tokens: ResumeTokens,
        registry: ModelRegistry,
        keys: ProviderKeys,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._registry = registry
        self._keys = keys
        self._clock = clock
        self._sleep = sleep

    def run(self, item: Item, seconds_left: float) -> Outcome:
        """One invocation for one model; ``seconds_left`` of the Lambda's own time."""
        started_at = self._jobs.now()
        deadline = item.deadline or self._clock() + MAX_WAIT
        call_until = self._clock() + seconds_left - min(_RESERVE, seconds_left / 4)
        answered = False
        with ThreadPoolExecutor(1) as pool:
            start: Future[object] | None = None
            if item.attempt == 1:
                start = pool.submit(
                    self._jobs.mark_model_started,
                    item.job_id,
                    item.model,
                    started_at=started_at,
                    give_up=lambda: answered,
                )
            try:
                answer = self._ask(item, deadline, call_until)
            except Exception as error:
                log_failure("The provider's adapter failed.", error)
                answer = ProviderError("internal", billable="unknown")
            answered = not isinstance(answer, Waiting | _Later)
            outcome = self._record(item, answer, started_at, deadline)
            if start:
                _log_start(start)
        logger.info(
            "The model's turn ended.",
            outcome=outcome["state"],
            error_code=outcome.get("errorCode"),
            wait_seconds=outcome.get("waitSeconds"),
            seconds=seconds_between(started_at, self._jobs.now()),
        )
        return outcome

    def _ask(self, item: Item, deadline: float, call_until: float) -> "Generated | Waiting | _Later | ProviderError":
        """Ask the provider, again where it certainly did not begin and the wait is short."""
        model = self._registry.find(item.model)
        if model is None:
            return ProviderError("model_retired", "This deployment does not offer the model any more.")
        credentials = self._keys.credentials(model.provider)
        if credentials is None:
            key = PROVIDERS[model.provider].key_name
            return ProviderError("bad_credentials", f"The key {key} is missing; its owner sets it with `make keys`.")
        generate = adapter(model.provider).generate
        request = ImageRequest(item.prompt, resume=item.resume)
        waited = 0.0
        for attempt in range(item.attempt, item.attempt + 100):
            logger.info("The provider is asked.", provider=model.provider, attempt=attempt)
            until = min(self._clock() + model.time_limit, call_until)
            answer: Generated | Waiting | ProviderError = generate(request, model, credentials, until)
            if not isinstance(answer, ProviderError) or not answer.safe_to_repeat:
                return answer
            pause = answer.retry_after if answer.retry_after is not None else backoff(attempt)
            if self._clock() + pause > deadline:
                return answer
            if waited + pause > WAIT_HERE or self._clock() + pause + model.time_limit > call_until:
                return _Later(pause, item.resume)
            logger.info("The provider asks to wait.", wait_seconds=round(pause, 2), error_code=answer.code)
            self._sleep(pause)
            waited += pause
        return ProviderError("rate_limited")

    def _record(
        self, item: Item, answer: "Generated | Waiting | _Later | ProviderError", started_at: str, deadline: float
    ) -> Outcome:
        if isinstance(answer, Waiting) and self._clock() + answer.seconds > deadline:
            answer = ProviderError("timeout", "The provider was still at work when the time was over.")
        if isinstance(answer, Waiting | _Later):
            return item.wait(answer.seconds, answer.resume, deadline)
        started = {"startedAt": started_at} if item.attempt == 1 else {}
        if isinstance(answer, ProviderError):
            return self._fail(item, {**started, **answer.row()})
        try:
            stored = self._store(item, answer)
        except (StorageError, ValueError) as error:
            log_failure("The image could not be stored.", error)
            failure = ProviderError("internal", "The image was made but could not be stored.", billable="yes")
            return self._fail(item, {**started, **failure.row()})
        return self._complete(item, {**started, **stored})

    def _store(self, item: Item, generated: Generated) -> Row:
        stored: list[StoredImage] = []
        for number, image in enumerate(generated.images):
            record = {
                "model": item.model,
                "prompt": item.prompt,
                "steps": item.parameters.get("steps"),
                "guidance": item.parameters.get("guidance"),
                "control": item.parameters.get("control"),
                "target": item.target,
                "timestamp": epoch_milliseconds(item.created_at),
                "jobId": item.job_id,
                "seed": image.seed,
                "revisedPrompt": image.revised_prompt,
            }
            stored.append(self._images.save(image.data, record, number))
        return {
            **images_result(stored),
            "requestId": generated.request_id,
            "usage": dict(generated.usage) if generated.usage else None,
        }

    def _complete(self, item: Item, row: Row) -> Outcome:
        recorded = self._recorded(lambda: self._jobs.mark_model_complete(item.job_id, item.model, row))
        return item.outcome("done", recorded=True) if recorded else item.outcome("done", recorded=False, row=row)

    def _fail(self, item: Item, row: Row) -> Outcome:
        recorded = self._recorded(lambda: self._jobs.mark_model_error(item.job_id, item.model, row))
        extra = {} if recorded else {"row": row}
        return item.outcome("failed", recorded=recorded, errorCode=row["errorCode"], **extra)

    def _recorded(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except PixelPromptError as error:
            log_failure("The row could not be written; the end of the job writes it.", error)
            return False
        return True


@dataclass(frozen=True)
class _Later:
    """The provider did not begin; send the request again in ``seconds``."""

    seconds: float
    resume: str | None


def _log_start(start: "Future[object]") -> None:
    """Wait for the start write; one that has not landed is merged into the closing write."""
    try:
        start.result()
    except ConflictError:
        pass
    except PixelPromptError as error:
        log_failure("The start of the model could not be written.", error)


class FailureRecorder:
    """Mends an item whose generate invocation broke: the image may lie in S3, or the request may be resumable."""

    # Thrown before the invocation began, so nothing was sent to a provider.
    _NOT_BEGUN = frozenset(
        {"Lambda.TooManyRequestsException", "Lambda.AccessDeniedException", "Lambda.ResourceNotFoundException"}
    )
    _MOST_ATTEMPTS = 100

    def __init__(
        self, jobs: JobManager, images: ImageStorage, tokens: ResumeTokens, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._clock = clock

    def record(self, item: Item, error: str) -> Outcome:
        """The item's outcome; ``error`` is the name that Step Functions gave."""
        stored = self._images.find(item.stem)
        if stored:
            self._jobs.mark_model_complete(item.job_id, item.model, images_result(stored))
            return item.outcome("done", recorded=True)
        deadline = item.deadline or self._clock() + MAX_WAIT
        token = self._tokens.load(item)
        if token and self._clock() < deadline and item.attempt < self._MOST_ATTEMPTS:
            return item.wait(1.0, token, deadline)
        failure = self._failure(error)
        self._jobs.mark_model_error(item.job_id, item.model, failure.row())
        return item.outcome("failed", recorded=True, errorCode=failure.code)

    def _failure(self, error: str) -> ProviderError:
        if error == "Lambda.TooManyRequestsException":
            message = "The AWS account had no free capacity to run this model; try again later."
            return ProviderError("internal", message, billable="no")
        if error in self._NOT_BEGUN:
            return ProviderError("internal", "This model could not be started.", billable="no")
        message = "Our worker ended before the provider's answer was recorded; the provider may have made an image."
        return ProviderError("unknown_outcome", message)
