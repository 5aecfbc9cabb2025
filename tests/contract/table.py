"""What every adapter does in every case: cases down, protocols across."""

from importlib import import_module

from pixelprompt.models.provider import PROVIDERS
from tests.contract.cases import Column

COLUMNS: dict[str, Column] = {
    name: import_module(f"tests.contract.columns.{provider.module}").COLUMN for name, provider in PROVIDERS.items()
}
PROTOCOLS = tuple(COLUMNS)
MODELS = {name: column.model for name, column in COLUMNS.items()}
# Below the simulator's own address.
PATHS = {name: provider.simulator_path for name, provider in PROVIDERS.items()}
