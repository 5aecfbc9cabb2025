"""The column of Gemini."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, NO_VALIDATION_LISTS, ONE_PER_CALL, REFUSES_IN_REASONS, Column

MODEL = Model(
    "Nano Banana 2.1",
    "gemini",
    "gemini-nano-banana-2.1",
    parameters={"aspect_ratio": "1:1"},
    supports={"images": {"max": 14}},
)
COLUMN = Column(
    MODEL,
    replace(MODEL, id="no-such-model"),
    absent={**NO_URL, **ONE_PER_CALL, **REFUSES_IN_REASONS, **NO_VALIDATION_LISTS},
    rare=("words instead", "image in a thought", "block without reason", "no free tier"),
)
