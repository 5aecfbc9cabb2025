"""Whether every model of a deployment can be called: keys, credit, the providers' model lists, shutdown dates, quotas.

Nothing here makes an image or costs anything. One request goes to each provider and server, all at once, and one to
Bedrock for each of its models. No key is ever shown: providers quote them, so their sentences are scrubbed first.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from local import deployment as deployments
from local import terminal
from local.deployment import Deployment
from local.keys import KeysError, held
from local.options import key_names
from local.progress import Progress
from pixelprompt.aws_errors import error_code
from pixelprompt.errors import ConfigurationError, ServiceUnavailable, StorageError
from pixelprompt.models import catalogue, registry
from pixelprompt.models.model import Model
from pixelprompt.models.provider import url_host
from pixelprompt.models.registry import WARNING_DAYS, ModelRegistry
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.providers.wire import transport
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.redaction import clean
from pixelprompt.settings import LOOPBACK_HOSTS
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.keys import OVERLAY_KEY

GOOD, WARNING, BAD = "✓", "!", "✗"
_SEVERITY = (GOOD, WARNING, BAD)

REQUEST_SECONDS = 10.0
# Of a job's models and of jobs that a deployment should be able to run at once.
_JOBS_AT_ONCE = 4
# What runs beside a job's models: submit, status and enhance.
_OTHER_FUNCTIONS = 3
_MOST_PAGES = 10
_LAMBDA_QUOTA = "L-B99A9384"
_BEDROCK_REGION = "us-west-2"
# The geography before the id of an inference profile.
_GEOGRAPHY = re.compile(r"^(us|us-gov|eu|apac|global)\.")


@dataclass(frozen=True)
class Finding:
    """A problem: its mark, and its cause and cure in a sentence."""

    mark: str
    sentence: str


@dataclass
class Row:
    """A line of the report.

    Attributes
    ----------
    subject : model or part of the deployment
    provider, key, listed, ends : what is known of a model; empty for what is no model
    """

    subject: str
    provider: str = ""
    key: str = ""
    listed: str = ""
    ends: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """The mark of its worst finding."""
        return max((finding.mark for finding in self.findings), key=_SEVERITY.index, default=GOOD)

    def add(self, mark: str, sentence: str) -> None:
        """Note a problem."""
        self.findings.append(Finding(mark, sentence))


@dataclass(frozen=True)
class Check:
    """A provider's free request that tells whether a key is accepted.

    Attributes
    ----------
    base_url : the provider's own address
    path : below the address
    header, prefix : where the key stands, and what stands before it
    models : the entries of its model list in an answer, each with its id, or None where it lists none
    credit : the account's credit in an answer, or None where it does not say
    """

    base_url: str
    path: str
    header: str = "authorization"
    prefix: str = "Bearer "
    models: Callable[[Any], Sequence[tuple[str, Any]] | None] = lambda document: None
    credit: Callable[[Any], Any] = lambda document: None


def _openai_list(document: Any) -> Sequence[tuple[str, Any]] | None:
    # Together answers with the bare list.
    entries = document.get("data") if isinstance(document, dict) else document
    return _named(entries, "id")


def _gemini_list(document: Any) -> Sequence[tuple[str, Any]] | None:
    entries = _named(document.get("models"), "name") if isinstance(document, dict) else None
    return entries and [(name.removeprefix("models/"), entry) for name, entry in entries]


def _named(entries: Any, name: str) -> Sequence[tuple[str, Any]] | None:
    if not isinstance(entries, list):
        return None
    return [(str(entry[name]), entry) for entry in entries if isinstance(entry, dict) and name in entry]


def _credits(document: Any) -> Any:
    return document.get("credits") if isinstance(document, dict) else None


def _openrouter_credit(document: Any) -> Any:
    data = document.get("data") if isinstance(document, dict) else None
    return data.get("limit_remaining") if isinstance(data, dict) else None


# Bedrock is not here: it is asked through boto3.
CHECKS: Mapping[str, Check] = {
    "openai": Check("https://api.openai.com/v1", "/models", models=_openai_list),
    "gemini": Check(
        "https://generativelanguage.googleapis.com",
        "/v1beta/models?pageSize=1000",
        header="x-goog-api-key",
        prefix="",
        models=_gemini_list,
    ),
    "stability": Check("https://api.stability.ai", "/v1/user/balance", credit=_credits),
    "bfl": Check("https://api.bfl.ai", "/v1/credits", header="x-key", prefix="", credit=_credits),
    "recraft": Check("https://external.api.recraft.ai/v1", "/users/me", credit=_credits),
    # Each model has its server's address.
    "compatible": Check("", "/models", models=_openai_list),
}
_BY_DIALECT: Mapping[str | None, Check] = {
    # It lists its models to anybody, so its list says nothing about a key.
    "openrouter": Check("", "/key", credit=_openrouter_credit),
    # It lists models, but what is called is a deployment, whose name is its owner's.
    "azure": Check("", "/models?api-version=v1", header="api-key", prefix=""),
}


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes
    ----------
    key : one word about the key
    problem : what keeps every model of the server from being called
    shutdowns : the models it lists with the days they end, where it tells; None where it lists none
    """

    key: str
    problem: Finding | None = None
    shutdowns: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Server:
    """Where models are called, and with which key.

    Attributes
    ----------
    withheld : whether the key must not go there, so that none is sent
    """

    provider: str
    base_url: str
    key: str | None = field(repr=False)
    key_name: str | None
    check: Check
    withheld: bool = False

    @property
    def title(self) -> str:
        """Its name for a person."""
        # Not the whole address: it may hold a password.
        return urlsplit(self.base_url).netloc.rpartition("@")[2] if self.provider == "compatible" else self.provider


