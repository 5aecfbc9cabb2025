"""Sliding windows over the requests of the last hour (all callers) and the last day (each IP address): their rules.

Where the windows are stored is the matter of a limiter: in S3 (``limits.rate_limit``) or in DynamoDB
(``limits.ledger_rate_limit``).
"""

import ipaddress
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from pixelprompt.errors import RateLimitExceeded
from pixelprompt.observability import record
from pixelprompt.storage.documents import Document

HOUR = 3600.0
DAY = 86400.0


class Decision(Struct, frozen=True):
    """Whether a request may pass. ``scope``: ``global``, ``ip`` or ``busy``; ``retry_after``: seconds until it may."""

    limited: bool
    scope: str | None = None
    retry_after: float = 0.0


PASS = Decision(False)


class Look(Struct, frozen=True):
    """Decision on a request, and the S3 document that it rests on, if it rests on one."""

    decision: Decision
    document: Document | None = None


class Limiter(ABC):
    """Decides and counts.

    Parameters
    ----------
    global_limit : requests in any hour, all callers together
    ip_limit : requests in any day, each IP address
    ip_whitelist : IP addresses and networks that pass without being counted
    clock : epoch seconds
    """

    def __init__(
        self,
        global_limit: int,
        ip_limit: int,
        ip_whitelist: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.global_limit = global_limit
        self.ip_limit = ip_limit
        self._whitelist = [ipaddress.ip_network(entry, strict=False) for entry in ip_whitelist]
        self._clock = clock

    def check_rate_limit(self, ip_address: str) -> bool:
        """Count a request; True means that it is over a limit and was not counted."""
        return self.check(ip_address).limited

    def is_rate_limited(self, ip_address: str) -> bool:
        """Whether a request would be over a limit; counts nothing."""
        return self.look(ip_address).decision.limited

    def look(self, ip_address: str) -> Look:
        """Read whether a request would be over a limit; counts nothing.

        Raises
        ------
        StorageError : the windows cannot be read
        """
        return Look(PASS) if self._is_allowlisted(ip_address) else self._look(ip_address)

    def check(self, ip_address: str, look: Look | None = None) -> Decision:
        """Count a request unless it is over a limit.

        Parameters
        ----------
        look : what ``look`` has found a moment ago

        Raises
        ------
        StorageError : the store kept failing; the request may be counted
        """
        return PASS if self._is_allowlisted(ip_address) else self._check(ip_address, look)

    @abstractmethod
    def _look(self, ip_address: str) -> Look: ...

    @abstractmethod
    def _check(self, ip_address: str, look: Look | None) -> Decision: ...

    def _decide(self, all_callers: Sequence[float], own: Sequence[float], now: float) -> Decision:
        return decide(all_callers, own, now, self.global_limit, self.ip_limit)

    def _is_allowlisted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._whitelist)


def decide(
    all_callers: Sequence[float], own: Sequence[float], now: float, global_limit: int, ip_limit: int
) -> Decision:
    """Decide by the moments in the window of all callers and in the caller's own, neither with older ones."""
    windows = (("global", all_callers, global_limit, HOUR), ("ip", own, ip_limit, DAY))
    refusals = [
        Decision(True, scope, free_at(times, limit, length) - now if limit else length)
        for scope, times, limit, length in windows
        if len(times) >= limit
    ]
    return max(refusals, key=lambda refusal: refusal.retry_after, default=PASS)


def free_at(times: Iterable[float], limit: int, length: float) -> float:
    """When the window has room again: the moment at which all but ``limit - 1`` of its requests have left it."""
    return sorted(times)[-limit] + length


def refuse_limited(decision: Decision) -> None:
    """Go on only where no limit is reached.

    Raises
    ------
    RateLimitExceeded : says which limit, and when the next request may pass
    """
    if not decision.limited:
        return
    if decision.scope:
        record({"RateLimited": 1}, scope=decision.scope)
    seconds = max(1, math.ceil(decision.retry_after))
    sentences = {
        "global": "This deployment reached its hourly request limit.",
        "ip": "Your IP address reached its daily request limit.",
    }
    sentence = sentences.get(decision.scope or "", "Too many concurrent requests.")
    raise RateLimitExceeded(
        f"{sentence} Try again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
        retryAfter=seconds,
        scope=decision.scope,
    )
