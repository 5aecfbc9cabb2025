"""Logs and metrics of all Lambdas: one JSON object a line, with the job and the request in every line.

Metrics are lines of the log in CloudWatch's embedded metric format; CloudWatch makes the metrics of them (CloudWatch
User Guide, "Embedding metrics within logs"), so no Lambda waits for a call. Each has the dimension ``service``, which
tells the stages of an account apart, and at most one other.
"""

import json
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from pixelprompt.redaction import clean

# Only ASCII: what quotes a caller can neither end a line, nor steer a terminal, nor hold half a surrogate pair.
# Its service, which has the stage, is in the environment that the stack gives.
logger = Logger(json_serializer=partial(json.dumps, default=str, separators=(",", ":")))
# What an invocation is about, in each of its lines as far as it applies; ``key`` is the id of an API key.
KEYS = ("function", "correlation_id", "job_id", "model", "key")
_OWN_CODE = Path(__file__).parent.parent


def begin(**keys: object) -> None:
    """Start an invocation's log: these keys stand in each of its lines, and none of an earlier invocation's do."""
    logger.clear_state()
    logger.append_keys(**{name: value for name, value in keys.items() if value is not None})


def log_failure(message: str, error: BaseException) -> None:
    """Log an unexpected error: its kind, its message without anything like a key, and the place in our code."""
    logger.error(message, error_type=type(error).__name__, error_message=clean(str(error)), place=_place(error))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_OWN_CODE)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "unknown"


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
    "Images": (MetricUnit.Count, "model"),
    "ReservedDollars": (MetricUnit.NoUnit, None),
    "Refusals": (MetricUnit.Count, "errorCode"),
    "PromptsRefused": (MetricUnit.Count, "category"),
    "RateLimited": (MetricUnit.Count, "scope"),
    "OverReserved": (MetricUnit.Count, None),
    "ReservationsSwept": (MetricUnit.Count, None),
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
