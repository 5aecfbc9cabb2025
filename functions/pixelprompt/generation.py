"""One model's part of a job: ask the provider, store the image, close the row.

What the state machine gets back is data, whatever the provider did:

- ``{"state": "done", …}``: the image is stored and the row says ``completed``;
- ``{"state": "failed", "errorCode": …}``: the row says ``error``;
- ``{"state": "wait", "waitSeconds": n, "attempt": k, "resume": token, "deadline": epoch}``: come again.

An outcome whose row could not be written carries the row and ``recorded: false``; *Finish job* writes it.
"""

import functools
import json
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from threading import Lock
from typing import Any

from pixelprompt.cost import UNKNOWN, added, computed, reported
from pixelprompt.documents import DocumentStore, Value
from pixelprompt.errors import ConflictError, PixelPromptError, StorageError
from pixelprompt.images import ImageStorage, number_of, stem
from pixelprompt.jobs import (
    FINAL_ROW,
    JobManager,
    Row,
    epoch_milliseconds,
    gallery,
    images_result,
    resume_key,
    seconds_between,
)
from pixelprompt.metrics import record, record_completion, record_failure
from pixelprompt.observability import log_failure, logger
from pixelprompt.parameters import DEFAULTS, MOST_IMAGES, as_made, image_request, receipt
from pixelprompt.provider_keys import ProviderKeys
from pixelprompt.provider_response import accept
from pixelprompt.providers import adapter
from pixelprompt.providers.base import Credentials, Generated, ImageRequest, Model, ProviderError, Waiting
from pixelprompt.registry import ModelRegistry

# Throttling and polling of one model, in seconds; within it, what the Lambda itself may wait for.
MAX_WAIT = 180.0
WAIT_HERE = 10.0
# What storing and recording may need after the provider has answered: at most this, and at most a quarter of the time.
_RESERVE = 30.0
# What recording may need after the image is stored, likewise.
_RECORDING = 10.0
_UNRECORDED = "Our worker ended before the provider's answer was recorded; the provider may have made an image."
# Bytes of a row as JSON in ASCII: Step Functions carries 40 of them in at most 256 KiB. A legitimate row of four images
# of a model with a name of 100 characters has up to 3,755, without the negative prompt, which has up to 12,000.
ROW_LIMIT = 4096
# What such a row can do without, the least important first. The receipt goes as a whole: its parts replace those of the
# job document, which keeps an earlier one, and parts of two would contradict each other.
_OPTIONAL = (("used",), ("usage",), ("requestId",), ("applied", "ignored", "adjusted"), ("missing",))

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """What the state machine hands to an invocation for one model.

    Attributes
    ----------
    deadline : epoch seconds
    late : whether the execution was started although its job may have been closed by then
    redrives : how often the execution was redriven
    redrives_met : how often it had been when the item last left *Wait for the provider*
    """

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
    run: int = 1
    late: bool = False
    redrives: int = 0
    redrives_met: int = 0

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
            run=event.get("run", 1),
            late=event.get("late", False),
            redrives=event.get("redriveCount", 0),
            redrives_met=event.get("redrivesMet", 0),
        )

    @property
    def may_have_begun(self) -> bool:
        """Whether this may repeat an invocation whose end a broken execution did not see."""
        return self.redrives > self.redrives_met

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


# Errors with which an order has ended for good.
_ENDED = frozenset({"refused", "provider_unavailable", "no_image"})


def limited(row: Row) -> Row:
    """Return a row without as much of what is optional as it takes to be within the limit."""
    if len(json.dumps(row)) <= ROW_LIMIT:
        return row
    dropped = []
    if "negativePrompt" in row.get("applied", {}):
        # The job document's parameters have it.
        row = {**row, "applied": {name: value for name, value in row["applied"].items() if name != "negativePrompt"}}
        dropped = ["applied.negativePrompt"]
    for names in _OPTIONAL:
        if len(json.dumps(row)) <= ROW_LIMIT:
            break
        dropped += [name for name in names if name in row]
        row = {name: value for name, value in row.items() if name not in names}
    logger.warning("The row is too large; parts of it are dropped.", dropped=dropped)
    return row