@dataclass
class _Subject:
    """A model under examination.

    Attributes
    ----------
    essential : whether jobs that name no model need it
    server : who is asked about it
    """

    model: Model
    row: Row
    essential: bool
    server: Server | None = None


def run(
    directory: Path,
    environment: Mapping[str, str],
    *,
    stage: str | None = None,
    local: bool = False,
    every: bool = False,
) -> int:
    """Check a deployment and print the report; the exit code.

    Parameters
    ----------
    stage, local : which deployment; see `local.deployment.find`
    every : also the models that a job takes only when it names them

    Raises
    ------
    CloudError : there is no such deployment
    """
    found = deployments.find(directory, environment, stage=stage, local=local)
    rows = examine(found, every=every, progress=Progress())
    report(found, rows)
    return 1 if any(row.mark == BAD for row in rows) else 0


def examine(
    deployment: Deployment,
    *,
    every: bool = False,
    day: Callable[[], date] = registry.today,
    progress: Callable[[str], None] = lambda text: None,
    seconds: float = REQUEST_SECONDS,
) -> list[Row]:
    """The rows of the report: first those of the deployment, then its models, default ones first."""
    return _Examination(deployment, every, day(), progress, seconds).rows()


def examine_access(deployment: Deployment, *, day: Callable[[], date] = registry.today) -> list[Row]:
    """Whether the account may invoke the Bedrock models that a job takes by default; a row for each."""
    return _Examination(deployment, False, day(), lambda text: None, REQUEST_SECONDS).access()


