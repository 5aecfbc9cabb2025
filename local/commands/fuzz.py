"""Send generated requests to every route of a cloud of its own."""

from __future__ import annotations

import argparse

from local.checks import fuzz
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return fuzz.run(arguments.seconds, progress)
