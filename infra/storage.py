"""The bucket that holds jobs, images and rate-limit counts, and the CloudFront distribution of images and page."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.exceptions import acknowledge
from infra.settings import Settings
from infra.web import IMAGE_POLICY, content_security_policy
from pixelprompt.storage import keys

ENHANCED_DAYS = 7
# The longest window that is counted is one day.
RATE_LIMIT_DAYS = 2
# A record counts for 24 hours.
IDEMPOTENCY_DAYS = 2
# A job takes its references at its start.
UPLOAD_DAYS = 1

IMAGE_PATHS = f"{keys.IMAGES}*"
# Every write of these says which version it replaces, or that it replaces none.
CONDITIONAL_KEYS = (keys.STATUS_KEYS, f"{keys.RATE_LIMITS}*")


def removal_policy(settings: Settings) -> RemovalPolicy:
    """The removal policy of a resource that holds data."""
    # What a deployment creates is not kept if it fails: it is empty. What is kept must not have a fixed name, or the
    # next deployment of the stage would fail.
    return RemovalPolicy.DESTROY if settings.removal_policy == "destroy" else RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


class PrivateBucket(s3.Bucket):
    """A private bucket: no access from outside the account, and none without TLS.

    ``lifecycle_rules`` join the one that clears away uploads left half done; ``cors`` says which pages may read.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        lifecycle_rules: list[s3.LifecycleRule],
        removal_policy: RemovalPolicy,
        auto_delete_objects: bool,
        cors: list[s3.CorsRule] | None = None,
    ) -> None:
        super().__init__(
            scope,
            id,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            lifecycle_rules=[
                *lifecycle_rules,
                s3.LifecycleRule(id="abort-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
            ],
            removal_policy=removal_policy,
            auto_delete_objects=auto_delete_objects,
            cors=cors,
        )
        acknowledge(self, "S1", "Only this stack's roles and distribution reach it; the API's access log has calls.")


class Storage(Construct):
    """A private bucket whose objects expire, and the distribution, where CloudFront serves its images or the page.

    Attributes
    ----------
    bucket : jobs, images, counts
    delivery : the distribution with its page bucket, or None where it would have neither images nor a page
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings) -> None:
        super().__init__(scope, id)
        days_by_prefix = {
            **dict.fromkeys(
                (keys.JOBS, keys.RECORDS, keys.IMAGES, keys.INDEX, keys.OWNED_INDEX, keys.REFERENCES),
                settings.retention_days,
            ),
            keys.ENHANCED: ENHANCED_DAYS,
            keys.RATE_LIMITS: RATE_LIMIT_DAYS,
            keys.IDEMPOTENCY: IDEMPOTENCY_DAYS,
            keys.UPLOADS: UPLOAD_DAYS,
        }
        self.bucket = PrivateBucket(
            self,
            "Bucket",
            lifecycle_rules=[
                s3.LifecycleRule(id=f"expire-{prefix.rstrip('/')}", prefix=prefix, expiration=Duration.days(days))
                for prefix, days in days_by_prefix.items()
            ],
            removal_policy=removal_policy(settings),
            # Emptying the bucket needs a custom resource, which the emulator cannot run; its buckets go with it.
            auto_delete_objects=settings.removal_policy == "destroy" and settings.target == "aws",
            cors=_cors_rules(settings),
        )
        self._refuse_unconditional_writes()
        self.delivery: Delivery | None = None
        if settings.serves_page or settings.has_public_images:
            self.delivery = Delivery(self, "Delivery", settings=settings, bucket=self.bucket)

    @property
    def domain(self) -> str:
        """Domain of the distribution; empty where there is none."""
        return self.delivery.distribution.distribution_domain_name if self.delivery else ""

    def _refuse_unconditional_writes(self) -> None:
        """Have S3 refuse a write of a job or a count that does not say which version it replaces."""
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="OnlyConditionalWrites",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["s3:PutObject"],
                resources=[self.bucket.arn_for_objects(key) for key in CONDITIONAL_KEYS],
                conditions={"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}},
            )
        )


def _cors_rules(settings: Settings) -> list[s3.CorsRule]:
    """The pages that may upload, and that may fetch images where no CloudFront with CORS headers of its own does."""
    origins = settings.cors_origins.split(",")
    uploading = s3.CorsRule(allowed_origins=[*origins, *_page_origins(settings)], allowed_methods=[s3.HttpMethods.POST])
    if settings.has_public_images:
        return [uploading]
    # A page that saves images fetches presigned URLs.
    reading = s3.CorsRule(
        allowed_origins=[*origins, *_page_origins(settings)], allowed_methods=[s3.HttpMethods.GET, s3.HttpMethods.HEAD]
    )
    return [reading, uploading]


def _page_origins(settings: Settings) -> list[str]:
    """Where CloudFront serves the page, unless every page may upload and read.

    The distribution's own domain would be a circular dependency, as it has the bucket as an origin; and a bucket that
    outlives its stack can be imported again only if it refers to nothing. So the rule allows CloudFront's pages as a
    whole. That lets none of them upload: browsers send a form without a preflight, whatever the rule says, and S3
    stores it only with the policy that this deployment's API has signed; and it returns an image only for a URL that
    the API has signed. The rule lets a page read S3's response.
    """
    return ["https://*.cloudfront.net"] if settings.serves_page and settings.cors_origins != "*" else []


class Delivery(Construct):
    """CloudFront in front of a bucket of its own for the page and, where they are public, the images of a bucket.

    It reads, signed by an origin access control, at most ``images/*`` of the data: jobs and counts are not reachable.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, bucket: s3.Bucket) -> None:
        super().__init__(scope, id)
        self.page_bucket = PrivateBucket(
            self,
            "PageBucket",
            lifecycle_rules=[],
            # Every deployment can fill it again.
            removal_policy=RemovalPolicy.DESTROY,
            auto_delete_objects=True,
        )
        access = cloudfront.S3OriginAccessControl(self, "Access", signing=cloudfront.Signing.SIGV4_ALWAYS)

        def origin(source: s3.Bucket) -> cloudfront.IOrigin:
            # The origins with access control let the distribution read the whole bucket; `_let_read` says what.
            return origins.S3BucketOrigin.with_bucket_defaults(
                source, origin_access_control_id=access.origin_access_control_id
            )

        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"Pixel Prompt {settings.stage}: images and page",
            default_root_object="index.html",
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            default_behavior=cloudfront.BehaviorOptions(
                origin=origin(self.page_bucket),
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                response_headers_policy=self._page_headers(settings, bucket),
            ),
            additional_behaviors={
                IMAGE_PATHS: cloudfront.BehaviorOptions(
                    origin=origin(bucket),
                    viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                    response_headers_policy=self._image_headers(settings),
                    # Nothing is gained by compressing an image again.
                    compress=False,
                )
            }
            if settings.has_public_images
            else {},
        )
        if settings.has_public_images:
            self._let_read(bucket, IMAGE_PATHS)
        self._let_read(self.page_bucket, "*")
        for rule, reason in (
            ("CFR1", "No geographic restriction: the API serves callers in every country."),
            ("CFR2", "A web application firewall has a monthly cost; attach one where you need it."),
            ("CFR3", "Images and the page are public by URL; calls of the API are in its access log."),
            (
                "CFR4",
                "CloudFront's own domain always allows TLS 1.0; only a custom domain can require a newer version.",
            ),
        ):
            acknowledge(self.distribution, rule, reason)

    def _let_read(self, bucket: s3.Bucket, keys: str) -> None:
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DistributionReads",
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                actions=["s3:GetObject"],
                resources=[bucket.arn_for_objects(keys)],
                conditions={"StringEquals": {"AWS:SourceArn": self.distribution.distribution_arn}},
            )
        )

    def _page_headers(self, settings: Settings, bucket: s3.Bucket) -> cloudfront.ResponseHeadersPolicy:
        # The API's own URL would be a circular dependency: the functions behind it know the distribution's domain.
        api = f"https://*.execute-api.{Stack.of(self).region}.amazonaws.com"
        # The SDK signs forms and URLs for the first name in us-east-1 and for the second in other regions.
        uploads = f"https://{bucket.bucket_domain_name} https://{bucket.bucket_regional_domain_name}"
        images = "" if settings.has_public_images else uploads
        return cloudfront.ResponseHeadersPolicy(
            self,
            "PageHeaders",
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=content_security_policy(api=api, uploads=uploads, images=images),
                    override=True,
                ),
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
                frame_options=cloudfront.ResponseHeadersFrameOptions(
                    frame_option=cloudfront.HeadersFrameOption.DENY, override=True
                ),
                referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
                ),
                strict_transport_security=_STRICT_TRANSPORT,
            ),
        )

    def _image_headers(self, settings: Settings) -> cloudfront.ResponseHeadersPolicy:
        return cloudfront.ResponseHeadersPolicy(
            self,
            "ImageHeaders",
            cors_behavior=cloudfront.ResponseHeadersCorsBehavior(
                access_control_allow_credentials=False,
                access_control_allow_headers=["*"],
                access_control_allow_methods=["GET", "HEAD"],
                access_control_allow_origins=settings.cors_origins.split(","),
                origin_override=True,
            ),
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=IMAGE_POLICY, override=True
                ),
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
                strict_transport_security=_STRICT_TRANSPORT,
            ),
        )


_STRICT_TRANSPORT = cloudfront.ResponseHeadersStrictTransportSecurity(
    access_control_max_age=Duration.days(365), override=True
)
