"""Progress of a row: images, failures, and the tokens of requests that a provider is working on."""

import functools
import json
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct, field
from msgspec.structs import asdict

from pixelprompt.jobs.document import images_result
from pixelprompt.jobs.schema import FailedResult, Image, ResultFields
from pixelprompt.models.cost import UNKNOWN, added
from pixelprompt.models.model import Billable, ProviderError
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.keys import resume_key


class ResumeTokens:
    """Progress of rows whose requests a provider is working on, so that no request is sent twice."""

    def __init__(self, s3_client: Any, bucket: str) -> None:
        self._documents = DocumentStore(s3_client, bucket)

    def save(self, job_id: str, index: int, run: int, resume: str) -> None:
        """Keep what is needed to resume a row in a run; only its own invocation writes it."""
        self._documents.write(resume_key(job_id, index, run), {"resume": resume})

    def load(self, job_id: str, index: int, run: int) -> str | None:
        """Data for resuming a row of a run, or None."""
        found = self._documents.read(resume_key(job_id, index, run))
        return found.value.get("resume") if found else None


class Progress(Struct):
    """Progress of an item's calls; an item of several images may need a call for each.

    Attributes
    ----------
    images : by call, the stored images
    tokens : by call, the provider's token of a request it is working on
    failures : by call, the row of its error
    costs : by call, dollars that the provider says it charges
    usage : tokens by kind, of all calls together
    counted : the calls whose image tokens are in `usage`
    earlier : the calls whose images an earlier run has made, and paid for
    """

    images: dict[int, list[Image]] = field(default_factory=dict)
    tokens: dict[int, str] = field(default_factory=dict)
    failures: dict[int, FailedResult] = field(default_factory=dict)
    costs: dict[int, float] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    counted: list[int] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None

    @classmethod
    def load(cls, resume: str | None) -> "Progress":
        """Restore the progress of an earlier attempt."""
        if not resume:
            return cls()
        values: dict[str, Any] = json.loads(resume)
        for name in ("images", "tokens", "failures", "costs"):
            values[name] = {int(call): value for call, value in values.get(name, {}).items()}
        # A version that was rolled back may have added members.
        return cls(**{name: values[name] for name in cls.__struct_fields__ if name in values})

    def dump(self) -> str:
        """The text with which a later attempt goes on; of several errors only the first one's sentence counts."""
        values = asdict(self)
        values["tokens"] = {call: token for call, token in self.tokens.items() if not self.is_closed(call)}
        for call in sorted(self.failures)[1:]:
            failure = self.failures[call]
            values["failures"] = {**values["failures"], call: {k: v for k, v in failure.items() if k != "error"}}
        kept = {name: value for name, value in values.items() if value}
        return json.dumps(kept, separators=(",", ":"), allow_nan=False)

    def is_closed(self, call: int) -> bool:
        """Whether a call has its images or its error."""
        return call in self.images or call in self.failures

    def recover(self, calls: int, stored: Mapping[int, Image]) -> None:
        """Take up what a broken invocation has left; a call without image and token may have been sent already."""
        for call in range(calls):
            if call in stored and call not in self.images:
                self.images[call] = [stored[call]]
            if not self.is_closed(call) and call not in self.tokens:
                self.failures[call] = cast(FailedResult, ProviderError("unknown_outcome").row())

    def failure(self) -> FailedResult:
        """The first error, with the worst that any call may be billed; nothing where no call has failed.

        It has a cost where the provider has said one for each call that it may bill.
        """
        if not self.failures:
            return {}
        rows = self.failures.values()
        billable = {row["billable"] for row in rows}
        worst: Billable = "yes" if "yes" in billable else "unknown" if "unknown" in billable else "no"
        costs = [row.get("cost", UNKNOWN) for row in rows if "cost" in row or row["billable"] != "no"]
        first: FailedResult = {**self.failures[min(self.failures)], "billable": worst}
        first.pop("cost", None)
        if costs:
            first["cost"] = functools.reduce(added, costs)
        return first

    def result(self) -> ResultFields:
        """The fields of a row with all images so far."""
        return images_result([image for call in sorted(self.images) for image in self.images[call]])
