"""One model's part of a job: ask the provider, store the image, close the row."""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from msgspec import Struct

from pixelprompt.errors import ConflictError, PixelPromptError, StorageError
from pixelprompt.generation.factory import InvocationFactory
from pixelprompt.generation.invocation import Calls, Deadlines, Invocation
from pixelprompt.generation.item import MAX_WAIT, Item, Outcome, limited
from pixelprompt.jobs.document import FINAL_ROW, seconds_between
from pixelprompt.jobs.progress import Progress, ResumeTokens
from pixelprompt.jobs.schema import Image, Job, ModelResult, ResultFields
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.cost import UNKNOWN
from pixelprompt.models.model import Generated, ProviderError
from pixelprompt.models.model import Image as SourceImage
from pixelprompt.models.parameters import Receipt
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.observability import log_failure, logger, record, record_completion, record_failure
from pixelprompt.providers import adapter
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.providers.response import accept
from pixelprompt.storage.images import ImageStorage

WAIT_HERE = 10.0
# Errors with which an order has ended for good.
_ENDED = frozenset({"refused", "provider_unavailable", "no_image"})


def backoff(attempt: int) -> float:
    """Seconds to wait before an attempt without a time from the provider: jittered, growing to 10."""
    return random.uniform(0.5, 1.0) * min(10.0, 2.0 ** (attempt - 1))


class InvocationBroke(PixelPromptError):
    """The outcome of an earlier invocation is unknown; *Record failure* determines it, as after any failed one."""


class RetryLater(Struct, frozen=True):
    """Come again in ``seconds``: the provider did not begin, or it is at work."""

    seconds: float


