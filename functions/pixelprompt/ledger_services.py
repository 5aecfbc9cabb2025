"""Services of the Lambdas whose callers wait that rest on the ledger: API keys, budgets, usage.

Imported only where the deployment has a ledger.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from pixelprompt.shared_services import keys, registry, request_client, settings

if TYPE_CHECKING:
    from pixelprompt.api.usage import UsageReports
    from pixelprompt.identity import Identity
    from pixelprompt.jobs.reserving import Reserving, RetryBudget
    from pixelprompt.jobs.settlement import Settlement
    from pixelprompt.limits.api_keys import ApiKeys
    from pixelprompt.limits.budget import Budget, Budgets
    from pixelprompt.limits.spending import CallBudget
    from pixelprompt.limits.usage import UsageLog
    from pixelprompt.storage.ledger import Ledger


@cache
def ledger() -> Ledger:
    """The table of what many requests count at once."""
    from pixelprompt.storage.ledger import Ledger

    return Ledger(request_client("dynamodb"), settings().ledger_table)


@cache
def api_keys() -> ApiKeys:
    """The API keys of callers."""
    from pixelprompt.limits.api_keys import ApiKeys

    return ApiKeys(ledger())


@cache
def reserving() -> Reserving:
    """Reserves what jobs may cost."""
    from pixelprompt.jobs.reserving import Reserving

    return Reserving(
        _budgets(),
        budgets_of,
        _settlement(),
        unknown_price=settings().unknown_price_ceiling,
        moderation=_price_of_call if settings().moderation == "model" else None,
    )


@cache
def retry_budget() -> RetryBudget:
    """Charges the run before a retry, and reserves the next."""
    from pixelprompt.jobs.reserving import RetryBudget

    return RetryBudget(reserving(), _settlement(), lambda name: registry()().find(name))


@cache
def call_budget() -> CallBudget:
    """Reserves and charges calls of text models."""
    from pixelprompt.limits.spending import CallBudget

    return CallBudget(_budgets(), budgets_of, _price_of_call, usage_log())


@cache
def usage_log() -> UsageLog:
    """Records and reads what was used."""
    from pixelprompt.limits.usage import UsageLog

    return UsageLog(ledger())


@cache
def usage() -> UsageReports:
    """Reports to callers what was used, and what is left of the budgets."""
    from pixelprompt.api.usage import UsageReports

    return UsageReports(
        usage_log(),
        keys=api_keys().all,
        limits=budgets_of,
        left=_budgets().left,
        confirm_above=settings().confirm_above,
        clock=time.time,
    )


def budgets_of(caller: Identity) -> list[Budget]:
    """The budgets that what a caller asks for must fit into: that of the API key, and that of the deployment."""
    from pixelprompt.limits.budget import DEPLOYMENT, Budget, of_key
    from pixelprompt.models.cost import micros

    amounts = (settings().daily_budget, settings().monthly_budget)
    deployment = Budget(DEPLOYMENT, *(None if amount is None else micros(amount) for amount in amounts))
    keys_own = [of_key(caller.key)] if caller.key else []
    return [budget for budget in (*keys_own, deployment) if budget.has_limit]


def _price_of_call(text: str) -> int | None:
    """The most that a call of the text model may cost, in millionths of a US dollar."""
    from pixelprompt.models.cost import micros, most_text
    from pixelprompt.providers.wire.text import most_tokens

    model = registry()().get_prompt_model()
    if model is None or not keys().has_credentials(model):
        return 0
    amount = most_text(model, text, most_tokens(model), settings().unknown_price_ceiling)
    return None if amount is None else micros(amount)


@cache
def _settlement() -> Settlement:
    from pixelprompt.jobs.settlement import Settlement

    return Settlement(_budgets(), usage_log())


@cache
def _budgets() -> Budgets:
    from pixelprompt.limits.budget import Budgets

    return Budgets(ledger())
