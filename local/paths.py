"""Where things lie in a checkout."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
IMAGES = ROOT / "out"
# Not resolved: the interpreter of .venv is a link, and what lies behind it lacks the packages.
SCRIPTS = Path(sys.executable).parent
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
