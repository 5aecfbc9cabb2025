"""The workflow definition as it is deployed; needs no CDK, so that other engines can run it too."""

import json
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

from infra.context import SettingsError
from infra.settings import Settings

DEFINITION = Path(__file__).resolve().parent.parent / "statemachine" / "generate_images.asl.json"


def workflow_definition(settings: Settings, tasks: Set[str]) -> dict[str, Any]:
    """The definition with the number of models that run at once and the timeout for that; the rest is the file's.

    Parameters
    ----------
    tasks : the names of the placeholders for which the caller has a function's ARN

    Raises
    ------
    SettingsError : the file's placeholders are others
    """
    text = DEFINITION.read_text(encoding="utf-8")
    placeholders = set(re.findall(r"\$\{(\w+)\}", text))
    if placeholders != tasks:
        raise SettingsError(
            f"{DEFINITION.name} has the placeholders {', '.join(sorted(placeholders)) or 'none'}; "
            f"it must have exactly {', '.join(sorted(tasks))}."
        )
    definition: dict[str, Any] = json.loads(text)
    definition["TimeoutSeconds"] = settings.execution_seconds
    for state in definition["States"].values():
        if state["Type"] == "Map":
            state["MaxConcurrency"] = settings.max_concurrency
    return definition
