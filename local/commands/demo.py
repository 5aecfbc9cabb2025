"""Send one prompt to all models and collect the images."""

from __future__ import annotations

import argparse
import os

from local import cloud, demo
from local.cloud.chosen import chosen_options, models_of
from local.progress import Progress
from local.reference import reference_of


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the command; its exit code."""
    prompt = demo.prompt_of(arguments.prompt, os.environ, arguments.default_prompt)
    image = reference_of(os.environ)
    demo.require_folder(arguments.out)
    options = chosen_options(arguments.directory, os.environ)
    # A cloud that runs stays as its operator started it, but with today's sources.
    running = cloud.start(arguments.directory, options=options, join=True, keep=arguments.keep, progress=progress)
    try:
        with cloud.while_running():
            faulted = options.faulted(models_of(running)) if options.faults else []
            code = demo.run(running, prompt, arguments.out, progress, faulted, image)
        stays = running.is_kept()
        print(f"The page: {running.endpoints['page'] if stays else 'make up serves it; watch such a job in a browser'}")
        if stays and running.api_key():
            print("It asks for the API key, which `make status` prints.")
        return code
    finally:
        if running.leave():
            progress("the cloud is stopped")
