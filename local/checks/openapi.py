"""The written description of the HTTP API: made from the code, beside the functions that return it."""

from __future__ import annotations

import json
import sys

from local.checks.api_description import description
from local.paths import ROOT

FILE = ROOT / "functions" / "pixelprompt" / "api" / "openapi.json"


def run(*, check: bool) -> int:
    """Write the file, or with `check` say whether it differs from the code; the exit code."""
    text = json.dumps(description(), indent=2, ensure_ascii=False) + "\n"
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        print("The description of the API is up to date.")
        return 0
    name = FILE.relative_to(ROOT)
    if check:
        print(f"{name} differs from the code. Run `make openapi`, and commit the file.", file=sys.stderr)
        return 1
    FILE.write_text(text, encoding="utf-8")
    print(f"Written: {name}.")
    return 0
