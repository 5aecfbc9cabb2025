"""The simulated providers, one module each.

A protocol module is named by its provider's row in ``pixelprompt.models.provider``, and marks its class as
``PROTOCOL``. The class says all that sets the provider apart: its routes, its faults and the words of its errors.
Nothing else names a simulated provider.
"""

from __future__ import annotations

from importlib import import_module

from local.simulator.provider import Provider
from pixelprompt.models.provider import PROVIDERS

# The simulated providers, each with the first segment of its path.
PREFIXES = {name: row.simulator_path.split("/")[1] for name, row in PROVIDERS.items() if row.simulator_path}


def protocol_of(provider: str) -> type[Provider]:
    """The protocol of a provider, from the module that its row names."""
    found: type[Provider] = import_module(f"{__name__}.{PROVIDERS[provider].module}").PROTOCOL
    return found