class _Examination:
    def __init__(
        self, deployment: Deployment, every: bool, day: date, progress: Callable[[str], None], seconds: float
    ) -> None:
        self._deployment = deployment
        self._day = day
        self._progress = progress
        self._seconds = seconds
        self._every = every

    @cached_property
    def _key_hosts(self) -> Mapping[str, Sequence[str]]:
        try:
            return self._deployment.key_hosts()
        except ConfigurationError:
            return {}

    @cached_property
    def _keys(self) -> ProviderKeys:
        found = self._deployment
        allowed = ModelRegistry.load(key_hosts=self._key_hosts).key_hosts
        return ProviderKeys(found.client("secretsmanager"), found.secret, found.endpoints, allowed)

    def rows(self) -> list[Row]:
        models, text_models, chosen, catalogue_row = self._catalogue()
        keys_row, readable = self._keys_row(models)
        images = sorted((model for model in models if self._is_shown(model)), key=lambda model: not model.default)
        texts = [model for model in text_models if self._every or model == chosen]
        subjects = [
            _Subject(model, self._model_row(model, enhances=False), essential=model.default) for model in images
        ] + [_Subject(model, self._model_row(model, enhances=model == chosen), essential=False) for model in texts]
        for subject in subjects:
            if readable and not subject.model.has_ended(self._day):
                subject.server = self._server(subject)
        self._ask(subjects)
        quota_row = self._quota_row(sum(model.default and not model.has_ended(self._day) for model in models))
        return [catalogue_row, keys_row, quota_row, *(subject.row for subject in subjects)]

    def _ask(self, subjects: Sequence[_Subject]) -> None:
        """Ask every server at once, and judge the models by the answers."""
        servers = list(dict.fromkeys(subject.server for subject in subjects if subject.server))
        bedrock = [s.model for s in subjects if s.model.provider == "bedrock" and not s.model.has_ended(self._day)]
        names = [server.title for server in servers] + ["bedrock"] * bool(bedrock)
        self._progress(f"asking {', '.join(dict.fromkeys(names)) or 'nobody'} about the models")
        deadline = time.time() + self._seconds
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = {server: pool.submit(ask, server, deadline, self._cure_of(server)) for server in servers}
            lists = {
                region: pool.submit(self._bedrock_list, region) for region in {_region(model) for model in bedrock}
            }
            access = {model.id: pool.submit(self._bedrock_access, model) for model in bedrock}
        for subject in subjects:
            model, row = subject.model, subject.row
            if subject.server:
                self._judge(subject, answers[subject.server].result(), subject.server)
            elif model.id in access:
                self._judge_bedrock(model, lists[_region(model)], access[model.id], row)
            else:
                self._judge_end(model, None, row)

    def _catalogue(self) -> tuple[list[Model], Sequence[Model], Model | None, Row]:
        """The image models that are enabled, the text models, the one in use, and what there is to say about both."""
        row = Row("Model catalogue")
        try:
            self._deployment.key_hosts()
        except ConfigurationError as error:
            row.add(BAD, str(error))
        built_in = json.loads(registry.CATALOGUE.read_text(encoding="utf-8"))
        changes: Any = None
        try:
            document = DocumentStore(self._deployment.client("s3"), self._deployment.bucket).read(OVERLAY_KEY)
            changes = document.value if document else None
        except StorageError as error:
            row.add(BAD, f"The overlay cannot be read: {error}")
        prompt_model = self._deployment.prompt_model()
        for content, chosen in ((changes, prompt_model), (None, prompt_model), (None, "1")):
            try:
                loaded = ModelRegistry.load(
                    prompt_model=chosen, overlay=content, day=lambda: self._day, key_hosts=self._key_hosts
                )
                break
            except ConfigurationError as error:
                cure = (
                    f"The overlay {OVERLAY_KEY} is not used until it is corrected (`make models-check FILE=…`)"
                    if content
                    else "Deploy with another PROMPT_MODEL_INDEX"
                )
                row.add(BAD, f"{cure}: {error}")
        merged = catalogue.overlay(built_in, content or {})
        return catalogue.parse(merged)["models"], loaded.get_text_models(), loaded.get_prompt_model(), row

    def _keys_row(self, models: Sequence[Model]) -> tuple[Row, bool]:
        """What there is to say about the secret, and whether it can be read."""
        row = Row("Secret of the keys")
        try:
            can_call = any(self._keys.credentials(model) for model in models)
        except ConfigurationError as error:
            row.add(BAD, str(error))
            return row, False
        except ServiceUnavailable as error:
            row.add(
                BAD,
                f"The secret {self._deployment.secret} cannot be read ({_cause(error.__cause__)}); deploy the stack "
                "again if it is missing, or allow yourself secretsmanager:GetSecretValue.",
            )
            return row, False
        if not can_call:
            row.add(BAD, f"No model can be called; {self._cure(None)}.")
        if not self._deployment.on_laptop:
            self._judge_replacement(row)
        return row, True

    def _judge_replacement(self, row: Row) -> None:
        """Say what to do where an earlier version, which gave the secret a fixed name, has left keys in it."""
        secret, stage = self._deployment.secret, self._deployment.stage
        former = deployments.former_secret(stage)
        if self._deployment.earlier_version:
            row.add(
                WARNING,
                f"An earlier version deployed the stack. The next deployment replaces the secret {former} by an empty "
                'one, and deletes it where removal is "destroy"; save the keys first (CHANGELOG.md, "Upgrading").',
            )
            return
        client = self._deployment.client("secretsmanager")
        try:
            left = {} if held(client, secret) else held(client, former)
        except KeysError:
            # Mostly the former one does not exist.
            return
        if left:
            row.add(
                BAD,
                f"It is empty, but the secret of an earlier version holds {', '.join(sorted(left))}; copy them "
                f"(`make keys STAGE={stage} FROM={former}`), run `make smoke STAGE={stage}`, then delete it "
                f"(`aws secretsmanager delete-secret --region {self._deployment.region} --secret-id {former}`).",
            )

    def _quota_row(self, models: int) -> Row:
        """Whether the account runs as many functions at once as jobs of so many models need."""
        row = Row("Lambda concurrency")
        if self._deployment.on_laptop:
            # The emulator starts as many processes as it is asked for.
            return row
        region, stage = self._deployment.region, self._deployment.stage
        try:
            limits = self._deployment.client("lambda").get_account_settings()["AccountLimit"]
        except (ClientError, BotoCoreError) as error:
            row.add(WARNING, f"The quota is unknown ({_cause(error)}); allow yourself lambda:GetAccountSettings.")
            return row
        free = limits.get("UnreservedConcurrentExecutions", limits["ConcurrentExecutions"])
        at_once = min(max(1, models), self._deployment.max_concurrency())
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

    def _is_shown(self, model: Model) -> bool:
        # Entries of retired models stay in the catalogue to name their successors; a default one is missed by jobs.
        return model.default or (self._every and not model.has_ended(self._day))

    def _model_row(self, model: Model, *, enhances: bool) -> Row:
        simulated = model.provider in self._deployment.endpoints and not _is_on_loopback(model)
        provider = f"{model.provider} (simulated)" if simulated else model.provider
        return Row(f"{model.name} (enhances prompts)" if enhances else model.name, provider)

    def _server(self, subject: _Subject) -> Server | None:
        """Who is asked about a model; None for Bedrock, and where a key or an address is missing."""
        model, row = subject.model, subject.row
        if model.provider == "bedrock":
            return None
        name = self._keys.key_name(model)
        credentials = self._keys.credentials(model)
        if credentials is None:
            row.key = "missing"
            row.add(
                BAD if subject.essential else WARNING,
                f"The secret holds no usable {name}; {self._cure(name)}, or disable the model in the overlay.",
            )
            return None
        if _is_on_loopback(model) and not self._deployment.on_laptop:
            row.add(BAD, "Its baseUrl is on loopback, which functions on AWS cannot reach; give it an https address.")
            return None
        check = _BY_DIALECT.get(model.dialect) or CHECKS[model.provider]
        base_url = credentials.base_url or model.base_url or check.base_url
        if not base_url:
            row.add(BAD, "It has no address; give it a baseUrl.")
            return None
        if credentials.base_url:
            check = CHECKS[model.provider]
        return Server(
            model.provider, base_url.rstrip("/"), credentials.key, name, check, withheld=self._keys.withholds(model)
        )

    def _cure_of(self, server: Server) -> str:
        if server.withheld:
            setting = json.dumps({"KEY": [url_host(server.base_url)]})
            return f"give the model a keyName, and allow the key for this host (keyHosts={setting})"
        return self._cure(server.key_name)

    def _cure(self, key_name: str | None) -> str:
        if self._deployment.on_laptop:
            return f"set {key_name or 'a key'} in the environment and run `make up`"
        if key_name is None or key_name in key_names():
            return f"run `make keys STAGE={self._deployment.stage}`"
        return f"put it into the secret {self._deployment.secret}"

    def _judge(self, subject: _Subject, answer: Answer, server: Server) -> None:
        model, row = subject.model, subject.row
        row.key = answer.key
        if answer.problem:
            row.findings.append(answer.problem)
        if answer.shutdowns is None:
            self._judge_end(model, None, row)
            return
        row.listed = "yes" if model.id in answer.shutdowns else "no"
        if model.id not in answer.shutdowns:
            # The lists of compatible servers are often not whole.
            mark = WARNING if model.provider == "compatible" else BAD
            row.add(
                mark,
                f"{server.title} does not list {model.id} for this key: it is gone, or not open to this account; "
                f"{_instead(model)}.",
            )
        self._judge_end(model, answer.shutdowns.get(model.id), row)

    def _judge_end(self, model: Model, told: str | None, row: Row) -> None:
        """Judge the day a model ends: what the provider tells counts before the catalogue."""
        text = told or model.shutdown
        if not text:
            if model.retired:
                row.add(BAD, f"It is gone, says the catalogue; {_instead(model)}, and give it default: false.")
            return
        row.ends = text
        ends = date.fromisoformat(text)
        source = "says its provider" if told else "says the catalogue"
        if ends <= self._day:
            row.add(BAD, f"It was shut down on {text}, {source}; {_instead(model)}, and give it default: false.")
        elif ends - self._day <= timedelta(days=WARNING_DAYS):
            row.add(WARNING, f"It will be shut down on {text}, {source}; {_instead(model)}.")

    def _bedrock_client(self, region: str) -> Any:
        return self._deployment.client("bedrock", region=region, endpoint=self._deployment.endpoints.get("bedrock"))

    def _bedrock_list(self, region: str) -> Mapping[str, Mapping[str, Any]]:
        listed = self._bedrock_client(region).list_foundation_models(byOutputModality="IMAGE")["modelSummaries"]
        return {entry["modelId"]: entry.get("modelLifecycle", {}) for entry in listed}

    def _bedrock_access(self, model: Model) -> Mapping[str, Any]:
        """Bedrock's answer about the account's access to a model; empty from the simulator, which opens all of them."""
        if "bedrock" in self._deployment.endpoints:
            return {}
        client = self._bedrock_client(_region(model))
        found: Mapping[str, Any] = client.get_foundation_model_availability(modelId=_foundation(model))
        return found

    def _judge_bedrock(
        self,
        model: Model,
        listing: Future[Mapping[str, Mapping[str, Any]]],
        access: Future[Mapping[str, Any]],
        row: Row,
    ) -> None:
        region = _region(model)
        row.key = "AWS role"
        told = None
        try:
            lifecycle = listing.result().get(_foundation(model))
        except (ClientError, BotoCoreError) as error:
            mark = BAD if isinstance(error, NoCredentialsError) else WARNING
            cure = "allow yourself bedrock:ListFoundationModels, or try again later"
            row.add(mark, f"Bedrock in {region} does not list its models ({_cause(error)}); {cure}.")
        else:
            row.listed = "no" if lifecycle is None else "yes"
            if lifecycle is None:
                row.add(BAD, f"Bedrock in {region} does not list {model.id}; set another region, or {_instead(model)}.")
            elif ends := lifecycle.get("endOfLifeTime"):
                told = ends.date().isoformat()
            elif lifecycle.get("status") == "LEGACY":
                row.add(WARNING, f"Bedrock marks it as legacy, so it will end; {_instead(model)}.")
        self._judge_end(model, told, row)
        if not self._deployment.endpoints and (model.id, region) not in _built_in_bedrock():
            row.add(
                BAD,
                "The functions may invoke only the Bedrock models of the built-in catalogue, in their regions; add it "
                "to functions/pixelprompt/models/models.json and deploy.",
            )
        if row.listed != "no":
            self._judge_access(model, access, row)

    def access(self) -> list[Row]:
        """The rows of the Bedrock models that a job takes by default, with nothing but the account's access to them."""
        models, *_ = self._catalogue()
        bedrock = [m for m in models if m.provider == "bedrock" and m.default and not m.has_ended(self._day)]
        rows = []
        with ThreadPoolExecutor(max_workers=16) as pool:
            for model, found in [(model, pool.submit(self._bedrock_access, model)) for model in bedrock]:
                row = self._model_row(model, enhances=False)
                self._judge_access(model, found, row)
                rows.append(row)
        return rows

    def _judge_access(self, model: Model, access: Future[Mapping[str, Any]], row: Row) -> None:
        try:
            problem = _access_problem(access.result(), model, _region(model))
        except (ClientError, BotoCoreError) as error:
            problem = Finding(
                WARNING,
                f"Whether the account may invoke it is unknown ({_cause(error)}); allow yourself "
                "bedrock:GetFoundationModelAvailability.",
            )
        if problem:
            row.findings.append(problem)


