"""Stop the cloud."""

from __future__ import annotations

import argparse

from local import cloud
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    print("The cloud is stopped." if cloud.stop(arguments.directory) else "Nothing is running.")
    return 0
