"""The column of Amazon Bedrock."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, NO_VALIDATION_LISTS, ONE_PER_CALL, REFUSES_IN_REASONS, Column, Outcome

MODEL = Model(
    "Stable Diffusion 3.5 Large",
    "bedrock",
    "stability.sd3-5-large-v1:0",
    supports={"images": {"max": 1}},
    region="us-west-2",
)
COLUMN = Column(
    MODEL,
    replace(MODEL, id="no-such-model"),
    other={
        # What lacks is a payment method, of the operator's own account.
        "no credit": Outcome("quota_exhausted", retryable=True),
        # The body has room for one image.
        "edit of too many references": Outcome("invalid_request", requests=0),
    },
    absent={
        **NO_URL,
        **ONE_PER_CALL,
        **REFUSES_IN_REASONS,
        **NO_VALIDATION_LISTS,
        "AWS says it in words of its own; see tests/contract/test_bedrock.py": (
            "no credit (429)",
            "no credit (403)",
            "no credit (412)",
            "region not supported",
            "account blocked",
        ),
    },
)
