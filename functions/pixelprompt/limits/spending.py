"""What a request hears that does not fit into a budget, and the calls of text models, each of which must fit."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from pixelprompt.errors import BudgetExceeded, StorageError
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.limits.budget import Budget, Budgets, Left
from pixelprompt.limits.usage import UsageLog
from pixelprompt.models.cost import dollars
from pixelprompt.observability import log_failure

_WINDOWS = {"day": "today", "month": "this month"}


class CallBudget:
    """Reserves what a call of a text model may cost, charges it, and records it; what it did cost is not known.

    Parameters
    ----------
    limits : gives the budgets that a caller's call must fit into
    price : the most that a call with this text may cost, in millionths of a US dollar; None where that is unknown
    clock : epoch seconds
    """

    def __init__(
        self,
        budgets: Budgets,
        limits: Callable[[Identity], Sequence[Budget]],
        price: Callable[[str], int | None],
        usage: UsageLog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._budgets = budgets
        self._limits = limits
        self._price = price
        self._usage = usage
        self._clock = clock

    @contextmanager
    def reserved(self, text: str, caller: Identity = ANYBODY) -> Iterator[None]:
        """A caller's call with this text happens within.

        Raises
        ------
        BudgetExceeded : its price is unknown, or a budget has less left
        StorageError : DynamoDB kept failing; what may be reserved is charged by the sweep
        """
        limits = self._limits(caller)
        amount = self._price(text)
        if amount is None and limits:
            raise BudgetExceeded(
                "With a budget, only a text model with a known price can be asked. The operator can set "
                "`unknownPriceCeiling`."
            )
        if amount == 0:
            yield
            return
        call_id, needed = str(uuid.uuid4()), amount or 0
        reserved = self._budgets.reserve(call_id, 1, needed, limits, least=needed)
        if isinstance(reserved, Left):
            raise exceeded(reserved, needed, self._clock(), what="request")
        try:
            yield
        finally:
            try:
                self._budgets.settle(reserved, needed)
            except StorageError as error:
                log_failure("A call could not be charged to the budgets; the sweep does it.", error)
            self._usage.record_call(caller.owner, caller.key_id, call_id, amount)


def exceeded(left: Left, needed: int, now: float, *, what: str, models: Sequence[str] | None = None) -> BudgetExceeded:
    """The error of a request that may cost more than a budget has left.

    Parameters
    ----------
    needed : millionths of a US dollar
    now : epoch seconds
    models : of the request's, the names of those that would fit together
    """
    renews_at = datetime.fromtimestamp(left.renews_at, UTC)
    seconds = max(1, math.ceil(left.renews_at - now))
    owner = "Your key" if left.scope.startswith("key/") else "This deployment"
    message = (
        f"This {what} may cost ${dollars(needed):.2f}. {owner} has ${dollars(left.amount):.2f} left of its budget for "
        f"{_WINDOWS[left.window]}, which renews at {renews_at:%Y-%m-%d %H:%M} UTC."
    )
    if models is not None:
        message += f" Within it are: {', '.join(models)}." if models else f" No model of this {what} is within it."
    return BudgetExceeded(
        message,
        headers={"Retry-After": str(seconds)},
        retryAfter=seconds,
        scope=left.scope.partition("/")[0],
        window=left.window,
        needed=dollars(needed),
        left=dollars(left.amount),
        renewsAt=f"{renews_at:%Y-%m-%dT%H:%M:%SZ}",
        **({} if models is None else {"models": [*models]}),
    )
