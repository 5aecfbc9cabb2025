"""Jobs: their documents, and what callers and the state machine do with them."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.jobs.store import JobManager

__all__ = ["JobManager"]
__getattr__ = deferred(__name__, {"JobManager": "store"})