def backoff(attempt: int) -> float:
    """Seconds to wait before an attempt that nobody gave a time for: jittered, growing to 10."""
    return random.uniform(0.5, 1.0) * min(10.0, 2.0 ** (attempt - 1))


class ResumeTokens:
    """How far an item has come whose request a provider is working on, so that nobody sends it again."""

    def __init__(self, s3_client: Any, bucket: str) -> None:
        self._documents = DocumentStore(s3_client, bucket)

    def save(self, item: Item, resume: str) -> None:
        """Keep what is needed to resume a row; only its own invocation writes it."""
        self._documents.write(resume_key(item.job_id, item.index, item.run), {"resume": resume})

    def load(self, item: Item) -> str | None:
        """What is needed to resume a row, or None."""
        return self.load_row(item.job_id, item.index, item.run)

    def load_row(self, job_id: str, index: int, run: int) -> str | None:
        """What is needed to resume a row of a run, or None."""
        found = self._documents.read(resume_key(job_id, index, run))
        return found.value.get("resume") if found else None


@dataclass
class Progress:
    """What the calls of an item have come to; an item of several images may need a call for each.

    Attributes
    ----------
    images : by call, the stored images
    tokens : by call, the provider's token of a request it is working on
    failures : by call, the row of its error
    costs : by call, dollars that the provider says it charges
    usage : tokens by kind, of all calls together
    counted : the calls whose image tokens are in `usage`
    """

    images: dict[int, list[Row]] = field(default_factory=dict)
    tokens: dict[int, str] = field(default_factory=dict)
    failures: dict[int, Row] = field(default_factory=dict)
    costs: dict[int, float] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    counted: list[int] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None

    @classmethod
    def load(cls, resume: str | None) -> "Progress":
        """What an earlier attempt has handed on."""
        if not resume:
            return cls()
        values: dict[str, Any] = json.loads(resume)
        for name in ("images", "tokens", "failures", "costs"):
            values[name] = {int(call): value for call, value in values.get(name, {}).items()}
        # A version that was rolled back may have added members.
        return cls(**{known.name: values[known.name] for known in fields(cls) if known.name in values})

    def dump(self) -> str:
        """The text with which a later attempt goes on; of several errors only the first one's sentence counts."""
        values = asdict(self)
        values["tokens"] = {call: token for call, token in self.tokens.items() if not self.is_closed(call)}
        for call in sorted(self.failures)[1:]:
            values["failures"][call].pop("error", None)
        kept = {name: value for name, value in values.items() if value}
        return json.dumps(kept, separators=(",", ":"), allow_nan=False)

    def is_closed(self, call: int) -> bool:
        """Whether a call has its images or its error."""
        return call in self.images or call in self.failures

    def recover(self, calls: int, stored: Mapping[int, Row]) -> None:
        """Take up what a broken invocation has left; a call without image and token may have been sent already."""
        for call in range(calls):
            if call in stored and call not in self.images:
                self.images[call] = [stored[call]]
            if not self.is_closed(call) and call not in self.tokens:
                self.failures[call] = ProviderError("unknown_outcome").row()

    def failure(self) -> Row:
        """The first error, with the worst that any call may be billed; nothing where no call has failed.

        It has a cost where the provider has said one for each call that it may bill.
        """
        if not self.failures:
            return {}
        rows = self.failures.values()
        billable = {row["billable"] for row in rows}
        worst = next((word for word in ("yes", "unknown") if word in billable), "no")
        costs = [row.get("cost", UNKNOWN) for row in rows if "cost" in row or row["billable"] != "no"]
        first = {**self.failures[min(self.failures)], "billable": worst}
        first.pop("cost", None)
        return {**first, "cost": functools.reduce(added, costs)} if costs else first

    def result(self) -> Row:
        """The fields of a row with all images so far."""
        return images_result([image for call in sorted(self.images) for image in self.images[call]])


