"""Prepare an AWS account for the CDK."""

from __future__ import annotations

import argparse
import os

from local.aws import deploy
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    deploy.bootstrap(deploy.Account.of_caller(os.environ), arguments.directory, os.environ, progress)
    return 0
