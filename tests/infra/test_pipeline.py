"""The pipeline's roles: whom they trust, what they may do, and that nobody deploys them by accident."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.context import SettingsError
from infra.pipeline import PixelPromptPipelineRole
from infra.pipeline_settings import PipelineSettings

from .test_app import run_here

PROVIDER = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
REPOSITORY = "owner/name, or owner@id/name@id, of the repository on GitHub"


def resources(kind: str, **settings: Any) -> list[dict[str, Any]]:
    """The properties of all resources of a type."""
    chosen = PipelineSettings.from_context({"pipeline": "true", "repository": "owner/name", **settings})
    found = Template.from_stack(PixelPromptPipelineRole(App(tree_metadata=False), chosen)).find_resources(kind)
    return [entry["Properties"] for entry in found.values()]


def statements(role: dict[str, Any]) -> dict[str, Any]:
    """The statements of a role's policy, by their ids; pseudo parameters stand in angle brackets."""
    (policy,) = role["Policies"]
    return {entry["Sid"]: entry for entry in policy["PolicyDocument"]["Statement"]}


def subject_of(role: dict[str, Any]) -> str:
    """Which jobs a role is for, from its description."""
    return str(role["Description"].rpartition(", ")[2])


def flat(value: Any) -> list[str]:
    """ARNs as text."""
    joined = [value] if isinstance(value, dict) else value
    return [
        "".join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in entry["Fn::Join"][1])
        for entry in joined
    ]


@pytest.mark.parametrize("repository", ["owner/name", "owner@12/name@34"])
def test_a_role_trusts_one_environment_of_one_repository_on_main(repository: str) -> None:
    subjects = {}
    for role in resources("AWS::IAM::Role", repository=repository, githubProviderArn=PROVIDER):
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Principal"] == {"Federated": PROVIDER}
        (condition,) = statement["Condition"].items()
        assert condition[0] == "StringEquals"
        assert condition[1].pop("token.actions.githubusercontent.com:aud") == "sts.amazonaws.com"
        assert condition[1].pop("token.actions.githubusercontent.com:ref") == "refs/heads/main"
        ((name, subjects[subject_of(role)]),) = condition[1].items()
        assert name == "token.actions.githubusercontent.com:sub"
    assert subjects == {
        "environment:dev": f"repo:{repository}:environment:dev",
        "environment:prod": f"repo:{repository}:environment:prod",
        "ref:refs/heads/main": f"repo:{repository}:ref:refs/heads/main",
    }


def test_a_role_takes_on_what_the_bootstrap_made_and_little_else() -> None:
    roles = {subject_of(role): statements(role) for role in resources("AWS::IAM::Role")}
    prod = roles["environment:prod"]
    assert set(prod) == {"TakeOnRolesOfTheBootstrap", "ReadOutputs", "CallTheApi", "RememberTheGoodCommit"}
    taken = flat(prod["TakeOnRolesOfTheBootstrap"]["Resource"])
    assert prod["TakeOnRolesOfTheBootstrap"]["Action"] == "sts:AssumeRole"
    suffix = "role-<AWS::AccountId>-<AWS::Region>"
    assert [arn.partition(":role/")[2] for arn in taken] == [
        f"cdk-hnb659fds-{name}-{suffix}" for name in ("deploy", "file-publishing", "lookup")
    ]
    assert all("PixelPrompt-prod/" in arn for arn in flat(prod["ReadOutputs"]["Resource"]))
    assert all("/prod/good-commit" in arn for arn in flat(prod["RememberTheGoodCommit"]["Resource"]))
    looking = roles["ref:refs/heads/main"]
    assert set(looking) == {"TakeOnRolesOfTheBootstrap"}
    (lookup,) = flat(looking["TakeOnRolesOfTheBootstrap"]["Resource"])
    assert f"cdk-hnb659fds-lookup-{suffix}" in lookup


def test_githubs_provider_is_made_only_where_there_is_none() -> None:
    (made,) = resources("AWS::IAM::OIDCProvider")
    assert made == {"Url": "https://token.actions.githubusercontent.com", "ClientIdList": ["sts.amazonaws.com"]}
    assert resources("AWS::IAM::OIDCProvider", githubProviderArn=PROVIDER) == []


def test_each_environment_has_its_role() -> None:
    roles = resources("AWS::IAM::Role", environments="prod")
    assert {subject_of(role) for role in roles} == {"environment:prod", "ref:refs/heads/main"}
    # IAM's names are of the whole account, and the stack may be in several of its regions.
    assert all("RoleName" not in role for role in roles)


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("pipeline", "yes", "true"),
        ("repository", "name", REPOSITORY),
        ("repository", "owner/*", REPOSITORY),
        ("repository", "owner@1/name", REPOSITORY),
        ("repository", "owner/name:environment:dev", REPOSITORY),
        ("environments", "dev,*", "names of stages such as dev,prod, separated by commas"),
        ("environments", "dev,dev", "names of stages such as dev,prod, separated by commas"),
        (
            "githubProviderArn",
            "arn:aws:iam::111122223333:oidc-provider/example.com",
            "the ARN of the account's OIDC provider token.actions.githubusercontent.com, or empty",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, given: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        PipelineSettings.from_context({"pipeline": "true", "repository": "owner/name", name: given})
    assert str(raised.value) == f"{name} is {json.dumps(given)}; it must be {allowed}."


def test_a_repository_is_asked_for_and_a_wrong_name_is_told() -> None:
    with pytest.raises(SettingsError, match=r"^repository is missing; it must be owner/name, or "):
        PipelineSettings.from_context({"pipeline": "true"})
    with pytest.raises(SettingsError, match="did you mean repository"):
        PipelineSettings.from_context({"pipeline": "true", "repositry": "owner/name"})


def test_the_app_makes_the_one_stack_or_the_other(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        assert run_here({**context, "pipeline": "true", "repository": "owner/name"}, tmp_path, patch) == 0
    assert [path.name for path in tmp_path.glob("*.template.json")] == ["PixelPromptPipelineRole.template.json"]
    assert run_here({**context, "repository": "owner/name"}, tmp_path / "refused", monkeypatch) == 1
    assert capsys.readouterr().err.startswith('Unknown setting repository ("owner/name")')
