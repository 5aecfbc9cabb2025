"""Say what runs, and how to call it."""

from __future__ import annotations

import argparse

from local import cloud
from local.progress import Progress
from local.report.usage import usage


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    running = cloud.find(arguments.directory)
    print(usage(running.endpoints) if running else cloud.describe(arguments.directory))
    return 0 if running else 1
