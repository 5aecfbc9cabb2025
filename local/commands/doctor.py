"""Check keys, models and quotas of a deployment."""

from __future__ import annotations

import argparse
import os

from local import doctor
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    chosen = {"stage": arguments.stage, "local": arguments.local}
    return doctor.run(arguments.directory, os.environ, **chosen, every=arguments.all)
