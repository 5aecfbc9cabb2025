"""CORS: the pages that may call the API and read its responses."""

from functools import cache

from pixelprompt.settings import Settings

ALLOWED_METHODS = "GET, POST, OPTIONS"
ALLOWED_HEADERS = "Content-Type, Authorization, If-None-Match, Idempotency-Key, X-Correlation-ID"
EXPOSED = "Date, ETag, Retry-After, X-Correlation-ID, Idempotent-Replayed"
MAX_AGE = 86400


@cache
def allowed_origins() -> tuple[str, ...]:
    """The origins that this deployment names; ``*`` is every one."""
    return Settings.from_environment().cors_origins


def cors_headers(origin: str) -> dict[str, str]:
    """The headers with which a browser lets a page of this origin read a response."""
    allowed = allowed_origins()
    headers = {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Expose-Headers": EXPOSED,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    if "*" in allowed:
        return {"Access-Control-Allow-Origin": "*", **headers}
    if origin in allowed:
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **headers}
    return {"Vary": "Origin"}
