"""Log groups: every one has a retention period, and a name that says whose it is."""

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.settings import Settings


class ServiceLogGroup(logs.LogGroup):
    """A log group that keeps its events for ``logRetentionDays`` and goes with the stack.

    Without a name CloudFormation makes one up, another for each deployment.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, name: str | None = None) -> None:
        super().__init__(scope, id, log_group_name=name, removal_policy=RemovalPolicy.DESTROY)
        # The property itself accepts the number; the construct's parameter, only an enumeration of words.
        cast(logs.CfnLogGroup, self.node.default_child).retention_in_days = settings.log_retention_days
