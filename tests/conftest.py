"""What every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from infra import caches
from local.simulator import Simulator
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

# The same examples in every run, on however slow a machine; --hypothesis-profile=exploring looks for new ones.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("exploring", deadline=None)
settings.load_profile("repeatable")

# What each of these folders starts is shared by all its tests, and takes its time: they begin first.
SHARING = ("integration", "browser", "reliability")
# What judges all that the other integration tests have done.
LAST = ("test_recorded_calls.py", "test_canaries.py")
# Tests that start what they need, whatever their folder shares.
ON_THEIR_OWN = ("test_ends.py", "test_fuzz.py", "test_stages.py")


@pytest.fixture(scope="session")
def simulated_providers() -> Iterator[Simulator]:
    """All simulated providers, on the same day whenever the tests run; tests take them as ``simulator``."""
    with Simulator(latency=(0, 0), today=TODAY) as running:
        yield running


@pytest.fixture
def simulator(simulated_providers: Simulator) -> Iterator[Simulator]:
    """All simulated providers, quick, without faults, and with nothing asked of them yet."""
    simulated_providers.clear_requests()
    yield simulated_providers
    simulated_providers.clear_faults()
    simulated_providers.set_latency(0, 0)


def group(node_id: str) -> str:
    """What runs in one process where tests run in several: a folder that shares what it starts, or a module."""
    path = Path(node_id.partition("::")[0])
    folder = path.parts[path.parts.index("tests") + 1]
    return folder if folder in SHARING and path.name not in ON_THEIR_OWN else str(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first; what judges the other integration tests comes after them."""

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = group(item.nodeid)
        first = SHARING.index(name) if name in SHARING else len(SHARING)
        return first, item.path.name in LAST

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each group in one process. The groups of xdist's own scheduler are not read by this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup(config, log)
