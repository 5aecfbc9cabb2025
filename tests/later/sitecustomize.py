"""Has this Python, and each one that it starts, run on a later day: ``DAYS_LATER=40 PYTHONPATH=tests/later python …``.

Only the wall clock is another one; waits and time limits go by the monotonic clock and last as long as ever.
"""

import os
import time

if days := os.environ.get("DAYS_LATER"):
    try:
        import time_machine
    except ImportError:
        # A Python without the packages of the tests, such as one that an environment is made with.
        pass
    else:
        time_machine.travel(time.time() + 86400 * int(days), tick=True).start()