class InvocationBroke(PixelPromptError):
    """What an earlier invocation of the item did is unknown; *Record failure* finds it out, as after any that broke."""


@dataclass(frozen=True)
class _Later:
    """Come again in ``seconds``: the provider did not begin, or it is at work."""

    seconds: float


class Generation:
    """Runs items.

    Parameters
    ----------
    registry : gives the models as they are now, with ``fresh=True`` without any cache
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
        turn = _Turn(
            item,
            deadline=item.deadline or now + MAX_WAIT,
            call_until=now + seconds_left - min(_RESERVE, seconds_left / 4),
            store_until=now + seconds_left - min(_RECORDING, seconds_left / 8),
            progress=Progress.load(item.resume),
        )
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
            pause = self._make(turn)
            answered = pause is None
            outcome = self._close(turn, started_at) if pause is None else self._wait(turn, pause)
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

    def _is_untouched(self, item: Item, rows: list[Row]) -> bool:
        """Whether nothing is there that an earlier invocation of the item would have left."""
        if item.attempt > 1 or [row["status"] for row in rows] != ["pending"]:
            return False
        return not (self._tokens.load(item) or self._images.find(item.stem))

    def _make(self, turn: "_Turn") -> float | None:
        """Make what is still open; the seconds after which to come again, or None at the end."""
        model = self._find(turn)
        if model is None:
            turn.refuse(ProviderError("model_retired", "This deployment does not offer the model any more."))
            return None
        try:
            credentials = self._credentials(model)
        except PixelPromptError as error:
            log_failure("The keys of the providers cannot be read.", error)
            turn.refuse(ProviderError("internal", billable="no"))
            return None
        if credentials is None:
            key = self._keys.key_name(model)
            message = f"The key {key} is missing; its owner sets it with `make keys`."
            turn.refuse(ProviderError("bad_credentials", message))
            return None
        turn.model, turn.credentials = model, credentials
        turn.used = receipt(turn.item.parameters, model.takes).used()
        turn.request = image_request(turn.item.prompt, turn.used, model)
        calls = turn.used.get("n", 1) if turn.request.n == 1 else 1
        turn.calls = calls
        waiting = [call for call in range(calls) if not turn.progress.is_closed(call)]
        if len(waiting) <= 1:
            pauses = [self._call(turn, call) for call in waiting]
        else:
            with ThreadPoolExecutor(len(waiting)) as pool:
                pauses = list(pool.map(lambda call: self._call(turn, call), waiting))
        return min((pause for pause in pauses if pause is not None), default=None)

    def _credentials(self, model: Model) -> Credentials | None:
        """What the model's provider is called with; its SDK is loaded while the keys are read."""
        with ThreadPoolExecutor(1) as pool:
            # If this fails, it fails again when the provider is asked, and is reported there.
            pool.submit(adapter, model.provider)
            return self._keys.credentials(model)

    def _find(self, turn: "_Turn") -> Model | None:
        """The item's model as the catalogue has it now; one that was retired meanwhile still ends what it has begun."""
        name = turn.item.model
        model = self._registry().find(name) or self._registry(fresh=True).find(name)
        if model is None and turn.progress.tokens:
            model = self._registry().find_retired(name)
        return model

    def _call(self, turn: "_Turn", call: int) -> float | None:
        """Bring one call to its end; the seconds after which to come again, or None at its end."""
        try:
            answer = self._ask(turn, call)
        except Exception as error:
            log_failure("The provider's adapter failed.", error)
            answer = ProviderError("internal", billable="unknown")
        if isinstance(answer, _Later):
            return answer.seconds
        if isinstance(answer, ProviderError):
            turn.fail(call, answer)
            if answer.code in _ENDED and call in turn.progress.tokens:
                # So that a retry places a new order instead of asking about this one.
                with turn.lock:
                    self._keep(turn)
            return None
        try:
            self._store(turn, call, answer)
        except (StorageError, ValueError) as error:
            log_failure("The image could not be stored.", error)
            message = "The image was made but could not be stored."
            turn.fail(call, ProviderError("internal", message, billable="yes", cost=answer.cost))
        return None

    def _ask(self, turn: "_Turn", call: int) -> "Generated | _Later | ProviderError":
        """Ask the provider, again where it certainly did not begin or is at work, and the wait is short."""
        item, model = turn.item, turn.model
        assert model
        generate = adapter(model.provider).generate
        waited = 0.0
        for attempt in range(item.attempt, item.attempt + 1000):
            logger.info("The provider is asked.", provider=model.provider, attempt=attempt)
            until = min(self._clock() + model.time_limit, turn.call_until)
            request = turn.request_of(call)
            answer: Generated | Waiting | ProviderError = generate(request, model, turn.credentials, until)
            answer = accept(answer, turn.credentials.key, images=request.n)
            if isinstance(answer, Waiting):
                self._remember(turn, call, answer.resume)
                pause = answer.seconds
                out_of_time = ProviderError("timeout", "The provider was still at work when the time was over.")
            elif isinstance(answer, ProviderError) and answer.safe_to_repeat:
                if answer.code == "rate_limited":
                    record({"ProviderThrottles": 1}, model=item.model)
                # A provider that says "now" is given a moment all the same.
                pause = answer.retry_after or backoff(attempt)
                out_of_time = answer
            else:
                return answer
            if self._clock() + pause > turn.deadline:
                return out_of_time
            if waited + pause > WAIT_HERE or self._clock() + pause + model.time_limit > turn.call_until:
                return _Later(max(pause, min(10.0, 1.5 * item.attempt)))
            self._sleep(pause)
            waited += pause
        return out_of_time

    def _remember(self, turn: "_Turn", call: int, token: str) -> None:
        """Keep the token of a request before it is first polled."""
        with turn.lock:
            if turn.progress.tokens.get(call) == token:
                return
            turn.progress.tokens[call] = token
            self._keep(turn)

    def _keep(self, turn: "_Turn") -> None:
        """Store how far the item has come, for whoever resumes it after a crash."""
        try:
            self._tokens.save(turn.item, turn.progress.dump())
        except StorageError as error:
            log_failure("How far the model has come could not be kept; a crash would lose it.", error)

    def _store(self, turn: "_Turn", call: int, generated: Generated) -> None:
        item = turn.item
        stored: list[Row] = []
        for number, image in enumerate(generated.images, start=call):
            record = {
                "model": item.model,
                "prompt": item.prompt,
                "steps": item.parameters.get("steps", DEFAULTS["steps"]),
                "guidance": item.parameters.get("guidance", DEFAULTS["guidance"]),
                "control": item.parameters.get("control", DEFAULTS["control"]),
                "target": item.target,
                "timestamp": epoch_milliseconds(item.created_at),
                "jobId": item.job_id,
                "seed": image.seed,
                "revisedPrompt": image.revised_prompt,
            }
            keys = self._images.save(image.data, record, number, patience=turn.store_until - self._clock())
            about = {"width": image.width, "height": image.height, "seed": image.seed}
            stored.append({**keys, **{name: value for name, value in about.items() if value is not None}})
        with turn.lock:
            turn.add(call, stored, generated)
            result = turn.progress.result()
            if turn.progress.tokens:
                self._keep(turn)
        if turn.calls > 1:
            self._recorded(lambda: self._jobs.mark_model_images(item.job_id, item.model, result, run=item.run))

    def _wait(self, turn: "_Turn", pause: float) -> Outcome:
        resume = turn.progress.dump() if turn.progress != Progress() else None
        return turn.item.wait(pause, resume, turn.deadline)

    def _close(self, turn: "_Turn", started_at: str) -> Outcome:
        item, progress = turn.item, turn.progress
        started = {"startedAt": started_at} if item.attempt == 1 else {}
        seconds = self._clock() - (turn.deadline - MAX_WAIT)
        if progress.images:
            row = turn.row()
            outcome = self._complete(item, {**started, **row})
            record_completion(item.model, row["cost"]["amount"], seconds)
            return outcome
        failure = progress.failure()
        return self._fail(item, {**started, **failure})

    def _complete(self, item: Item, row: Row) -> Outcome:
        row = limited(row)
        document = self._recorded(lambda: self._jobs.mark_model_complete(item.job_id, item.model, row))
        return item.outcome("done", recorded=True) if document else item.outcome("done", recorded=False, row=row)

    def _fail(self, item: Item, row: Row) -> Outcome:
        document = self._recorded(lambda: self._jobs.mark_model_error(item.job_id, item.model, row, run=item.run))
        # The unknown cost of a model that was cancelled is counted already.
        is_counted = document and document["results"][item.index]["status"] == "cancelled"
        dollars = None if is_counted else row.get("cost", UNKNOWN)["amount"]
        record_failure(item.model, row["errorCode"], "no" if is_counted else row["billable"], dollars)
        extra = {} if document else {"row": row}
        return item.outcome("failed", recorded=bool(document), errorCode=row["errorCode"], **extra)

    def _recorded(self, write: Callable[[], Value]) -> Value | None:
        """The job document as it was written; None where it could not be."""
        try:
            return write()
        except PixelPromptError as error:
            log_failure("The row could not be written; the end of the job writes it.", error)
            return None


