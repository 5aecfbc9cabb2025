"""Deploying a stage: what is said before anything is done. The doing is tested in tests/integration/test_stages.py."""

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ProfileNotFound
from botocore.stub import Stubber
from moto import mock_aws

from infra.context import SettingsError
from local import __main__ as command
from local import cdk
from local.aws import commits, deploy, deployment
from local.aws.commits import CommitError
from local.aws.deploy import Account, Target, context_of
from local.cdk import CdkError
from local.cloud import Cloud, CloudError, current_options
from local.cloud.running import clients
from local.confirmation import Unconfirmed
from local.emulator.access_key import AccessKey
from local.prepare import NODE_INPUTS, PYTHON_INPUTS
from local.progress import Progress
from tests.canned import Answer, Asked, Canned
from tests.stacks import stacks

REGION = {"AWS_REGION": "eu-west-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sits at a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture
def aws() -> Any:
    """An account that moto plays."""
    with mock_aws():
        yield boto3.Session(region_name="eu-west-1")


def test_settings_on_the_command_line() -> None:
    assert context_of("") == {}
    assert context_of("-c globalLimit=10 --context 'alarmEmail=a@example.com'") == {
        "globalLimit": "10",
        "alarmEmail": "a@example.com",
    }
    for wrong in ("globalLimit=10", "-c globalLimit", "-c", "--profile x", "-c =1"):
        with pytest.raises(CloudError, match=r'it accepts settings, such as CDK="-c globalLimit=10'):
            context_of(wrong)


def test_a_wrong_setting_is_told_before_aws_is_asked(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'^ipLimit is "ten"; it must be a whole number'):
        Target.stage("dev", "-c ipLimit=ten", {}, tmp_path)
    with pytest.raises(SettingsError, match=r'^stage is "test"; it must be one of dev, prod'):
        Target.stage("test", "", {}, tmp_path)
    with pytest.raises(CloudError, match=r"target=local is for the emulator; set AWS_ENDPOINT_URL"):
        Target.stage("dev", "-c target=local -c cloudfront=false", {}, tmp_path)


def test_region_and_credentials_have_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for ask in (lambda: Account.of_caller({}), lambda: deployment.on_aws("dev", {})):
        with pytest.raises(CloudError, match=r"AWS credentials not found; run `aws configure`"):
            ask()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    with pytest.raises(CloudError, match=r"No AWS region is set; set AWS_REGION"):
        Account.of_caller({})


@pytest.mark.parametrize(
    ("service", "ask"),
    [("STS", lambda: Account.of_caller(REGION)), ("CLOUDFORMATION", lambda: deployment.on_aws("dev", REGION))],
    ids=["deploy", "look"],
)
def test_credentials_that_have_expired_have_a_cure(
    service: str, ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    with Canned(Answer(403, error.encode(), {"Content-Type": "text/xml"})) as aws:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", aws.url)
        with pytest.raises(CloudError, match=r"rejected the credentials \(ExpiredToken\); get new ones"):
            ask()


def test_an_account_without_the_cdk_names_make_bootstrap(aws: boto3.Session) -> None:
    account = Account.of_caller(REGION)
    with pytest.raises(CloudError, match=r"in account 123456789012, region eu-west-1; `make bootstrap` prepares"):
        deploy.require_bootstrap(account)
    aws.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
    deploy.require_bootstrap(account)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("stage", "extra", "sentences"),
    [
        ("dev", "", ["Settings other than the stage's defaults: none.", "The API is PUBLIC: anyone"]),
        ("dev", "-c globalLimit=10", ["globalLimit=10", "a day for jobs at globalLimit=10; "]),
        ("dev", "", ["dailySpendAlarm is 0", "alarmEmail is empty"]),
        ("dev", "-c dailyBudget=0.5", ["that would cost more than $0.50 a day at the providers are refused."]),
        ("dev", "-c dailyBudget=10 -c monthlyBudget=100", ["more than $10.00 a day and $100.00 a month at the"]),
        ("prod", "", ['defaults: apiAuth="iam", pythonVersion="3.13".', "The API lets in callers that IAM allows."]),
        (
            "prod",
            "-c apiAuth=jwt -c jwtIssuer=https://issuer.example -c jwtAudience=client -c cloudfront=false",
            ["holders of a token of https://issuer.example."],
        ),
        (
            "dev",
            "-c apiAuth=keys",
            ["holders of an API key, which `make key` makes. The page is public", "Each caller sees only its own gall"],
        ),
        ("dev", "-c apiAuth=keys -c publicImages=true -c gallery=public", ["Images and the page are public"]),
        ("prod", "-c publicImages=true", ["that IAM allows. Images are public through CloudFront."]),
    ],
)
def test_what_it_will_be_is_described(stage: str, extra: str, sentences: list[str], tmp_path: Path) -> None:
    target = Target.stage(stage, extra, REGION, tmp_path)
    assert (target.stack, target.account.id) == (f"PixelPrompt-{stage}", "123456789012")
    text = "\n".join(target.description)
    assert all(sentence in text for sentence in sentences)
    is_open = stage == "dev" and "apiAuth" not in extra
    assert ("ages and the page are public" in text) == (is_open or ("publicImages" in extra and stage == "dev"))
    assert ("every caller can list all jobs' galleries" in text) == (is_open or "gallery=public" in extra)


@pytest.mark.usefixtures("aws")
def test_an_emulator_on_this_machine_gets_the_stack_for_the_laptop(tmp_path: Path) -> None:
    url = "http://127.0.0.1:4566"
    local = Target.stage("prod", "", {**REGION, "AWS_ENDPOINT_URL": f"{url}/"}, tmp_path)
    assert local.context["target"] == "local"
    assert local.context["apiUrl"] == f"{url}/_aws/execute-api/pixel-prompt-prod"
    assert str(local.account) == f"the emulator at {url}, region eu-west-1"
    elsewhere = Target.stage("dev", "", {**REGION, "AWS_ENDPOINT_URL": "https://vpce.example"}, tmp_path)
    assert "target" not in elsewhere.context


@pytest.mark.usefixtures("aws")
def test_the_pipelines_roles_need_a_repository(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"make pipeline-role REPOSITORY=owner/name"):
        Target.pipeline(REGION, tmp_path)
    with pytest.raises(SettingsError, match=r'^repository is "owner"; it must be owner/name, or '):
        Target.pipeline({**REGION, "REPOSITORY": "owner"}, tmp_path)
    asked = {**REGION, "REPOSITORY": "owner/name", "ENVIRONMENTS": "prod", "PROVIDER_ARN": ""}
    target = Target.pipeline(asked, tmp_path)
    assert target.stack == "PixelPromptPipelineRole"
    assert target.context == {"pipeline": "true", "repository": "owner/name", "environments": "prod"}


def test_what_goes_and_what_stays_is_said_before_anything_is_deleted(
    aws: boto3.Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ProviderKeys-x1Y2-a1B2c3"
    resources = {
        "Bucket": ("S3::Bucket", "b"),
        "Keys": ("SecretsManager::Secret", arn),
        "Ledger": ("DynamoDB::Table", "t-1"),
        "Topic": ("SNS::Topic", "t"),
        "Log": ("Logs::LogGroup", "/aws/lambda/f"),
    }
    summaries = [
        {
            "LogicalResourceId": name,
            "PhysicalResourceId": physical,
            "ResourceType": f"AWS::{kind}",
            "ResourceStatus": "CREATE_COMPLETE",
            "LastUpdatedTimestamp": datetime(2026, 11, 25, tzinfo=UTC),
        }
        for name, (kind, physical) in resources.items()
    ]
    kept = {"DeletionPolicy": "RetainExceptOnCreate"}
    template = {"Resources": {"Bucket": kept, "Keys": kept, "Ledger": kept, "Topic": {}, "Log": {}}}
    target = Target.stage("prod", "", REGION, tmp_path)
    client = aws.client("cloudformation")
    with Stubber(client) as stubber:
        stubber.add_response("list_stack_resources", {"StackResourceSummaries": summaries})
        stubber.add_response("get_template", {"TemplateBody": json.dumps(template)})
        target = replace(target, account=replace(target.account, client=lambda service, **chosen: client))
        with pytest.raises(Unconfirmed, match="no terminal to ask for confirmation"):
            deploy.destroy(target, {}, Progress(), answer="prod")
        goes, _, stays = capsys.readouterr().out.partition("Stays; delete it by hand when you are sure:")
        assert "Goes, 2 resources: 1 Logs LogGroup, 1 SNS Topic." in goes
        assert "/aws/lambda/f, with its logs" in goes
        assert "AWS::S3::Bucket b" in stays and f"AWS::SecretsManager::Secret {arn}" in stays and "CDKToolkit" in stays
        # Just what `cdk import` takes.
        (mapping,) = [line for line in stays.splitlines() if line.strip().startswith("{")]
        expected = {"Bucket": {"BucketName": "b"}, "Keys": {"Id": arn}, "Ledger": {"TableName": "t-1"}}
        assert json.loads(mapping) == expected

        stubber.add_client_error("list_stack_resources", "ValidationError", "Stack with id … does not exist")
        assert not deploy.destroy(target, {}, Progress(), answer="prod")
    assert "Stack PixelPrompt-prod not found in account 123456789012" in capsys.readouterr().out


def test_a_good_commit_is_remembered_by_stage_and_forgotten(
    aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account.of_caller(REGION)
    assert commits.good(account, "dev") == ""
    monkeypatch.setattr(commits, "head", lambda: ("a" * 40, False))
    with pytest.raises(CommitError, match=r"changes that are not committed"):
        commits.mark_good(account, "dev")
    monkeypatch.setattr(commits, "head", lambda: ("a" * 40, True))
    assert commits.mark_good(account, "dev") == commits.good(account, "dev") == "a" * 40
    assert aws.client("ssm").get_parameter(Name="/pixel-prompt/dev/good-commit")["Parameter"]["Value"] == "a" * 40
    assert commits.good(account, "prod") == ""
    commits.forget(account, "dev")
    commits.forget(account, "dev")
    assert commits.good(account, "dev") == ""


def test_a_stage_that_is_not_deployed_has_no_good_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    who = "<GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult>"

    def answer(asked: Asked) -> Answer:
        if b"GetCallerIdentity" in asked.body:
            return Answer(content=f"<GetCallerIdentityResponse>{who}</GetCallerIdentityResponse>".encode())
        return stacks({})(asked)

    for name, value in {**REGION, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "of-a-test"}.items():
        monkeypatch.setenv(name, value)
    with Canned(answer) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        assert command.main(["mark-good", "--stage", "nope"]) == 1
    assert capsys.readouterr().err.startswith("Stack PixelPrompt-nope not found in eu-west-1; deploy it, or choose")
    assert {asked.path for asked in running.asked} == {"/"} and len(running.asked) == 2


@pytest.mark.parametrize("extra", ["-c 'x", "-c x", "ipLimit=5"])
def test_settings_that_cannot_be_read_are_one_sentence(extra: str) -> None:
    with pytest.raises(CloudError, match=r"^CDK is .*; it accepts settings, such as CDK="):
        context_of(extra)


def test_a_cdk_json_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdk, "ROOT", tmp_path)
    for text in (None, "{", "[]", "{}"):
        if text is not None:
            (tmp_path / "cdk.json").write_text(text)
        with pytest.raises(CdkError, match=r"^cdk\.json must be a JSON object with a context: .*; correct it\.$"):
            cdk.default_context()


WRONG = {
    "AWS_DEFAULTS_MODE": "wrong",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "wrong",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "wrong",
    "AWS_RETRY_MODE": "wrong",
    "AWS_MAX_ATTEMPTS": "wrong",
    "AWS_CONFIG_FILE": "/dev/null/none",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_variable_that_aws_does_not_take_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {**KEYS, name: WRONG[name]}.items():
        monkeypatch.setenv(variable, value)
    client, _ = deployment.account(REGION)
    try:
        client("s3")
    except CloudError as error:
        assert str(error).startswith("AWS cannot be used: ")


def test_no_variable_of_the_caller_reaches_the_cloud_on_this_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(Answer(content={})) as emulator:
        for variable, value in {
            **WRONG,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:1",
            "AWS_PROFILE": "none",
        }.items():
            monkeypatch.setenv(variable, value)
        clients(emulator.url, "", AccessKey.random())("secretsmanager").list_secrets()
        assert len(emulator.asked) == 1


def test_no_proxy_is_asked_for_what_stands_in_for_aws_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(Answer(content={})) as emulator:
        proxies = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        for variable, value in {**KEYS, **proxies, "AWS_ENDPOINT_URL": emulator.url}.items():
            monkeypatch.setenv(variable, value)
        client, _ = deployment.account({"AWS_ENDPOINT_URL": emulator.url, **REGION})
        client("secretsmanager").list_secrets()
        assert len(emulator.asked) == 1


def test_an_endpoint_that_is_no_address_is_one_sentence() -> None:
    with pytest.raises(CloudError, match=r"^AWS_ENDPOINT_URL is 'foo'; it must be a URL such as"):
        deployment.account({"AWS_ENDPOINT_URL": "foo", **REGION})


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ClientError({"Error": {"Code": "Throttling"}}, "GetCallerIdentity"), "AWS returned Throttling; try again."),
        (ClientError({"Error": {"Code": "RequestTimeTooSkewed"}}, "x"), "see that this machine's clock is right"),
        (ProfileNotFound(profile="nope"), "(nope) could not be found; set AWS_PROFILE to one that"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), "Check the network, AWS_REGION and"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_keeps_aws_from_answering_has_a_cure(error: ClientError, sentence: str) -> None:
    assert sentence in str(deployment.aws_failure(error))


@pytest.mark.usefixtures("aws")
def test_a_commit_that_a_newer_one_has_overtaken_is_not_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    for message in ("older", "newer"):
        git("commit", "-q", "--allow-empty", "-m", message)
    older, newer = git("rev-parse", "HEAD~1"), git("rev-parse", "HEAD")
    monkeypatch.setattr(commits, "ROOT", tmp_path)
    account = Account.of_caller(REGION)
    commits.require_forward(account, "dev")
    assert commits.mark_good(account, "dev") == newer
    commits.require_forward(account, "dev")
    git("checkout", "-q", older)
    with pytest.raises(CommitError, match=f"^{older[:12]} is older than {newer[:12]}, which is deployed as dev"):
        commits.require_forward(account, "dev")
    git("commit", "-q", "--allow-empty", "-m", "another way on")
    commits.require_forward(account, "dev")


def test_there_must_be_a_commit_to_go_back_to(aws: boto3.Session) -> None:
    account = Account.of_caller(REGION)
    with pytest.raises(CommitError, match=r"No commit of dev has passed the smoke test yet"):
        commits.roll_back(account, "dev", {"YES": "1"}, Progress())
    aws.client("ssm").put_parameter(Name=commits.parameter("dev"), Value="b" * 40, Type="String")
    with pytest.raises(CommitError, match=r"is not in this checkout; `git fetch --unshallow origin` brings it"):
        commits.roll_back(account, "dev", {"YES": "1"}, Progress())


@pytest.fixture
def deployment_of(aws: boto3.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Deploys, with a CDK that does nothing, in an account whose Bedrock answers as it is told."""

    @contextmanager
    def nothing(*arguments: Any, **chosen: Any) -> Iterator[Any]:
        yield SimpleNamespace(wait=lambda show: None)

    monkeypatch.setattr(deploy, "require_bootstrap", lambda account: None)
    monkeypatch.setattr(deploy, "diff", lambda target, progress: "no differences")
    monkeypatch.setattr(cdk, "deploy", nothing)

    def run(bedrock: Canned, *, outputs: bool = True, **changes: Any) -> None:
        there = {"PixelPrompt-dev": {"BucketName": "bucket", "ProviderSecretName": "secret"}} if outputs else {}
        target = Target.stage("dev", "", REGION, tmp_path)
        target = replace(target, account=replace(target.account, **changes))
        with Canned(stacks(there)) as formation, Canned(Answer(404)) as functions:
            monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", bedrock.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", formation.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.url)
            deploy.deploy(target, {**REGION, "YES": "1"}, Progress())

    return run


def test_a_deployment_ends_with_the_command_that_subscribes(
    deployment_of: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Canned(Answer(content={"agreementAvailability": {"status": "NOT_AVAILABLE"}})) as bedrock:
        deployment_of(bedrock)
    *_, header, line = capsys.readouterr().out.splitlines()
    assert header == "The stack is deployed, but jobs can't use every model yet:"
    assert line.startswith("✗ Stable Image Core (Bedrock) [bedrock]: The account isn't subscribed to it.")
    command = "aws bedrock create-foundation-model-agreement --region us-west-2"
    assert f"(docs/how-to/deploy-to-aws.md has the permissions): {command}" in line


def test_a_deployment_says_nothing_of_models_that_can_be_used(
    deployment_of: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Canned(Answer(content={"agreementAvailability": {"status": "AVAILABLE"}})) as bedrock:
        deployment_of(bedrock)
    assert bedrock.asked
    assert "Bedrock" not in capsys.readouterr().out


def test_a_check_of_the_models_that_fails_is_a_line_and_no_failure(
    deployment_of: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Answer(403, {"message": "no"}, {"x-amzn-ErrorType": "AccessDeniedException"})
    with Canned(refusal) as bedrock:
        deployment_of(bedrock)
    said = capsys.readouterr().out
    assert "can't use" not in said
    assert said.splitlines()[-1] == (
        "! Stable Image Core (Bedrock) [bedrock]: Whether the account may invoke it is unknown "
        "(AccessDeniedException); allow yourself bedrock:GetFoundationModelAvailability."
    )


def test_a_stack_whose_outputs_cannot_be_read_is_deployed_all_the_same(
    deployment_of: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Canned(Answer()) as bedrock:
        deployment_of(bedrock, outputs=False)
    assert not bedrock.asked
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("! Access to the models of Bedrock was not checked: Stack PixelPrompt-dev not found in eu-west-1")
    )


def test_a_deployment_into_an_emulator_asks_nothing_of_bedrock(
    deployment_of: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Canned(Answer()) as bedrock:
        deployment_of(bedrock, emulator="http://127.0.0.1:4566")
    assert not bedrock.asked
    assert "Bedrock" not in capsys.readouterr().out


def test_without_a_terminal_the_command_refuses(
    aws: boto3.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.delenv("YES", raising=False)
    assert command.main(["--directory", str(tmp_path), "deploy"]) == 1
    assert (
        capsys.readouterr().err
        == "Nothing was done: no terminal to ask for confirmation. Set YES=1 to confirm in advance.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_rollback_has_the_cloud_and_the_packages_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / ".venv", here / "node_modules", there):
        folder.mkdir(parents=True)
    for name in (*PYTHON_INPUTS, *NODE_INPUTS):
        for folder in (here, there):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("the same")
    monkeypatch.setattr(commits, "ROOT", here)
    monkeypatch.setattr(commits, "STATE", here / ".local")
    commits.share(there)
    assert {name: (there / name).resolve() for name in (".local", ".venv", "node_modules")} == {
        name: (here / name).resolve() for name in (".local", ".venv", "node_modules")
    }
    other = tmp_path / "other"
    shutil.copytree(there, other, ignore=shutil.ignore_patterns(".*", "node_modules"))
    (other / "requirements.txt").write_text("another")
    commits.share(other)
    assert (other / ".local").is_symlink() and not (other / ".venv").exists()


@mock_aws
def test_a_value_in_the_secret_of_a_running_cloud_makes_no_provider_real(tmp_path: Path) -> None:
    secrets = boto3.client("secretsmanager", "us-east-1")
    secrets.create_secret(Name="keys", SecretString=json.dumps({"OPENAI_API_KEY": "sk-somebody-put-it-there"}))
    endpoints: Any = {"providerSecret": "keys"}
    running = Cloud(tmp_path, endpoints, _make_client=lambda service: boto3.client(service, "us-east-1"))
    assert current_options(running).keys == {}
    assert "openai" in current_options(running).simulated()
