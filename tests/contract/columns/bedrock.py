"""The column of Amazon Bedrock."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import NO_URL, NO_VALIDATION_LISTS, ONE_PER_CALL, REFUSES_IN_REASONS, Column, Outcome

MODEL = Model("Stable Image Core", "bedrock", "stability.stable-image-core-v1:1", region="us-west-2")
COLUMN = Column(
    MODEL,
    replace(MODEL, id="no-such-model"),
    # What lacks is a payment method, of the operator's own account.
    other={"no credit": Outcome("quota_exhausted", retryable=True)},
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
