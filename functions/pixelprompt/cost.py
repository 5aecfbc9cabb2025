"""What images cost, as far as it is known. What is unknown is never 0.

A price of the catalogue has a ``unit``: ``image`` (``amount`` dollars each; ``byResolution`` or ``byQuality`` where
that differs) or ``token`` (dollars for one ``inputText``, ``inputImage``, ``outputImage`` token; ``estimate`` dollars
for an image beforehand, ``estimateByQuality`` likewise).
"""

from collections.abc import Iterable, Mapping
from typing import Any

Cost = dict[str, Any]

CURRENCY = "USD"
UNKNOWN: Cost = {"amount": None, "currency": CURRENCY, "basis": "unknown"}

_TOKEN_KINDS = {"inputTextTokens": "inputText", "inputImageTokens": "inputImage", "outputImageTokens": "outputImage"}


def reported(amount: float) -> Cost:
    """What the provider says it charges."""
    return {"amount": round(amount, 6), "currency": CURRENCY, "basis": "reported"}


def _computed(amount: float) -> Cost:
    return {"amount": round(amount, 6), "currency": CURRENCY, "basis": "computed"}


def estimate(price: Mapping[str, Any] | None, used: Mapping[str, Any]) -> Cost:
    """What a model's images will cost by the catalogue's price; ``used`` are the parameters that the model gets."""
    if not price:
        return UNKNOWN
    amount = price.get("estimate") if price["unit"] == "token" else price["amount"]
    by_quality = price.get("estimateByQuality", price.get("byQuality", {}))
    if by_quality and "quality" in used:
        # One that the table lacks is not as cheap as the usual one.
        amount = by_quality.get(used["quality"])
    if amount is not None:
        amount = price.get("byResolution", {}).get(used.get("resolution"), amount)
    return UNKNOWN if amount is None else _computed(amount * used.get("n", 1))


def computed(
    price: Mapping[str, Any] | None, images: int, used: Mapping[str, Any], usage: Mapping[str, int] | None
) -> Cost:
    """What images did cost: from the tokens that the provider counted, else from the price of an image."""
    if price and price["unit"] == "token":
        if not usage or "outputImageTokens" not in usage:
            return UNKNOWN
        return _computed(sum(usage.get(kind, 0) * price.get(name, 0.0) for kind, name in _TOKEN_KINDS.items()))
    return estimate(price, {**used, "n": images})


def added(cost: Cost, more: Cost | None) -> Cost:
    """The sum of two costs of one row; unknown where one of them is."""
    if more is None:
        return cost
    if cost["amount"] is None or more["amount"] is None:
        return UNKNOWN
    return {**cost, "amount": round(cost["amount"] + more["amount"], 6)}


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of what is known; ``unknown`` counts what is not."""
    listed = list(costs)
    known = [cost["amount"] for cost in listed if cost["amount"] is not None]
    amount = round(sum(known), 6) if known else None
    return {"amount": amount, "currency": CURRENCY, "known": len(known), "unknown": len(listed) - len(known)}