def _access_problem(found: Mapping[str, Any], model: Model, region: str) -> Finding | None:
    """What keeps the account from invoking a model of Bedrock."""
    agreement = found.get("agreementAvailability", {})
    if found.get("regionAvailability") == "NOT_AVAILABLE":
        return Finding(BAD, f"Bedrock does not serve it to this account in {region}; set another region.")
    match agreement.get("status"):
        case "NOT_AVAILABLE":
            return Finding(
                BAD,
                'The account isn\'t subscribed to it. Subscribe (README.md, "Deploy to AWS", has the permissions): '
                f"{subscribe_command(model)}",
            )
        case "PENDING":
            return Finding(WARNING, "The subscription is being completed; try again in a few minutes.")
        case "ERROR":
            said = clean(str(agreement.get("errorMessage") or "no reason is given"))
            return Finding(BAD, f"The subscription failed ({said}); complete it in AWS Marketplace.")
    if found.get("authorizationStatus") == "NOT_AUTHORIZED":
        return Finding(
            BAD, "The account is not authorised for it; have your organisation's policies allow bedrock:InvokeModel."
        )
    if found.get("entitlementAvailability") == "NOT_AVAILABLE":
        return Finding(BAD, f"The account is not entitled to it; open it in Bedrock's Model catalog in {region}.")
    return None


