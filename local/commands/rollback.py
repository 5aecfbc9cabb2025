"""Deploy the last good commit of a stage."""

from __future__ import annotations

import argparse
import os

from local.aws import commits, deploy
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    commits.roll_back(deploy.Account.of_caller(os.environ), arguments.stage, os.environ, progress)
    return 0
