"""The description of the API, as ``GET /openapi.json`` returns it."""

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any


def description(paths: Collection[str]) -> dict[str, Any]:
    """The description of these paths in OpenAPI 3.1; ``make openapi`` writes the file that has all."""
    whole = _whole()
    return {**whole, "paths": {path: operations for path, operations in whole["paths"].items() if path in paths}}


@cache
def _whole() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
    return found
