"""Who may deploy from GitHub: read from the CDK context and validated before anything is synthesised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.settings import STAGES, Reader, SettingsError, read_values, single_values

STACK_NAME = "PixelPromptPipelineRole"
ISSUER = "token.actions.githubusercontent.com"


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """Who may deploy; in the CDK context the names are in camel case.

    Attributes
    ----------
    repository : ``owner/name``, or ``owner@id/name@id`` where GitHub names the repository with its ids
    environments : the environments of the repository that may deploy, each the stage of its name
    github_provider_arn : ARN of GitHub's OIDC provider where the account has one already; empty makes it
    """

    repository: str
    environments: tuple[str, ...] = STAGES
    github_provider_arn: str = ""

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "PipelineSettings":
        """The settings that a CDK context asks for.

        Raises
        ------
        SettingsError : a name is unknown, a value is not allowed, or there is no repository
        """
        values = read_values(single_values(context), _READERS)
        values.pop("pipeline", None)
        if "repository" not in values:
            raise SettingsError(f"repository is missing; it must be {_READERS['repository'][1]}.")
        return cls(**values)


def _true(value: Any) -> bool:
    return {"true": True, True: True}[value]


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+|[A-Za-z0-9-]+@\d+/[A-Za-z0-9._-]+@\d+", value):
        raise ValueError
    return value


def _environments(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(","))
    if len(set(names)) != len(names) or not all(re.fullmatch(r"[a-z][a-z0-9-]{0,15}", name) for name in names):
        raise ValueError
    return names


def _provider_arn(value: str) -> str:
    if value and not re.fullmatch(rf"arn:aws[a-z-]*:iam::\d{{12}}:oidc-provider/{re.escape(ISSUER)}", value):
        raise ValueError
    return value


_READERS: dict[str, Reader] = {
    "pipeline": (_true, "true"),
    "repository": (_repository, "owner/name, or owner@id/name@id, of the repository on GitHub"),
    "environments": (_environments, "names of stages such as dev,prod, separated by commas"),
    "githubProviderArn": (_provider_arn, f"the ARN of the account's OIDC provider {ISSUER}, or empty"),
}