def subscribe_command(model: Model) -> str:
    """The shell command that subscribes the account to a model of Bedrock."""
    where = f"--region {_region(model)} --model-id {_foundation(model)}"
    offer = f"aws bedrock list-foundation-model-agreement-offers {where} --query 'offers[0].offerToken' --output text"
    return f'aws bedrock create-foundation-model-agreement {where} --offer-token "$({offer})"'


def _built_in_bedrock() -> set[tuple[str, str]]:
    """The Bedrock models that the role of a deployment may invoke, with their regions."""
    models = ModelRegistry.load().get_all_models()
    return {(model.id, _region(model)) for model in models if model.provider == "bedrock"}


def _region(model: Model) -> str:
    return model.region or _BEDROCK_REGION


def _foundation(model: Model) -> str:
    return _GEOGRAPHY.sub("", model.id)


def _is_on_loopback(model: Model) -> bool:
    return bool(model.base_url) and urlsplit(str(model.base_url)).hostname in LOOPBACK_HOSTS


def _instead(model: Model) -> str:
    if model.replacement:
        return f"use {model.replacement} instead"
    return "choose another one in the overlay"


def _cause(error: BaseException | None) -> str:
    """A failed request to AWS in a word."""
    return error_code(error) or type(error).__name__


def ask(server: Server, deadline: float, cure: str) -> Answer:
    """What a server says about its key, its models and the account's credit.

    Parameters
    ----------
    deadline : epoch seconds
    cure : what to do about a key, for a person
    """
    check = server.check
    headers = {check.header: check.prefix + server.key} if server.key else {}
    url = server.base_url + check.path
    shutdowns: dict[str, str | None] | None = None
    page = ""
    try:
        for _ in range(_MOST_PAGES):
            with transport.client(deadline) as http:
                response = http.get(url + page, headers=headers)
            if response.status_code != 200:
                return _with_sentence(_refusal(server, response.status_code, response.text, cure), response, server.key)
            document = response.json()
            entries = check.models(document)
            if entries is not None:
                shutdowns = {**(shutdowns or {}), **{name: _end(entry) for name, entry in entries}}
            token = document.get("nextPageToken") if isinstance(document, dict) else None
            if not token:
                break
            page = f"&pageToken={quote(str(token), safe='')}"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        late = isinstance(error, httpx2.TimeoutException)
        cause = f"did not answer within {REQUEST_SECONDS:.0f} s" if late else "cannot be reached"
        where = "start it" if urlsplit(url).hostname in LOOPBACK_HOSTS else "check the network and its status page"
        return Answer("unknown", Finding(BAD, f"{server.title} {cause}; {where}."))
    except (ValueError, RecursionError):
        return Answer("unknown", Finding(WARNING, f"{server.title} answered something unreadable; try again later."))
    accepted = "accepted" if server.key else "not needed"
    credit = check.credit(document)
    if isinstance(credit, int | float) and credit <= 0:
        return Answer(accepted, Finding(BAD, f"The account at {server.title} has no credit left; add some."), shutdowns)
    return Answer(accepted, None, shutdowns)


