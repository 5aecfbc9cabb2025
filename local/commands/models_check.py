"""Check an overlay of the model catalogue."""

from __future__ import annotations

import argparse
import os

from local.catalogue import check
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    chosen = {"stage": arguments.stage, "local": arguments.local, "bucket": arguments.bucket}
    return check.run(arguments.file, arguments.directory, os.environ, put=arguments.put, **chosen)
