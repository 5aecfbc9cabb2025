"""The column of Black Forest Labs."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from pixelprompt.models.sizes import PixelLimits
from tests.contract.cases import CASES, ONE_PER_CALL, PAID_NO_IMAGE, Column, Outcome

MODEL = Model(
    "FLUX.2 pro",
    "bfl",
    "flux-2-pro",
    parameters={"disable_pup": True},
    supports={"images": {"max": 8}},
    pixels=PixelLimits(multiple_of=16, shortest=64, longest=4096, largest=2048 * 2048),
)
COLUMN = Column(
    MODEL,
    replace(MODEL, id="no-such-model"),
    other={
        # The order stands, and may be asked for again: the caller ends it at its own deadline.
        "slow": Outcome("waiting"),
        **dict.fromkeys(
            ("no image", "not an image", "oversized", "redirect to a private address", "SVG", "edit without image"),
            PAID_NO_IMAGE,
        ),
    },
    absent={
        **ONE_PER_CALL,
        "the image is always behind a URL": tuple(case.name for case in CASES if case.images_by == "base64"),
    },
    rare=("polling URL without ID",),
)
