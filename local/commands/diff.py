"""Say what a deployment of a stage would change."""

from __future__ import annotations

import argparse
import os

from local.aws import deploy, pull_request
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    target = deploy.Target.stage(arguments.stage, os.environ.get("CDK", ""), os.environ, arguments.directory)
    found = deploy.diff(target, progress)
    print(found)
    if arguments.comment:
        pull_request.comment(f"What deploying {target.stack} changes", found, os.environ)
    return 0