def _end(entry: Any) -> str | None:
    """The day a listed model ends, where its provider tells."""
    text = entry.get("shutdown_date")
    try:
        return date.fromisoformat(text).isoformat() if isinstance(text, str) else None
    except ValueError:
        return None


def _with_sentence(answer: Answer, response: httpx2.Response, key: str | None) -> Answer:
    """Return a refusal with what the provider itself says, for the operator who reads it on a terminal of their own."""
    said = clean(read_error(response, key).message, key)
    if answer.problem is None or not said or response.status_code not in (401, 402, 403, 429):
        return answer
    sentence = f"{answer.problem.sentence} It says: {said}"
    return replace(answer, problem=replace(answer.problem, sentence=sentence))


def _refusal(server: Server, status: int, body: str, cure: str) -> Answer:
    """What an answer other than 200 means."""
    title, name = server.title, server.key_name or "a key"
    if status in (401, 403) and "scope" in body:
        return Answer(
            "restricted",
            Finding(WARNING, f"{name} may not list models, so only a job can tell; let the key read models."),
        )
    if status in (401, 403) or (status == 400 and "API_KEY_INVALID" in body):
        if server.key:
            return Answer("refused", Finding(BAD, f"{title} does not accept {name}; get a valid one and {cure}."))
        return Answer("missing", Finding(BAD, f"{title} asks for a key; {cure}."))
    if status == 400 and "FAILED_PRECONDITION" in body:
        return Answer(
            "refused", Finding(BAD, f"{title} is not open to this account's region or billing; enable billing.")
        )
    if status == 402:
        return Answer("accepted", Finding(BAD, f"The account at {title} has no credit left; add some."))
    if status == 429 or status >= 500:
        return Answer("unknown", Finding(WARNING, f"{title} is busy or failing (HTTP {status}); try again later."))
    if server.provider == "compatible" and status in (404, 405):
        return Answer("unknown", Finding(WARNING, f"{title} does not list its models, so only a job can tell."))
    return Answer("unknown", Finding(WARNING, f"{title} answered HTTP {status}, so only a job can tell."))


