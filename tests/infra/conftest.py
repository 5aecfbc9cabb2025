"""Synthesized stacks, one a target and stage, without gathering packages."""

import json
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra import cdk_library  # noqa: F401

# isort: split
# Only after the line above, which starts the process of the CDK's library.
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.settings import Settings
from infra.stack import PixelPromptStack

ROOT = Path(__file__).resolve().parents[2]

# Once this attribute has been read, the constructs library's type checks refuse every variadic call, as they always do
# under some Pythons 3.11: the stack must do without.
assert typing._GenericAlias.__annotations__ == {}  # type: ignore[attr-defined]

Synthesize = Callable[..., Template]


@pytest.fixture(scope="session")
def context() -> dict[str, Any]:
    """The context of cdk.json."""
    return dict(json.loads((ROOT / "cdk.json").read_text())["context"])


@pytest.fixture(scope="session")
def synthesize(context: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    """A function from settings, as the context has them, to the template; each is synthesized once."""

    @cache
    def synthesize(**settings: Any) -> Template:
        app = App(
            context={**context, "aws:cdk:bundling-stacks": []},
            outdir=str(tmp_path_factory.mktemp("cdk")),
            tree_metadata=False,
        )
        bedrock = {"some.model-v1:0": "us-west-2"}
        chosen = Settings.from_context({**context, **settings})
        return Template.from_stack(PixelPromptStack(app, chosen, bedrock, ["Some Model 1.0", "Other Model"]))

    return synthesize


@pytest.fixture(scope="session")
def template(synthesize: Synthesize) -> Template:
    """The stack for AWS with the defaults of the stage dev."""
    return synthesize()
