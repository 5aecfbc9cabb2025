"""With a budget and API keys, a table counts, reserves, and knows callers: a stack like that, its roles enforced."""

import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from local import cloud as local_cloud
from local.aws.api_keys import Keyring, Wishes
from local.cloud import Response
from pixelprompt.jobs.charges import Shares, share_out
from pixelprompt.limits.api_keys import ApiKeys
from pixelprompt.limits.budget import Reservation
from pixelprompt.storage.ledger import API_KEYS, Ledger
from tests.conftest import LEDGER_SCHEMA
from tests.shipped import FIRST, SECOND

from .conftest import Service
from .test_canaries import places
from .test_grants import Bench, Role

# What one address may do; nobody reaches the limits of all callers but the jobs' one.
LIMITS = {"GLOBAL_LIMIT": "6", "IP_LIMIT": "4", "ENHANCE_IP_LIMIT": "4", "UPLOAD_IP_LIMIT": "4"}
EACH = 4
DAILY = 100
WINDOWS = {"submit": "jobs", "retry": "jobs", "enhance": "enhance", "upload": "uploads"}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"DAILY_BUDGET": str(DAILY), "API_AUTH": "keys", **LIMITS}
    cloud = local_cloud.start(tmp_path_factory.mktemp("cloud"), settings, latency="0-0.1", enforce_iam=True)
    yield Service(cloud)
    cloud.stop()


def _today() -> datetime:
    return datetime.now(UTC)


def _budget_key() -> dict[str, Any]:
    return {"pk": {"S": "budget"}, "sk": {"S": f"{_today():%Y-%m}/deployment"}}


class Table:
    """The ledger's table."""

    def __init__(self, service: Service) -> None:
        self.client = service.cloud.client("dynamodb")
        (self.name,) = self.client.list_tables()["TableNames"]

    def clear(self) -> None:
        for item in self.client.scan(TableName=self.name)["Items"]:
            if item["pk"]["S"] == API_KEYS:
                continue
            self.client.delete_item(TableName=self.name, Key={name: item[name] for name in ("pk", "sk")})

    def counted(self) -> dict[str, int]:
        """How many requests are in each window."""
        items = self.client.scan(TableName=self.name, ConsistentRead=True)["Items"]
        windows = [item for item in items if item["pk"]["S"].startswith("rate-limit/")]
        return {item["pk"]["S"]: len(item.get("moments", {}).get("SS", [])) for item in windows}

    def fill(self, window: str) -> None:
        """Put as many requests into a window as an address may send."""
        moments = [f"{int(time.time() * 1000)}/{number}" for number in range(EACH)]
        item = {"pk": {"S": window}, "sk": {"S": "window"}, "moments": {"SS": moments}}
        self.client.put_item(TableName=self.name, Item=item)

    def budget(self) -> dict[str, Any]:
        """The deployment's item of this month."""
        item: dict[str, Any] = self.client.get_item(TableName=self.name, Key=_budget_key(), ConsistentRead=True)["Item"]
        return item

    def commit(self, dollars: str) -> None:
        """Let so much be committed today, by others."""
        item = {**_budget_key(), f"day/{_today():%d}": {"N": dollars}, "month": {"N": dollars}}
        self.client.put_item(TableName=self.name, Item=item)

    def leave_behind(self, job_id: str) -> None:
        """Put a reservation of a dollar there, as old as can be."""
        self.commit("1")
        day = {"S": f"{_today():%Y-%m-%d}"}
        entry = {"amount": {"N": "1"}, "least": {"N": "0"}, "since": {"N": "0"}, "day": day}
        self.client.update_item(
            TableName=self.name,
            Key=_budget_key(),
            UpdateExpression="SET #open = :open",
            ExpressionAttributeNames={"#open": f"open/{job_id}/1/id"},
            ExpressionAttributeValues={":open": {"M": entry}},
        )


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


def charged(service: Service, job_id: str) -> dict[str, Any]:
    """The document of a job that has ended, once *Finish job* has charged it."""
    limit = time.monotonic() + 30
    while "charged" not in (document := service.status(job_id))["reservations"][-1]:
        assert time.monotonic() < limit, document
        time.sleep(0.1)
    return document


def test_a_job_is_charged_what_it_cost(service: Service, table: Table) -> None:
    job_id = service.run(models=[FIRST.id], quality="high")["jobId"]
    document = charged(service, job_id)
    (reservation,), (row,) = document["reservations"], document["results"]
    assert 0 < row["charged"] == row["cost"]["amount"] == reservation["charged"] <= reservation["amount"]
    item = table.budget()
    assert Decimal(item["month"]["N"]) == Decimal(item[f"day/{_today():%d}"]["N"]) == Decimal(str(row["charged"]))
    assert not [name for name in item if name.startswith("open/")]


