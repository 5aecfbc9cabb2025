"""Compare the model catalogue with public price lists."""

from __future__ import annotations

import argparse
import os

from local.catalogue import refresh
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    names = ("wheels", "apply", "patch", "check", "save", "propose")
    chosen = {name: getattr(arguments, name) for name in names}
    return refresh.run(os.environ, **chosen, progress=progress)
