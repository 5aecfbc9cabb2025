"""The column of Toy."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, ONE_PER_CALL, Column

MODEL = Model("Toy", "toy", "toy-1", supports={"seed": {"min": 0, "max": 4294967295}})
COLUMN = Column(
    MODEL,
    replace(MODEL, id="toy-0"),
    absent={**NO_URL, **ONE_PER_CALL, "the provider refuses prompts only": ("image withheld",)},
)
