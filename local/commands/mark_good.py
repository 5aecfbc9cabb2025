"""Remember the commit of this checkout as the good one of a stage."""

from __future__ import annotations

import argparse
import os

from local.aws import commits, deploy, deployment
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    account = deploy.Account.of_caller(os.environ)
    # Only what is deployed can be good.
    deployment.on_aws(arguments.stage, os.environ)
    print(f"{commits.mark_good(account, arguments.stage)} is the good commit of {arguments.stage} in {account}.")
    return 0