def test_what_does_not_fit_is_refused_until_there_is_room_again(service: Service, table: Table) -> None:
    table.commit(str(DAILY))
    refused = generate(service, "198.51.100.1")
    assert (refused.status, refused.json()["error"], refused.json()["left"]) == (402, "BUDGET_EXCEEDED", 0)
    assert 0 < int(refused.headers["retry-after"]) == refused.json()["retryAfter"] <= 86_400
    prompt = {"prompt": f"a heron {uuid.uuid4().hex}"}
    assert service.cloud.request("POST", "/enhance", prompt).status == 402
    service.fault(FIRST.id, "refused")
    table.commit("0")
    failed = charged(service, service.run(models=[FIRST.id])["jobId"])
    table.commit(str(DAILY))
    assert service.cloud.request("POST", f"/retry/{failed['jobId']}").status == 402
    table.commit("0")
    assert service.cloud.request("POST", f"/retry/{failed['jobId']}").status == 200
    assert generate(service, "198.51.100.1").status == 200
    service.wait(failed["jobId"])
    service.simulator("DELETE", "/faults")


def test_a_reservation_without_a_job_is_swept(service: Service, table: Table, bench: Bench) -> None:
    table.leave_behind(str(uuid.uuid4()))
    assert '{"settled": 1}' in bench.invoke("sweep", {})
    assert Decimal(table.budget()["month"]["N"]) == 0


def test_a_reservation_of_an_abandoned_job_is_swept(service: Service, table: Table, bench: Bench) -> None:
    job_id = bench.job()
    shares = Shares(Reservation("id", job_id, 1, f"{_today():%Y-%m-%d}", 1_000_000, ()), {0: 1_000_000})
    document = bench.jobs.require(job_id)
    share_out(document, shares)
    bench.jobs.update_job_status(job_id, {"reservations": document["reservations"]})
    table.leave_behind(job_id)
    assert '{"settled": 1}' in bench.invoke("sweep", {})
    assert service.status(job_id)["status"] == "failed"
    assert Decimal(table.budget()["month"]["N"]) == 0


def sweep_without_a_job(bench: Bench, table: Table) -> str:
    table.leave_behind(str(uuid.uuid4()))
    return bench.invoke("sweep", {})


@pytest.mark.parametrize(
    ("function", "grant", "act", "said"),
    [
        ("generate", "UpdateItem", lambda bench, table: bench.generate(), "refused UpdateItem on reservation/"),
        ("finish", "UpdateItem", lambda bench, table: bench.finish(), "refused UpdateItem on reservation/"),
        ("sweep", "Query", sweep_without_a_job, "refused Query on budget"),
        ("sweep", "UpdateItem", sweep_without_a_job, "refused UpdateItem on budget"),
    ],
)
def test_without_a_grant_nothing_can_be_claimed_settled_or_swept(
    service: Service, table: Table, bench: Bench, function: str, grant: str, act: Any, said: str
) -> None:
    with Role(service, function).without(f"dynamodb:{grant}"):
        heard = act(bench, table)
    assert said in heard, heard
    assert said not in act(bench, table)


def test_without_a_grant_no_execution_can_be_looked_for(service: Service, table: Table, bench: Bench) -> None:
    with Role(service, "sweep").without("states:DescribeExecution"):
        assert '{"settled": 0}' in sweep_without_a_job(bench, table)
    assert '{"settled": 1}' in sweep_without_a_job(bench, table)


class Caller:
    """Calls the API with a key of its own."""

    def __init__(self, service: Service, ring: Keyring, **options: str) -> None:
        self.service = service
        self.name = uuid.uuid4().hex
        self.key = ring.make(self.name, Wishes(options))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        headers = {"Authorization": f"Bearer {self.key}", **headers}
        return self.service.cloud.request(method, path, body, headers=headers)

    def submit(self, idempotency_key: str = "", **fields: Any) -> Response:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = {"prompt": "a red fox", "models": [FIRST.id], "ip": f"198.51.100.{uuid.uuid4().int % 250}", **fields}
        return self.ask("POST", "/generate", body, **headers)

    def galleries(self) -> list[str]:
        page = self.ask("GET", "/gallery/list").json()
        return [entry["galleryId"] for entry in page["galleries"]]


@pytest.fixture(scope="module")
def ring(deployed: Service, table: Table) -> Keyring:
    return Keyring(ApiKeys(Ledger(table.client, table.name)))


@pytest.fixture
def ada(service: Service, ring: Keyring) -> Caller:
    return Caller(service, ring)


@pytest.fixture
def eve(service: Service, ring: Keyring) -> Caller:
    return Caller(service, ring)


def test_a_caller_without_a_key_gets_no_further_than_preflights_and_the_description(service: Service) -> None:
    api = service.cloud.endpoints["api"]
    for method, path, status in (
        ("GET", "/models", 401), ("POST", "/generate", 401), ("GET", "/usage", 401), ("GET", "/gallery/list", 401),
        ("GET", "/openapi.json", 200), ("OPTIONS", "/generate", 204), ("GET", "/nowhere", 404),
    ):  # fmt: skip
        # A whole URL: the cloud's own key stays behind.
        assert service.cloud.request(method, f"{api}{path}").status == status, path
    for wrong in ("Bearer pp_" + "x" * 49, "Bearer", "Basic YTpi", "pp_"):
        assert service.cloud.request("GET", "/models", headers={"Authorization": wrong}).status == 403, wrong


