"""Follow the logs of the Lambdas, the emulator and the simulators."""

from __future__ import annotations

import argparse
import contextlib
import sys

from local import cloud
from local.progress import Progress
from local.report import logs


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    running = cloud.find(arguments.directory)
    if not running:
        print(cloud.describe(arguments.directory), file=sys.stderr)
        return 1
    with contextlib.suppress(KeyboardInterrupt), cloud.while_running():
        logs.show(running, job=arguments.job, follow=not arguments.no_follow)
    return 0
