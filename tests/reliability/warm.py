"""Imported by the process that a fleet's processes are forked from: what takes each of them long is done once."""

import sys

import pytest  # noqa: F401 - each process imports the main module again, which is pytest's

from local.paths import ROOT

sys.path.insert(0, str(ROOT / "functions"))

from . import load  # noqa: F401
from .emulator import s3_client

# Its session, which the processes' own clients share, keeps the description of S3.
s3_client("http://127.0.0.1:1")
