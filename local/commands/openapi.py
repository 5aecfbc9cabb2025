"""Write the description of the HTTP API from the code, or check that it is up to date."""

from __future__ import annotations

import argparse

from local.checks import openapi
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return openapi.run(check=arguments.check)
