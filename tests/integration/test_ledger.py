"""With `limitStore=dynamodb`, requests are counted in a table: a stack deployed like that, its roles enforced."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local import cloud as local_cloud
from local.cloud import Response
from tests.conftest import LEDGER_SCHEMA
from tests.shipped import FIRST

from .conftest import Service
from .test_grants import Bench, Role

# What one address may do; nobody reaches the limits of all callers but the jobs' one.
LIMITS = {"GLOBAL_LIMIT": "6", "IP_LIMIT": "4", "ENHANCE_IP_LIMIT": "4", "UPLOAD_IP_LIMIT": "4"}
EACH = 4
WINDOWS = {"submit": "jobs", "retry": "jobs", "enhance": "enhance", "upload": "uploads"}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"LIMIT_STORE": "dynamodb", **LIMITS}
    cloud = local_cloud.start(tmp_path_factory.mktemp("cloud"), settings, latency="0-0.1", enforce_iam=True)
    yield Service(cloud)
    cloud.stop()


class Table:
    """The ledger's table."""

    def __init__(self, service: Service) -> None:
        self.client = service.cloud.client("dynamodb")
        (self.name,) = self.client.list_tables()["TableNames"]

    def clear(self) -> None:
        for item in self.client.scan(TableName=self.name)["Items"]:
            self.client.delete_item(TableName=self.name, Key={name: item[name] for name in ("pk", "sk")})

    def counted(self) -> dict[str, int]:
        """How many requests are in each window."""
        items = self.client.scan(TableName=self.name, ConsistentRead=True)["Items"]
        return {item["pk"]["S"]: len(item.get("moments", {}).get("SS", [])) for item in items}

    def fill(self, window: str) -> None:
        """Put as many requests into a window as an address may send."""
        moments = [f"{int(time.time() * 1000)}/{number}" for number in range(EACH)]
        item = {"pk": {"S": window}, "sk": {"S": "window"}, "moments": {"SS": moments}}
        self.client.put_item(TableName=self.name, Item=item)


@pytest.fixture(scope="module")
def table(deployed: Service) -> Table:
    return Table(deployed)


@pytest.fixture
def service(deployed: Service, table: Table) -> Service:
    """The service with nothing counted yet."""
    table.clear()
    return deployed


def generate(service: Service, ip: str) -> Response:
    return service.cloud.request("POST", "/generate", {"prompt": "a red fox", "ip": ip, "models": [FIRST.id]})


def enhance(service: Service, ip: str) -> Response:
    return service.cloud.request("POST", "/enhance", {"prompt": "a heron", "ip": ip})


def upload(service: Service, ip: str) -> Response:
    return service.cloud.request("POST", "/uploads", {"contentType": "image/png", "ip": ip})


def test_the_table_is_on_demand(table: Table) -> None:
    found = table.client.describe_table(TableName=table.name)["Table"]
    assert found["BillingModeSummary"]["BillingMode"] == LEDGER_SCHEMA["BillingMode"]
    assert found["KeySchema"] == LEDGER_SCHEMA["KeySchema"]


def passed(answers: Sequence[Response]) -> int:
    """How many requests have passed; the others are refused for a day, at the limit of their address."""
    refused = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.json().get("scope")) for answer in refused} == {(429, "ip")}
    for answer in refused:
        assert 80_000 < int(answer.headers["retry-after"]) == answer.json()["retryAfter"] <= 86_400
    return len(answers) - len(refused)


@pytest.mark.parametrize(("ask", "windows"), [(generate, "jobs"), (enhance, "enhance")], ids=["jobs", "enhance"])
def test_the_5th_request_of_an_address_is_refused(service: Service, table: Table, ask: Any, windows: str) -> None:
    answers = [ask(service, "198.51.100.1") for _ in range(EACH + 2)]
    assert passed(answers) == EACH
    own, all_callers = f"rate-limit/{windows}/ip/198.51.100.1", f"rate-limit/{windows}/global"
    assert table.counted() == {own: EACH, all_callers: EACH}
    assert ask(service, "198.51.100.2").status == 200
    # The bucket holds no counts.
    assert service.keys("rate-limit/") == []


def test_of_12_uploads_at_once_exactly_4_pass(service: Service, table: Table) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: upload(service, "198.51.100.1"), range(12)))
    assert passed(answers) == EACH
    assert table.counted() == {"rate-limit/uploads/ip/198.51.100.1": EACH, "rate-limit/uploads/global": EACH}


def test_retries_count_as_jobs_and_a_refused_one_counts_nowhere(service: Service, table: Table) -> None:
    service.fault(FIRST.id, "refused")
    job_ids = [generate(service, f"198.51.100.{number}").json()["jobId"] for number in range(5)]
    for job_id in job_ids:
        assert service.wait(job_id)["status"] == "failed"
    service.simulator("DELETE", "/faults")
    first, second = (service.cloud.request("POST", f"/retry/{job_id}") for job_id in job_ids[:2])
    assert first.status == 200, first.body
    assert (second.status, second.json()["scope"]) == (429, "global")
    assert 3_000 < int(second.headers["retry-after"]) <= 3_600
    assert service.status(job_ids[1])["status"] == "failed"
    refused = generate(service, "198.51.100.9")
    assert (refused.status, refused.json()["scope"]) == (429, "global")
    counted = table.counted()
    assert counted.pop("rate-limit/jobs/global") == 6
    # What the caller's own window had taken was given back.
    assert counted.pop("rate-limit/jobs/ip/198.51.100.9") == 0
    assert sum(counted.values()) == 6


def test_a_request_that_is_sent_again_with_its_key_counts_once(service: Service, table: Table) -> None:
    body = {"prompt": "a red fox", "ip": "198.51.100.1", "models": [FIRST.id]}
    key = {"Idempotency-Key": "5f0f3a54-2d4b-4c55-8a4e-0b7e3f0a6b9d"}
    answers = [service.cloud.request("POST", "/generate", body, key) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert table.counted() == {"rate-limit/jobs/global": 1, "rate-limit/jobs/ip/198.51.100.1": 1}


@pytest.fixture(scope="module")
def bench(deployed: Service) -> Bench:
    return Bench(deployed)


@pytest.mark.parametrize("action", ["UpdateItem", "BatchGetItem"])
@pytest.mark.parametrize(("function", "windows"), WINDOWS.items())
def test_without_a_grant_a_window_cannot_be_counted_in_or_read(
    service: Service, table: Table, bench: Bench, function: str, windows: str, action: str
) -> None:
    """The emulator doesn't know the keys that a grant is for; `tests/infra` reads them in the template."""
    if action == "BatchGetItem":
        # Who is refused learns for how long.
        table.fill(f"rate-limit/{windows}/ip/192.0.2.1")
    act = getattr(Bench, function)
    said = f"DynamoDB refused {action} on rate-limit/{windows}/"
    with Role(service, function).without(f"dynamodb:{action}"):
        heard = act(bench)
    assert said in heard, heard
    assert said not in act(bench)
