"""Stacks in the caller's AWS account: what would change, deploying it, taking it away.

Where AWS_ENDPOINT_URL names an emulator on this machine, the same goes on there.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra import pipeline_settings
from infra.pipeline_settings import PipelineSettings
from infra.settings import Settings
from local import cdk, cloud
from local.aws import deployment
from local.aws.deployment import ClientFactory
from local.cloud import API_ID, Cloud, CloudError
from local.confirmation import confirm, require_terminal
from local.emulator.access_key import AccessKey
from local.options import keys_in
from local.progress import Progress
from pixelprompt.aws_errors import error_code

# US dollars a month at AWS, whatever is asked of it; docs/explanation/cost.md has the sum.
FIXED_DOLLARS = 28
_BOOTSTRAP_VERSION = "/cdk-bootstrap/hnb659fds/version"
# What has data in it, in words.
_DATA = {
    "AWS::S3::Bucket": "with everything in it",
    "AWS::SecretsManager::Secret": "with the provider keys",
    "AWS::Logs::LogGroup": "with its logs",
    "AWS::DynamoDB::Table": "with the counts of requests",
}

# What CloudFormation identifies a kept resource by when it is imported into a new stack.
_IMPORT_IDENTIFIERS = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::SecretsManager::Secret": "Id",
    "AWS::DynamoDB::Table": "TableName",
}


@dataclass(frozen=True)
class Account:
    """Where stacks go.

    Attributes
    ----------
    emulator : URL of the emulator that replaces AWS; empty for AWS itself
    certificate : file to trust the emulator by, if it speaks TLS
    access_key : the caller's own for the emulator
    """

    id: str
    region: str
    client: ClientFactory = field(repr=False)
    emulator: str = ""
    certificate: str = ""
    access_key: AccessKey | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = f"the emulator at {self.emulator}" if self.emulator else f"account {self.id}"
        return f"{where}, region {self.region}"

    def environment(self, folder: Path) -> dict[str, str]:
        """Environment of commands that reach it."""
        if self.emulator:
            isolated = cdk.offline_environment(folder, self.emulator, certificate=self.certificate, key=self.access_key)
            return {**isolated, "AWS_REGION": self.region}
        return cdk.account_environment(self.region)

    @classmethod
    def of_caller(cls, environment: Mapping[str, str]) -> Account:
        """The account of the caller's credentials.

        Raises
        ------
        CloudError : region or credentials are missing or wrong
        """
        from botocore.exceptions import BotoCoreError, ClientError

        client, region = deployment.account(environment)
        if not region:
            raise CloudError("No AWS region is set; set AWS_REGION, such as AWS_REGION=us-east-1.")
        try:
            identity = client("sts").get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            cure = "AWS returned {code} to sts:GetCallerIdentity; try again later, or with another AWS_REGION."
            raise deployment.aws_failure(error, cure) from None
        emulator, certificate = deployment.emulator(environment), environment.get("AWS_CA_BUNDLE", "")
        key = AccessKey.of(environment) if emulator else None
        return cls(str(identity["Account"]), region, client, emulator, certificate, key)


@dataclass(frozen=True)
class Target:
    """A stack to deploy, to compare or to delete.

    Attributes
    ----------
    context : the context of the CDK app
    description : sentences that say what it will be; one a line
    folder : where templates and logs go
    laptop : the cloud of `make up`, if that is where the stack goes
    """

    stack: str
    account: Account
    context: Mapping[str, Any]
    description: tuple[str, ...]
    folder: Path
    laptop: Cloud | None = None

    @classmethod
    def stage(cls, stage: str, extra: str, environment: Mapping[str, str], directory: Path) -> Target:
        """The service in a stage.

        Parameters
        ----------
        extra : further settings, such as ``-c globalLimit=10``
        directory : where folders of this checkout's making go

        Raises
        ------
        CloudError, SettingsError : a setting, the region or the credentials are wrong
        """
        context: dict[str, Any] = {**context_of(extra), "stage": stage}
        emulator, laptop = deployment.emulator(environment), None
        if emulator:
            api_id = API_ID if stage == "dev" else f"{API_ID}-{stage}"
            laptop = cloud.find(directory)
            if laptop and laptop.endpoints["aws"] != emulator:
                laptop = None
            options = replace(cloud.current_options(laptop), keys=keys_in(environment)) if laptop else None
            simulated = options.context(laptop.endpoints["simulator"], "") if laptop and options else {}
            # The emulator has no IAM authorizer.
            api_auth = simulated.get("apiAuth", "none")
            own = {"target": "local", "apiAuth": api_auth, "apiUrl": deployment.api_url(emulator, api_id)}
            context = {**simulated, **own, **context}
        settings = Settings.from_context({**cdk.default_context(), **context})
        if settings.target == "local" and not emulator:
            raise CloudError("target=local is for the emulator; set AWS_ENDPOINT_URL to its URL.")
        account = Account.of_caller(environment)
        stack = f"PixelPrompt-{stage}"
        return cls(stack, account, context, tuple(_described(settings)), directory / "deploy" / stack, laptop)

    @classmethod
    def pipeline(cls, environment: Mapping[str, str], directory: Path) -> Target:
        """The roles of the pipeline; REPOSITORY, ENVIRONMENTS and PROVIDER_ARN are in the environment.

        Raises
        ------
        CloudError, SettingsError : as for a stage
        """
        repository = environment.get("REPOSITORY", "").strip()
        if not repository:
            raise CloudError("Name the repository on GitHub: make pipeline-role REPOSITORY=owner/name")
        context = {"pipeline": "true", "repository": repository}
        for variable, name in (("ENVIRONMENTS", "environments"), ("PROVIDER_ARN", "githubProviderArn")):
            if value := environment.get(variable, "").strip():
                context[name] = value
        PipelineSettings.from_context(context)
        described = f"Jobs of {repository} on GitHub will be able to deploy into this account. It costs nothing."
        account = Account.of_caller(environment)
        stack = pipeline_settings.STACK_NAME
        return cls(stack, account, context, (described,), directory / "deploy" / stack)

    def changes(self) -> None:
        """Note that the stack is about to change."""
        if self.laptop:
            cloud.forget_deployment(self.laptop)

    @property
    def assembly(self) -> Path:
        """Where the synthesized templates are."""
        return self.folder / "cdk.out"

    def log(self, name: str) -> Path:
        """The log of a command."""
        return self.folder / f"{name}.log"


def context_of(extra: str) -> dict[str, str]:
    """The settings in ``-c name=value …``.

    Raises
    ------
    CloudError : there is something else
    """
    wrong = CloudError(f'CDK is {extra!r}; it accepts settings, such as CDK="-c globalLimit=10 -c logLevel=DEBUG".')
    try:
        words = iter(shlex.split(extra))
    except ValueError:
        raise wrong from None
    context = {}
    for word in words:
        name, equals, value = (next(words, "") if word in ("-c", "--context") else "").partition("=")
        if not equals or not name:
            raise wrong
        context[name] = value
    return context


def _described(settings: Settings) -> Iterable[str]:
    from pixelprompt.models.cost import estimate, total
    from pixelprompt.models.registry import ModelRegistry

    chosen = ", ".join(f"{name}={json.dumps(value)}" for name, value in settings.chosen.items())
    yield f"Settings other than the stage's defaults: {chosen or 'none'}."
    yield {
        "none": "The API is PUBLIC: anyone who knows its URL can start jobs.",
        "iam": "The API lets in callers that IAM allows.",
        "jwt": f"The API lets in holders of a token of {settings.jwt_issuer}.",
        "keys": "The API lets in holders of an API key, which `make key` makes.",
    }[settings.api_auth] + {
        (True, True): " Images and the page are public through CloudFront.",
        (True, False): " Images are public through CloudFront.",
        (False, True): " The page is public through CloudFront; images have presigned URLs.",
        (False, False): "",
    }[settings.has_public_images, settings.serves_page]
    if settings.gallery == "owner":
        yield "Each caller sees only its own galleries (gallery=owner)."
    elif settings.has_gallery:
        yield "Galleries are public: every caller can list all jobs' galleries and see their images (gallery=public)."
    models = ModelRegistry.load().defaults(lambda model: True)
    cost = total(estimate(model, {}) for model in models)
    dollars, unknown = cost["amount"] or 0, f", {cost['unknown']} of them of unknown price" if cost["unknown"] else ""
    if not settings.alarm_email:
        yield "alarmEmail is empty: alarms reach only the subscribers of the topic."
    if not settings.daily_spend_alarm:
        yield "No alarm watches what a day costs: dailySpendAlarm is 0."
    budgets = {"day": settings.daily_budget, "month": settings.monthly_budget}
    if settings.has_budget:
        limits = " and ".join(f"${limit:.2f} a {window}" for window, limit in budgets.items() if limit)
        yield f"Jobs and enhancements that would cost more than {limits} at the providers are refused."
    yield (
        f"Costs: about ${dollars:.2f} at the providers for a job of the {len(models)} default models{unknown}, so "
        f"up to ${dollars * 24 * settings.global_limit:.0f} a day for jobs at globalLimit={settings.global_limit}; "
        f"at AWS up to about ${FIXED_DOLLARS} a month and half a cent a job (docs/explanation/cost.md)."
    )


def diff(target: Target, progress: Progress) -> str:
    """The changes of a deployment, as the CDK prints them."""
    _synthesize(target, progress)
    return _compare(target, progress)


def _synthesize(target: Target, progress: Progress) -> None:
    # Packages for AWS are fetched; those of the emulator's Lambdas are here.
    offline = bool(target.account.emulator)
    shutil.rmtree(target.assembly, ignore_errors=True)
    target.folder.mkdir(parents=True, exist_ok=True)
    environment = cdk.offline_environment(target.folder) if offline else cdk.online_environment()
    progress(f"synthesizing {target.stack}")
    log = target.log("synth")
    cdk.synthesize(target.assembly, target.context, environment=environment, log=log, progress=progress)


def _compare(target: Target, progress: Progress) -> str:
    progress(f"comparing it with what is deployed in {target.account}")
    log = target.log("diff")
    with cdk.diff(target.assembly, environment=target.account.environment(target.folder), log=log) as command:
        command.wait()
    return re.sub(r"\n{3,}", "\n\n", log.read_text(encoding="utf-8", errors="replace")).strip()


def deploy(target: Target, environment: Mapping[str, str], progress: Progress) -> None:
    """Say what is going to happen, ask, deploy.

    Raises
    ------
    CloudError : the account is not bootstrapped
    Unconfirmed : the deployment was not confirmed
    """
    require_terminal(environment)
    require_bootstrap(target.account)
    print(f"Deploys {target.stack}{_commit()} into {target.account}.")
    print(diff(target, progress))
    print("", *target.description, sep="\n", flush=True)
    confirm(f"Deploy {target.stack} into {target.account}?", environment)
    target.changes()
    progress("deploying")
    online, outputs = target.account.environment(target.folder), target.folder / "outputs.json"
    with cdk.deploy(target.assembly, outputs, environment=online, log=target.log("deploy")) as command:
        command.wait(_show)
    progress(f"{target.stack} is deployed")
    _report_model_access(target, environment)


def _report_model_access(target: Target, environment: Mapping[str, str]) -> None:
    """Print what keeps the account from the Bedrock models of the stage's jobs; a failed check is only reported."""
    stage = target.context.get("stage")
    if stage is None or target.account.emulator:
        return
    from local import doctor

    try:
        rows = doctor.examine_access(deployment.on_aws(stage, environment))
    except CloudError as error:
        print(f"{doctor.WARNING} Access to the models of Bedrock was not checked: {error}", flush=True)
        return
    if any(row.mark == doctor.BAD for row in rows):
        print("The stack is deployed, but jobs can't use every model yet:")
    for row in rows:
        if row.findings:
            print(doctor.line(row), flush=True)


