"""Limits on the requests of one caller and of all callers."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.limits.rate_limit import RateLimiter

__all__ = ["RateLimiter"]
__getattr__ = deferred(__name__, {"RateLimiter": "rate_limit"})
