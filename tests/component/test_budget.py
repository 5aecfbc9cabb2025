"""A deployment with a budget: from the reservation of a job to its charge, through the handlers of the Lambdas."""

import importlib
import json
import time
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.simulator import Simulator
from local.simulator.prose import FORBIDDEN_WORD
from pixelprompt import ledger_services, services, workflow_services
from pixelprompt.errors import NothingToRetry
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Job
from pixelprompt.storage import clients
from tests import built
from tests.conftest import LEDGER

from . import test_entry_points
from .test_entry_points import CONTEXT, MODEL, Service

# The fixture.
service = test_entry_points.service

LONGEST_JOB = 2880
# One image of the first model, at low quality, may cost this at most.
ENOUGH = "1.00"


class Deployment:
    """A deployment with a budget."""

    def __init__(self, service: Service, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self.dynamodb = dynamodb
        self._monkeypatch = monkeypatch

    def set(self, **settings: str) -> None:
        """Deploy with other settings."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)
        built.forget()

    def later(self, seconds: float) -> None:
        """Let time pass for the budgets."""
        for wired in (ledger_services, workflow_services):
            self._monkeypatch.setattr(wired._budgets(), "_clock", lambda: time.time() + seconds)
        self._monkeypatch.setattr(workflow_services.sweep(), "_clock", lambda: time.time() + seconds)

    def item(self) -> dict[str, Any]:
        """The deployment's item of this month."""
        items = self.dynamodb.scan(TableName=LEDGER, ConsistentRead=True)["Items"]
        return next((item for item in items if item["pk"]["S"] == "budget"), {})

    def committed(self) -> Decimal:
        return Decimal(self.item().get("month", {"N": "0"})["N"])

    def open(self) -> list[dict[str, Any]]:
        return [value["M"] for name, value in self.item().items() if name.startswith("open/")]

    def generate(self, item: dict[str, Any]) -> dict[str, Any]:
        outcome: dict[str, Any] = importlib.import_module("generate").handler(item, CONTEXT)
        return outcome

    def finish(self, job_id: str, *outcomes: dict[str, Any], run: int = 1) -> dict[str, Any]:
        importlib.import_module("finish").handler({"jobId": job_id, "outcomes": [*outcomes], "run": run}, CONTEXT)
        return self.service.document(job_id)

    def sweep(self) -> int:
        settled: int = importlib.import_module("sweep").handler({}, CONTEXT)["settled"]
        return settled

    def post(self, name: str, **body: Any) -> dict[str, Any]:
        path = {"submit": "/generate", "enhance": "/enhance"}[name]
        return self.service.call(name, "POST", path, {"prompt": "a red fox", **body})


@pytest.fixture
def deployment(
    service: Service,
    dynamodb: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    made = Deployment(service, dynamodb, monkeypatch)
    made.set(IP_LIMIT="100", LEDGER_TABLE=LEDGER, CHARGES="true", DAILY_BUDGET=ENOUGH, MAX_JOB_SECONDS=str(LONGEST_JOB))
    yield made
    built.forget()


def test_a_job_reserves_its_worst_price_and_is_charged_what_it_cost(deployment: Deployment) -> None:
    job_id = deployment.service.submit(quality="high")
    (reserved,) = deployment.open()
    document = deployment.service.document(job_id)
    (reservation,) = document["reservations"]
    assert Decimal(reserved["amount"]["N"]) == deployment.committed() == Decimal(str(reservation["amount"]))
    assert reservation["amount"] == document["results"][0]["reserved"] > 0.05

    outcome = deployment.generate(deployment.service.item(job_id))
    document = deployment.finish(job_id, outcome)
    (row,) = document["results"]
    assert row["status"] == "completed" and 0 < row["charged"] <= row["reserved"]
    assert row["charged"] == row["cost"]["amount"] == document["reservations"][0]["charged"]
    assert (deployment.open(), deployment.committed()) == ([], Decimal(str(row["charged"])))
    # The end of a job may be told twice.
    deployment.finish(job_id, outcome)
    assert deployment.committed() == Decimal(str(row["charged"]))


def test_a_job_that_does_not_fit_leaves_no_trace(deployment: Deployment) -> None:
    deployment.set(DAILY_BUDGET="0.04")
    response = deployment.post("submit", models=[MODEL], quality="high")
    assert (response["statusCode"], response["body"]["error"]) == (402, "BUDGET_EXCEEDED")
    assert response["headers"]["Retry-After"] == str(response["body"]["retryAfter"])
    assert response["body"]["needed"] > response["body"]["left"] == 0.04
    assert not deployment.open() and deployment.committed() == 0
    service = deployment.service
    assert service.workflow.list_executions(stateMachineArn=service.machine)["executions"] == []
    assert service.s3.list_objects_v2(Bucket="test-bucket", Prefix="jobs/").get("Contents", []) == []


def test_the_same_request_passes_when_the_window_has_turned(deployment: Deployment) -> None:
    while (response := deployment.post("submit", models=[MODEL], quality="high"))["statusCode"] == 200:
        assert deployment.committed() <= Decimal(ENOUGH)
    assert (response["statusCode"], response["body"]["models"]) == (402, [])
    deployment.later(response["body"]["retryAfter"])
    assert deployment.post("submit", models=[MODEL], quality="high")["statusCode"] == 200


def test_what_would_fit_is_named_and_passes(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = "GPT Image 2"
    needed = deployment.post("submit", models=[MODEL, cheap], quality="high")
    assert needed["statusCode"] == 200
    deployment.set(DAILY_BUDGET=str(deployment.committed() * 2 - Decimal("0.000001")))
    response = deployment.post("submit", models=[MODEL, cheap], quality="high")
    assert response["statusCode"] == 402
    fitting = response["body"]["models"]
    assert len(fitting) == 1 and fitting[0] in response["body"]["message"]
    assert deployment.post("submit", models=fitting, quality="high")["statusCode"] == 200


def test_a_settled_run_asks_no_provider_again(deployment: Deployment, simulator: Simulator) -> None:
    job_id = deployment.service.submit()
    item = deployment.service.item(job_id)
    deployment.finish(job_id)
    outcome = deployment.generate(item)
    assert outcome["state"] == "failed" and simulator.requests == []
    assert not deployment.open() and deployment.committed() == 0


def test_a_late_start_has_no_share_even_if_its_row_is_open(deployment: Deployment, simulator: Simulator) -> None:
    job_id = deployment.service.submit()
    item = deployment.service.item(job_id)
    workflow_services._budgets().close(job_id, 1)
    outcome = deployment.generate(item)
    assert outcome["state"] == "failed" and simulator.requests == []
    row = deployment.finish(job_id, outcome)["results"][0]
    assert (row["errorCode"], row["billable"], row["charged"]) == ("internal", "no", 0)
    assert deployment.committed() == 0


@pytest.mark.parametrize("which", ["submit", "retry"])
def test_a_start_that_fails_after_all_leaves_no_claim_uncharged(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    job_id = ""
    if which == "retry":
        job_id = deployment.service.submit(quality="high")
        deployment.finish(job_id)

    def start(name: str, payload: str) -> None:
        # The response to a first attempt was lost, so the execution runs; the SDK's repeat is refused.
        execution = json.loads(payload)
        assert workflow_services._budgets().claim(execution["jobId"], execution["run"], 0)
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")

    service = services.submission() if which == "submit" else services.retry()
    monkeypatch.setattr(service, "_start", start)
    response = (
        deployment.service.job_call("retry", job_id, {})
        if which == "retry"
        else deployment.post("submit", models=[MODEL], quality="high")
    )
    assert response["statusCode"] == 503
    document = deployment.service.document(response["body"]["jobId"])
    (row,) = document["results"]
    assert (row["charged"], row["billable"]) == (row["reserved"], "unknown")
    assert (deployment.open(), deployment.committed()) == ([], Decimal(str(row["charged"])))
    assert not workflow_services._budgets().claim(document["jobId"], document["run"], 0)


def test_a_retry_reserves_again_and_both_runs_are_charged(deployment: Deployment, simulator: Simulator) -> None:
    job_id = deployment.service.submit(quality="high")
    # The invocation died after its claim: its provider may have been paid.
    assert workflow_services._budgets().claim(job_id, 1, 0)
    first = deployment.finish(job_id)["results"][0]
    assert (first["errorCode"], first["billable"]) == ("unknown_outcome", "unknown")
    assert first["charged"] == first["reserved"] == float(deployment.committed())

    assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 200
    outcome = deployment.generate(deployment.service.item(f"{job_id}-r2"))
    document = deployment.finish(job_id, outcome, run=2)
    (row,) = document["results"]
    assert row["charged"] == pytest.approx(first["charged"] + row["cost"]["amount"])
    assert deployment.committed() == sum(Decimal(str(run["charged"])) for run in document["reservations"])


def test_a_retry_that_comes_too_late_leaves_no_reservation(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployment.service.submit(quality="high")
    deployment.finish(job_id)
    budget = services.retry()._budget
    assert budget
    close = budget.close

    def be_late(document: Job) -> Collection[int]:
        # Another retry begins the run, which ends, before this one reserves.
        monkeypatch.setattr(budget, "close", close)
        assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 200
        deployment.finish(job_id, deployment.generate(deployment.service.item(f"{job_id}-r2")), run=2)
        return close(document)

    monkeypatch.setattr(budget, "close", be_late)
    assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 409
    charged = Decimal(str(deployment.service.document(job_id)["reservations"][-1]["charged"]))
    assert (deployment.open(), deployment.committed()) == ([], charged)
    deployment.later(LONGEST_JOB + 1)
    assert (deployment.sweep(), deployment.committed()) == (0, charged)


def test_a_retry_that_fails_leaves_what_another_one_has_reserved(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployment.service.submit(quality="high")
    deployment.finish(job_id)
    retry = services.retry()
    begin_run = retry._jobs.begin_run

    def begin(of: str, run: NextRun) -> Any:
        # Meanwhile a second retry goes on with this one's reservation, and is refused.
        def refuse(*_: Any) -> Any:
            raise NothingToRetry("The image has come.")

        monkeypatch.setattr(retry._jobs, "begin_run", refuse)
        assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 400
        return begin_run(of, run)

    monkeypatch.setattr(retry._jobs, "begin_run", begin)
    assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 200
    (row,) = deployment.service.document(job_id)["results"]
    assert len(deployment.open()) == 1 and deployment.committed() == Decimal(str(row["reserved"]))


def test_a_retry_without_a_budget_charges_the_run_that_had_one(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployment.service.submit(quality="high")
    assert workflow_services._budgets().claim(job_id, 1, 0)
    with monkeypatch.context() as without:
        for name in ("LEDGER_TABLE", "CHARGES", "DAILY_BUDGET"):
            without.delenv(name)
        built.forget()
        deployment.service.job_call("cancel", job_id)
        assert deployment.service.job_call("retry", job_id, {})["statusCode"] == 200
    built.forget()
    deployment.later(LONGEST_JOB + 1)
    assert deployment.sweep() == 1
    (reservation,) = deployment.service.document(job_id)["reservations"]
    assert reservation["charged"] == reservation["amount"] == float(deployment.committed())


def test_a_check_without_a_key_costs_nothing(deployment: Deployment) -> None:
    secret = clients.client("secretsmanager").create_secret(Name="other", SecretString='{"STABILITY_API_KEY": "key"}')
    deployment.set(MODERATION="model", PROVIDER_SECRET=secret["ARN"])
    assert deployment.post("submit", models=["Stable Image Core"])["statusCode"] == 503
    assert deployment.post("enhance")["statusCode"] == 503
    assert deployment.committed() == 0


def test_a_retry_that_does_not_fit_changes_nothing(deployment: Deployment) -> None:
    job_id = deployment.service.submit(quality="high")
    workflow_services._budgets().claim(job_id, 1, 0)
    before = deployment.finish(job_id)
    deployment.set(DAILY_BUDGET=str(deployment.committed()))
    response = deployment.service.job_call("retry", job_id, {})
    assert (response["statusCode"], response["body"]["error"]) == (402, "BUDGET_EXCEEDED")
    assert (deployment.service.document(job_id), deployment.open()) == (before, [])


def test_what_was_left_behind_is_swept(deployment: Deployment) -> None:
    begun, never = deployment.service.submit(quality="high"), deployment.service.submit(quality="high")
    workflow_services._budgets().claim(begun, 1, 0)
    assert deployment.sweep() == 0
    deployment.later(LONGEST_JOB + 1)
    assert deployment.sweep() == 2
    rows = [deployment.service.document(job_id)["results"][0] for job_id in (begun, never)]
    assert [row["charged"] for row in rows] == [rows[0]["reserved"], 0]
    assert (deployment.open(), deployment.committed()) == ([], Decimal(str(rows[0]["reserved"])))
    assert deployment.sweep() == 0


def test_an_enhancement_is_charged_once_and_a_cached_one_not(deployment: Deployment) -> None:
    assert "warning" not in deployment.post("enhance")["body"]
    committed = deployment.committed()
    assert 0.005 < committed < 0.02 and deployment.open() == []
    assert deployment.post("enhance")["statusCode"] == 200
    assert deployment.committed() == committed


def test_an_enhancement_that_does_not_fit_asks_no_model(deployment: Deployment, simulator: Simulator) -> None:
    deployment.set(DAILY_BUDGET="0.001")
    response = deployment.post("enhance")
    assert (response["statusCode"], response["body"]["error"]) == (402, "BUDGET_EXCEEDED")
    assert "models" not in response["body"] and simulator.requests == []


def test_a_prompt_that_a_model_blocks_costs_its_check_only(deployment: Deployment) -> None:
    deployment.set(MODERATION="model")
    allowed = deployment.service.submit(quality="high")
    (reservation,) = deployment.service.document(allowed)["reservations"]
    assert 0.005 < reservation["moderation"] < 0.02 < reservation["amount"]
    deployment.finish(allowed)
    assert deployment.committed() == Decimal(str(reservation["moderation"]))
    blocked = deployment.service.call(
        "submit", "POST", "/generate", {"prompt": f"a {FORBIDDEN_WORD} fox", "models": [MODEL]}
    )
    assert blocked["statusCode"] == 400, blocked
    assert deployment.open() == []
    assert deployment.committed() < 3 * Decimal(str(reservation["moderation"]))


@pytest.fixture
def unpriced(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a second model of the default set, whose price is unknown."""
    overlay = {"models": [{"name": "Mystery", "provider": "openai", "id": "mystery"}]}
    deployment.service.s3.put_object(Bucket="test-bucket", Key="config/models.json", Body=json.dumps(overlay))
    return "Mystery"


def test_a_model_of_unknown_price_is_left_out_unless_it_is_named(deployment: Deployment, unpriced: str) -> None:
    deployment.set(DAILY_BUDGET="100")
    estimate = deployment.post("submit", dryRun=True)["body"]
    assert unpriced in [left_out["model"] for left_out in estimate["skipped"]]
    named = deployment.post("submit", models=[unpriced, MODEL])
    assert (named["statusCode"], named["body"]["unknown"], named["body"]["models"]) == (402, [unpriced], [MODEL])
    deployment.set(UNKNOWN_PRICE_CEILING="0.5")
    response = deployment.post("submit", models=[unpriced])
    assert response["statusCode"] == 200
    assert deployment.service.document(response["body"]["jobId"])["results"][0]["reserved"] == 0.5
    assert "skipped" not in deployment.post("submit", dryRun=True)["body"]
