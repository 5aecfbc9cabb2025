"""Check the stack, in every shape, against cdk-nag's rules."""

from __future__ import annotations

import argparse

from local.checks import nag
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return nag.run()
