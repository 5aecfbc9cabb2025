"""The app in memory, for whatever reads the stack rather than deploys it: no packages are gathered, no AWS is asked."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import app as cdk_app

# isort: split
# Only after the line above, which starts the process of the CDK's library.
from aws_cdk import App

from local.cdk import default_context


@contextlib.contextmanager
def built(shape: Mapping[str, Any]) -> Iterator[App]:
    """The app with these settings beside those of ``cdk.json``; its folder goes with the block."""
    context = default_context()
    with tempfile.TemporaryDirectory() as folder:
        app = App(context={**context, **shape, "aws:cdk:bundling-stacks": []}, outdir=folder, tree_metadata=False)
        cdk_app.build(app, app.node.get_all_context())
        yield app


def template(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The CloudFormation template of these settings."""
    with built(shape) as app:
        (stack,) = app.synth().stacks
        return dict(json.loads(Path(stack.template_full_path).read_text(encoding="utf-8")))
