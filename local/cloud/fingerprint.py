"""The files that a part of the cloud is made from, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.paths import ROOT

# What a deployment is made from.
SOURCES = ("app.py", "cdk.json", "infra", "functions", "statemachine")
# What the emulator is made from: its own interpreter runs the Lambdas.
EMULATOR = ("local/emulator", "local/lease.py")
# What the simulators are made from, with the rows of the providers.
SIMULATOR = (
    "local/simulator",
    "functions/pixelprompt/models/provider.py",
    "functions/pixelprompt/models/dialect.py",
)
PACKAGES = (
    "requirements.txt",
    "functions/requirements.txt",
    "functions/requirements-core.txt",
    "functions/requirements-references.txt",
)


def fingerprint(sources: Sequence[str], *values: Any) -> str:
    """The SHA-256 of files, folders of files, and values."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for source in sources:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def sizes(folder: Path) -> dict[str, int]:
    """The files in a folder, with their sizes in bytes."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
