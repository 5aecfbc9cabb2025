"""Delete a stage."""

from __future__ import annotations

import argparse
import os

from local.aws import commits, deploy
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    target = deploy.Target.stage(arguments.stage, os.environ.get("CDK", ""), os.environ, arguments.directory)
    if deploy.destroy(target, os.environ, progress, answer=arguments.stage):
        commits.forget(target.account, arguments.stage)
    return 0
