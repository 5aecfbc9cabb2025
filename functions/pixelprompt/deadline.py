"""The moment by which an invocation must have its response.

Lambda ends an invocation at its time limit without a word to anybody, and its caller gets a 502. So whatever a request
waits for begins only while it can end in time, and a request whose time is over is answered with an error of ours.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pixelprompt.errors import DeadlineExceeded, Interrupted

# Time limit, in seconds, of the functions whose callers wait: API Gateway gives up after 30 s.
REQUEST_SECONDS = 29
# What making the response takes, in seconds.
RESPONSE_SECONDS = 1.0


class Deadline:
    """The deadline of the present invocation: one object for an entry point and all services that it makes.

    Parameters
    ----------
    reserve : seconds before the end of the invocation: what may still be under way at the deadline takes no longer
    clock : seconds of a clock that never goes back
    """

    def __init__(self, reserve: float = 0.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reserve = reserve
        self._clock = clock
        self._at = math.inf

    def begin(self, seconds: float) -> None:
        """Begin an invocation that has so many seconds."""
        self._at = self._clock() + seconds - self._reserve

    def left(self) -> float:
        """Seconds until the deadline, 0 after it; infinity before the first invocation."""
        return max(0.0, self._at - self._clock())

    def check(self, seconds: float = 0.0) -> None:
        """Make sure that more than so many seconds are left.

        Raises
        ------
        DeadlineExceeded
        """
        if self.left() <= seconds:
            raise DeadlineExceeded("The request reached its deadline.")


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raise ``Interrupted`` in what is still under way after so many seconds.

    The last resort: a name that is not resolved, a response that drips, one IP address tried after another. It
    works in the main thread, where Lambda calls handlers; elsewhere nothing is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise Interrupted("The request reached its deadline.")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
