"""A pull request with a changed catalogue, by git and GitHub's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local.cloud import CloudError
from local.models_refresh import PLACE

BRANCH = "models-refresh"
_TITLE = "fix: bring the model catalogue up to date"
_CHECKS = (
    "GitHub starts no checks for a pull request that a workflow opens. **Close and reopen it to start them.** The next "
    f"run replaces the branch `{BRANCH}`: do not commit to it, but to a branch of your own.\n"
)
_AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (
        ("NAME", "github-actions[bot]"),
        ("EMAIL", "41898282+github-actions[bot]@users.noreply.github.com"),
    )
}


def propose(text: str, body: str, environment: Mapping[str, str], *, root: Path) -> None:
    """Push the branch with the catalogue's new text on top of the present commit, and open or update its pull request.

    The files of the checkout stay as they are.

    Parameters
    ----------
    text, body : of the catalogue, and of the pull request
    environment : with a token as GH_TOKEN, or of somebody who has logged in with gh
    root : the checkout

    Raises
    ------
    CloudError : git or GitHub turns it away
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {**environment, "GIT_INDEX_FILE": os.path.join(folder, "index")}
        blob = _run(["git", "hash-object", "-w", "--stdin"], environment, root, text)
        _run(["git", "read-tree", "HEAD"], index, root)
        _run(["git", "update-index", "--cacheinfo", f"100644,{blob},{PLACE}"], index, root)
        tree = _run(["git", "write-tree"], index, root)
    # A person who does this is the author.
    author = {**environment, **(_AUTHOR if environment.get("GITHUB_ACTIONS") else {})}
    commit = _run(["git", "commit-tree", tree, "-p", "HEAD", "-m", _TITLE], author, root)
    # The token stays out of the command and of the checkout's configuration.
    login = ["-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential"]
    _run(["git", *login, "push", "--force", "origin", f"{commit}:refs/heads/{BRANCH}"], environment, root)
    body = f"{body}\n{_CHECKS}"
    listing = ["gh", "pr", "list", "--head", BRANCH, "--state", "open", "--json", "number"]
    numbers = [str(pull["number"]) for pull in json.loads(_run(listing, environment, root) or "[]")]
    if numbers:
        _run(["gh", "pr", "edit", numbers[0], "--body-file", "-"], environment, root, body)
        print(f"The pull request #{numbers[0]} is up to date.")
    else:
        command = ["gh", "pr", "create", "--head", BRANCH, "--title", _TITLE, "--body-file", "-"]
        print(f"The pull request is {_run(command, environment, root, body)}")


def _run(command: list[str], environment: Mapping[str, str], root: Path, text: str = "") -> str:
    try:
        done = subprocess.run(
            command, cwd=root, env=dict(environment), input=text, capture_output=True, encoding="utf-8", check=True
        )
    except FileNotFoundError:
        raise CloudError(f"There is no {command[0]}; install it.") from None
    except subprocess.CalledProcessError as error:
        raise CloudError(f"{command[0]} turned the pull request away: {error.stderr.strip()}") from None
    return done.stdout.strip()
