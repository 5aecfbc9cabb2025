"""Write the CloudFormation templates."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil

from infra import sbom
from infra.settings import Settings
from local import cdk, lock
from local.options import Options
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    settings = Options.from_environment(os.environ).setting_context()
    contexts = {
        target: {**settings, "target": target, "stage": "dev" if target == "local" else arguments.stage}
        for target in arguments.targets or ["aws", "local"]
    }
    for context in contexts.values():
        # Said here, a mistake is one sentence rather than the end of a log.
        Settings.from_context({**cdk.default_context(), **context})
    folder = arguments.directory / "synth"
    folder.mkdir(parents=True, exist_ok=True)
    with lock.held(str(folder / "lock"), "is synthesizing into the same folder"):
        for target, context in contexts.items():
            progress(f"synthesizing the stage {context['stage']} for {target}")
            output = folder / target
            # The template of another stage would stay beside this one.
            shutil.rmtree(output, ignore_errors=True)
            environment = cdk.online_environment()
            log = folder / f"{target}.log"
            cdk.synthesize(output, context, environment=environment, log=log, progress=progress)
            # For the laptop, the functions run on the packages of .venv.
            bills = sbom.write(output) if target == "aws" else []
            for path in [*sorted(output.glob("*.template.json")), *bills]:
                progress(f"written: {shlex.quote(os.path.relpath(path))}")
    return 0
