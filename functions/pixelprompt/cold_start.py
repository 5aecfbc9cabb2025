"""The start of a Lambda: it has a whole processor then, and no caller's time limit runs.

What is loaded stays for good, so the search for garbage among it, a fifth of a start, is put off until all is there.
"""

import contextlib
import gc
from collections.abc import Callable

from pixelprompt.settings import runs_in_lambda


def begin() -> None:
    """Called before anything else is imported."""
    if runs_in_lambda():
        gc.disable()


def ready(services: Callable[[], object]) -> None:
    """Called when an entry point is imported: makes what every invocation needs, such as clients; nothing is sent.

    What goes wrong here goes wrong again, and is reported, at the first request.
    """
    if runs_in_lambda():
        with contextlib.suppress(Exception):
            services()
        gc.freeze()
        gc.enable()
