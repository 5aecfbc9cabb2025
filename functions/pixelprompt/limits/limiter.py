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
from pixelprompt.identity import KeyLimits
from pixelprompt.limits.caller import caller
from pixelprompt.observability import record
from pixelprompt.storage.documents import Document

HOUR = 3600.0
DAY = 86400.0


class Decision(Struct, frozen=True):
    """Whether a request may pass.

    ``scope``: ``global``, ``ip``, ``key``, or ``busy``; ``retry_after``: seconds until it may.
    """

    limited: bool
    scope: str | None = None
    retry_after: float = 0.0


PASS = Decision(False)


class Look(Struct, frozen=True):
    """Decision on a request, and the S3 document that it rests on, if it rests on one."""

    decision: Decision
    document: Document | None = None


class OwnWindow(Struct, frozen=True):
    """The window of one caller: what is counted there, the scope of its refusals, its most requests, and its seconds.

    ``who`` is an IP address, the /64 network of one, or an API key.
    """

    who: str
    scope: str
    limit: int
    length: float


class Limiter(ABC):
    """Decides and counts.

    A caller whose API key has a rate is counted by that key, in a rolling hour, and not by its IP address.

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

    def look(self, ip_address: str, key: KeyLimits | None = None) -> Look:
        """Read whether a request would be over a limit; counts nothing.

        Raises
        ------
        StorageError : the windows cannot be read
        """
        own = self._own(ip_address, key)
        return self._look(own) if own else Look(PASS)

    def check(self, ip_address: str, look: Look | None = None, key: KeyLimits | None = None) -> Decision:
        """Count a request unless it is over a limit.

        Parameters
        ----------
        look : what ``look`` has found a moment ago
        key : what the caller's API key allows

        Raises
        ------
        StorageError : the store kept failing; the request may be counted
        """
        own = self._own(ip_address, key)
        return self._check(own, look) if own else PASS

    @abstractmethod
    def _look(self, own: OwnWindow) -> Look: ...

    @abstractmethod
    def _check(self, own: OwnWindow, look: Look | None) -> Decision: ...

    def _decide(self, all_callers: Sequence[float], moments: Sequence[float], now: float, own: OwnWindow) -> Decision:
        return decide(all_callers, moments, now, self.global_limit, own)

    def _own(self, ip_address: str, key: KeyLimits | None) -> OwnWindow | None:
        """The window that a request is counted in beside that of all callers; None for one that is not counted."""
        if key and key.rate is not None:
            return OwnWindow(f"key/{key.id}", "key", key.rate, HOUR)
        return None if self._is_allowlisted(ip_address) else OwnWindow(caller(ip_address), "ip", self.ip_limit, DAY)

    def _is_allowlisted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._whitelist)


def decide(
    all_callers: Sequence[float], moments: Sequence[float], now: float, global_limit: int, own: OwnWindow
) -> Decision:
    """Decide by the moments in the window of all callers and in the caller's own, neither with older ones."""
    windows = (("global", all_callers, global_limit, HOUR), (own.scope, moments, own.limit, own.length))
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
        "key": "Your API key reached its hourly request limit.",
    }
    sentence = sentences.get(decision.scope or "", "Too many concurrent requests.")
    raise RateLimitExceeded(
        f"{sentence} Try again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
        retryAfter=seconds,
        scope=decision.scope,
    )
