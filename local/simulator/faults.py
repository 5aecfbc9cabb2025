"""Faults that are switched on per model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from local.simulator.errors import ERROR_FAULTS

# What every protocol can play: these act on the connection, on the bytes of a response, or exist at every provider.
COMMON_FAULTS = frozenset(
    {
        "throttled",
        "quota_exhausted",
        "refused",
        "refused_output",
        "slow",
        "dropped",
        "dropped_before",
        "retired",
        "no_image",
        "wrong_mime",
        "not_an_image",
        "bad_key",
        "bad_parameter",
        "server_error",
        "unavailable",
        "oversized",
        "bad_json",
        "crash",
        "created",
        "svg",
    }
)
# What spoils an image in base64, and the URL of an image.
BASE64_FAULTS = frozenset({"base64_data_url", "base64_lines", "base64_unpadded", "base64_urlsafe"})
URL_FAULTS = frozenset({"data_url", "relative_url", "localhost_url", "other_port_url"})
# What only some protocols can play.
SPECIAL_FAULTS = frozenset(
    {
        "text_only",
        "inference_error",
        "no_subscription",
        "redirect_private",
        "late_task",
        "odd_status",
        "poll_throttled",
        "task_failed",
        "polling_without_id",
        "thought_only",
        "unspecified_block",
        "free_tier_zero",
        "refused_image",
    }
)
FAULTS = COMMON_FAULTS | BASE64_FAULTS | URL_FAULTS | SPECIAL_FAULTS | ERROR_FAULTS

ANY_MODEL = "*"
_FIELDS = {"fault", "retryAfter", "seconds", "times"}


class FaultError(ValueError):
    """A fault that cannot be set; the message says what can."""


@dataclass(frozen=True)
class Fault:
    """One fault of one model.

    Parameters
    ----------
    retry_after
        Seconds in the provider's own retry hint (`throttled`, `poll_throttled`); None or 0 sends no hint.
    seconds
        How long the response is delayed (`slow`), or the task stays unknown (`late_task`).
    times
        How many requests still meet the fault; None means every one.
    """

    name: str
    retry_after: float | None = None
    seconds: float | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise FaultError(f"Unknown fault {self.name!r}. Available: {', '.join(sorted(FAULTS))}.")
        for label, value in (("retryAfter", self.retry_after), ("seconds", self.seconds)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise FaultError(f"{label} of the fault {self.name!r} must be a number of seconds from 0 on.")
        if self.times is not None and self.times < 1:
            raise FaultError(
                f"times of the fault {self.name!r} must be a whole number from 1 on; leave it out for always."
            )

    @classmethod
    def from_json(cls, document: Any) -> Fault:
        """Read one entry of the control API.

        Raises
        ------
        FaultError
            If the entry is malformed.
        """
        if not isinstance(document, Mapping) or not isinstance(document.get("fault"), str):
            raise FaultError('A fault is written as {"fault": "throttled", "retryAfter": 2, "times": 1}.')
        if unknown := sorted(set(document) - _FIELDS):
            raise FaultError(f"Unknown field {unknown[0]!r} in a fault. Use: {', '.join(sorted(_FIELDS))}.")
        for label in ("retryAfter", "seconds", "times"):
            value = document.get(label)
            allowed = int if label == "times" else (int, float)
            if value is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
                raise FaultError(f"{label} of a fault must be a number.")
        return cls(document["fault"], document.get("retryAfter"), document.get("seconds"), document.get("times"))

    def to_json(self) -> dict[str, Any]:
        """The entry as the control API shows it."""
        entry = {"fault": self.name, "retryAfter": self.retry_after, "seconds": self.seconds, "times": self.times}
        return {name: value for name, value in entry.items() if value is not None}


def parse_faults(text: str) -> dict[str, Fault]:
    """Read `model=fault[:number[:times]]`, comma-separated; the number is a retry hint or a duration in seconds.

    Raises
    ------
    FaultError
        If the text does not follow this form.
    """
    faults: dict[str, Fault] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        model, separator, rest = entry.partition("=")
        name, *numbers = (part.strip() for part in rest.split(":"))
        if not separator or not model.strip() or len(numbers) > 2:
            raise FaultError(f"Cannot read the fault {entry!r}. Write MODEL=FAULT[:SECONDS[:TIMES]].")
        try:
            seconds = float(numbers[0]) if numbers and numbers[0] else None
            times = int(numbers[1]) if len(numbers) == 2 else None
        except ValueError as error:
            raise FaultError(f"Cannot read the numbers of the fault {entry!r}.") from error
        hint = name in {"throttled", "poll_throttled"}
        faults[model.strip()] = Fault(name, seconds if hint else None, None if hint else seconds, times)
    return faults


class FaultTable:
    """The faults in force, by model id as sent on the wire; `*` stands for every model."""

    def __init__(self, faults: Mapping[str, Fault] | None = None) -> None:
        self._lock = Lock()
        self._faults: dict[str, Fault] = dict(faults or {})

    def set(self, model: str, fault: Fault | None) -> None:
        """Replace the fault of one model; None removes it."""
        with self._lock:
            if fault is None:
                self._faults.pop(model, None)
            else:
                self._faults[model] = fault

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._faults.clear()

    def snapshot(self) -> dict[str, Fault]:
        """The faults in force now."""
        with self._lock:
            return dict(self._faults)

    def peek(self, model: str, playable: frozenset[str]) -> Fault | None:
        """The fault the next request of this model meets, left in force."""
        with self._lock:
            _, fault = self._find(model, playable)
            return fault

    def take(self, model: str, playable: frozenset[str]) -> Fault | None:
        """The fault this request of the model meets, counted down."""
        with self._lock:
            key, fault = self._find(model, playable)
            if fault is not None and fault.times is not None:
                if fault.times == 1:
                    del self._faults[key]
                else:
                    self._faults[key] = replace(fault, times=fault.times - 1)
            return fault

    def _find(self, model: str, playable: frozenset[str]) -> tuple[str, Fault | None]:
        """One for every model passes over the protocols that do not know it; one of a single model does not."""
        if model in self._faults:
            return model, self._faults[model]
        fault = self._faults.get(ANY_MODEL)
        return ANY_MODEL, fault if fault is not None and fault.name in playable else None
