"""The cloud on a laptop: the emulator with the deployed stack, and the simulators of the image providers.

Everything lies in one folder and listens on 127.0.0.1 only, on ports that were free, so that several clouds run side by
side: a developer's in `.local`, and those of tests in folders of their own.
"""

from local.cloud.http import CloudError, Response
from local.cloud.running import (
    Cloud,
    Endpoints,
    current_options,
    describe,
    find,
    forget_deployment,
    stop,
    while_running,
)
from local.cloud.startup import API_ID, start

__all__ = [
    "API_ID",
    "Cloud",
    "CloudError",
    "Endpoints",
    "Response",
    "current_options",
    "describe",
    "find",
    "forget_deployment",
    "start",
    "stop",
    "while_running",
]
