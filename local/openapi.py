"""The written description of the HTTP API: made from the code, in `docs/` and beside the functions that give it out."""

from __future__ import annotations

import json
import sys

from local.paths import ROOT

sys.path.insert(0, str(ROOT / "functions"))

from local.api_description import description

FILES = (ROOT / "docs" / "openapi.json", ROOT / "functions" / "pixelprompt" / "api" / "openapi.json")


def run(*, check: bool) -> int:
    """Write the files, or with `check` say which differ from the code; the exit code."""
    text = json.dumps(description(), indent=2, ensure_ascii=False) + "\n"
    outdated = [path for path in FILES if not path.is_file() or path.read_text(encoding="utf-8") != text]
    names = ", ".join(str(path.relative_to(ROOT)) for path in outdated)
    if check and outdated:
        print(f"Not what the code says: {names}; write it anew with `make openapi`.", file=sys.stderr)
        return 1
    for path in outdated:
        path.write_text(text, encoding="utf-8")
    print(f"Written: {names}." if outdated else "The description of the API is up to date.")
    return 0
