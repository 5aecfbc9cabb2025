"""Recovery after a broken invocation: the image, the request or the error that it left."""

import time
from collections.abc import Callable
from typing import cast

from pixelprompt.generation.item import MAX_WAIT, Item, Outcome
from pixelprompt.jobs.document import images_result
from pixelprompt.jobs.progress import Progress, ResumeTokens
from pixelprompt.jobs.schema import Image
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import ProviderError
from pixelprompt.observability import record_completion, record_failure
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import number_of

_UNRECORDED = "The function ended before the provider's response was recorded; the provider may have made an image."


class FailureRecorder:
    """Mends an item whose generate invocation broke: the image may lie in S3, or the request may be resumable."""

    # Thrown before the invocation began, so nothing was sent to a provider.
    _NOT_BEGUN = frozenset(
        {"Lambda.TooManyRequestsException", "Lambda.AccessDeniedException", "Lambda.ResourceNotFoundException"}
    )
    # A history has at most 25,000 events, and each attempt of each of 40 models makes 14 of them where it breaks.
    MAX_ATTEMPTS = 20

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
        if resume and self._clock() < deadline and item.attempt < self.MAX_ATTEMPTS:
            progress = Progress.load(resume)
            if begun:
                progress.recover(wanted, {number_of(item.stem, image): cast(Image, image) for image in stored})
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
        """Return the item's progress at the time its invocation failed."""
        if not begun:
            return item.resume
        # A request that a retry resumes was kept by the earlier run; what the item brings stands for it.
        return self._tokens.load(*item.row_id) or (item.resume if item.run > 1 else None)

    def _failure(self, error: str) -> ProviderError:
        """The error of an item that was not begun."""
        if error == "Lambda.TooManyRequestsException":
            message = "The AWS account had no free capacity to run this model; try again later."
            return ProviderError("internal", message, billable="no")
        return ProviderError("internal", "This model could not be started.", billable="no")
