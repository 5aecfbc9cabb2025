"""Write the table of what each role may do from the stack, or check that it is up to date."""

from __future__ import annotations

import argparse

from local.checks import grants
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return grants.run(check=arguments.check)
