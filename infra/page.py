"""The page: the files of ``web/`` and where they find the API, behind CloudFront."""

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct

from infra.exceptions import acknowledge, acknowledge_resource, objects_name
from infra.log_groups import ServiceLogGroup
from infra.settings import Settings
from infra.storage import Delivery
from infra.web import CONTENT_TYPES, WEB, page_config

# What lies in the folder beside the page's files, such as an editor's copies, stays there.
NOT_DEPLOYED = ["*", ".*", *(f"!*{suffix}" for suffix in CONTENT_TYPES)]
# Where the CDK keeps what it deploys.
ASSETS_BUCKET = "cdk-hnb659fds-assets-<AWS::AccountId>-<AWS::Region>"


class Page(Construct):
    """Copies the page into its bucket and has CloudFront forget the one before; the output ``PageUrl`` is its URL.

    ``config.json`` beside it describes the deployment to the page; see ``page_config``.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, delivery: Delivery, api_url: str) -> None:
        super().__init__(scope, id)
        s3_deployment.BucketDeployment(
            self,
            "Files",
            destination_bucket=delivery.page_bucket,
            distribution=delivery.distribution,
            sources=[
                s3_deployment.Source.asset(str(WEB), exclude=NOT_DEPLOYED),
                s3_deployment.Source.json_data(
                    "config.json",
                    page_config(
                        api_url=api_url.rstrip("/"),
                        status_wait=settings.status_wait,
                        gallery=settings.has_gallery,
                        auth=settings.api_auth,
                        usage=settings.has_charges,
                    ),
                ),
            ],
            # CloudFront forgets at each deployment; browsers ask whether what they have is still good.
            cache_control=[s3_deployment.CacheControl.no_cache()],
            # The CDK's function writes even when the stack is deleted, and thereby makes the group again: under a name
            # of ours it would be in the way of the next deployment.
            log_group=ServiceLogGroup(self, "Logs", settings=settings),
        )
        self._explain(delivery)
        CfnOutput(
            Stack.of(self),
            "PageUrl",
            value=f"https://{delivery.distribution.distribution_domain_name}/",
            description="URL of the page",
        )

    def _explain(self, delivery: Delivery) -> None:
        """Explain where the CDK's own function, which copies the files at a deployment, breaks rules of cdk-nag."""
        (copier,) = (c for c in Stack.of(self).node.children if c.node.id.startswith("Custom::CDKBucketDeployment"))
        reason = "The CDK's own function, which copies the page at a deployment; the CDK chooses how it runs."
        acknowledge(copier, "L1", reason)
        basic = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        acknowledge(copier, f"IAM4[Policy::{basic}]", reason)
        for action in ("GetObject*", "GetBucket*", "List*", "DeleteObject*", "Abort*"):
            acknowledge(copier, f"IAM5[Action::s3:{action}]", reason)
        assets = f"arn:<AWS::Partition>:s3:::{ASSETS_BUCKET}/*"
        for resource in ("*", assets, objects_name(delivery.page_bucket, "*")):
            acknowledge_resource(copier, resource, reason)
