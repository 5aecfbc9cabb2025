"""Rate limits whose windows lie in one S3 document.

``rate-limit/ratelimit.json`` is ``{"global_requests": [epoch…], "ip_requests": {address: [epoch…]}}``, changed under
conditional writes, so the limits are exact at any concurrency. ``POST /enhance`` and ``POST /uploads`` have windows of
their own, in ``rate-limit/enhance.json`` and ``rate-limit/uploads.json``.

Each moment is at least the newest that the document holds, whatever the clocks of the Lambdas say: so the document is a
history in its own order, and what has left a window for one request has left it for all later ones.
"""

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from pixelprompt.deadline import Deadline
from pixelprompt.errors import ConflictError
from pixelprompt.limits.limiter import DAY, HOUR, PASS, Decision, Limiter, Look, OwnWindow
from pixelprompt.storage.documents import DocumentStore, Value
from pixelprompt.storage.keys import RATE_LIMIT_KEY

# Longest time that a check takes its attempts in, in seconds; a request has time for moderation and its job after it.
BOUND = 6.0
_BUSY_SECONDS = (0.5, 3.0)
_MAX_CONTENDERS = 128


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


def contenders(losses: int) -> int:
    """Assumed number of writers after so many lost races: it is unknown, so it doubles each time."""
    return min(_MAX_CONTENDERS, 2 << losses)


class RateLimiter(Limiter):
    """Decides and counts, by the windows in an S3 document.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    global_limit, ip_limit, ip_whitelist, clock : see ``Limiter``
    key : of the document that holds the windows
    deadline : of the request
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
        super().__init__(global_limit, ip_limit, ip_whitelist, clock=clock)
        self.documents = DocumentStore(s3_client, bucket, patience=BOUND, time_limit=BOUND, deadline=deadline)
        self._key = key

    def _look(self, own: OwnWindow) -> Look:
        document = self.documents.read(self._key)
        value = document.value if document else {}
        now = latest(value, self._clock())
        return Look(self._decide_by(prune(value, now), own, now), document)

    def _check(self, own: OwnWindow, look: Look | None) -> Decision:
        """Count a request, with at most one read and one write if no one else is writing; a refusal writes nothing.

        The read is the look's, if there was one. When the document is contended past the bound, the request is refused
        for a short time rather than let through uncounted.
        """
        who = own.who
        decision = PASS
        offered: set[float] = set()

        def count(document: Value | None) -> Value | None:
            nonlocal decision
            before = latest(document or {}, self._clock())
            # The fraction tells this request's moment from others of the same millisecond.
            moment = max(before, round(before + random.randrange(1000) / 1_000_000, 6))
            windows = prune(document or {}, moment)
            decision = self._decide_by(windows, own, moment)
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

    def _decide_by(self, document: Value, own: OwnWindow, now: float) -> Decision:
        """Decide by the windows of a pruned document, in which each caller has a day."""
        moments = [moment for moment in document["ip_requests"].get(own.who, []) if moment > now - own.length]
        return self._decide(document["global_requests"], moments, now, own)