class Generation:
    """Runs items.

    Parameters
    ----------
    registry : gives the models as they are now, with ``fresh=True`` without any cache
    references : gives the first so many reference images of a job
    claim_share : of the row of a job (ID, run, index), claims its share of what is reserved of the budgets, where there
        are any; False: it has none any more
    clock : epoch seconds
    sleep : waits for seconds
    """

    def __init__(
        self,
        jobs: JobManager,
        images: ImageStorage,
        tokens: ResumeTokens,
        registry: Callable[..., ModelRegistry],
        keys: ProviderKeys,
        references: Callable[[str, int], tuple[SourceImage, ...]],
        *,
        claim_share: Callable[[str, int, int], bool] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._claim_share = claim_share
        self._invocations = InvocationFactory(registry, keys, references)
        self._clock = clock
        self._sleep = sleep

    def run(self, item: Item, seconds_left: float) -> Outcome:
        """One invocation for one model; ``seconds_left`` of the Lambda's own time.

        Raises
        ------
        InvocationBroke : the execution was redriven, and an earlier invocation may have asked the provider
        """
        may_be_closed = item.redrives or ((item.run > 1 or item.late) and item.attempt == 1)
        if may_be_closed and (closed := self._closed(item)):
            return closed
        started_at = self._jobs.now()
        now = self._clock()
        calls = Calls(item, Progress.load(item.resume))
        deadlines = Deadlines.of(item, now, seconds_left)
        answered = False
        with ThreadPoolExecutor(1) as pool:
            start: Future[object] | None = None
            if item.attempt == 1:
                start = pool.submit(
                    self._jobs.mark_model_started,
                    item.job_id,
                    item.model,
                    started_at=started_at,
                    run=item.run,
                    place=item.index,
                    give_up=lambda: answered,
                )
            invocation = self._invocations.prepare(calls, deadlines)
            pause = self._make(invocation) if invocation else None
            answered = pause is None
            if pause is not None:
                resume = calls.progress.dump() if calls.progress != Progress() else None
                outcome = item.wait(pause, resume, deadlines.item)
            else:
                outcome = self._close(calls, invocation, started_at, deadlines.item - MAX_WAIT)
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

    def _closed(self, item: Item) -> Outcome | None:
        """The outcome of a row that is closed already, by an earlier run's image, a cancellation or because its run was
        never started, or is in the hands of a later run; None where its provider is to be asked.

        Raises
        ------
        InvocationBroke : an earlier invocation may have asked the provider
        """
        document = None
        try:
            document = self._jobs.get_job_status(item.job_id)
        except PixelPromptError as error:
            log_failure("The row could not be read before its provider is asked.", error)
        rows = [row for row in document["results"] if row["model"] == item.model] if document else []
        for row in rows:
            if row["status"] in FINAL_ROW or (document and document["run"] != item.run):
                done = row["status"] == "completed"
                return item.outcome("done" if done else "failed", recorded=True, errorCode=row.get("errorCode"))
        if item.may_have_begun and not self._is_untouched(item, rows):
            raise InvocationBroke("An invocation before the redrive may have asked the provider.")
        return None

    def _is_untouched(self, item: Item, rows: list[ModelResult]) -> bool:
        """Whether nothing is there that an earlier invocation of the item would have left."""
        if item.attempt > 1 or [row["status"] for row in rows] != ["pending"]:
            return False
        return not (self._tokens.load(*item.row_id) or self._images.find(item.stem))

    def _make(self, invocation: Invocation) -> float | None:
        """Make what is still open; the seconds after which to come again, or None at the end."""
        waiting = invocation.open_calls()
        if self._claim_share and set(waiting) - set(invocation.calls.progress.tokens):
            pause = self._claim(invocation, self._claim_share)
            if pause is not None:
                return pause
            waiting = invocation.open_calls()
        if len(waiting) <= 1:
            pauses = [self._call(invocation, call) for call in waiting]
        else:
            with ThreadPoolExecutor(len(waiting)) as pool:
                pauses = list(pool.map(lambda call: self._call(invocation, call), waiting))
        return min((pause for pause in pauses if pause is not None), default=None)

    def _claim(self, invocation: Invocation, claim_share: Callable[[str, int, int], bool]) -> float | None:
        """Claim the row's share before a request that costs something; the seconds after which to try that again.

        Without a share, its calls are closed: nothing is reserved for them.
        """
        item = invocation.item
        try:
            if claim_share(item.job_id, item.run, item.index):
                return None
            message = "The run has ended before this model's provider was asked. Retry the job."
        except StorageError as error:
            log_failure("The row's share could not be claimed.", error)
            pause = backoff(item.attempt)
            if self._clock() + pause <= invocation.deadlines.item:
                return pause
            message = "The budgets could not be asked, so this model's provider was not."
        for call in invocation.open_calls():
            if call not in invocation.calls.progress.tokens:
                invocation.calls.fail(call, ProviderError("internal", message, billable="no"))
        return None

    def _call(self, invocation: Invocation, call: int) -> float | None:
        """Bring one call to its end; the seconds after which to come again, or None at its end."""
        try:
            result = self._ask(invocation, call)
        except ProviderError as error:
            self._fail_call(invocation.calls, call, error)
            return None
        except Exception as error:
            log_failure("The provider's adapter failed.", error)
            invocation.calls.fail(call, ProviderError("internal", billable="unknown"))
            return None
        if isinstance(result, RetryLater):
            return result.seconds
        try:
            self._store(invocation, call, result)
        except (StorageError, ValueError) as error:
            log_failure("Failed to store the image.", error)
            message = "The image was made, but storing it failed."
            invocation.calls.fail(call, ProviderError("internal", message, billable="yes", cost=result.cost))
        return None

    def _fail_call(self, calls: Calls, call: int, error: ProviderError) -> None:
        calls.fail(call, error)
        if error.code in _ENDED and call in calls.progress.tokens:
            # So that a retry places a new order instead of asking about this one.
            with calls.lock:
                self._keep(calls)

    def _ask(self, invocation: Invocation, call: int) -> Generated | RetryLater:
        """Ask the provider, again where it certainly did not begin or is at work, and the wait is short.

        Raises
        ------
        ProviderError
        """
        item, model, deadlines = invocation.item, invocation.model, invocation.deadlines
        generate = adapter(model.provider).generate
        waited = 0.0
        for attempt in range(item.attempt, item.attempt + 1000):
            logger.info("The provider is asked.", provider=model.provider, attempt=attempt)
            until = min(self._clock() + model.time_limit, deadlines.response)
            request = invocation.request_of(call)
            ask = partial(generate, request, model, invocation.credentials, until)
            try:
                result = accept(ask, invocation.credentials.key, images=request.n)
            except ProviderError as error:
                if not error.safe_to_repeat:
                    raise
                if error.code == "rate_limited":
                    record({"ProviderThrottles": 1}, model=item.model)
                # A provider that says "now" is given a moment all the same.
                pause = error.retry_after or backoff(attempt)
                out_of_time = error
            else:
                if isinstance(result, Generated):
                    return result
                self._remember(invocation.calls, call, result.resume)
                pause = result.seconds
                out_of_time = ProviderError("timeout", "The provider was still working at the deadline.")
            if self._clock() + pause > deadlines.item:
                raise out_of_time
            if waited + pause > WAIT_HERE or self._clock() + pause + model.time_limit > deadlines.response:
                return RetryLater(max(pause, min(10.0, 1.5 * item.attempt)))
            self._sleep(pause)
            waited += pause
        raise out_of_time

    def _remember(self, calls: Calls, call: int, token: str) -> None:
        """Keep the token of a request before it is first polled."""
        with calls.lock:
            if calls.progress.tokens.get(call) == token:
                return
            calls.progress.tokens[call] = token
            self._keep(calls)

    def _keep(self, calls: Calls) -> None:
        """Store the item's progress, so that another invocation can resume it after a crash."""
        try:
            self._tokens.save(*calls.item.row_id, calls.progress.dump())
        except StorageError as error:
            log_failure("How far the model has come could not be kept; a crash would lose it.", error)

    def _store(self, invocation: Invocation, call: int, generated: Generated) -> None:
        item, calls = invocation.item, invocation.calls
        stored: list[Image] = []
        for number, image in enumerate(generated.images, start=call):
            patience = invocation.deadlines.storage - self._clock()
            keys = self._images.save(image.data, item.record(image), number, owner=item.owner, patience=patience)
            shown = Image(
                imageKey=keys["imageKey"], binaryKey=keys["binaryKey"], width=image.width, height=image.height
            )
            if image.seed is not None:
                shown["seed"] = image.seed
            stored.append(shown)
        with calls.lock:
            calls.add(call, stored, generated)
            result = calls.progress.result()
            if calls.progress.tokens:
                self._keep(calls)
        if invocation.number_of_calls > 1:
            self._recorded(lambda: self._jobs.mark_model_images(item.job_id, item.model, result, run=item.run))

    def _close(self, calls: Calls, invocation: Invocation | None, started_at: str, since: float) -> Outcome:
        """Close the row; ``since`` is when its first invocation began, in epoch seconds."""
        item = calls.item
        started: ResultFields = {"startedAt": started_at} if item.attempt == 1 else {}
        seconds = self._clock() - since
        if calls.progress.images:
            model, receipt = (invocation.model, invocation.receipt) if invocation else (None, Receipt())
            row = calls.row(model, receipt)
            outcome = self._complete(item, {**started, **row})
            record_completion(item.model, row["cost"]["amount"], seconds)
            return outcome
        return self._fail(item, {**started, **calls.progress.failure()})

    def _complete(self, item: Item, row: ResultFields) -> Outcome:
        row = limited(row)
        document = self._recorded(lambda: self._jobs.mark_model_complete(item.job_id, item.model, row))
        return item.outcome("done", recorded=True) if document else item.outcome("done", recorded=False, row=row)

    def _fail(self, item: Item, row: ResultFields) -> Outcome:
        document = self._recorded(lambda: self._jobs.mark_model_error(item.job_id, item.model, row, run=item.run))
        # The unknown cost of a model that was cancelled is counted already.
        is_counted = document and document["results"][item.index]["status"] == "cancelled"
        dollars = None if is_counted else row.get("cost", UNKNOWN)["amount"]
        record_failure(item.model, row["errorCode"], "no" if is_counted else row["billable"], dollars)
        extra = {} if document else {"row": row}
        return item.outcome("failed", recorded=bool(document), errorCode=row["errorCode"], **extra)

    def _recorded(self, write: Callable[[], Job]) -> Job | None:
        """The job document as it was written; None where it could not be."""
        try:
            return write()
        except PixelPromptError as error:
            log_failure("The row could not be written; the end of the job writes it.", error)
            return None


def _log_start(start: Future[object]) -> None:
    """Wait for the start write; one that has not landed is merged into the closing write."""
    try:
        start.result()
    except ConflictError:
        pass
    except PixelPromptError as error:
        log_failure("The start of the model could not be written.", error)
