"""Make an API key for a caller of a deployment."""

from __future__ import annotations

import argparse
import os

from local.aws import deployment, key_commands
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    found = deployment.find(arguments.directory, os.environ, stage=arguments.stage, local=arguments.local)
    return key_commands.make(found, arguments.name, vars(arguments))
