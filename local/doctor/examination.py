"""The examination of a deployment: its catalogue, its secret, its quota, and each of its models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local.aws import deployment as deployments
from local.aws.deployment import Deployment
from local.aws.keys import KeysError, held
from local.doctor import bedrock
from local.doctor.account import cause, quota_row
from local.doctor.bedrock import Bedrock, region_of
from local.doctor.probe import REQUEST_SECONDS, ProbeResult, Server, ask
from local.doctor.report import BAD, WARNING, Row, report
from local.doctor.shutdown import instead, judge_shutdown
from local.options import key_names
from local.progress import Progress
from pixelprompt.errors import ConfigurationError, ServiceUnavailable, StorageError
from pixelprompt.models import catalogue, registry
from pixelprompt.models.dialect import dialect
from pixelprompt.models.model import Model
from pixelprompt.models.provider import PROVIDERS, url_host
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.settings import LOOPBACK_HOSTS
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.keys import OVERLAY_KEY


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
    stage, local : which deployment; see `local.aws.deployment.find`
    every : also the models that a job uses only when it names them

    Raises
    ------
    CloudError : the deployment does not exist
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
    """Whether the account may invoke the default Bedrock models; a row for each."""
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
        self._bedrock = Bedrock(deployment, day)

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
        at_once = sum(model.default and not model.has_ended(self._day) for model in models)
        return [catalogue_row, keys_row, quota_row(self._deployment, at_once), *(subject.row for subject in subjects)]

    def _ask(self, subjects: Sequence[_Subject]) -> None:
        """Ask every server at once, and judge the models by the results."""
        servers = list(dict.fromkeys(subject.server for subject in subjects if subject.server))
        on_bedrock = [s.model for s in subjects if self._is_asked_of_bedrock(s.model)]
        names = [server.title for server in servers] + [bedrock.NAME] * bool(on_bedrock)
        self._progress(f"asking {', '.join(dict.fromkeys(names)) or 'no provider'} about the models")
        deadline = time.time() + self._seconds
        with ThreadPoolExecutor(max_workers=16) as pool:
            results = {server: pool.submit(ask, server, deadline, self._cure_of(server)) for server in servers}
            regions = {region_of(model) for model in on_bedrock}
            lists = {region: pool.submit(self._bedrock.lifecycles, region) for region in regions}
            access = {model.id: pool.submit(self._bedrock.access, model) for model in on_bedrock}
        for subject in subjects:
            model, row = subject.model, subject.row
            if subject.server:
                self._judge(subject, results[subject.server].result(), subject.server)
            elif model.id in access:
                self._bedrock.judge(model, lists[region_of(model)], access[model.id], row)
            else:
                judge_shutdown(model, row, self._day)

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
            row.add(BAD, f"Invalid overlay: {error}")
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
        """The row about the secret, and whether it can be read."""
        row = Row("Secret of the keys")
        try:
            can_call = any(self._keys.credentials(model) for model in models)
        except ConfigurationError as error:
            row.add(BAD, str(error))
            return row, False
        except ServiceUnavailable as error:
            row.add(
                BAD,
                f"Failed to read the secret {self._deployment.secret} ({cause(error.__cause__)}); deploy the stack "
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

    def _is_shown(self, model: Model) -> bool:
        # Entries of retired models stay in the catalogue to name their successors; a default one is missed by jobs.
        return model.default or (self._every and not model.has_ended(self._day))

    def _model_row(self, model: Model, *, enhances: bool) -> Row:
        provider = f"{model.provider} (simulated)" if self._is_simulated(model) else model.provider
        return Row(f"{model.name} (enhances prompts)" if enhances else model.name, provider)

    def _is_simulated(self, model: Model) -> bool:
        return model.provider in self._deployment.endpoints and not _is_on_loopback(model)

    def _is_asked_of_bedrock(self, model: Model) -> bool:
        return bedrock.is_served(model) and not model.has_ended(self._day)

    def _server(self, subject: _Subject) -> Server | None:
        """The server to ask about a model; None for Bedrock, and where a key or a URL is missing."""
        model, row = subject.model, subject.row
        provider = PROVIDERS[model.provider]
        # The simulator of any server speaks the usual dialect.
        has_dialect = provider.is_any_server and not self._is_simulated(model)
        source = dialect(model.dialect) if has_dialect else provider
        if source.probe is None:
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
            row.add(BAD, "Its baseUrl is on loopback, which functions on AWS cannot reach; set an https URL.")
            return None
        if not credentials.base_url:
            row.add(BAD, "It has no URL; give it a baseUrl.")
            return None
        return Server(
            model.provider,
            credentials.base_url.rstrip("/"),
            credentials.key,
            name,
            source.key_header,
            source.probe,
            withheld=self._keys.withholds(model),
        )

    def _cure_of(self, server: Server) -> str:
        if server.withheld:
            setting = json.dumps({"KEY": [url_host(server.base_url)]})
            return f"give the model an apiKeyName, and allow the key for this host (keyHosts={setting})"
        return self._cure(server.key_name)

    def _cure(self, key_name: str | None) -> str:
        if self._deployment.on_laptop:
            return f"set {key_name or 'a key'} in the environment and run `make up`"
        if key_name is None or key_name in key_names():
            return f"run `make keys STAGE={self._deployment.stage}`"
        return f"put it into the secret {self._deployment.secret}"

    def _judge(self, subject: _Subject, result: ProbeResult, server: Server) -> None:
        model, row = subject.model, subject.row
        row.key = result.key
        if result.problem:
            row.findings.append(result.problem)
        if result.shutdowns is None:
            judge_shutdown(model, row, self._day)
            return
        row.listed = "yes" if model.id in result.shutdowns else "no"
        if model.id not in result.shutdowns:
            # The lists of compatible servers are often not whole.
            mark = WARNING if PROVIDERS[model.provider].is_any_server else BAD
            row.add(
                mark,
                f"{server.title} doesn't list {model.id} for this key: it is gone, or not open to this account; "
                f"{instead(model)}.",
            )
        judge_shutdown(model, row, self._day, result.shutdowns.get(model.id))

    def access(self) -> list[Row]:
        """The rows of the default Bedrock models, with nothing but the account's access to them."""
        models, *_ = self._catalogue()
        on_bedrock = [model for model in models if model.default and self._is_asked_of_bedrock(model)]
        rows = []
        with ThreadPoolExecutor(max_workers=16) as pool:
            for model, found in [(model, pool.submit(self._bedrock.access, model)) for model in on_bedrock]:
                row = self._model_row(model, enhances=False)
                self._bedrock.judge_access(model, found, row)
                rows.append(row)
        return rows


def _is_on_loopback(model: Model) -> bool:
    return bool(model.base_url) and urlsplit(str(model.base_url)).hostname in LOOPBACK_HOSTS
