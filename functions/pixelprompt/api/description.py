"""The description of the API, as ``GET /openapi.json`` returns it."""

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def description() -> Any:
    """The description in OpenAPI 3.1; ``make openapi`` writes its file."""
    return json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