def test_neither_of_two_keys_reads_cancels_lists_repeats_or_edits_what_is_the_others(
    service: Service, ada: Caller, eve: Caller
) -> None:
    job_id = ada.submit("once").json()["jobId"]
    service.wait(job_id)
    for method, path in (("GET", "status"), ("POST", "cancel"), ("POST", "retry")):
        refused = eve.ask(method, f"/{path}/{job_id}")
        assert (refused.status, refused.json()["error"]) == (404, "JOB_NOT_FOUND")
    assert ada.ask("GET", f"/status/{job_id}").status == 200
    assert ada.submit("once", ip="192.0.2.7").status == 409
    (gallery_id,) = ada.galleries()
    (image,) = ada.ask("GET", f"/gallery/{gallery_id}").json()["images"]
    assert eve.galleries() == [] == eve.ask("GET", f"/gallery/{gallery_id}").json()["images"]
    # With a key of one's own, an image has a URL of its own, which needs no key.
    assert service.cloud.request("GET", image["imageUrl"]).status == 200
    second = eve.submit("once").json()["jobId"]
    assert second != job_id
    edited = service.wait(eve.submit(images=[{"imageKey": image["imageKey"]}]).json()["jobId"])
    assert edited["status"] == "failed" and "no longer exists" in edited["results"][0]["error"]
    service.wait(second)
    assert len(eve.galleries()) == 1


def test_a_key_that_is_disabled_stops_within_a_minute_and_so_does_one_that_was_rotated(
    service: Service, ring: Keyring, ada: Caller, eve: Caller
) -> None:
    assert {caller.ask("GET", "/models").status for caller in (ada, eve)} == {200}
    job_id = ada.submit().json()["jobId"]
    ring.disable(eve.name)
    rotated, ada.key = ada.key, ring.rotate(ada.name)
    limit = time.monotonic() + 60
    former = {"Authorization": f"Bearer {rotated}"}
    while {eve.ask("GET", "/models").status, service.cloud.request("GET", "/models", headers=former).status} != {403}:
        assert time.monotonic() < limit
        time.sleep(1)
    # What was made with the key before is the new one's.
    assert ada.ask("GET", f"/status/{job_id}").status == 200
    service.wait(job_id)


def test_a_key_has_a_budget_a_rate_and_models_of_its_own(service: Service, ring: Keyring) -> None:
    poor = Caller(service, ring, daily="0.2")
    job_id = poor.submit(quality="high").json()["jobId"]
    refused = poor.submit(quality="high")
    assert (refused.status, refused.json()["scope"]) == (402, "key")
    document = charged(service, service.wait(job_id)["jobId"])
    assert document["reservations"][0]["scopes"][-1] == "deployment" and len(document["reservations"][0]["scopes"]) == 2
    assert poor.submit(quality="high").status == 200
    usage = poor.ask("GET", "/usage?by=model").json()
    assert usage["total"]["refusals"] == {"BUDGET_EXCEEDED": 1}
    assert {budget["scope"] for budget in usage["budgets"]} == {"key", "deployment"}
    slow = Caller(service, ring, rate="1", models=FIRST.name)
    assert [slow.submit().status, slow.submit().json()["scope"]] == [200, "key"]
    assert slow.submit(models=[SECOND.id]).json()["error"] == "MODEL_NOT_ALLOWED"


def test_the_authorizer_reads_keys_and_nothing_else(service: Service, ada: Caller) -> None:
    with Role(service, "authorize").without("dynamodb:BatchGetItem"):
        assert ada.ask("GET", "/models").status == 500
    assert ada.ask("GET", "/models").status == 200


@pytest.mark.parametrize("grant", ["Query", "BatchGetItem"])
def test_usage_reads_what_it_may(service: Service, ada: Caller, grant: str) -> None:
    with Role(service, "usage").without(f"dynamodb:{grant}"):
        assert ada.ask("GET", "/usage").status == 500
    assert ada.ask("GET", "/usage").status == 200


def test_no_key_is_anywhere_but_with_its_holder(service: Service, table: Table, ada: Caller) -> None:
    """After all that was called with keys, the laptop's own among them; that one is in its file for its commands."""
    own = service.cloud.api_key()
    service.wait(ada.submit().json()["jobId"])
    ada.ask("GET", f"/status/{ada.key}")
    ada.ask("GET", "/models", **{"X-Correlation-ID": ada.key})
    ada.ask("GET", "/usage")
    kept = [
        (f"item {item['pk']['S']}", repr(item).encode()) for item in table.client.scan(TableName=table.name)["Items"]
    ]
    everything = [*places(service.cloud), *kept]
    found = [
        place
        for place, content in everything
        if ada.key.encode() in content or (own.encode() in content and not place.endswith("/api-key"))
    ]
    assert len(everything) > 50 and not found
