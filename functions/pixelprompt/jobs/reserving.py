"""Reserves what a run of a job may cost at most, before it begins."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from pixelprompt.errors import BudgetExceeded, ServiceUnavailable
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.jobs.charges import Shares, reservation_of
from pixelprompt.jobs.schema import Job, ModelResult, Skipped
from pixelprompt.jobs.settlement import Settlement
from pixelprompt.limits.budget import Budget, Budgets, Left
from pixelprompt.limits.spending import exceeded
from pixelprompt.models.cost import micros, most
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import Receipt

# A model, and the caller's parameters that it gets.
_Given = tuple[Model, Receipt]


class Part(Struct, frozen=True):
    """A model's part of a run: its place in the job, and the caller's parameters that it gets."""

    index: int
    name: str
    model: Model | None
    used: Mapping[str, Any]


class Reserving:
    """Reserves amounts of the budgets.

    Parameters
    ----------
    limits : gives the budgets that a caller's job must fit into
    settlement : charges a run that could not be started
    unknown_price : what an image counts whose price is unknown, in US dollars; None: its model is refused
    moderation : the most that the check of this text may cost, in millionths of a US dollar, or None where that is
        unknown; given where a model checks prompts
    clock : epoch seconds
    """

    def __init__(
        self,
        budgets: Budgets,
        limits: Callable[[Identity], Sequence[Budget]],
        settlement: Settlement,
        *,
        unknown_price: float | None = None,
        moderation: Callable[[str], int | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._budgets = budgets
        self._limits = limits
        self._settlement = settlement
        self.abandon = settlement.abandon
        self._unknown_price = unknown_price
        self._moderation = moderation
        self._clock = clock

    def split_priced(
        self, models: Sequence[_Given], caller: Identity = ANYBODY
    ) -> tuple[tuple[_Given, ...], list[Skipped]]:
        """The models whose price is known or has a ceiling, and the others; where all are others, none is left out.

        Nor is any where the caller has no budget.
        """
        if not self._limits(caller):
            return tuple(models), []
        amounts = [most(model, given.used(), "", self._unknown_price) for model, given in models]
        priced = tuple(entry for entry, amount in zip(models, amounts, strict=True) if amount is not None)
        if not priced:
            return tuple(models), []
        reason = "With a budget, only models with a known price can be asked."
        unpriced = [model.name for (model, _), amount in zip(models, amounts, strict=True) if amount is None]
        return priced, [{"model": name, "reason": reason} for name in unpriced]

    def reserve_job(
        self, job_id: str, models: Iterable[_Given], prompt: str, caller: Identity = ANYBODY
    ) -> Shares | None:
        """Reserve what the first run of a job and the check of its prompt may cost; None: the caller has no budget.

        Raises
        ------
        BudgetExceeded, StorageError : see ``reserve``
        """
        if not self._limits(caller):
            if self._moderation:
                self._settlement.record_check(job_id, self._moderation(prompt), caller)
            return None
        parts = [Part(index, model.name, model, given.used()) for index, (model, given) in enumerate(models)]
        moderation = self._moderation(prompt) if self._moderation else 0
        if moderation is None:
            raise BudgetExceeded(
                "With a budget, only a text model with a known price can check prompts. The operator can set "
                "`unknownPriceCeiling`."
            )
        return self.reserve(job_id, 1, parts, prompt, caller, moderation=moderation)

    def reserve(
        self,
        job_id: str,
        run: int,
        parts: Sequence[Part],
        prompt: str,
        caller: Identity = ANYBODY,
        *,
        moderation: int = 0,
    ) -> Shares | None:
        """Reserve what the parts may cost together, and so much for the check of the prompt; None: without a budget.

        Raises
        ------
        BudgetExceeded : a price is unknown, or a budget has less left
        StorageError : DynamoDB kept failing; what may be reserved is released by the sweep
        """
        limits = self._limits(caller)
        if not limits:
            return None
        amounts = {part.index: self._most(part, prompt) for part in parts}
        known = {index: amount for index, amount in amounts.items() if amount is not None}
        if len(known) < len(parts):
            raise _unknown_prices(parts, known)
        needed = sum(known.values()) + moderation
        reserved = self._budgets.reserve(job_id, run, needed, limits, least=moderation)
        if isinstance(reserved, Left):
            models = _fitting(parts, known, self._least_left(reserved, limits) - moderation)
            raise exceeded(reserved, needed, self._clock(), what="job", models=models)
        return Shares(reserved, known)

    def release(self, shares: Shares, caller: Identity = ANYBODY) -> None:
        """Give a caller's reservation back whose run does not begin with it; where that fails, the sweep does it."""
        self._settlement.give_back(shares.reservation, caller)

    def _least_left(self, refused: Left, limits: Sequence[Budget]) -> int:
        """What all of the budgets have left; those after the one that refused were not asked, and may have less."""
        scopes = [budget.scope for budget in limits]
        others = limits[scopes.index(refused.scope) + 1 :]
        lefts = [refused, *(self._budgets.left(others) if others else [])]
        return min(left.amount for left in lefts)

    def _most(self, part: Part, prompt: str) -> int | None:
        amount = most(part.model, part.used, prompt, self._unknown_price)
        return None if amount is None else micros(amount)


