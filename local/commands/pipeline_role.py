"""Deploy the roles of the pipeline on GitHub."""

from __future__ import annotations

import argparse
import os

from local.aws import deploy
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    deploy.deploy(deploy.Target.pipeline(os.environ, arguments.directory), os.environ, progress)
    return 0
