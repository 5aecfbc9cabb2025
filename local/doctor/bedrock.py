"""Bedrock, which is asked through boto3: its models, when they end, and whether the account may invoke them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import date
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from local.aws.deployment import Deployment
from local.doctor.account import cause
from local.doctor.report import BAD, WARNING, Finding, Row
from local.doctor.shutdown import instead, judge_shutdown
from pixelprompt.models.model import Model
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.redaction import clean

NAME = "bedrock"
_REGION = "us-west-2"
# The geography before the id of an inference profile.
_GEOGRAPHY = re.compile(r"^(us|us-gov|eu|apac|global)\.")


def is_served(model: Model) -> bool:
    """Whether Bedrock serves a model: no probe with a key can show that."""
    return PROVIDERS[model.provider].probe is None


class Bedrock:
    """Asks Bedrock about the models of a deployment, and judges them by what it says.

    Parameters
    ----------
    day : today
    """

    def __init__(self, deployment: Deployment, day: date) -> None:
        self._deployment = deployment
        self._day = day

    def _client(self, region: str) -> Any:
        return self._deployment.client("bedrock", region=region, endpoint=self._deployment.endpoints.get(NAME))

    def lifecycles(self, region: str) -> Mapping[str, Mapping[str, Any]]:
        """The image models that Bedrock lists in a region, each with its lifecycle."""
        listed = self._client(region).list_foundation_models(byOutputModality="IMAGE")["modelSummaries"]
        return {entry["modelId"]: entry.get("modelLifecycle", {}) for entry in listed}

    def access(self, model: Model) -> Mapping[str, Any]:
        """Bedrock's response about the account's access to a model; empty from the simulator, which allows all."""
        if NAME in self._deployment.endpoints:
            return {}
        client = self._client(region_of(model))
        found: Mapping[str, Any] = client.get_foundation_model_availability(modelId=_foundation(model))
        return found

    def judge(
        self,
        model: Model,
        listing: Future[Mapping[str, Mapping[str, Any]]],
        access: Future[Mapping[str, Any]],
        row: Row,
    ) -> None:
        """Judge a model by Bedrock's list of its region, and by the account's access to it."""
        region = region_of(model)
        row.key = "AWS role"
        announced = None
        try:
            lifecycle = listing.result().get(_foundation(model))
        except (ClientError, BotoCoreError) as error:
            mark = BAD if isinstance(error, NoCredentialsError) else WARNING
            cure = "allow yourself bedrock:ListFoundationModels, or try again later"
            row.add(mark, f"Bedrock in {region} doesn't list its models ({cause(error)}); {cure}.")
        else:
            row.listed = "no" if lifecycle is None else "yes"
            if lifecycle is None:
                row.add(BAD, f"Bedrock in {region} doesn't list {model.id}; set another region, or {instead(model)}.")
            elif ends := lifecycle.get("endOfLifeTime"):
                announced = ends.date().isoformat()
            elif lifecycle.get("status") == "LEGACY":
                row.add(WARNING, f"Bedrock marks it as legacy, so it will end; {instead(model)}.")
        judge_shutdown(model, row, self._day, announced)
        if not self._deployment.endpoints and (model.id, region) not in _built_in():
            row.add(
                BAD,
                "The functions may invoke only the Bedrock models of the built-in catalogue, in their regions; add it "
                "to functions/pixelprompt/models/models.json and deploy.",
            )
        if row.listed != "no":
            self.judge_access(model, access, row)

    def judge_access(self, model: Model, access: Future[Mapping[str, Any]], row: Row) -> None:
        """Judge nothing but the account's access to a model."""
        try:
            problem = _access_problem(access.result(), model, region_of(model))
        except (ClientError, BotoCoreError) as error:
            problem = Finding(
                WARNING,
                f"Whether the account may invoke it is unknown ({cause(error)}); allow yourself "
                "bedrock:GetFoundationModelAvailability.",
            )
        if problem:
            row.findings.append(problem)


def _access_problem(found: Mapping[str, Any], model: Model, region: str) -> Finding | None:
    """The reason why the account cannot invoke a model of Bedrock."""
    agreement = found.get("agreementAvailability", {})
    if found.get("regionAvailability") == "NOT_AVAILABLE":
        return Finding(BAD, f"Bedrock doesn't serve it to this account in {region}; set another region.")
    match agreement.get("status"):
        case "NOT_AVAILABLE":
            return Finding(
                BAD,
                "The account isn't subscribed to it. Subscribe (docs/how-to/deploy-to-aws.md has the permissions): "
                f"{subscribe_command(model)}",
            )
        case "PENDING":
            return Finding(WARNING, "The subscription is being completed; try again in a few minutes.")
        case "ERROR":
            said = clean(str(agreement.get("errorMessage") or "it names no reason"))
            return Finding(BAD, f"The subscription failed ({said}); complete it in AWS Marketplace.")
    if found.get("authorizationStatus") == "NOT_AUTHORIZED":
        return Finding(
            BAD, "The account is not authorized for it; have your organization's policies allow bedrock:InvokeModel."
        )
    if found.get("entitlementAvailability") == "NOT_AVAILABLE":
        return Finding(BAD, f"The account is not entitled to it; open it in Bedrock's Model catalog in {region}.")
    return None


def subscribe_command(model: Model) -> str:
    """The shell command that subscribes the account to a model of Bedrock."""
    where = f"--region {region_of(model)} --model-id {_foundation(model)}"
    offer = f"aws bedrock list-foundation-model-agreement-offers {where} --query 'offers[0].offerToken' --output text"
    return f'aws bedrock create-foundation-model-agreement {where} --offer-token "$({offer})"'


def _built_in() -> set[tuple[str, str]]:
    """The Bedrock models that the role of a deployment may invoke, with their regions."""
    models = ModelRegistry.load().get_all_models()
    return {(model.id, region_of(model)) for model in models if is_served(model)}


def region_of(model: Model) -> str:
    """The region in which a model is called."""
    return model.region or _REGION


def _foundation(model: Model) -> str:
    return _GEOGRAPHY.sub("", model.id)
