"""What callers with API keys are charged and told: budgets of keys, and ``GET /usage``, over the handlers."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests import built
from tests.conftest import LEDGER

from . import test_entry_points
from .test_budget import LONGEST_JOB, Deployment
from .test_entry_points import MODEL, Service
from .test_owners import Calling, with_key

# The fixture.
service = test_entry_points.service
EDITOR = {"quality": "high"}


class Keys(Deployment):
    """A deployment with API keys."""

    def caller(self, id: str, **limits: Any) -> Calling:
        return Calling(self.service, with_key(id, **limits))

    def scopes(self) -> dict[str, Decimal]:
        """What is committed of each budget."""
        items = self.dynamodb.scan(TableName=LEDGER, ConsistentRead=True)["Items"]
        budgets = [item for item in items if item["pk"]["S"] == "budget"]
        return {item["sk"]["S"].partition("/")[2]: Decimal(item["month"]["N"]) for item in budgets}

    def usage(self, caller: Calling, **query: str) -> dict[str, Any]:
        response = caller.call("usage", "GET", "/usage", queryStringParameters=query)
        assert response["statusCode"] == 200, response["body"]
        body: dict[str, Any] = response["body"]
        return body


@pytest.fixture
def keys(service: Service, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    made = Keys(service, dynamodb, monkeypatch)
    made.set(IP_LIMIT="100", LEDGER_TABLE=LEDGER, CHARGES="true", MAX_JOB_SECONDS=str(LONGEST_JOB))
    yield made
    built.forget()


def test_a_key_spends_its_own_budget_and_the_deployments(keys: Keys) -> None:
    keys.set(DAILY_BUDGET="10")
    ada, eve = keys.caller("ada", daily=200_000), keys.caller("eve", monthly=5_000_000)
    job_id = ada.submit(**EDITOR)["body"]["jobId"]
    (reservation,) = keys.service.document(job_id)["reservations"]
    assert reservation["scopes"] == ["key/ada", "deployment"]
    reserved = Decimal(str(reservation["amount"]))
    assert keys.scopes() == {"key/ada": reserved, "deployment": reserved}
    refused = ada.submit(**EDITOR)
    assert (refused["statusCode"], refused["body"]["scope"], refused["body"]["window"]) == (402, "key", "day")
    assert "Your key has $" in refused["body"]["message"]
    assert eve.submit(**EDITOR)["statusCode"] == 200

    document = keys.finish(job_id, keys.generate(keys.service.item(job_id)))
    charged = Decimal(str(document["results"][0]["charged"]))
    assert 0 < charged < reserved
    assert keys.scopes() == {"key/ada": charged, "key/eve": reserved, "deployment": charged + reserved}


def test_a_deployment_that_has_too_little_left_takes_nothing_of_the_key(keys: Keys) -> None:
    keys.set(DAILY_BUDGET="0.05")
    refused = keys.caller("ada", daily=5_000_000).submit(**EDITOR)
    assert (refused["statusCode"], refused["body"]["scope"]) == (402, "deployment")
    assert keys.scopes().get("key/ada", 0) == 0


def test_what_a_key_left_reserved_is_swept_in_both_budgets(keys: Keys) -> None:
    keys.set(DAILY_BUDGET="10")
    job_id = keys.caller("ada", daily=5_000_000).submit(**EDITOR)["body"]["jobId"]
    keys.generate(keys.service.item(job_id))
    keys.later(LONGEST_JOB + 1)
    assert keys.sweep() == 2
    charged = Decimal(str(keys.service.document(job_id)["results"][0]["charged"]))
    assert keys.scopes() == {"key/ada": charged, "deployment": charged}


def test_a_key_without_a_budget_reserves_nothing_where_the_deployment_has_none(keys: Keys) -> None:
    ada = keys.caller("ada")
    job_id = ada.submit()["body"]["jobId"]
    assert "reservations" not in keys.service.document(job_id) and keys.scopes() == {}
    document = keys.finish(job_id, keys.generate(keys.service.item(job_id)))
    usage = keys.usage(ada)
    assert usage["total"]["dollars"]["amount"] == document["results"][0]["cost"]["amount"] > 0
    assert usage["budgets"] == []


def test_a_retry_is_reserved_for_whoever_asks_for_it(keys: Keys) -> None:
    ada, admin = keys.caller("ada", daily=5_000_000), keys.caller("operator", is_admin=True, daily=5_000_000)
    job_id = ada.submit(**EDITOR)["body"]["jobId"]
    ada.about("cancel", job_id)
    assert admin.about("retry", job_id)["statusCode"] == 200
    first, second = keys.service.document(job_id)["reservations"]
    assert (first["scopes"], second["scopes"]) == (["key/ada"], ["key/operator"])
    assert first["charged"] == 0 == keys.scopes()["key/ada"] < keys.scopes()["key/operator"]


def test_a_retry_without_a_budget_is_in_usage(keys: Keys) -> None:
    ada, admin = keys.caller("ada", daily=5_000_000), keys.caller("operator", is_admin=True)
    job_id = ada.submit(**EDITOR)["body"]["jobId"]
    ada.about("cancel", job_id)
    assert admin.about("retry", job_id)["statusCode"] == 200
    item = {**keys.service.item(job_id), "run": 2}
    cost = keys.finish(job_id, keys.generate(item), run=2)["results"][0]["cost"]["amount"]
    assert keys.usage(ada)["total"]["dollars"]["amount"] == cost > 0


def test_usage_says_what_was_made_what_it_cost_and_what_is_left(keys: Keys) -> None:
    keys.set(DAILY_BUDGET="10", CONFIRM_ABOVE="0.5")
    ada, eve, admin = keys.caller("ada", daily=200_000), keys.caller("eve"), keys.caller("operator", is_admin=True)
    job_id = ada.submit(**EDITOR)["body"]["jobId"]
    assert ada.submit(**EDITOR)["statusCode"] == 402
    charged = keys.finish(job_id, keys.generate(keys.service.item(job_id)))["results"][0]["charged"]
    eves = eve.submit()["body"]["jobId"]
    keys.finish(eves, keys.generate(keys.service.item(eves)))

    usage = keys.usage(ada)
    total = usage["total"]
    assert (total["jobs"], total["images"], total["dollars"]["amount"]) == (1, 1, charged)
    assert total["refusals"] == {"BUDGET_EXCEEDED": 1}
    left = {(budget["scope"], budget["window"]): budget["left"] for budget in usage["budgets"]}
    assert left[("key", "day")] == pytest.approx(0.2 - charged)
    assert left[("deployment", "day")] == float(Decimal(10) - keys.scopes()["deployment"])
    assert usage["confirmAbove"] == 0.5
    everyone = keys.usage(admin, by="key")
    assert {entry["key"]["id"]: entry["jobs"] for entry in everyone["entries"]} == {"ada": 1, "eve": 1}
    assert [entry["model"] for entry in keys.usage(eve, by="model")["entries"]] == [MODEL]


def test_every_dollar_of_a_budget_is_somewhere_in_usage(keys: Keys) -> None:
    """Jobs with an image, one that was cancelled, a call of a text model, and a prompt that the model judged."""
    keys.set(DAILY_BUDGET="10", MODERATION="model")
    ada = keys.caller("ada", daily=9_000_000)
    for ends in ("made", "cancelled"):
        job_id = ada.submit()["body"]["jobId"]
        if ends == "made":
            keys.finish(job_id, keys.generate(keys.service.item(job_id)))
        else:
            ada.about("cancel", job_id)
            keys.finish(job_id)
    assert ada.call("enhance", "POST", "/enhance", {"prompt": "a fox"})["statusCode"] == 200
    usage = keys.usage(ada)
    assert usage["total"]["calls"] > 0
    assert Decimal(str(usage["total"]["dollars"]["amount"])) == keys.scopes()["key/ada"] == keys.scopes()["deployment"]


def test_the_check_of_a_prompt_counts_for_a_key_without_a_budget_too(keys: Keys) -> None:
    keys.set(MODERATION="model")
    rich, poor = keys.caller("ada"), keys.caller("eve", daily=9_000_000)
    for caller in (rich, poor):
        job_id = caller.submit()["body"]["jobId"]
        keys.finish(job_id, keys.generate(keys.service.item(job_id)))
    first, second = (keys.usage(caller)["total"]["dollars"]["amount"] for caller in (rich, poor))
    assert first == second > 0


def test_where_nothing_is_charged_refusals_are_not_counted(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.set(CHARGES="false", IP_LIMIT="0")
    assert keys.caller("ada").submit()["statusCode"] == 429
    items = keys.dynamodb.scan(TableName=LEDGER, ConsistentRead=True)["Items"]
    assert not [item for item in items if item["pk"]["S"].startswith("usage/")]
