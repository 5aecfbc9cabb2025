"""The roles that the pipeline on GitHub assumes: a stack of its own, deployed once and by hand.

No key is stored anywhere: GitHub signs who a job is, and the roles trust exactly one repository and its environments.
"""

from aws_cdk import Aws, CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.exceptions import acknowledge_resource
from infra.pipeline_settings import ISSUER, STACK_NAME, PipelineSettings

AUDIENCE = "sts.amazonaws.com"
# The only branch that is deployed and whose diffs are commented.
BRANCH = "main"
# What the smoke test asks for where the API asks callers for a signature.
SMOKE_ROUTES = ("GET/models", "GET/openapi.json", "GET/status/*", "GET/gallery/*", "POST/generate", "POST/enhance")


class PixelPromptPipelineRole(Stack):
    """A role for each environment that deploys, and one that may only look.

    On its own, none may do anything but assume the roles of the CDK's bootstrap, try out what it has deployed, and
    remember which commit was good. A job without an environment, of another branch or another repository is refused.
    AWS reads the claims of GitHub's tokens by condition keys of their names (IAM User Guide, "Available keys for AWS
    OIDC federation").
    """

    def __init__(self, scope: Construct, settings: PipelineSettings) -> None:
        super().__init__(
            scope,
            STACK_NAME,
            description="Pixel Prompt: the roles of its pipeline on GitHub",
            tags={"project": "pixel-prompt"},
        )
        self._repository = settings.repository
        self._provider_arn = settings.github_provider_arn or self._provider()
        for environment in settings.stages:
            role = self._role(
                f"{environment.capitalize()}Role",
                f"environment:{environment}",
                [self._take_on("deploy", "file-publishing", "lookup"), *self._try_out(environment)],
            )
            acknowledge_resource(
                role,
                f"arn:<AWS::Partition>:cloudformation:<AWS::Region>:<AWS::AccountId>:stack/PixelPrompt-{environment}/*",
                "The name is exact; after it CloudFormation puts an id of its own.",
            )
            for route in SMOKE_ROUTES:
                acknowledge_resource(
                    role,
                    f"arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:*/$default/{route}",
                    "The API's id is known only after the first deployment; the routes are those of the smoke test.",
                )
        self._role("DiffRole", f"ref:refs/heads/{BRANCH}", [self._take_on("lookup")])

    def _provider(self) -> str:
        provider = iam.CfnOIDCProvider(self, "GitHub", url=f"https://{ISSUER}", client_id_list=[AUDIENCE])
        return provider.attr_arn

    def _role(self, id: str, subject: str, statements: list[iam.PolicyStatement]) -> iam.Role:
        claims = {"aud": AUDIENCE, "sub": f"repo:{self._repository}:{subject}", "ref": f"refs/heads/{BRANCH}"}
        trusted = {f"{ISSUER}:{claim}": value for claim, value in claims.items()}
        role = iam.Role(
            self,
            id,
            description=f"Jobs of {self._repository}, {subject}",
            assumed_by=iam.WebIdentityPrincipal(self._provider_arn, {"StringEquals": trusted}),
            inline_policies={"Pipeline": iam.PolicyDocument(statements=statements)},
            max_session_duration=Duration.hours(1),
        )
        CfnOutput(self, f"{id}Arn", value=role.role_arn, description=f"Role of {subject}")
        return role

    def _take_on(self, *names: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid="TakeOnRolesOfTheBootstrap",
            actions=["sts:AssumeRole"],
            resources=[
                f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/"
                f"cdk-hnb659fds-{name}-role-{Aws.ACCOUNT_ID}-{Aws.REGION}"
                for name in names
            ],
        )

    def _try_out(self, stage: str) -> list[iam.PolicyStatement]:
        def arn(service: str, rest: str) -> str:
            return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{rest}"

        return [
            iam.PolicyStatement(
                sid="ReadOutputs",
                actions=["cloudformation:DescribeStacks"],
                resources=[arn("cloudformation", f"stack/PixelPrompt-{stage}/*")],
            ),
            iam.PolicyStatement(
                sid="CallTheApi",
                actions=["execute-api:Invoke"],
                resources=[arn("execute-api", f"*/$default/{route}") for route in SMOKE_ROUTES],
            ),
            iam.PolicyStatement(
                sid="RememberTheGoodCommit",
                actions=["ssm:GetParameter", "ssm:PutParameter"],
                resources=[arn("ssm", f"parameter/pixel-prompt/{stage}/good-commit")],
            ),
        ]
