"""What every test may use."""

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import settings
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber

from infra import caches
from local.simulator import Simulator
from pixelprompt.observability import logger
from pixelprompt.storage import clients
from tests import built
from tests.today import TODAY

caches.use()

# Nothing of the caller's AWS set-up may reach a test.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)

# Moto serves one request at a time: like AWS, it then neither breaks off a read when another thread writes the object,
# nor lets two conditional writes succeed.
_moto = threading.RLock()
_process_request = BotocoreStubber.process_request


def _process_alone(self: BotocoreStubber, request: Any) -> Any:
    with _moto:
        return _process_request(self, request)


BotocoreStubber.process_request = _process_alone  # type: ignore[method-assign]

# Moto begins a new session of boto3 for each test, and each reads the descriptions of all its services: they are parsed
# once in a process. Within a session, botocore shares them between clients as well.
_described = cache(JSONFileLoader().load_file)


def _parsed_once(self: JSONFileLoader, file_path: str) -> Any:
    return _described(file_path)


JSONFileLoader.load_file = _parsed_once

# Each refusal of a value reads from the schema of its type what would be right; tests refuse thousands. A type is
# described once in a process.
_describe = msgspec.json.schema
_description = cache(_describe)


def _described_once(kind: Any, **options: Any) -> dict[str, Any]:
    # Other types than structs may have no hash.
    return _description(kind) if not options and isinstance(kind, msgspec.StructMeta) else _describe(kind, **options)


msgspec.json.schema = _described_once  # type: ignore[assignment]

# The bucket that ``s3`` has, and the table that ``dynamodb`` has.
BUCKET, LEDGER = "test-bucket", "test-ledger"
# As infra/ledger.py makes it.
LEDGER_SCHEMA: Any = {
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
}

# The same examples in every run, on however slow a machine; --hypothesis-profile=exploring looks for new ones.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("exploring", deadline=None)
settings.load_profile("repeatable")

# What each of these folders starts is shared by all its tests, and takes its time: they begin first. Of infra it is the
# CDK's process, which grows with each stack, and the stacks themselves.
SHARING = ("integration", "browser", "reliability", "infra")
# What judges all that the other integration tests have done.
LAST = ("test_recorded_calls.py", "test_canaries.py")
# Tests that start what they need, whatever their folder shares.
ON_THEIR_OWN = ("test_app.py", "test_bundle.py", "test_ends.py", "test_fuzz.py", "test_ledger.py", "test_stages.py")
# Modules that take longest, which would leave a process alone at the end; they begin next, whatever their folder.
LONG = (
    "test_ends.py", "test_stages.py", "test_fuzz.py", "test_bundle.py", "test_odd_answers.py", "test_doctor.py",
    "test_terminal.py", "test_normalize.py", "test_generation.py", "test_catalogue.py", "test_moderation.py",
    "test_protocols.py", "test_flavors.py", "test_contract.py", "test_definition.py", "test_structure.py",
)  # fmt: skip


@pytest.fixture(scope="session")
def simulated_providers() -> Iterator[Simulator]:
    """All simulated providers, on the same day whenever the tests run; tests take them as ``simulator``."""
    with Simulator(latency=(0, 0), today=TODAY) as running:
        yield running


@pytest.fixture(autouse=True)
def _settings_of_its_own() -> Iterator[None]:
    """No test meets what an entry point has built from another's settings."""
    yield
    built.forget()


@pytest.fixture
def simulator(simulated_providers: Simulator) -> Iterator[Simulator]:
    """All simulated providers, quick, without faults, and with nothing asked of them yet."""
    simulated_providers.clear_requests()
    yield simulated_providers
    simulated_providers.clear_faults()
    simulated_providers.set_latency(0, 0)


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of moto's S3 with an empty bucket."""
    with mock_aws():
        client = clients.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A client of moto's DynamoDB with the ledger's table, empty."""
    with mock_aws():
        client = clients.client("dynamodb")
        client.create_table(TableName=LEDGER, **LEDGER_SCHEMA)
        yield client


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the Lambdas log."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.handlers[0], "stream", stream)
    return stream


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that somebody tried to connect to; nothing gets through."""
    tried: list[Any] = []

    def refuse(address: Any, *_: Any, **__: Any) -> Any:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.create_connection", refuse)
    return tried


def group(node_id: str) -> str:
    """What runs in one process where tests run in several: a folder that shares what it starts, or a module."""
    path = Path(node_id.partition("::")[0])
    folder = path.parts[path.parts.index("tests") + 1]
    return folder if folder in SHARING and path.name not in ON_THEIR_OWN else str(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first; what judges the other integration tests comes after them."""

    order = (*SHARING, *LONG)

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = group(item.nodeid)
        name = name if name in SHARING else item.path.name
        return order.index(name) if name in order else len(order), item.path.name in LAST

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each group in one process. The groups of xdist's own scheduler are not read by this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup(config, log)


Metric = dict[str, Any]


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Metric]]:
    """What the Lambdas have measured since the last call: values and dimensions as CloudWatch would read them."""

    def read() -> list[Metric]:
        found = []
        for line in capsys.readouterr().out.splitlines():
            value = json.loads(line) if line.startswith('{"_aws"') else {}
            for directive in value.get("_aws", {}).get("CloudWatchMetrics", []):
                assert directive["Namespace"] == "PixelPrompt"
                (names,) = directive["Dimensions"]
                measured = {metric["Name"]: value[metric["Name"]][0] for metric in directive["Metrics"]}
                found.append(measured | {name: value[name] for name in names if name != "service"})
        return found

    return read
