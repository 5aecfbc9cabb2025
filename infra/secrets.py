"""The secret with the providers' keys."""

from typing import cast

from aws_cdk import SecretValue
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.exceptions import acknowledge
from infra.settings import Settings
from infra.storage import removal_policy


class ProviderKeys(secretsmanager.Secret):
    """A JSON object of provider keys, empty at first and filled in beside the deployment.

    CloudFormation writes a secret's value only when the value in the template changes. It never does here, so no
    later deployment overwrites the keys. CloudFormation also names the secret: one that outlives its stack would
    keep a fixed name, and the next deployment would fail.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings) -> None:
        super().__init__(
            scope,
            id,
            description="Keys of the image providers, a JSON object",
            secret_string_value=SecretValue.unsafe_plain_text("{}"),
            removal_policy=removal_policy(settings),
        )
        acknowledge(
            self, "SMG4", "Only the providers can issue new keys; docs/how-to/operate.md says how to rotate them."
        )
        # On AWS a reference to a secret is its ARN, in the emulator its name; this attribute is the ARN on both.
        self.arn = cast(secretsmanager.CfnSecret, self.node.default_child).attr_id
