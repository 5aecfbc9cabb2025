"""The stack that is deployed: one construct per capability."""

import sys
from pathlib import Path

# The stack and the functions share their library's constants, and the model catalogue.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "functions"))
