"""The ledger: the DynamoDB table in which requests are counted, and budgets, usage, and API keys are kept."""

from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.exceptions import acknowledge
from infra.settings import Settings
from infra.storage import removal_policy


class Ledger(dynamodb.Table):
    """A table on demand whose items expire; `pixelprompt.storage.ledger` says what they are.

    CloudFormation names it: one that outlives its stack would keep a fixed name, and the next deployment would fail.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings) -> None:
        is_prod = settings.stage == "prod"
        super().__init__(
            scope,
            id,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expiresAt",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=is_prod
            ),
            removal_policy=removal_policy(settings),
        )
        if not is_prod:
            acknowledge(self, "DDB3", "Only what the stage prod counts is worth restoring.")
