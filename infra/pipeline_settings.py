"""Settings of the pipeline on GitHub, read from the CDK context and validated before anything is synthesized."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct

from infra.context import Check, SettingsError, read_values, single_values
from infra.settings import STAGES
from pixelprompt.validation import about, allowed

STACK_NAME = "PixelPromptPipelineRole"
ISSUER = "token.actions.githubusercontent.com"


class PipelineSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    """The repository and stages that may deploy; in the CDK context the names are in camel case."""

    repository: Annotated[
        str,
        about(
            "`owner/name`, or `owner@id/name@id` where GitHub names the repository with its IDs.",
            "owner/name, or owner@id/name@id, of the repository on GitHub",
        ),
    ]
    environments: Annotated[
        str,
        about(
            "The environments of the repository that may deploy, each the stage of its name.",
            "names of stages such as dev,prod, separated by commas",
        ),
    ] = ",".join(STAGES)
    github_provider_arn: Annotated[
        str,
        about(
            "ARN of GitHub's OIDC provider where the account has one already; empty creates it.",
            f"the ARN of the account's OIDC provider {ISSUER}, or empty",
        ),
    ] = ""
    pipeline: Annotated[
        bool,
        about(
            "Whether to deploy the role instead.",
            "true",
        ),
    ] = True

    @property
    def stages(self) -> tuple[str, ...]:
        """The environments one by one."""
        return tuple(self.environments.split(","))

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "PipelineSettings":
        """The settings that a CDK context asks for.

        Raises
        ------
        SettingsError : a name is unknown, a value is not allowed, or the repository is missing
        """
        values = read_values(single_values(context), cls, _CHECKS)
        if "repository" not in values:
            raise SettingsError(f"repository is missing; it must be {allowed(cls, 'repository')}.")
        return cls(**values)


def _true(value: bool) -> bool:
    if not value:
        raise ValueError
    return value


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+|[A-Za-z0-9-]+@\d+/[A-Za-z0-9._-]+@\d+", value):
        raise ValueError
    return value


def _environments(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if len(set(names)) != len(names) or not all(re.fullmatch(r"[a-z][a-z0-9-]{0,15}", name) for name in names):
        raise ValueError
    return ",".join(names)


def _provider_arn(value: str) -> str:
    if value and not re.fullmatch(rf"arn:aws[a-z-]*:iam::\d{{12}}:oidc-provider/{re.escape(ISSUER)}", value):
        raise ValueError
    return value


_CHECKS: dict[str, Check] = {
    "pipeline": _true,
    "repository": _repository,
    "environments": _environments,
    "githubProviderArn": _provider_arn,
}
