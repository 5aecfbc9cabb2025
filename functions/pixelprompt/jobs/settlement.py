"""Charges the runs of jobs to the budgets when they have ended, and releases what nobody will charge."""

from collections.abc import Callable

from pixelprompt.errors import StorageError
from pixelprompt.jobs.charges import cost_more_than_reserved, reservation_of
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.budget import DEPLOYMENT, Budgets, OpenReservation, Reservation
from pixelprompt.models.cost import micros
from pixelprompt.observability import log_failure, logger, record


class Settlement:
    """Charges runs to the budgets."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    def close(self, job_id: str, run: int) -> frozenset[int] | None:
        """Let no row of a run claim its share any more; the rows that have, or None where that is unknown."""
        try:
            return self._budgets.close(job_id, run)
        except StorageError as error:
            log_failure("The claims of a run could not be closed; the sweep does it.", error)
            return None

    def settle(self, document: Job, run: int) -> None:
        """Charge a run to the budgets that it has reserved, if its rows are charged."""
        found = reservation_of(document, run)
        if found is None or "charged" not in found:
            return
        reserved, charged = micros(found["amount"]), micros(found["charged"])
        reservation = Reservation(found["id"], document["jobId"], run, found["day"], reserved, (DEPLOYMENT,))
        try:
            settled = self._budgets.settle(reservation, charged)
        except StorageError as error:
            log_failure("A run could not be charged to the budgets; the sweep does it.", error)
            return
        over = cost_more_than_reserved(document, run)
        if settled and over:
            logger.warning("Models cost more than was reserved for them.", run=run, models=over)
            record({"OverReserved": len(over)})

    def abandon(self, jobs: JobManager, job_id: str, run: int) -> None:
        """End a run whose execution could not be started; its rows may have begun if another request started it."""
        claimed = self.close(job_id, run)
        document = jobs.finish(job_id, {}, lambda document: {}, run=run, claimed=claimed, begun=claimed or ())
        self.settle(document, run)


class Sweep:
    """Settles reservations that are older than the longest job.

    Parameters
    ----------
    read : reads the document of a job, or None if there is none
    finish : finishes a run of a job; its document
    was_started : whether a run of a job has an execution
    clock : epoch seconds
    """

    def __init__(
        self,
        budgets: Budgets,
        read: Callable[[str], Job | None],
        finish: Callable[[str, int], Job],
        was_started: Callable[[str, int], bool],
        *,
        longest_job: float,
        clock: Callable[[], float],
    ) -> None:
        self._budgets = budgets
        self._read = read
        self._finish = finish
        self._was_started = was_started
        self._longest_job = longest_job
        self._clock = clock

    def sweep(self) -> int:
        """Settle every reservation that is old enough; their number. One that cannot be settled is left to the next."""
        settled = 0
        for entry in self._budgets.open():
            if entry.since + self._longest_job >= self._clock():
                continue
            try:
                settled += self._settle(entry)
            except Exception as error:
                log_failure("An old reservation could not be settled; the next sweep tries again.", error)
        if settled:
            logger.warning("Reservations were left behind.", settled=settled)
            record({"ReservationsSwept": settled})
        return settled

    def _settle(self, entry: OpenReservation) -> bool:
        """Settle a reservation. False: its run cannot be finished yet."""
        reservation = entry.reservation
        job_id, run = reservation.job_id, reservation.run
        document = self._read(job_id)
        if document is None:
            # Of a job that has expired, nobody knows what it cost.
            started = self._was_started(job_id, run)
            self._budgets.settle(reservation, reservation.amount if started else reservation.least)
            return True
        found = reservation_of(document, run)
        if found is None or found["id"] != reservation.id:
            # Its request ended before it made the run, or another request has made it.
            self._budgets.settle(reservation, reservation.least)
            return True
        if "charged" not in found:
            found = reservation_of(self._finish(job_id, run), run)
        if found is None or "charged" not in found:
            return False
        self._budgets.settle(reservation, micros(found["charged"]))
        return True
