"""The cloud on a laptop: emulator, provider simulators and demo."""

import sys
from pathlib import Path

# Not installed: what .venv holds, the Lambdas of the emulator find too, and would not miss it in their archives.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "functions"))
