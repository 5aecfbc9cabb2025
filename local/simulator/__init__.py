"""Image providers played on loopback: their real wire formats, and a real image drawn from the prompt.

Each protocol is written from its provider's published format, independently of the adapters that call it, so that a
misunderstanding there shows here as the refusal the provider itself would send.
"""

from local.simulator.faults import Fault
from local.simulator.server import RecordedRequest, Simulator

__all__ = ["Fault", "RecordedRequest", "Simulator"]