@dataclass
class _Turn:
    """One invocation's work on an item; ``deadline``, ``call_until`` and ``store_until`` in epoch seconds."""

    item: Item
    deadline: float
    call_until: float
    store_until: float
    progress: Progress
    lock: Lock = field(default_factory=Lock)
    calls: int = 1

    model: Model | None = None
    used: Row = field(default_factory=dict)
    credentials: Credentials = field(init=False)
    request: ImageRequest = field(init=False)

    def request_of(self, call: int) -> ImageRequest:
        """The request of one call; each has a seed of its own, or they would all make the same image."""
        seed = self.request.seed
        if self.model and seed is not None and call:
            seed = receipt({"seed": seed + call}, self.model.takes).used()["seed"]
        return replace(self.request, seed=seed, resume=self.progress.tokens.get(call))

    def refuse(self, error: ProviderError) -> None:
        """Close what is open with an error of ours; what a provider is at work on may still be charged for."""
        if self.progress.tokens:
            error.billable = "unknown"
        closed = set(self.progress.images) | set(self.progress.failures)
        self.fail(min(set(range(2 * MOST_IMAGES + 1)) - closed), error)

    def fail(self, call: int, error: ProviderError) -> None:
        """Close a call with its error."""
        cost = {"cost": reported(error.cost)} if error.cost else {}
        with self.lock:
            self.progress.failures[call] = {**error.row(), **cost}

    def add(self, call: int, images: list[Row], generated: Generated) -> None:
        """Close a call with its images."""
        self.progress.images[call] = images
        self.progress.request_id = self.progress.request_id or generated.request_id
        # A server that does not know what an image costs says 0.
        if generated.cost:
            self.progress.costs[call] = generated.cost
        self.progress.used.update(generated.used or {})
        for kind, count in (generated.usage or {}).items():
            self.progress.usage[kind] = self.progress.usage.get(kind, 0) + count
        if (generated.usage or {}).get("outputImageTokens"):
            self.progress.counted.append(call)

    def row(self) -> Row:
        """The fields of the row at its end."""
        progress = self.progress
        result = progress.result()
        # A model that has left the catalogue meanwhile takes nothing any more; what was asked for stays.
        made, wanted = len(result["images"]), (self.used or self.item.parameters).get("n", 1)
        failure = progress.failure()
        if set(progress.costs) == set(progress.images):
            cost = reported(sum(progress.costs.values()))
        else:
            usage = progress.usage if set(progress.counted) == set(progress.images) else None
            cost = computed(self.model, made, self.used, usage)
        given = self._receipt(self.model, result["images"]) if self.model else {}
        price = (self.model.price if self.model else None) or {}
        if "resolution" in given.get("adjusted", {}) and price.get("unit") == "image" and price.get("byResolution"):
            # The price is of the size that was asked for.
            cost = cost if cost["basis"] == "reported" else UNKNOWN
        # One of the calls may have been charged for although it gave no image.
        cost = added(cost, failure.pop("cost", None))
        row = {
            **result,
            "cost": cost,
            "requestId": progress.request_id,
            "usage": progress.usage or None,
            "used": progress.used or None,
        }
        row.update(given)
        if made < wanted:
            row["missing"] = {"images": wanted - made, **failure}
        return row

    def _receipt(self, model: Model, images: list[Row]) -> Row:
        """The fields of the row's receipt where an image contradicts it."""
        given = receipt(self.item.parameters, model.takes)
        kinds = [_kind_of(image) for image in images if image.get("width") and image.get("height")]
        made = as_made(given, kinds)
        return {} if made == given else made.row()


