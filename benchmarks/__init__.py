"""How fast Pixel Prompt is, beside floors that are measured in the same run."""

import sys

from local.paths import ROOT

sys.path.insert(0, str(ROOT / "functions"))
