"""The column of OpenAI."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, Column

MODEL = Model(
    "GPT Image 2",
    "openai",
    "gpt-image-2",
    parameters={"size": "1024x1024", "quality": "low"},
    supports={"images": {"max": 16}},
)
COLUMN = Column(
    MODEL,
    replace(MODEL, id="no-such-model"),
    absent=NO_URL,
    rare=("words instead", "no credit, no code", "wrong path"),
)
