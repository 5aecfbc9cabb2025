"""Remove what make has made, but not the images.

It runs under whatever `python3` there is, hence the old-fashioned syntax.

Usage: python3 -m local.clean
"""

import os
import shutil
import subprocess
import sys

from local import prepare, terminal

MADE = (
    ".local", ".venv", "node_modules", "cdk.out", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
)  # fmt: skip


def clean() -> "list[str]":
    """Stop the cloud, remove all of it once no installation is under way; what was removed.

    Raises
    ------
    OSError : something cannot be removed
    """
    with prepare.changing("is removing what make has made"):
        if os.path.exists(os.path.join(".local", "state.json")):
            _stop_cloud()
        removed = [name for name in MADE if _remove(name)]
        for folder, folders, _ in os.walk("."):
            if "__pycache__" in folders:
                folders.remove("__pycache__")
                shutil.rmtree(os.path.join(folder, "__pycache__"))
    return removed


def _stop_cloud() -> None:
    try:
        subprocess.run([prepare.PYTHON, "-m", "local", "down"], check=True)
    except (OSError, subprocess.CalledProcessError):
        # Half an installation has nothing to stop it with.
        print("The cloud could not be stopped; its servers end once .local is gone.", file=sys.stderr)


def _remove(path: str) -> bool:
    if not os.path.lexists(path):
        return False
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)
    return True


def main() -> int:
    """Clean the checkout that this module is in; the exit code."""
    terminal.prepare()
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        removed = clean()
    except OSError as error:
        print("Not everything could be removed: {}.".format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command removes the rest.", file=sys.stderr)
        return 130
    print("Removed: {}.".format(", ".join(removed)) if removed else "There was nothing to remove.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
