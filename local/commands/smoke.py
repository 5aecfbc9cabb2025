"""Try a deployment out, over HTTP."""

from __future__ import annotations

import argparse
import os
import sys

from local import cloud, smoke
from local.aws import deployment
from local.progress import Progress


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    url, gallery = arguments.url, ""
    environment: dict[str, str] = dict(os.environ)
    if not url and arguments.stage:
        deployed = deployment.on_aws(arguments.stage, os.environ)
        url, gallery = deployed.api, deployed.gallery
    elif not url and (running := cloud.find(arguments.directory)):
        url = running.endpoints["api"]
        if key := running.api_key():
            environment = {**environment, "API_KEY": key, "API_TOKEN": ""}
        if certificate := running.endpoints["certificate"]:
            environment["AWS_CA_BUNDLE"] = certificate
    if not url:
        print(
            "Say what to try out: make smoke API_URL=https://…, or STAGE=dev for a stage in your AWS account; "
            "or start a cloud here (`make up`).",
            file=sys.stderr,
        )
        return 1
    return smoke.command(url, environment, gallery=gallery)
