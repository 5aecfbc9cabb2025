"""The state of a cloud between commands, in `state.json` of its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from local.cloud.http import responds
from local.processes import Server

# The processes of a cloud, each with the path at which it says that it is well.
SERVERS = {"emulator": "/_ministack/ready", "simulator": "/_simulator/health", "page": "/config.json"}


@dataclass
class State:
    """The state of a cloud between commands: fingerprints say what each part was made from; no key is in it."""

    emulator: Server | None = None
    simulator: Server | None = None
    page: Server | None = None
    emulator_made_from: str = ""
    # Fingerprint of the variables by which it reaches real providers.
    network: str = ""
    simulator_made_from: str = ""
    page_made_from: str = ""
    deployed_from: str = ""
    certificate: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> State:
        """The state in a file; an empty one where it is missing, broken, or of another folder that was copied here."""
        values = read(path) or {}
        if values.pop("directory", "") != str(path.parent):
            return cls()
        try:
            servers = {name: Server(**values.pop(name)) for name in SERVERS if values.get(name)}
            return cls(**{**values, **servers})
        except TypeError:
            return cls()

    def is_well(self, name: str) -> bool:
        """Whether one of `SERVERS` runs and responds."""
        return responds(getattr(self, name), SERVERS[name], self.certificate if name == "emulator" else "")

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write(path, {"directory": str(path.parent), **asdict(self)})

    def runs(self) -> bool:
        """Whether any of its servers does, well or not."""
        return any(server.process() for name in SERVERS if (server := getattr(self, name)))


def read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
