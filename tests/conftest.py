"""What every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.simulator import Simulator
from tests.today import TODAY

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

# What each of these folders starts is shared by all its tests, and takes its time: they begin first.
SHARING = ("integration", "browser", "reliability")
# Tests that start what they need, whatever their folder shares.
ON_THEIR_OWN = ("test_fuzz.py", "test_stages.py")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, what belongs together runs in one of them."""

    def group(item: pytest.Item) -> str:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return folder if folder in SHARING and item.path.name not in ON_THEIR_OWN else str(item.path)

    groups = {item: group(item) for item in items}
    for item, name in groups.items():
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: (SHARING.index(groups[item]) if groups[item] in SHARING else len(SHARING)))
