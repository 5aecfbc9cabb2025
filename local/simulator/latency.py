"""The latency of each model; a change applies to requests in progress as well."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from threading import Lock
from typing import Any

Range = tuple[float, float]


class LatencyError(ValueError):
    """A range of seconds that makes no sense; the message says what does."""


def check_range(low: Any, high: Any) -> Range:
    """Return the range in seconds.

    Raises
    ------
    LatencyError
        If the two are not numbers with 0 <= low <= high.
    """
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (low, high))
    if not numbers or not (math.isfinite(high) and 0 <= low <= high):
        raise LatencyError(f"A latency needs two numbers of seconds, 0 <= min <= max; got {low!r} and {high!r}.")
    return float(low), float(high)


class Latency:
    """A range for all models, in which each has its own steady place, and ranges of single models."""

    def __init__(self, low: float, high: float) -> None:
        self._lock = Lock()
        self._range = check_range(low, high)
        self._models: dict[str, Range] = {}

    def seconds(self, model: str) -> float:
        """The seconds that an image of this model takes."""
        with self._lock:
            low, high = self._models.get(model, self._range)
        share = int.from_bytes(hashlib.sha256(f"latency:{model}".encode()).digest()[:4], "big") / 0xFFFFFFFF
        return low + (high - low) * share

    def update(self, document: Any) -> None:
        """Apply `{"min": s, "max": s, "models": {model: [min, max] | null}}`; what is left out stays.

        Raises
        ------
        LatencyError
            If the document is malformed; nothing is applied then.
        """
        if not isinstance(document, Mapping) or set(document) - {"min", "max", "models"}:
            raise LatencyError('Write latency as {"min": 0.5, "max": 4, "models": {"gpt-image-2": [1, 2]}}.')
        models = document.get("models") or {}
        if not isinstance(models, Mapping):
            raise LatencyError('"models" must map a model id to [min, max] or null.')
        with self._lock:
            new_range = check_range(document.get("min", self._range[0]), document.get("max", self._range[1]))
            new_models = dict(self._models)
            for model, limits in models.items():
                if limits is None:
                    new_models.pop(model, None)
                elif isinstance(limits, (list, tuple)) and len(limits) == 2:
                    new_models[model] = check_range(*limits)
                else:
                    raise LatencyError(f"The latency of {model!r} must be [min, max] or null.")
            self._range, self._models = new_range, new_models

    def to_json(self) -> dict[str, Any]:
        """The document as the control API shows it."""
        with self._lock:
            return {
                "min": self._range[0],
                "max": self._range[1],
                "models": {model: list(limits) for model, limits in self._models.items()},
            }
