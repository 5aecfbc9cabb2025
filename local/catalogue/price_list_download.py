"""The wheels of the public price lists, by pip: nothing is installed, and no code of theirs runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local.catalogue.price_lists import GENAI, LITELLM, ListsError

_DOWNLOAD_SECONDS = 300


@contextmanager
def downloaded(environment: Mapping[str, str], progress: Callable[[str], None]) -> Iterator[Path]:
    """A folder with the wheels of both price lists, by pip and its own configuration; removed afterwards.

    Raises
    ------
    ListsError : pip cannot download them
    """
    with tempfile.TemporaryDirectory(prefix="price-lists-") as folder:
        progress(f"downloading the price lists {LITELLM} (about 44 MB) and {GENAI}")
        # pip needs no key and no token of GitHub.
        inherited = {name: value for name, value in environment.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "-d", folder, LITELLM, GENAI]
        try:
            done = subprocess.run(
                command,
                env=inherited,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_DOWNLOAD_SECONDS,
                check=False,
            )
            said = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1] if done.returncode else ""
        except subprocess.TimeoutExpired:
            said = f"pip did not end within {_DOWNLOAD_SECONDS} s"
        if said:
            # A URL in pip's message may hold a password.
            said = re.sub(r"https?://\S+", "…", said.removeprefix("ERROR: ")).rstrip(".")
            raise ListsError(
                f"The price lists cannot be downloaded: {said}. Check the network and pip's configuration, or "
                f"download the wheels of {LITELLM} and {GENAI} elsewhere and name their folder: "
                "make models-refresh WHEELS=folder"
            )
        progress("downloaded")
        yield Path(folder)
