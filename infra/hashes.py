"""Messages of pip and uv about a package whose hash differs from the lock, as one sentence with the cure.

`local.prepare` imports this module under whatever `python3` there is, hence the old-fashioned syntax.
"""

import re

_REFUSED = re.compile(r"hash mismatch for `([^`]+)`|do not match the hashes(?:.*?\n\s*(\S+==\S+))?", re.I | re.S)


def refused(said: str, lock: str) -> str:
    """The sentence about the package that an installer has refused for its bytes; empty where it is another failure."""
    found = _REFUSED.search(said)
    if found is None:
        return ""
    package = found.group(1) or found.group(2) or "A package"
    return (
        "{} doesn't match its hash in {}. If `git diff {}` shows a change that you did not make, revert it; "
        "if it shows none, don't trust the source of your packages."
    ).format(package, lock, lock)
