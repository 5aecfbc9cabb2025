"""Progress of a command, line by line, with the seconds since it began."""

import sys
import time


class Progress:
    """Prints one line per step."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._started

    def __call__(self, text: str) -> None:
        """Say what is being done, or what is done."""
        print("{:6.1f} s  {}".format(self.seconds, text), file=sys.stderr, flush=True)
