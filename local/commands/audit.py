"""Look up known weaknesses of all installed packages."""

from __future__ import annotations

import argparse
import os

from local.checks import audit
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    return audit.run(os.environ, progress)
