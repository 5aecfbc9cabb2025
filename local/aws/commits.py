"""The last good commit of a stage, and the rollback to it.

A commit becomes good when the smoke test has passed on what was deployed from it. A parameter in the account of the
stage, beside its stack, remembers it: a pipeline and a laptop see the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.aws import deployment
from local.aws.deploy import Account
from local.cloud import CloudError
from local.confirmation import confirm
from local.paths import ROOT, SCRIPTS, STATE
from local.prepare import NODE_INPUTS, PYTHON_INPUTS
from local.progress import Progress
from pixelprompt.aws_errors import error_code

# What make prepares; the same for commits with the same packages.
_PREPARED = (".venv", "node_modules")
# A lost connection must not lose which commit was good.
_ATTEMPTS = 3
# Of the make that has called this one.
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


class CommitError(CloudError):
    """A commit cannot be found, recorded or rolled back to; the message says why and what to do."""


def head() -> tuple[str, bool]:
    """The commit of this checkout, and whether the checkout has nothing else.

    Raises
    ------
    CommitError : this is not a Git checkout
    """
    return _git("rev-parse", "HEAD"), not _git("status", "--porcelain")


def parameter(stage: str) -> str:
    """Name of the parameter that remembers a stage's good commit."""
    return f"/pixel-prompt/{stage}/good-commit"


def good(account: Account, stage: str) -> str:
    """The stage's last good commit; empty where none is known."""
    response = _parameters(account, stage, lambda ssm: ssm.get_parameter(Name=parameter(stage)))
    return str(response["Parameter"]["Value"]) if response else ""


def mark_good(account: Account, stage: str) -> str:
    """Remember the commit of this checkout as the stage's good one; the commit.

    Raises
    ------
    CommitError : the checkout has changes that are in no commit, or the account does not let it
    """
    commit, clean = head()
    if not clean:
        raise CommitError("This checkout has changes that are not committed, so no commit is what was deployed.")
    description = "The last commit that passed the smoke test here"
    arguments = {"Name": parameter(stage), "Value": commit, "Type": "String", "Description": description}
    _parameters(account, stage, lambda ssm: ssm.put_parameter(**arguments, Overwrite=True))
    return commit


def forget(account: Account, stage: str) -> None:
    """Forget the good commit, with the stage that it belongs to."""
    _parameters(account, stage, lambda ssm: ssm.delete_parameter(Name=parameter(stage)))


def require_forward(account: Account, stage: str) -> None:
    """Raise where this commit is an ancestor of the stage's good one: a later run has overtaken this one.

    Raises
    ------
    CommitError : it is older
    """
    commit, last = head()[0], good(account, stage)
    if not last or last == commit or not _is_ancestor(commit, last):
        return
    raise CommitError(f"{commit[:12]} is older than {last[:12]}, which is deployed as {stage} and good; it stays.")


def _is_ancestor(older: str, newer: str) -> bool:
    try:
        _git("merge-base", "--is-ancestor", older, newer)
    except CommitError:
        # Git says so by its exit code, also of a commit that it does not have.
        return False
    return True


def _parameters(account: Account, stage: str, ask: Callable[[Any], Any]) -> Any:
    """Systems Manager's response about the good commit; None where the parameter does not exist.

    Raises
    ------
    CommitError : it does not respond, or refuses the request
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            return ask(account.client("ssm"))
        except ClientError as error:
            if error_code(error) == "ParameterNotFound":
                return None
            cure = f"Systems Manager returned {{code}} for {parameter(stage)}; allow the request."
            raise CommitError(str(deployment.aws_failure(error, cure))) from None
        except BotoCoreError as error:
            if not attempts_left:
                raise CommitError(f"Systems Manager cannot be asked for {parameter(stage)}: {error}") from None
    raise AssertionError


def roll_back(account: Account, stage: str, environment: Mapping[str, str], progress: Progress) -> str:
    """Deploy the stage's last good commit with that commit's own `make deploy`; the commit.

    Raises
    ------
    CommitError : no commit is recorded, or it cannot be fetched or deployed
    """
    commit = good(account, stage)
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        raise CommitError(f"No commit of {stage} has passed the smoke test yet, so there is nothing to roll back to.")
    if head() == (commit, True):
        raise CommitError(f"{commit[:12]} is this very commit and was good before; look for the cause elsewhere.")
    try:
        _git("cat-file", "-e", f"{commit}^{{commit}}")
    except CommitError:
        raise CommitError(
            f"Commit {commit} is not in this checkout; `git fetch --unshallow origin` brings it."
        ) from None
    print(f"Goes back to {_git('log', '-1', '--format=%h %s', commit)}: deploys it as stage {stage} into {account}.")
    confirm(f"Roll {stage} back?", environment)
    with tempfile.TemporaryDirectory(prefix="pixel-prompt-") as folder:
        checkout = Path(folder) / "checkout"
        _git("worktree", "add", "--detach", str(checkout), commit)
        try:
            share(checkout)
            progress(f"deploying {commit[:12]}")
            command = ["make", "deploy", f"STAGE={stage}", "YES=1"]
            if subprocess.run(command, cwd=checkout, env=_environment(environment), check=False).returncode:
                raise CommitError(f"{commit[:12]} could not be deployed; the lines above say why.")
        finally:
            _git("worktree", "remove", "--force", str(checkout))
    progress(f"{stage} is back at {commit[:12]}")
    return commit


def share(checkout: Path) -> None:
    """Let a checkout have what this one has made: its folder of state, and the packages where it needs the same."""
    inputs = [*PYTHON_INPUTS, *NODE_INPUTS]
    try:
        same = all((ROOT / name).read_bytes() == (checkout / name).read_bytes() for name in inputs)
    except OSError:
        same = False
    # Caches, logs, and the cloud of `make up`, with whose simulators it deploys there.
    STATE.mkdir(exist_ok=True)
    for name in (STATE.name, *(_PREPARED if same else ())):
        if (ROOT / name).exists():
            (checkout / name).symlink_to(ROOT / name)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in environment.items() if name not in _OF_MAKE}
    path = inherited.get("PATH", "").split(os.pathsep)
    return {**inherited, "PATH": os.pathsep.join(entry for entry in path if entry != str(SCRIPTS))}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=True
        )
    except FileNotFoundError:
        raise CommitError("git not found; install it.") from None
    except subprocess.CalledProcessError as error:
        raise CommitError(f"git {arguments[0]} failed: {error.stderr.strip()}") from None
    return done.stdout.strip()
