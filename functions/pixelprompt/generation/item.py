"""The item that the state machine hands to an invocation for one model, and the outcome that it gets back."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Required, TypedDict, cast

from msgspec import Struct

from pixelprompt.jobs.schema import ResultFields
from pixelprompt.models.model import Image, Model
from pixelprompt.models.parameters import DEFAULTS, Receipt, receipt
from pixelprompt.observability import logger
from pixelprompt.storage.keys import epoch_milliseconds, gallery, stem_in_job

# Throttling and polling of one model, in seconds; within it, what the Lambda itself may wait for.
MAX_WAIT = 180.0
# Bytes of a row as JSON in ASCII: Step Functions carries 40 of them in at most 256 KiB. A legitimate row of four images
# of a model with a name of 100 characters has up to 3,755, without the negative prompt, which has up to 12,000.
ROW_LIMIT = 4096
# What such a row can do without, the least important first. The receipt goes as a whole: its parts replace those of the
# job document, which keeps an earlier one, and parts of two would contradict each other.
_OPTIONAL = (("used",), ("usage",), ("requestId",), ("applied", "ignored", "adjusted"), ("missing",))


class Outcome(TypedDict, total=False):
    """Outcome of an invocation for one model, as the state machine gets it.

    Attributes
    ----------
    state : whether the model is done, has failed, or comes again after ``waitSeconds``
    recorded : whether the job document holds the result; otherwise ``row`` has it
    attempt, resume, deadline, receipt : of the next invocation
    """

    state: Required[Literal["done", "failed", "wait"]]
    index: Required[int]
    model: Required[str]
    recorded: bool
    row: ResultFields
    errorCode: str | None
    waitSeconds: float
    attempt: int
    resume: str | None
    deadline: float
    receipt: Mapping[str, Any] | None


class Item(Struct, frozen=True):
    """Input of an invocation for one model, from the state machine.

    Attributes
    ----------
    deadline : epoch seconds
    late : whether the execution was started although its job may have been closed by then
    redrives : how often the execution was redriven
    redrives_met : how often it had been when the item last left *Wait for the provider*
    owner : whose job it is; empty where the API is open to everybody
    dumped_receipt : what becomes of the parameters with the model, as ``Receipt.dump`` wrote it when the job was made
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
    dumped_receipt: Mapping[str, Any] | None = None
    owner: str = ""

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
            dumped_receipt=event.get("receipt"),
            owner=event.get("owner", ""),
        )

    @property
    def may_have_begun(self) -> bool:
        """Whether this may repeat an invocation whose end a broken execution did not see."""
        return self.redrives > self.redrives_met

    @property
    def row_id(self) -> tuple[str, int, int]:
        """Job id, index, and run: what names the item's row."""
        return self.job_id, self.index, self.run

    @property
    def target(self) -> str:
        """Name of the gallery that holds the job's images."""
        return gallery(self.job_id, self.created_at)

    @property
    def stem(self) -> str:
        """Common prefix of the keys of this model's images."""
        return stem_in_job(self.job_id, self.created_at, self.model)

    def receipt_for(self, model: Model) -> Receipt:
        """Receipt of the job's parameters for this model, as decided when the job was created.

        The values are those of then; how many images a call makes, and at what price, follows the model as it is now.
        An item of an earlier release carries no receipt: it is computed with the model as it is now.
        """
        if self.dumped_receipt is None:
            return receipt(self.parameters, model.supports)
        return Receipt.load(self.dumped_receipt, self.parameters)

    def record(self, image: Image) -> dict[str, Any]:
        """The fields of the record of one of the item's images."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            **{name: self.parameters.get(name, default) for name, default in DEFAULTS.items()},
            "target": self.target,
            "timestamp": epoch_milliseconds(self.created_at),
            "jobId": self.job_id,
            "seed": image.seed,
            "revisedPrompt": image.revised_prompt,
        }

    def outcome(self, state: Literal["done", "failed", "wait"], **fields: Any) -> Outcome:
        """An outcome of this item."""
        return cast(Outcome, {"state": state, "index": self.index, "model": self.model, **fields})

    def wait(self, seconds: float, resume: str | None, deadline: float) -> Outcome:
        """The outcome that brings the item back after a pause."""
        pause = round(max(seconds, 1.0), 1)
        return self.outcome(
            "wait",
            waitSeconds=pause,
            attempt=self.attempt + 1,
            resume=resume,
            deadline=round(deadline, 3),
            receipt=self.dumped_receipt,
        )


def limited(row: ResultFields) -> ResultFields:
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
        row = cast(ResultFields, {name: value for name, value in row.items() if name not in names})
    logger.warning("The row is too large; parts of it are dropped.", dropped=dropped)
    return row
