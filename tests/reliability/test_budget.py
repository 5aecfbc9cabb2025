"""A budget is never exceeded, whatever arrives at once and whatever dies; in the end, what is committed was charged."""

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest

from local.simulator import Simulator
from pixelprompt import ledger_services, workflow_services
from pixelprompt.limits.budget import DEPLOYMENT
from pixelprompt.limits.usage import JobUsage
from pixelprompt.models.cost import micros
from pixelprompt.models.provider import PROVIDERS

from .. import built
from ..shipped import SHIPPED
from .emulator import ACCESS_KEY, BUCKET, TABLE
from .fleet import Fleet
from .spending import Amounts, Life, live, reserve

DAILY = 10
LONGEST_JOB = 2880
FAULTS = ("refused", "throttled", "dropped", "server_error", "bad_key", "no_image")
# A job of some of them may cost about $0.35.
MODELS = [
    model
    for model in SHIPPED
    if model.name
    in (
        "GPT Image 2.6 Flare", "GPT Image 2", "Nano Banana 2.1", "Stable Diffusion 3.5 Large",
        "Stable Diffusion 3.5 Large Turbo", "FLUX.2 Pro", "Recraft V4.1",
    )
]  # fmt: skip


class Ledger:
    """The table, and each state that its items of budgets have had."""

    def __init__(self, endpoint: str, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        options = {"endpoint_url": endpoint, "region_name": "us-east-1", **ACCESS_KEY.client_options()}
        self._streams = boto3.client("dynamodbstreams", **options)
        self.clear()
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
        dynamodb.update_table(TableName=TABLE, StreamSpecification=specification)
        self._arn = dynamodb.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
        self._earlier = 0
        self._earlier = len(self._written())

    def clear(self) -> None:
        for item in self._items():
            self._dynamodb.delete_item(TableName=TABLE, Key={name: item[name] for name in ("pk", "sk")})

    def _items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._dynamodb.scan(TableName=TABLE, ConsistentRead=True)["Items"]
        return items

    def committed(self, scope: str = DEPLOYMENT) -> Decimal:
        """What is committed now of a budget, by all days and months."""
        items = [item for item in self._items() if item["pk"]["S"] == "budget"]
        found = [item for item in items if item["sk"]["S"].partition("/")[2] == scope]
        return sum((Decimal(item["month"]["N"]) for item in found), Decimal(0))

    def is_quiet(self) -> bool:
        """Whether no reservation is open."""
        return not any(name.startswith("open/") for item in self._items() for name in item)

    def claims(self) -> int:
        """How many rows have claimed their share."""
        return sum(name.startswith("row/") for item in self._items() for name in item)

    def history(self, scope: str = DEPLOYMENT) -> list[Decimal]:
        """What was committed of a budget on a day, after each write."""
        return [amount for written, amount in self._written()[self._earlier :] if written == scope]

    def _written(self) -> list[tuple[str, Decimal]]:
        found: list[tuple[str, Decimal]] = []
        for shard in self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"]:
            iterator = self._streams.get_shard_iterator(
                StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while iterator:
                page = self._streams.get_records(ShardIterator=iterator)
                for record in page["Records"]:
                    image = record["dynamodb"].get("NewImage", {})
                    scope = image.get("sk", {"S": ""})["S"].partition("/")[2]
                    found += [(scope, Decimal(value["N"])) for name, value in image.items() if name.startswith("day/")]
                iterator = page.get("NextShardIterator") if page["Records"] else None
        return found


@pytest.fixture
def ledger(endpoint: str, dynamodb: Any) -> Iterator[Ledger]:
    made = Ledger(endpoint, dynamodb)
    yield made
    dynamodb.update_table(TableName=TABLE, StreamSpecification={"StreamEnabled": False})
    made.clear()


def test_of_200_jobs_at_once_as_many_pass_as_fit(endpoint: str, ledger: Ledger) -> None:
    chance = random.Random(1)
    amounts = [micros(chance.uniform(0.2, 0.5)) for _ in range(200)]
    tasks = [Amounts(amounts[number::50], micros(DAILY)) for number in range(50)]
    answers = Fleet(endpoint, [tasks[number::10] for number in range(10)], "dynamodb").run(reserve)
    passed = [amount for row in answers for amount, is_reserved in row if is_reserved]
    refused = [amount for row in answers for amount, is_reserved in row if not is_reserved]
    assert len(passed) + len(refused) == 200
    assert ledger.committed() == Decimal(sum(passed)) / 1_000_000 <= DAILY
    # Nobody was refused who would have fitted in the end.
    assert min(refused) + sum(passed) > micros(DAILY)
    history = ledger.history()
    assert len(history) == len(passed) and max(history) <= DAILY


@pytest.fixture
def environment(endpoint: str, s3: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a deployment whose state machine does nothing."""
    options = {"endpoint_url": endpoint, "region_name": "us-east-1", **ACCESS_KEY.client_options()}
    machine = boto3.client("stepfunctions", **options).create_state_machine(
        name="machine",
        definition=json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::000000000000:role/workflow",
    )["stateMachineArn"]
    providers = {name: row for name, row in PROVIDERS.items() if row.simulator_path and row.key_name}
    secret = boto3.client("secretsmanager", **options).create_secret(
        Name=f"keys-{uuid.uuid4()}",
        SecretString=json.dumps({str(row.key_name): "test-key" for row in providers.values()}),
    )["ARN"]
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY.client_options()["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY.client_options()["aws_secret_access_key"],
        "BUCKET_NAME": BUCKET,
        "LEDGER_TABLE": TABLE,
        "CHARGES": "true",
        "DAILY_BUDGET": str(DAILY),
        "GLOBAL_LIMIT": "5000",
        "IP_LIMIT": "5000",
        "MAX_JOB_SECONDS": str(LONGEST_JOB),
        "PROVIDER_SECRET": secret,
        "PROVIDER_ENDPOINTS": json.dumps({name: simulator.url + row.simulator_path for name, row in providers.items()}),
        "STATE_MACHINE_ARN": machine,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    built.forget()
    return settings


@contextmanager
def changing_faults(simulator: Simulator) -> Iterator[None]:
    """Now this model's provider fails, now that one's, each in another way."""
    over = threading.Event()

    def change() -> None:
        chance = random.Random(2)
        while not over.wait(0.2):
            simulator.clear_faults()
            for model in chance.sample(MODELS, 3):
                simulator.set_fault(model.id, chance.choice(FAULTS))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def job_documents(s3: Any) -> list[dict[str, Any]]:
    """The documents of all jobs."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="jobs/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return [json.load(s3.get_object(Bucket=BUCKET, Key=key)["Body"]) for key in keys if key.endswith("/status.json")]


@pytest.mark.parametrize(
    ("processes", "daily"), [(6, 3), pytest.param(20, DAILY, marks=pytest.mark.slow)], ids=["60", "200"]
)
def test_whatever_fails_or_dies_the_budget_holds_and_each_dollar_is_charged(
    processes: int,
    daily: int,
    endpoint: str,
    s3: Any,
    ledger: Ledger,
    environment: dict[str, str],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [model.name for model in MODELS]
    environment["DAILY_BUDGET"] = str(daily)
    earlier = {document["jobId"] for document in job_documents(s3)}
    # Together, the keys may spend more than the deployment.
    budgets = {f"key/{key}": Decimal(daily) * 2 / 3 for key in "ab"}
    lives = [
        [Life(number, 10, environment, names, "ab"[number % 2], micros(daily * 2 / 3))] for number in range(processes)
    ]
    with changing_faults(simulator):
        answers = [answer for row in Fleet(endpoint, lives).run(live, seconds=300) for answer in row]
    assert len(answers) == 10 * processes and {"200", "402"} <= {*answers}
    budgets[DEPLOYMENT] = Decimal(daily)
    assert all(max(ledger.history(scope)) <= most for scope, most in budgets.items())

    # An hour later.
    late = time.time() + LONGEST_JOB + 600
    for swept in (workflow_services.sweep(), workflow_services._budgets()):
        monkeypatch.setattr(swept, "_clock", lambda: late)
    workflow_services.sweep().sweep()
    assert ledger.is_quiet() and all(max(ledger.history(scope)) <= most for scope, most in budgets.items())
    documents = [document for document in job_documents(s3) if document["jobId"] not in earlier]
    documents = [document for document in documents if "reservations" in document]
    runs = [run for document in documents for run in document["reservations"]]
    for scope in budgets:
        charged = sum(Decimal(str(run["charged"])) for run in runs if scope in run["scopes"])
        assert ledger.committed(scope) == charged > 0
    today = datetime.now(UTC).date()
    used = [*ledger_services.usage_log().read(today - timedelta(days=1), today, None)]
    for scope in budgets.keys() - {DEPLOYMENT}:
        of_jobs = [job for job in used if isinstance(job, JobUsage) and f"key/{job.key}" == scope]
        dollars = sum(model.reported + model.computed + model.reserved for job in of_jobs for model in job.models)
        assert Decimal(dollars) / 1_000_000 == ledger.committed(scope)
    of_rows = sum(Decimal(str(row["charged"])) for document in documents for row in document["results"])
    assert of_rows == charged
    # Nobody was paid who had no share.
    paid = [request for request in simulator.requests if request.method == "POST" and request.status in (200, None)]
    assert 0 < len(paid) <= ledger.claims()
