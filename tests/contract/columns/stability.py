"""The column of Stability AI."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, ONE_PER_CALL, Column, Outcome

MODEL = Model(
    "Stable Image Ultra",
    "stability",
    "ultra",
    supports={"images": {"max": 1}},
    path="/v2beta/stable-image/generate/ultra",
)
# An account that exceeds the limit is locked out for a minute, whatever the header says.
LOCKED_OUT = Outcome("rate_limited", retryable=True, safe_to_repeat=True, retry_after=60)
COLUMN = Column(
    MODEL,
    replace(MODEL, path="/v2beta/stable-image/generate/nothing"),
    other={"throttled": LOCKED_OUT, "throttled, with a delay": LOCKED_OUT, "edit throttled": LOCKED_OUT},
    absent={**NO_URL, **ONE_PER_CALL},
)
