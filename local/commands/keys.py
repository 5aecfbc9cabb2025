"""Put provider keys into the secret of a deployment."""

from __future__ import annotations

import argparse
import os

from local.aws import keys
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return keys.run(arguments.stage, os.environ, source=arguments.source)