class RetryBudget:
    """What a retry does with the budgets: it charges the run before, and reserves the next.

    Parameters
    ----------
    find : a model of the catalogue by its name
    """

    def __init__(self, reserving: Reserving, settlement: Settlement, find: Callable[[str], Model | None]) -> None:
        self._reserving = reserving
        self._settlement = settlement
        self._find = find
        self.release = reserving.release
        self.abandon = settlement.abandon

    def close(self, document: Job) -> Collection[int]:
        """Let no row of the job's present run claim its share any more; the rows that have.

        Raises
        ------
        ServiceUnavailable : the budgets cannot be asked
        """
        run = document["run"]
        reservation = reservation_of(document, run)
        if reservation is None or "charged" in reservation:
            return ()
        claimed = self._settlement.close(document["jobId"], run)
        if claimed is None:
            raise ServiceUnavailable(
                "The budgets could not be asked. Try again in a few seconds.", headers={"Retry-After": "5"}
            )
        return claimed

    def reserve(
        self, document: Job, rows: Sequence[ModelResult], missing: Mapping[int, int], caller: Identity = ANYBODY
    ) -> Shares | None:
        """Reserve what rows may cost in the next run, whose images ``missing`` counts by index.

        None without rows, and where the caller has no budget.

        Raises
        ------
        BudgetExceeded, StorageError : see ``Reserving.reserve``
        """
        if not rows:
            return None
        parts = [
            Part(
                row["index"],
                row["model"],
                self._find(row["model"]),
                _used(document, row, missing[row["index"]]),
            )
            for row in rows
        ]
        text = f"{document['prompt']}\n{document['parameters'].get('negativePrompt') or ''}"
        return self._reserving.reserve(document["jobId"], document["run"] + 1, parts, text, caller)

    def settle(self, document: Job, run: int) -> None:
        """Charge a run to the budgets that it has reserved."""
        self._settlement.settle(document, run)


def _used(document: Job, row: ModelResult, missing: int) -> Mapping[str, Any]:
    """The caller's parameters that the model of a row gets; all of the job's where an earlier release wrote none.

    ``missing`` is how many of the job's images it lacks; it may make fewer.
    """
    receipt = Receipt.of_row(row)
    used = receipt.used() if receipt else document["parameters"]
    return {**used, "n": min(missing, used.get("n", 1))}


def _fitting(parts: Iterable[Part], amounts: Mapping[int, int], left: int) -> list[str]:
    """The names of as many models as fit together, the cheapest first, in the order of the job."""
    fitting: set[int] = set()
    for part in sorted(parts, key=lambda part: amounts[part.index]):
        if amounts[part.index] <= left:
            left -= amounts[part.index]
            fitting.add(part.index)
    return [part.name for part in parts if part.index in fitting]


def _unknown_prices(parts: Sequence[Part], known: Mapping[int, int]) -> BudgetExceeded:
    unknown = [part.name for part in parts if part.index not in known]
    models = [part.name for part in parts if part.index in known]
    cure = "Leave them out, or ask the operator to set `unknownPriceCeiling`."
    return BudgetExceeded(
        f"With a budget, only models with a known price can be asked. Unknown with these parameters: "
        f"{', '.join(unknown)}. {cure}",
        unknown=unknown,
        models=models,
    )
