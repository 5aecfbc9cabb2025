"""Say what runs, and how to call it."""

from __future__ import annotations

import argparse
import sys

from local import cloud
from local.progress import Progress
from local.report.usage import usage


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    running = cloud.find(arguments.directory)
    if not running:
        print(cloud.describe(arguments.directory))
        return 1
    try:
        key = running.api_key()
    except cloud.CloudError as error:
        print(error, file=sys.stderr)
        key = ""
    print(usage(running.endpoints, key))
    return 0
