"""A deployment to look at or to change: the cloud that runs on this laptop, or a stage in the caller's AWS account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from infra.settings import MAX_MODELS
from local import cloud
from local.cloud import Cloud, CloudError, Endpoints
from pixelprompt.aws_errors import error_code
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.settings import LOOPBACK_HOSTS, Settings

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

# Error codes of AWS for credentials that are wrong or have expired, whatever the request.
_BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# Seconds.
_CONNECT = 3
_READ = 7


class ClientFactory(Protocol):
    """Makes boto3 clients of the deployment's account; `endpoint` is a URL other than the usual."""

    def __call__(self, service: str, *, region: str | None = None, endpoint: str | None = None) -> Any: ...


@dataclass(frozen=True)
class Deployment:
    """Where the parts of a deployment are.

    Attributes
    ----------
    name : for a person
    secret : ARN of the secret with the provider keys; its name where an earlier version deployed the stack
    endpoints : base URLs of the simulators, by provider; empty on AWS
    on_laptop : whether its functions run on this machine
    api : URL of the HTTP API
    machine : ARN of the state machine that runs jobs
    earlier_version : whether the stack is of a version that gave its secret a fixed name
    gallery, api_auth : the settings ``gallery`` and ``apiAuth`` as they were deployed; empty where that is not known
    ledger : name of the DynamoDB table; empty where there is none
    """

    name: str
    stage: str
    region: str
    bucket: str
    secret: str
    client: ClientFactory = field(repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    on_laptop: bool = False
    api: str = ""
    machine: str = ""
    earlier_version: bool = False
    gallery: str = ""
    api_auth: str = ""
    ledger: str = ""

    def prompt_model(self) -> str:
        """The text model that enhances prompts, as deployed; the first one where AWS does not say."""
        return self._variables.get("PROMPT_MODEL_INDEX") or "1"

    def key_hosts(self) -> dict[str, list[str]]:
        """The setting ``keyHosts`` as deployed; empty where AWS does not say.

        Raises
        ------
        ConfigurationError : the functions cannot use it either
        """
        return Settings({name: value for name, value in self._variables.items() if name == "KEY_HOSTS"}).key_hosts

    @cached_property
    def _variables(self) -> dict[str, str]:
        """Environment variables of *enhance*, which has all that concern models; empty where AWS refuses them."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            function = f"pixel-prompt-{self.stage}-enhance"
            response = self.client("lambda").get_function_configuration(FunctionName=function)
        except (ClientError, BotoCoreError):
            return {}
        variables = response.get("Environment", {}).get("Variables", {})
        return {name: str(value) for name, value in variables.items()}

    def max_concurrency(self) -> int:
        """The number of models of a job that run at once, as deployed; the maximum where AWS does not say."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self.client("stepfunctions").describe_state_machine(stateMachineArn=self.machine)
        except (ClientError, BotoCoreError):
            return MAX_MODELS
        states = json.loads(response["definition"])["States"].values()
        return int(next(state["MaxConcurrency"] for state in states if state["Type"] == "Map"))


def find(
    directory: Path, environment: Mapping[str, str], *, stage: str | None = None, local: bool = False
) -> Deployment:
    """The deployment that is meant.

    Parameters
    ----------
    directory : where the cloud on a laptop lives
    stage : of the caller's AWS account; without it the cloud that runs here counts first, then ``dev``
    local : only the cloud that runs here will do

    Raises
    ------
    CloudError : the deployment does not exist
    """
    running = cloud.find(directory)
    # With the line that `make up` prints, the stage dev is what it has deployed, with the simulators.
    is_meant = running and stage == "dev" and emulator(environment) == running.endpoints["aws"]
    if running and (local or not stage or is_meant):
        return of_cloud(running)
    if local:
        raise CloudError("No cloud runs on this laptop; `make up` starts it.")
    if stage:
        return on_aws(stage, environment)
    try:
        return on_aws("dev", environment)
    except CloudError as error:
        # A caller that named no stage may have meant a cloud here.
        raise CloudError(
            f"No cloud runs on this laptop; `make up` starts one. For a stage on AWS (STAGE=dev): {error}"
        ) from None


def of_cloud(running: Cloud) -> Deployment:
    """The deployment in a running cloud."""
    found = running.endpoints

    def client(service: str, *, region: str | None = None, endpoint: str | None = None) -> Any:
        # One region serves as well as another here.
        if endpoint is None:
            return running.client(service)
        elsewhere: Endpoints = {**found, "aws": endpoint}
        return Cloud(running.directory, elsewhere).client(service)

    return Deployment(
        "the cloud on this laptop",
        "dev",
        found["region"],
        found["bucket"],
        found["providerSecret"],
        client,
        {provider: found["simulator"] + PROVIDERS[provider].simulator_path for provider in found["simulated"]},
        on_laptop=True,
        api=found["api"],
        machine=found["stateMachineArn"],
        api_auth=found["apiAuth"],
        ledger=found["ledgerTable"],
    )


def on_aws(stage: str, environment: Mapping[str, str]) -> Deployment:
    """A stage in the caller's AWS account, by the outputs of its stack.

    Raises
    ------
    CloudError : AWS cannot be used, or the stack is not there
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client, region = account(environment)
    if not region:
        raise CloudError("No AWS region is set; set AWS_REGION to the region of the deployment.")
    stack = f"PixelPrompt-{stage}"
    try:
        (described,) = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        code = error_code(error)
        if code == "ValidationError":
            raise CloudError(
                f"Stack {stack} not found in {region}; deploy it, or choose another stage or AWS_REGION."
            ) from None
        cure = f"CloudFormation returned {{code}} for {stack}; allow cloudformation:DescribeStacks."
        raise aws_failure(error, cure) from None
    except BotoCoreError as error:
        raise aws_failure(error) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    try:
        bucket = outputs["BucketName"]
        # An earlier version gave the secret a fixed name. Its stack must stay usable: to save the keys, to roll back.
        secret = outputs.get("ProviderSecretName") or outputs["ProviderSecretArn"]
    except KeyError as error:
        raise CloudError(
            f"The stack {stack} has no output {error}; its deployment did not succeed, repeat it."
        ) from None
    endpoint = emulator(environment)
    api = api_url(endpoint, outputs.get("ApiId", "")) if endpoint else outputs.get("ApiUrl", "")
    return Deployment(
        f"stage {stage} in {region}",
        stage,
        region,
        bucket,
        secret,
        client,
        api=api.rstrip("/"),
        machine=outputs.get("StateMachineArn", ""),
        earlier_version="ProviderSecretName" in outputs,
        gallery=outputs.get("Gallery", ""),
        api_auth=outputs.get("ApiAuth", ""),
        ledger=outputs.get("LedgerTable", ""),
    )


def former_secret(stage: str) -> str:
    """Name of the secret in a stage that an earlier version deployed."""
    return f"pixel-prompt-{stage}/provider-keys"


def emulator(environment: Mapping[str, str]) -> str:
    """URL of the emulator that replaces AWS, if AWS_ENDPOINT_URL names one on this machine; else empty."""
    url = environment.get("AWS_ENDPOINT_URL", "").rstrip("/")
    return url if urlsplit(url).hostname in LOOPBACK_HOSTS else ""


def api_url(endpoint: str, api_id: str) -> str:
    """Where an emulator serves an HTTP API."""
    return f"{endpoint}/_aws/execute-api/{api_id}"


def is_of_credentials(error: BotoCoreError | ClientError) -> bool:
    """Whether AWS rejects the caller's credentials, or they are missing."""
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    return error_code(error) in _BAD_CREDENTIALS or isinstance(error, NoCredentialsError | PartialCredentialsError)


def aws_failure(error: BotoCoreError | ClientError, otherwise: str = "AWS returned {code}; try again.") -> CloudError:
    """The error to raise where AWS could not be asked, or refuses.

    Parameters
    ----------
    otherwise : the sentence for an error that has nothing to do with credentials, with ``{code}`` for AWS's code
    """
    from botocore.exceptions import ClientError, EndpointConnectionError, ProfileNotFound

    if isinstance(error, ClientError):
        code = error_code(error)
        if is_of_credentials(error):
            # AWS refuses signatures that are more than some minutes old.
            cure = "get new ones, and see that this machine's clock is right"
            return CloudError(f"AWS rejected the credentials ({code}); {cure}, then try again.")
        return CloudError(otherwise.replace("{code}", code))
    if isinstance(error, ProfileNotFound):
        return CloudError(f"{error}; set AWS_PROFILE to one that `aws configure list-profiles` lists, or unset it.")
    if isinstance(error, EndpointConnectionError):
        return CloudError(f"{error} Check the network, AWS_REGION and, if it is set, AWS_ENDPOINT_URL.")
    if is_of_credentials(error):
        return CloudError(
            "AWS credentials not found; run `aws configure` or `aws sso login`, or set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return CloudError(f"AWS cannot be used: {error}")


def account(environment: Mapping[str, str]) -> tuple[ClientFactory, str | None]:
    """A factory of clients of the caller's AWS account, and the caller's region.

    Raises
    ------
    CloudError : the caller's AWS configuration is wrong, or the credentials are missing
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    if (url := environment.get("AWS_ENDPOINT_URL", "")) and urlsplit(url).scheme not in ("http", "https"):
        raise CloudError(f"AWS_ENDPOINT_URL is {url!r}; it must be a URL such as http://127.0.0.1:4566, or unset.")
    try:
        # As the CDK does, and unlike boto3, AWS_REGION counts first.
        session = boto3.Session(region_name=environment.get("AWS_REGION") or None)
        if not session.get_credentials():
            raise NoCredentialsError
    except BotoCoreError as error:
        raise aws_failure(error) from None
    # A proxy does not reach this machine.
    direct: dict[str, Any] = {"proxies": {}} if emulator(environment) else {}
    config = Config(connect_timeout=_CONNECT, read_timeout=_READ, retries={"total_max_attempts": 1}, **direct)

    def client(service: str, *, region: str | None = None, endpoint: str | None = None) -> Any:
        try:
            return session.client(service, region_name=region, endpoint_url=endpoint, config=config)
        except BotoCoreError as error:
            # Some variables, such as AWS_DEFAULTS_MODE, are read only here.
            raise aws_failure(error) from None

    return client, session.region_name
