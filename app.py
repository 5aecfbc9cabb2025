#!/usr/bin/env python3
"""The CDK app: builds the stack from the settings in the context. It calls no AWS."""

import sys
from collections.abc import Mapping
from typing import Any

from infra import cdk_library  # noqa: F401

# isort: split
# Only after the line above, which starts the process of the CDK's library.
from aws_cdk import App, Stack

from infra.context import SettingsError
from infra.packages import BundlingError
from infra.pipeline import PixelPromptPipelineRole
from infra.pipeline_settings import PipelineSettings
from infra.settings import Settings, former_names
from infra.stack import PixelPromptStack


def build(app: App, context: Mapping[str, Any]) -> Stack:
    """The stack that `context` asks for: the service's, checked against the model catalogue, or the pipeline's."""
    if "pipeline" in context:
        return PixelPromptPipelineRole(app, PipelineSettings.from_context(context))
    from pixelprompt.models.provider import PROVIDERS
    from pixelprompt.models.registry import ModelRegistry

    settings = Settings.from_context(context)
    for sentence in former_names(context):
        print(sentence, file=sys.stderr)
    registry = ModelRegistry.load(prompt_model=settings.prompt_model_index)
    for provider in settings.provider_endpoints:
        if provider not in PROVIDERS:
            raise SettingsError(f"providerEndpoints has {provider!r}; the providers are {', '.join(PROVIDERS)}.")
    models = [model for model in registry.get_all_models() if model.provider == "bedrock"]
    bedrock = {model.id: model.region or "us-west-2" for model in models}
    defaults = [model.name for model in registry.defaults(lambda model: True)]
    return PixelPromptStack(app, settings, bedrock, defaults)


def main() -> int:
    """Synthesize; a wrong setting or catalogue or a missing package is one sentence and exit code 1."""
    from pixelprompt.errors import ConfigurationError

    app = App()
    try:
        build(app, app.node.get_all_context())
    except (SettingsError, ConfigurationError, BundlingError) as error:
        print(error, file=sys.stderr)
        return 1
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
