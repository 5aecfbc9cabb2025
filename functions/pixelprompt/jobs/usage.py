"""What a job has used: rules on its document, and its record."""

from collections import Counter
from collections.abc import Iterable, Mapping

from pixelprompt.jobs.charges import reservation_of
from pixelprompt.jobs.document import run_of_row
from pixelprompt.jobs.schema import Job, ModelResult
from pixelprompt.limits.usage import JobUsage, ModelUsage, UsageLog
from pixelprompt.models.cost import Cost, dollars, micros
from pixelprompt.observability import log_failure, logger
from pixelprompt.observability import record as record_metrics


def job_usage(document: Job) -> JobUsage:
    """What the runs of a job that have ended have used, and what its open one has made so far.

    The dollars of a run that has reserved are those that it was charged, those of others what is known to have been
    their costs.
    """
    return JobUsage(
        job_id=document["jobId"],
        day=document["createdAt"][:10],
        owner=str(document.get("owner", "")),
        key=str(document.get("apiKey", "")),
        updated_at=document["updatedAt"],
        models=tuple(_model_usage(document, row) for row in document["results"]),
        moderation=sum(
            micros(reservation.get("moderation", 0.0))
            for reservation in document.get("reservations", [])
            if "charged" in reservation
        ),
    )


def record(document: Job, log: UsageLog) -> None:
    """Record the present state of a job; a failure is logged, because the caller has done what matters more."""
    try:
        log.record_job(job_usage(document))
    except Exception as error:
        log_failure("The usage of a job could not be recorded.", error)


def measure(document: Job) -> None:
    """Measure what the present run of a job has used, once it has ended."""
    if key := document.get("apiKey"):
        logger.append_keys(key=key)
    began_at = document.get("runStartedAt") or document["createdAt"]
    completed = [
        row for row in document["results"] if row["status"] == "completed" and row.get("completedAt", "") >= began_at
    ]
    for row in completed:
        record_metrics({"Images": len(row.get("images", []))}, model=row["model"])
    reservation = reservation_of(document, document["run"])
    if reservation and "charged" in reservation:
        ended = [row for row in document["results"] if row.get("completedAt", "") >= began_at and "reserved" in row]
        known = sum(micros(row.get("cost", {}).get("amount") or 0.0) for row in ended)
        record_metrics({"ReservedDollars": dollars(max(0, micros(reservation["charged"]) - known))})


def _model_usage(document: Job, row: ModelResult) -> ModelUsage:
    run = run_of_row(document, row)
    present = [row["cost"]] if "cost" in row else []
    earlier = row.get("earlierCosts", [])
    # Of a job's runs, some may have reserved and others not: their callers have different keys.
    has_earlier = any(reservation["run"] < run for reservation in document.get("reservations", []))
    covered = [*(earlier if has_earlier else []), *(present if "reserved" in row else [])]
    others = [*([] if has_earlier else earlier), *([] if "reserved" in row else present)]
    known, free = _known(covered), _known(others)
    charged = micros(row.get("charged", 0.0))
    # An image that came when its run was charged already may have cost more.
    reported = min(known["reported"], charged)
    computed = min(known["computed"], charged - reported)
    return ModelUsage(
        row["model"],
        len(row.get("images", [])),
        reported + free["reported"],
        computed + free["computed"],
        charged - reported - computed,
        unknown=sum(cost["amount"] is None for cost in others),
    )


def _known(costs: Iterable[Cost]) -> Mapping[str, int]:
    """The known ones by their basis, in millionths of a US dollar."""
    known: Counter[str] = Counter()
    for cost in costs:
        if cost["amount"] is not None:
            known[cost["basis"]] += micros(cost["amount"])
    return known