def _kind_of(image: Row) -> tuple[int, int, str]:
    """Width, height, and format of a stored image."""
    kind = str(image["binaryKey"]).rpartition(".")[2]
    return image["width"], image["height"], "jpeg" if kind == "jpg" else kind


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
    # A history has at most 25,000 events, and each attempt of each of 40 models makes 14 of them where it breaks.
    MOST_ATTEMPTS = 20

    def __init__(
        self, jobs: JobManager, images: ImageStorage, tokens: ResumeTokens, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._tokens = tokens
        self._clock = clock

    def record(self, item: Item, error: str) -> Outcome:
        """The item's outcome; ``error`` is the name that Step Functions gave."""
        begun = item.may_have_begun or error not in self._NOT_BEGUN
        stored = self._images.find(item.stem)
        wanted = item.parameters.get("n", 1)
        deadline = item.deadline or self._clock() + MAX_WAIT
        resume = self._resume(item, begun) if len(stored) < wanted else None
        if resume and self._clock() < deadline and item.attempt < self.MOST_ATTEMPTS:
            progress = Progress.load(resume)
            if begun:
                progress.recover(wanted, {number_of(item.stem, image): image for image in stored})
            return item.wait(1.0, progress.dump(), deadline)
        if stored:
            self._jobs.mark_model_complete(item.job_id, item.model, images_result(stored))
            record_completion(item.model, None)
            return item.outcome("done", recorded=True)
        failure = ProviderError("unknown_outcome", _UNRECORDED) if begun else self._failure(error)
        earlier = Progress.load(resume)
        if earlier.tokens or earlier.failure().get("billable", "no") != "no":
            # This invocation has not begun, but an earlier one of the item has asked the provider.
            failure.billable = "unknown"
        self._jobs.mark_model_error(item.job_id, item.model, failure.row(), run=item.run)
        record_failure(item.model, failure.code, failure.billable)
        return item.outcome("failed", recorded=True, errorCode=failure.code)

    def _resume(self, item: Item, begun: bool) -> str | None:
        """How far the item had come when its invocation broke."""
        if not begun:
            return item.resume
        # A request that a retry resumes was kept by the earlier run; what the item brings stands for it.
        return self._tokens.load(item) or (item.resume if item.run > 1 else None)

    def _failure(self, error: str) -> ProviderError:
        """The error of an item that was not begun."""
        if error == "Lambda.TooManyRequestsException":
            message = "The AWS account had no free capacity to run this model; try again later."
            return ProviderError("internal", message, billable="no")
        return ProviderError("internal", "This model could not be started.", billable="no")
