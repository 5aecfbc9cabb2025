"""The logger that all Lambdas share: one JSON object a line, with the job and the request in every line."""

import json
import traceback
from functools import partial
from pathlib import Path

from aws_lambda_powertools import Logger

from pixelprompt.providers.base import clean

# Only ASCII: what quotes a caller can neither end a line, nor steer a terminal, nor hold half a surrogate pair.
# Its service, which has the stage, is in the environment that the stack gives.
logger = Logger(json_serializer=partial(json.dumps, default=str, separators=(",", ":")))

# What an invocation is about, in each of its lines as far as it applies.
KEYS = ("function", "correlation_id", "job_id", "model")

_OWN_CODE = Path(__file__).parent.parent


def begin(**keys: object) -> None:
    """Start an invocation's log: these keys stand in each of its lines, and none of an earlier invocation's do."""
    logger.clear_state()
    logger.append_keys(**{name: value for name, value in keys.items() if value is not None})


def log_failure(message: str, error: BaseException) -> None:
    """Log an unexpected error: its kind, its message without anything like a key, and the place in our code."""
    logger.error(message, error_type=type(error).__name__, error_message=clean(str(error)), place=_place(error))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_OWN_CODE)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "unknown"
