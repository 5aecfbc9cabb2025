"""What a failed HTTP exchange means to every adapter that speaks HTTP through ``httpx2``."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from pixelprompt.providers.base import ProviderError

CONNECT_SECONDS = 5.0

# Raised before a byte of the request has left.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def time_left(deadline: float) -> float:
    """Seconds until the deadline (epoch), at least a tenth."""
    return max(0.1, deadline - time.time())


def timeout(deadline: float) -> httpx2.Timeout:
    """Time limits of one exchange that has to end by the deadline (epoch seconds)."""
    left = time_left(deadline)
    return httpx2.Timeout(left, connect=min(CONNECT_SECONDS, left))


def exchange_error(error: BaseException | None) -> ProviderError:
    """The outcome of an exchange that ended without an answer."""
    if isinstance(error, _NOT_SENT):
        return ProviderError("provider_unavailable", "The provider cannot be reached.", safe_to_repeat=True)
    if isinstance(error, httpx2.TimeoutException):
        message = "The provider did not answer in time; it may have made an image."
        return ProviderError("unknown_outcome", message)
    return ProviderError("unknown_outcome")


def server_error(status: int, retry_after: float | None = None) -> ProviderError:
    """The outcome of a 5xx answer: 503 says that the work was not begun, any other leaves that open."""
    return ProviderError(
        "provider_unavailable",
        f"The provider failed with HTTP {status}.",
        billable="no" if status == 503 else "unknown",
        safe_to_repeat=status == 503,
        retry_after=retry_after,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or a date (RFC 9110, 10.2.3)."""
    text = (headers.get("retry-after") or "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
