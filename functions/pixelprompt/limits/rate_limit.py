"""Sliding windows over the requests of the last hour (all callers) and the last day (each IP address).

All of it lies in one S3 document, ``rate-limit/ratelimit.json``: ``{"global_requests": [epoch…], "ip_requests":
{address: [epoch…]}}``, changed under conditional writes, so the limits are exact at any concurrency. ``POST /enhance``
and ``POST /uploads`` have windows of their own, in ``rate-limit/enhance.json`` and ``rate-limit/uploads.json``.

Each moment is at least the newest that the document holds, whatever the clocks of the Lambdas say: so the document is a
history in its own order, and what has left a window for one request has left it for all later ones.
"""

import ipaddress
import math
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from pixelprompt.deadline import Deadline
from pixelprompt.errors import ConflictError, RateLimitExceeded
from pixelprompt.limits.caller import caller
from pixelprompt.observability import record
from pixelprompt.storage.documents import Document, DocumentStore, Value
from pixelprompt.storage.keys import RATE_LIMIT_KEY

HOUR = 3600.0
DAY = 86400.0
# Longest time that a check takes its attempts in, in seconds; a request has time for moderation and its job after it.
BOUND = 6.0
_BUSY_SECONDS = (0.5, 3.0)
_MAX_CONTENDERS = 128


class Decision(Struct, frozen=True):
    """Whether a request may pass. ``scope``: ``global``, ``ip`` or ``busy``; ``retry_after``: seconds until it may."""

    limited: bool
    scope: str | None = None
    retry_after: float = 0.0


PASS = Decision(False)


class Look(Struct, frozen=True):
    """Decision on a request, and the document that it rests on; None if no document exists yet."""

    decision: Decision
    document: Document | None = None


def prune(document: Value, now: float) -> Value:
    """The document without the requests that have left their windows."""
    addresses = {
        address: kept
        for address, times in document.get("ip_requests", {}).items()
        if (kept := [moment for moment in times if moment > now - DAY])
    }
    recent = [moment for moment in document.get("global_requests", []) if moment > now - HOUR]
    return {"global_requests": recent, "ip_requests": addresses}


def latest(document: Value, now: float) -> float:
    """The present moment, or the newest one of the document where that is later."""
    windows: list[list[float]] = [document.get("global_requests", []), *document.get("ip_requests", {}).values()]
    return max(now, *(max(moments, default=0.0) for moments in windows))


def decide(document: Value, who: str, now: float, global_limit: int, ip_limit: int) -> Decision:
    """Decide by the windows of a pruned document."""
    windows = (
        ("global", document["global_requests"], global_limit, HOUR),
        ("ip", document["ip_requests"].get(who, []), ip_limit, DAY),
    )
    refusals = [
        Decision(True, scope, _free_at(times, limit, length) - now if limit else length)
        for scope, times, limit, length in windows
        if len(times) >= limit
    ]
    return max(refusals, key=lambda refusal: refusal.retry_after, default=PASS)


def contenders(losses: int) -> int:
    """Assumed number of writers after so many lost races: it is unknown, so it doubles each time."""
    return min(_MAX_CONTENDERS, 2 << losses)


def _free_at(times: Iterable[float], limit: int, length: float) -> float:
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


class RateLimiter:
    """Decides and counts.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    global_limit : requests in any hour, all callers together
    ip_limit : requests in any day, each IP address
    ip_whitelist : IP addresses and networks that pass without being counted
    key : of the document that holds the windows
    deadline : of the request
    clock : epoch seconds
    """

    def __init__(
        self,
        s3_client: Any,
        bucket: str,
        global_limit: int,
        ip_limit: int,
        ip_whitelist: Iterable[str] = (),
        *,
        key: str = RATE_LIMIT_KEY,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.documents = DocumentStore(s3_client, bucket, patience=BOUND, time_limit=BOUND, deadline=deadline)
        self.global_limit = global_limit
        self.ip_limit = ip_limit
        self._whitelist = [ipaddress.ip_network(entry, strict=False) for entry in ip_whitelist]
        self._key = key
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
        StorageError : S3 cannot be read
        """
        if self._is_allowlisted(ip_address):
            return Look(PASS)
        document = self.documents.read(self._key)
        value = document.value if document else {}
        now = latest(value, self._clock())
        return Look(decide(prune(value, now), caller(ip_address), now, self.global_limit, self.ip_limit), document)

    def check(self, ip_address: str, look: Look | None = None) -> Decision:
        """Count a request unless it is over a limit.

        At most one read and one write if no one else is writing; no write when it is refused. When the document is
        contended past the bound, the request is refused for a short time rather than let through uncounted.

        Parameters
        ----------
        look : what ``look`` has found a moment ago, which saves reading the document again

        Raises
        ------
        StorageError : S3 kept failing; the request may be counted
        """
        if self._is_allowlisted(ip_address):
            return PASS
        who = caller(ip_address)
        decision = PASS
        offered: set[float] = set()

        def count(document: Value | None) -> Value | None:
            nonlocal decision
            before = latest(document or {}, self._clock())
            # The fraction tells this request's moment from others of the same millisecond.
            moment = max(before, round(before + random.randrange(1000) / 1_000_000, 6))
            windows = prune(document or {}, moment)
            decision = decide(windows, who, moment, self.global_limit, self.ip_limit)
            if decision.limited:
                return None
            offered.add(moment)
            windows["global_requests"].append(moment)
            windows["ip_requests"].setdefault(who, []).append(moment)
            return windows

        def counted(document: Value) -> bool:
            return not offered.isdisjoint(document.get("ip_requests", {}).get(who, []))

        try:
            self.documents.update(
                self._key,
                count,
                new=look is not None and look.document is None,
                found=look.document if look else None,
                contenders=lambda windows, losses: contenders(losses),
                already_applied=counted,
            )
        except ConflictError:
            decision = Decision(True, "busy", random.uniform(*_BUSY_SECONDS))
        return decision

    def _is_allowlisted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._whitelist)
