"""Rate limits whose windows lie in the ledger, one item each.

A window is a set of moments, ``{epoch milliseconds}/{random}``. A request adds its own by one write, on the condition
that the set has room. So the limits are exact at any concurrency, no request waits for another, and an SDK's repeat
adds nothing.

Moments that have left the window stay in its set until that is full. Then whoever meets it takes them out, and leaves
the moment up to which it did as ``cutoff``: later requests are at least a window later, whatever the clocks of their
Lambdas say. So what has left a window for one request has left it for all later ones.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from pixelprompt.limits.limiter import HOUR, PASS, Decision, Limiter, Look, OwnWindow, free_at
from pixelprompt.storage.ledger import RATE_LIMITS, WINDOW, Item, ItemKey, Ledger

# A window of so many moments is an item of 115 kB; DynamoDB stores at most 400 KiB in one, and charges for each write
# by its size.
MAX_LIMIT = 5000
# Seconds that an item stays after its last request has left the window: the Lambdas' clocks may be that far apart.
_SPARE = 3600


class _Window(Struct, frozen=True):
    """A window: its item, the scope of its refusals, its most requests, and its length in milliseconds."""

    key: ItemKey
    scope: str
    limit: int
    length: int


class _Counted(Struct, frozen=True):
    """Outcome of counting a request in a window: its entry there, unless the window is full."""

    decision: Decision = PASS
    entry: str = ""


class LedgerRateLimiter(Limiter):
    """Decides and counts, by windows in the ledger.

    Parameters
    ----------
    windows : what is counted: ``jobs``, ``enhance``, or ``uploads``
    global_limit, ip_limit, ip_whitelist, clock : see ``Limiter``
    """

    def __init__(
        self,
        ledger: Ledger,
        windows: str,
        global_limit: int,
        ip_limit: int,
        ip_whitelist: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(global_limit, ip_limit, ip_whitelist, clock=clock)
        self._ledger = ledger
        self._prefix = f"{RATE_LIMITS}{windows}/"

    def _look(self, own: OwnWindow) -> Look:
        windows = self._windows(own)
        items = self._ledger.read([window.key for window in windows])
        now = max(self._now(), *map(_begin, items, windows))
        everyone, moments = (
            [moment / 1000 for moment in _live(item, now - window.length)]
            for item, window in zip(items, windows, strict=True)
        )
        if len(everyone) >= self.global_limit:
            # A request is in the caller's window before it meets that of all. If that is full, whichever came after the
            # last that it counted leaves the caller's again.
            moments = [moment for moment in moments if moment <= max(everyone, default=0.0)]
        return Look(self._decide(everyone, moments, now / 1000, own))

    def _check(self, own: OwnWindow, look: Look | None) -> Decision:
        """Count a request in both windows, by one write each where they have room.

        The caller's own comes first, so that one who is over the limit does not touch what all share.
        """
        if 0 in (self.global_limit, own.limit):
            return self._decide((), (), self._clock(), own)
        everyone, callers = self._windows(own)
        counted = self._count(callers)
        if counted.decision.limited:
            # The other window may be full for longer. And the own may have room again: a request that the other one
            # refuses leaves it.
            decision = self._look(own).decision
            return decision if decision.limited else Decision(True, own.scope)
        decision = self._count(everyone).decision
        if decision.limited:
            self._remove(callers, [counted.entry])
        return decision

    def _windows(self, own: OwnWindow) -> tuple[_Window, _Window]:
        """The windows of all callers and of one."""
        everyone = ItemKey(f"{self._prefix}global", WINDOW)
        callers = ItemKey(f"{self._prefix}ip/{own.who}" if own.scope == "ip" else f"{self._prefix}{own.who}", WINDOW)
        return (
            _Window(everyone, "global", self.global_limit, int(HOUR * 1000)),
            _Window(callers, own.scope, own.limit, int(own.length * 1000)),
        )

    def _now(self) -> int:
        """The present moment in epoch milliseconds."""
        return int(self._clock() * 1000)

    def _count(self, window: _Window) -> _Counted:
        token, now = secrets.token_urlsafe(6), self._now()
        # A window without its past has room; where others are quicker to take that, it is full.
        while True:
            entry = f"{now}/{token}"
            item = self._ledger.update(
                window.key,
                "SET expiresAt = :expiresAt ADD moments :entries",
                {
                    ":entries": {"SS": [entry]},
                    ":limit": {"N": str(window.limit)},
                    ":cutoff": {"N": str(now - window.length)},
                    ":expiresAt": {"N": str((now + window.length) // 1000 + _SPARE)},
                },
                "(attribute_not_exists(cutoff) OR cutoff <= :cutoff) "
                "AND (attribute_not_exists(moments) OR size(moments) < :limit)",
            )
            # An entry that is there already is from an attempt whose response was lost.
            if item is None or entry in _entries(item):
                return _Counted(entry=entry)
            now = max(self._now(), _begin(item, window))
            live = _live(item, now - window.length)
            if len(live) >= window.limit:
                wait = free_at(live, window.limit, window.length) - now
                return _Counted(Decision(True, window.scope, wait / 1000))
            left = [entry for entry in _entries(item) if _moment(entry) <= now - window.length]
            if left:
                self._remove(window, left, now - window.length)

    def _remove(self, window: _Window, entries: Sequence[str], cutoff: int | None = None) -> None:
        """Take entries out of a window, where they left it up to the cutoff; another request may have done so."""
        values = {":entries": {"SS": [*entries]}}
        if cutoff is None:
            self._ledger.update(window.key, "DELETE moments :entries", values)
        else:
            self._ledger.update(
                window.key,
                "SET cutoff = :cutoff DELETE moments :entries",
                {**values, ":cutoff": {"N": str(cutoff)}},
                "attribute_not_exists(cutoff) OR cutoff <= :cutoff",
            )


def _entries(item: Item) -> list[str]:
    entries: list[str] = item.get("moments", {}).get("SS", [])
    return entries


def _live(item: Item, since: int) -> list[int]:
    """The moments of a window that are later than this one."""
    return [moment for entry in _entries(item) if (moment := _moment(entry)) > since]


def _moment(entry: str) -> int:
    return int(entry.partition("/")[0])


def _begin(item: Item, window: _Window) -> int:
    """The earliest moment at which a request can be counted in a window."""
    return int(item["cutoff"]["N"]) + window.length if "cutoff" in item else 0
