"""Start the cloud, or bring it up to date."""

from __future__ import annotations

import argparse
import os

from local import cloud
from local.cloud.chosen import chosen_options
from local.progress import Progress
from local.report.usage import usage


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    options = chosen_options(arguments.directory, os.environ)
    running = cloud.start(arguments.directory, options=options, keep=True, progress=progress)
    progress("the cloud is up" if running.changed else "the cloud is up already, and up to date")
    print(usage(running.endpoints, running.api_key()))
    return 0
