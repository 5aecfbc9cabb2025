"""The bucket that holds jobs, images and rate-limit counts."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.settings import Settings

ENHANCED_DAYS = 7
# The longest window that is counted is one day.
RATE_LIMIT_DAYS = 2
# A record counts for 24 hours.
IDEMPOTENCY_DAYS = 2


def removal_policy(settings: Settings) -> RemovalPolicy:
    """What becomes of a resource that holds data when the stack goes."""
    # What the first deployment made is not kept when it fails, or its names would stand in the way of the second.
    return RemovalPolicy.DESTROY if settings.removal == "destroy" else RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


class Storage(Construct):
    """A private bucket whose objects expire."""

    def __init__(self, scope: Construct, id: str, *, settings: Settings) -> None:
        super().__init__(scope, id)
        days_by_prefix = {
            "jobs/": settings.retention_days,
            "group-images/": settings.retention_days,
            "images/": settings.retention_days,
            "gallery-index/": settings.retention_days,
            "enhanced/": ENHANCED_DAYS,
            "rate-limit/": RATE_LIMIT_DAYS,
            "idempotency/": IDEMPOTENCY_DAYS,
        }
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            lifecycle_rules=[
                *(
                    s3.LifecycleRule(id=f"expire-{prefix.rstrip('/')}", prefix=prefix, expiration=Duration.days(days))
                    for prefix, days in days_by_prefix.items()
                ),
                s3.LifecycleRule(id="abort-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
            ],
            removal_policy=removal_policy(settings),
            # Emptying the bucket takes a custom resource, which the emulator cannot run; its buckets go with it.
            auto_delete_objects=settings.removal == "destroy" and settings.target == "aws",
        )
