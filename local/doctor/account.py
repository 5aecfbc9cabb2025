"""The AWS account of a deployment: how many functions it runs at once."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from local.aws.deployment import Deployment
from local.doctor.report import BAD, WARNING, Row
from pixelprompt.aws_errors import error_code

# Of a job's models and of jobs that a deployment should be able to run at once.
_JOBS_AT_ONCE = 4
# What runs beside a job's models: submit, status and enhance.
_OTHER_FUNCTIONS = 3
_LAMBDA_QUOTA = "L-B99A9384"


def quota_row(deployment: Deployment, models: int) -> Row:
    """Whether the account runs as many functions at once as jobs of so many models need."""
    row = Row("Lambda concurrency")
    if deployment.on_laptop:
        # The emulator starts as many processes as it is asked for.
        return row
    region, stage = deployment.region, deployment.stage
    try:
        limits = deployment.client("lambda").get_account_settings()["AccountLimit"]
    except (ClientError, BotoCoreError) as error:
        row.add(WARNING, f"The quota is unknown ({cause(error)}); allow yourself lambda:GetAccountSettings.")
        return row
    free = limits.get("UnreservedConcurrentExecutions", limits["ConcurrentExecutions"])
    at_once = min(max(1, models), deployment.max_concurrency())
    needed = at_once + _OTHER_FUNCTIONS
    more = (
        f"ask for more: aws service-quotas request-service-quota-increase --region {region} --service-code lambda "
        f"--quota-code {_LAMBDA_QUOTA} --desired-value 1000"
    )
    if free < needed:
        lower = free - _OTHER_FUNCTIONS
        command = f'make deploy STAGE={stage} CDK="-c maxConcurrency={lower}"'
        cure = f"lower maxConcurrency (`{command}`, or in cdk.json), or {more}" if lower > 0 else more
        row.add(
            WARNING if free else BAD,
            f"The account runs {free} functions at once in {region}, and one job of {models} models needs {needed} "
            "with the requests about it: models wait for each other, and requests may fail. "
            f"{cure[0].upper()}{cure[1:]}",
        )
    elif free < at_once * _JOBS_AT_ONCE:
        row.add(
            WARNING,
            f"The account runs {free} functions at once in {region}, and {_JOBS_AT_ONCE} jobs of {models} models "
            f"need {at_once * _JOBS_AT_ONCE}: further ones wait. {more[0].upper()}{more[1:]}",
        )
    return row


def cause(error: BaseException | None) -> str:
    """A failed request to AWS in a word."""
    return error_code(error) or type(error).__name__
