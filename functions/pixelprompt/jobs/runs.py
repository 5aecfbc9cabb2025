"""How the next run of a job begins: rules on the job's document."""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from pixelprompt.errors import JobNotFinished
from pixelprompt.jobs.charges import ANY_ROW, Shares, charge, share_out
from pixelprompt.jobs.document import AT_WORK, complete_row, failed_rows, images_result, reopen_rows
from pixelprompt.jobs.schema import Job, ModelResult
from pixelprompt.storage.keys import StoredImage


class NextRun(Struct, frozen=True, kw_only=True):
    """What the run after run ``earlier`` begins with.

    Attributes
    ----------
    stored : by model name, the images that lie in S3; a row that has all of its images is completed with them
    images_wanted : number of images that each row must have
    names : of the models that may run again; None: all
    claimed : indices of the rows that have claimed their share in run ``earlier``, by default any; it is charged
    shares : what the rows that run again have of the new run's reservation, if there is one
    """

    earlier: int
    stored: Mapping[str, Sequence[StoredImage]]
    images_wanted: int
    names: Collection[str] | None = None
    claimed: Collection[int] = ANY_ROW
    shares: Shares | None = None

    def begin(self, document: Job, now: str) -> list[ModelResult]:
        """Begin it; the rows that run again. Without any, no run has begun.

        Raises
        ------
        JobNotFinished : a row is open, or another has begun this run
        NothingToRetry : every row that may run again is completed
        """
        if document["run"] != self.earlier:
            raise JobNotFinished(AT_WORK)
        asked = failed_rows(document, self.names)
        for row in document["results"]:
            images = self.stored.get(row["model"], [])
            if len(images) >= self.images_wanted:
                complete_row(row, images_result(images), now)
        charge(document, self.earlier, self.claimed)
        rerun = reopen_rows(document, asked, now)
        if self.shares and rerun:
            share_out(document, self.shares)
        return rerun
