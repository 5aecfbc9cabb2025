"""Metrics of what a deployment's owner asks, as lines of the log in CloudWatch's embedded metric format.

CloudWatch makes the metrics of the lines (CloudWatch User Guide, "Embedding metrics within logs"), so no Lambda waits
for a call. Each has the dimension ``service``, which tells the stages of an account apart, and at most one other.
"""

import json
import sys
from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from pixelprompt.observability import KEYS, logger

NAMESPACE = "PixelPrompt"

# By name, the unit and the dimension that stands beside the service.
METRICS: Mapping[str, tuple[MetricUnit, str | None]] = {
    "JobsEnded": (MetricUnit.Count, "status"),
    "JobSeconds": (MetricUnit.Seconds, None),
    "JobsAbandoned": (MetricUnit.Count, None),
    "ModelsCompleted": (MetricUnit.Count, "model"),
    "ModelsFailed": (MetricUnit.Count, "model"),
    "ModelSeconds": (MetricUnit.Seconds, "model"),
    "ModelErrors": (MetricUnit.Count, "errorCode"),
    "ProviderThrottles": (MetricUnit.Count, "model"),
    "Dollars": (MetricUnit.NoUnit, None),
    "ModelDollars": (MetricUnit.NoUnit, "model"),
    "UnknownCosts": (MetricUnit.Count, None),
    "PromptsRefused": (MetricUnit.Count, "category"),
    "RateLimited": (MetricUnit.Count, "scope"),
    "WriteConflicts": (MetricUnit.Count, "document"),
}


def record_completion(model: str, dollars: float | None, seconds: float | None = None) -> None:
    """Count a model that has made its images, what they cost if that is known, and how long it took if that is."""
    took = {} if seconds is None else {"ModelSeconds": round(seconds, 2)}
    # Both outcomes have a value at each turn, so that their share can be computed.
    record({"ModelsCompleted": 1, "ModelsFailed": 0, **took}, model=model)
    if dollars is None:
        record({"UnknownCosts": 1})
    else:
        _record_dollars(model, dollars)


def record_failure(model: str, code: str, billable: str, dollars: float | None = None) -> None:
    """Count a model that has made none, why, and what it cost all the same or whether that is unknown."""
    record({"ModelsCompleted": 0, "ModelsFailed": 1}, model=model)
    record({"ModelErrors": 1}, errorCode=code)
    if dollars is None:
        record_unknown_cost(billable)
    else:
        _record_dollars(model, dollars)


def _record_dollars(model: str, dollars: float) -> None:
    record({"ModelDollars": dollars}, model=model)
    record({"Dollars": dollars})


def record_unknown_cost(billable: str) -> None:
    """Count a model without an image whose provider may charge all the same: ``billable`` is not ``no``."""
    if billable != "no":
        record({"UnknownCosts": 1})


def record(values: Mapping[str, float], **dimension: str) -> None:
    """Log values of metrics by their names, all of them with this dimension or none; the job stands beside them."""
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=logger.service)
    for name, value in values.items():
        unit, expected = METRICS[name]
        assert [*dimension] == ([expected] if expected else []), f"The dimension of {name} is {expected}."
        metrics.add_metric(name, unit, value)
    for key, text in dimension.items():
        metrics.add_dimension(key, text)
    present = logger.get_current_keys()
    for key in KEYS:
        if key in present and key not in dimension:
            metrics.add_metadata(key, present[key])
    # One write, so that lines of several threads stay whole.
    sys.stdout.write(
        json.dumps(metrics.serialize_metric_set(), default=str, separators=(",", ":"), allow_nan=False) + "\n"
    )