def _show(line: str) -> None:
    if line.strip():
        print(line, flush=True)


def _commit() -> str:
    from local.aws.commits import CommitError, head

    try:
        commit, clean = head()
    except CommitError:
        return ""
    return f" of commit {commit[:12]}{'' if clean else ' with changes that are not committed'}"


def require_bootstrap(account: Account) -> None:
    """Raise unless the account has what the CDK needs; nothing where that cannot be seen."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        account.client("ssm").get_parameter(Name=_BOOTSTRAP_VERSION)
    except BotoCoreError as error:
        raise deployment.aws_failure(error) from None
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            raise CloudError(f"The CDK has never been used in {account}; `make bootstrap` prepares it, once.") from None
        if deployment.is_of_credentials(error):
            raise deployment.aws_failure(error) from None


def bootstrap(account: Account, directory: Path, environment: Mapping[str, str], progress: Progress) -> None:
    """Say what is going to happen, ask, and make in the account what the CDK needs."""
    print(f"Makes the stack CDKToolkit in {account}: a bucket and a registry for what is deployed, and five roles.")
    print("By it, the CDK can change anything in this account. It costs what a few megabytes in S3 cost.")
    confirm(f"Prepare {account} for the CDK?", environment)
    folder = directory / "deploy" / "CDKToolkit"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {"account": account.id, "region": account.region}
    log = folder / "bootstrap.log"
    with cdk.bootstrap(environment=account.environment(folder), log=log, **chosen) as command:
        command.wait(_show)


def destroy(target: Target, environment: Mapping[str, str], progress: Progress, *, answer: str) -> bool:
    """Say what goes and what stays, ask for `answer`, delete; whether there was anything."""
    found = _resources(target)
    if not found:
        print(f"Stack {target.stack} not found in {target.account}; nothing was deleted.")
        return False
    _tell_fate(target, found)
    confirm(f"Delete {target.stack} from {target.account}?", environment, answer=answer)
    target.changes()
    progress("deleting")
    target.folder.mkdir(parents=True, exist_ok=True)
    online = target.account.environment(target.folder)
    log = target.log("destroy")
    with cdk.destroy(target.folder / "cdk.destroy", target.context, environment=online, log=log) as command:
        command.wait(_show)
    progress(f"{target.stack} is deleted")
    if target.laptop:
        progress("`make up` deploys it again, with its keys and its page")
    return True


def _tell_fate(target: Target, found: list[dict[str, Any]]) -> None:
    stays = _retained(target)
    print(f"Deletes {target.stack} from {target.account}.")
    goes = [entry for entry in found if entry["LogicalResourceId"] not in stays]
    counts = Counter(entry["ResourceType"].removeprefix("AWS::").replace("::", " ") for entry in goes)
    print(f"Goes, {len(goes)} resources: {', '.join(f'{number} {kind}' for kind, number in sorted(counts.items()))}.")
    for entry in goes:
        if words := _DATA.get(entry["ResourceType"]):
            print(f"  {entry.get('PhysicalResourceId', '')}, {words}")
    kept = [entry for entry in found if entry["LogicalResourceId"] in stays]
    print("Stays" + ("; delete it by hand when you are sure:" if kept else ": nothing of the stack."))
    for entry in kept:
        print(f"  {entry['ResourceType']} {entry.get('PhysicalResourceId', '')}")
    if mapping := _import_mapping(kept):
        print('To adopt it later, save this line as retained.json (docs/how-to/operate.md, "Deploy a stage again"):')
        print(f"  {json.dumps(mapping)}")
    if not target.account.emulator:
        print(
            "  what the CDK's bootstrap made (CDKToolkit), and log groups that Lambda made for the CDK's own functions"
        )


def _import_mapping(kept: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The resource mapping that ``cdk import`` needs to bring kept resources into a stack again."""
    return {
        entry["LogicalResourceId"]: {_IMPORT_IDENTIFIERS[entry["ResourceType"]]: entry["PhysicalResourceId"]}
        for entry in kept
        if entry["ResourceType"] in _IMPORT_IDENTIFIERS and entry.get("PhysicalResourceId")
    }


