"""The column of Recraft."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import Column

MODEL = Model("Recraft V4.1", "recraft", "recraftv4_1", supports={"images": {"max": 1}})
COLUMN = Column(
    MODEL,
    replace(MODEL, id="nothing"),
    absent={
        "the provider refuses what it is given only": ("image withheld", "edit withheld"),
        "its 429 never says when to come again": ("throttled, with a delay",),
    },
    rare=("wrong path",),
    images_by={"url": {"response_format": "url"}},
)
