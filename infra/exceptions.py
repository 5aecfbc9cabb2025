"""Exceptions to the rules of cdk-nag, each on the construct that breaks the rule, with the reason."""

from aws_cdk import Stack, Validations
from aws_cdk import aws_s3 as s3
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Say that `construct` breaks the rule of the AwsSolutions pack, such as ``L1``, on purpose."""
    # What Validations.acknowledge() records; itself it is variadic, which not every Python 3.11 lets through.
    explained = {f"Annotation::AwsSolutions-{rule}": reason}
    construct.node.add_metadata(Validations.ACKNOWLEDGED_RULES_METADATA_KEY, explained)


def acknowledge_resource(construct: IConstruct, resource: str, reason: str) -> None:
    """Say that a policy at `construct` names `resource`, which has a wildcard, on purpose."""
    acknowledge(construct, f"IAM5[Resource::{resource}]", reason)


def objects_name(bucket: s3.IBucket, keys: str) -> str:
    """The objects of a bucket whose keys match, as cdk-nag writes them."""
    assert bucket.node.default_child is not None
    logical_id = Stack.of(bucket).resolve(bucket.bucket_arn)["Fn::GetAtt"][0]
    return f"<{logical_id}.Arn>/{keys}"