def _cloudformation(target: Target, ask: Callable[[Any], Any]) -> Any:
    """CloudFormation's response about the stack; None where the stack does not exist."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask(target.account.client("cloudformation"))
    except ClientError as error:
        code = error_code(error)
        if code == "ValidationError":
            return None
        cure = f"CloudFormation returned {{code}} for {target.stack}; allow cloudformation:DescribeStacks."
        raise deployment.aws_failure(error, cure) from None
    except BotoCoreError as error:
        raise deployment.aws_failure(error) from None


def _resources(target: Target) -> list[dict[str, Any]]:
    def ask(client: Any) -> list[dict[str, Any]]:
        pages = client.get_paginator("list_stack_resources").paginate(StackName=target.stack)
        listed = [entry for page in pages for entry in page["StackResourceSummaries"]]
        return [entry for entry in listed if entry["ResourceStatus"] != "DELETE_COMPLETE"]

    return _cloudformation(target, ask) or []


def _retained(target: Target) -> set[str]:
    """Logical ids of the resources that CloudFormation keeps."""
    body = _cloudformation(target, lambda client: client.get_template(StackName=target.stack)["TemplateBody"])
    template = json.loads(body) if isinstance(body, str) else body
    policies = ("Retain", "RetainExceptOnCreate")
    entries = template["Resources"].items()
    return {name for name, resource in entries if resource.get("DeletionPolicy") in policies}