def report(deployment: Deployment, rows: Sequence[Row]) -> None:
    """Print the rows: a table on a terminal, a line each elsewhere."""
    print(f"Pixel Prompt, {deployment.name}")
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in rows:
            print(line(row))
    counts = [sum(row.mark == mark for row in rows) for mark in _SEVERITY]
    print(", ".join(f"{count} {mark}" for count, mark in zip(counts, _SEVERITY, strict=True)))


def line(row: Row) -> str:
    """A row as plain text."""
    facts = [
        row.key and f"key {row.key}",
        row.listed and ("listed" if row.listed == "yes" else "not listed"),
        row.ends and f"ends {row.ends}",
    ]
    about = ", ".join(filter(None, [row.provider, *facts]))
    text = f"{row.mark} {row.subject}" + (f" [{about}]" if about else "")
    sentences = " ".join(finding.sentence for finding in row.findings)
    return str(terminal.safe(f"{text}: {sentences}" if sentences else text))


def _print_table(rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    colours = {GOOD: "green", WARNING: "yellow", BAD: "red"}
    console = terminal.console()
    table = Table(box=SIMPLE)
    for heading in ("", "model", "provider", "key", "listed", "ends"):
        table.add_column(heading, no_wrap=heading in ("", "ends"))
    table.add_column("what to do", ratio=1, overflow="fold")
    for row in rows:
        sentences = "\n".join(finding.sentence for finding in row.findings)
        cells = (row.subject, row.provider, row.key, row.listed, row.ends, sentences)
        mark, *texts = (terminal.shown(text, console.encoding) for text in (row.mark, *cells))
        table.add_row(Text(mark, style=colours[row.mark]), *map(Text, texts))
    console.print(table)
