"""Charges the runs of jobs to the budgets when they have ended, and releases what nobody will charge."""

from collections.abc import Callable

from pixelprompt.errors import StorageError
from pixelprompt.identity import Identity
from pixelprompt.jobs.charges import cost_more_than_reserved, reservation_of
from pixelprompt.jobs.schema import Job
from pixelprompt.jobs.store import JobManager
from pixelprompt.jobs.usage import measure as measure_usage
from pixelprompt.jobs.usage import record as record_usage
from pixelprompt.limits.budget import DEPLOYMENT, Budgets, OpenReservation, Reservation
from pixelprompt.limits.usage import UsageLog
from pixelprompt.models.cost import micros
from pixelprompt.observability import log_failure, logger, record


class Settlement:
    """Charges runs to the budgets, and records what their jobs have used."""

    def __init__(self, budgets: Budgets, usage: UsageLog) -> None:
        self._budgets = budgets
        self._usage = usage

    def close(self, job_id: str, run: int) -> frozenset[int] | None:
        """Let no row of a run claim its share any more; the rows that have, or None where that is unknown."""
        try:
            return self._budgets.close(job_id, run)
        except StorageError as error:
            log_failure("The claims of a run could not be closed; the sweep does it.", error)
            return None

    def settle(self, document: Job, run: int) -> None:
        """Charge a run to the budgets that it has reserved, if its rows are charged; record what its job has used."""
        record_usage(document, self._usage)
        found = reservation_of(document, run)
        if found is None or "charged" not in found:
            return
        reserved, charged = micros(found["amount"]), micros(found["charged"])
        # Documents of a release without API keys name no budgets.
        scopes = tuple(found.get("scopes", [DEPLOYMENT]))
        reservation = Reservation(found["id"], document["jobId"], run, found["day"], reserved, scopes)
        try:
            settled = self._budgets.settle(reservation, charged)
        except StorageError as error:
            log_failure("A run could not be charged to the budgets; the sweep does it.", error)
            return
        over = cost_more_than_reserved(document, run)
        if settled and over:
            logger.warning("Models cost more than was reserved for them.", run=run, models=over)
            record({"OverReserved": len(over)})

    def measure(self, document: Job) -> None:
        """Measure what the present run of a job has used, which has ended."""
        measure_usage(document)

    def record_check(self, job_id: str, amount: int | None, caller: Identity) -> None:
        """Record the check of a prompt by a model, for which nothing is reserved; None: its price is unknown."""
        if amount != 0:
            self._usage.record_call(caller.owner, caller.key_id, job_id, amount)

    def give_back(self, reservation: Reservation, caller: Identity) -> None:
        """Release what was reserved for a caller's run that does not begin; what was spent all the same is charged."""
        self._budgets.give_back(reservation, reservation.least)
        if reservation.least:
            self._usage.record_call(caller.owner, caller.key_id, reservation.id, reservation.least)

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
        usage: UsageLog,
        read: Callable[[str], Job | None],
        finish: Callable[[str, int], Job],
        was_started: Callable[[str, int], bool],
        *,
        longest_job: float,
        clock: Callable[[], float],
    ) -> None:
        self._budgets = budgets
        self._usage = usage
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
        if "charged" in found:
            # Its finish may have ended before it recorded that.
            record_usage(document, self._usage)
        else:
            found = reservation_of(self._finish(job_id, run), run)
        if found is None or "charged" not in found:
            return False
        self._budgets.settle(reservation, micros(found["charged"]))
        return True
