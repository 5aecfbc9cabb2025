"""A pull request with a changed catalogue, by git and GitHub's own command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local.catalogue.price_lists import GENAI, LITELLM, ListsError
from local.catalogue.report import PLACE
from local.cloud import CloudError

BRANCH = "models-refresh"
_SAVED = "proposal.json"
_TITLE = "fix: bring the model catalogue up to date"
_CHECKS = (
    "GitHub starts no checks for a pull request that a workflow opens. **Close and reopen it to start them.** The next "
    f"run replaces the branch `{BRANCH}`: do not commit to it, but to a branch of your own.\n"
)
_CLOSING = "No corroborated difference from the catalogue is left."
_AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (
        ("NAME", "github-actions[bot]"),
        ("EMAIL", "41898282+github-actions[bot]@users.noreply.github.com"),
    )
}
# What the next run looks for in the text of the open pull request.
_LISTS = "<!-- lists: {} -->"
_LISTS_THERE = re.compile(r"^<!-- lists: (.*) -->\s*$", re.MULTILINE)
# The token stays out of the command and of the checkout's configuration.
_LOGIN = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")
# Forks may have a branch of this name as well.
_MAX_PULLS = "1000"


@dataclass(frozen=True)
class Proposal:
    """The parts of a pull request.

    Attributes
    ----------
    before, after : the catalogue's text as it was compared, and with what is corroborated
    body : the text of the pull request
    lists : the names of the lists that were read
    """

    before: str
    after: str
    body: str
    lists: Sequence[str]


def save(proposal: Proposal, folder: Path) -> None:
    """Write a proposal into a folder, which is made, for `read`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SAVED).write_text(json.dumps(asdict(proposal)), encoding="utf-8")


def read(folder: Path) -> Proposal:
    """The proposal that was saved in a folder.

    Raises
    ------
    ListsError : no list was found
    """
    try:
        return Proposal(**json.loads((folder / _SAVED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise ListsError(
            f"{folder} has no saved comparison; make one with `make models-refresh SAVE=folder`."
        ) from None


def propose(proposal: Proposal, environment: Mapping[str, str], *, root: Path) -> None:
    """Push the branch with the catalogue's new text on top of the default branch, and open or update its pull request.

    Where nothing differs, the open one is closed. One that used a list which was not read this time stays.
    The files of the checkout stay as they are.

    Parameters
    ----------
    environment : with a token as GH_TOKEN, or of a user who has logged in with gh
    root : the checkout

    Raises
    ------
    CloudError : the catalogue is not that of the default branch, gh and git mean different repositories, or one of
        them rejects the pull request
    """
    # Neither git nor gh needs the key of a provider.
    environment = {name: value for name, value in environment.items() if not name.endswith("_API_KEY")}
    viewed = json.loads(_run(["gh", "repo", "view", "--json", "url,defaultBranchRef"], environment, root))
    default, repository = viewed["defaultBranchRef"]["name"], viewed["url"].removeprefix("https://")
    _require_one_repository(repository, environment, root)
    if default == BRANCH:
        raise CloudError(f"The default branch is {BRANCH}, which a proposal would replace; name it otherwise.")
    base = f"refs/remotes/origin/{default}"
    _fetch(f"+refs/heads/{default}:{base}", environment, root)
    _require_published(proposal.before, default, base, environment, root)
    pulls = _Pulls(repository, default, environment, root)
    number, used = pulls.open()
    missing = [name for name in used if name not in proposal.lists]
    if missing:
        print(f"The pull request #{number} stays as it is: it is also from {', '.join(missing)}, not read this time.")
    elif proposal.after == proposal.before:
        pulls.close(number)
    else:
        if not number or not _is_there(proposal.after, base, environment, root):
            _push(proposal.after, base, environment, root)
        pulls.write(number, f"{_LISTS.format(', '.join(proposal.lists))}\n\n{proposal.body}\n{_CHECKS}")


def _require_one_repository(repository: str, environment: Mapping[str, str], root: Path) -> None:
    """Refuse where gh uses another repository than git, as in the clone of a fork."""
    theirs = "/".join(repository.split("/")[-2:])
    for way in ([], ["--push"]):
        origin = _run(["git", "remote", "get-url", *way, "origin"], environment, root)
        # The name alone: a URL may hold a password, and the host be an alias of SSH.
        ours = "/".join(re.split("[/:]", origin.rpartition("@")[2].rstrip("/").removesuffix(".git"))[-2:])
        if ours.casefold() != theirs.casefold():
            raise CloudError(
                f"gh uses the repository {theirs}, but the remote origin is {ours}; choose with "
                f"`gh repo set-default`, or propose from a clone of {theirs}."
            )


def _fetch(reference: str, environment: Mapping[str, str], root: Path) -> None:
    _run(["git", *_LOGIN, "fetch", "--quiet", "--no-tags", "origin", reference], environment, root)


def _require_published(before: str, default: str, base: str, environment: Mapping[str, str], root: Path) -> None:
    """Refuse a catalogue with work that is not on the default branch: a pull request would publish it."""
    if _run(["git", "status", "--porcelain", "--", PLACE], environment, root):
        raise CloudError(f"{PLACE} has changes that are not committed; commit or discard them first.")
    ours = _run(["git", "hash-object", "--stdin"], environment, root, before)
    if ours != _run(["git", "rev-parse", f"{base}:{PLACE}"], environment, root):
        raise CloudError(f"{PLACE} differs from that of the branch {default} on GitHub; propose from that branch.")


@dataclass(frozen=True)
class _Pulls:
    """The pull requests of a repository (HOST/OWNER/NAME) from our branch onto its default branch."""

    repository: str
    default: str
    environment: Mapping[str, str]
    root: Path

    def _gh(self, *words: str, text: str = "") -> str:
        return _run(["gh", "pr", *words, "--repo", self.repository], self.environment, self.root, text)

    def open(self) -> tuple[str, Sequence[str]]:
        """The number of our open pull request, empty without one, and the lists that it is from."""
        asked = ("--head", BRANCH, "--base", self.default, "--state", "open", "--limit", _MAX_PULLS)
        for pull in json.loads(self._gh("list", *asked, "--json", "number,isCrossRepository,baseRefName,body") or "[]"):
            # One of a fork is not ours.
            if pull["isCrossRepository"] is False and pull["baseRefName"] == self.default:
                stated = _LISTS_THERE.search(pull.get("body") or "")
                # Without the comment it may be from either price list.
                return str(pull["number"]), stated[1].split(", ") if stated else (LITELLM, GENAI)
        return "", ()

    def close(self, number: str) -> None:
        if not number:
            print("Nothing to propose.")
            return
        self._gh("close", number, "--comment", _CLOSING)
        print(f"Nothing left to propose; pull request #{number} is closed.")

    def write(self, number: str, body: str) -> None:
        """Give the one with this number a text, or open one with it."""
        text = ("--title", _TITLE, "--body-file", "-")
        if number:
            self._gh("edit", number, *text, text=body)
            print(f"The pull request #{number} is up to date.")
        else:
            created = self._gh("create", "--base", self.default, "--head", BRANCH, *text, text=body)
            print(f"The pull request is {created}")


def _is_there(after: str, base: str, environment: Mapping[str, str], root: Path) -> bool:
    """Whether the branch of the open pull request has this catalogue, apart from the days of its prices, alone."""
    _fetch(f"refs/heads/{BRANCH}", environment, root)
    try:
        if _run(["git", "diff", "--name-only", f"{base}...FETCH_HEAD"], environment, root) != PLACE:
            return False
        return bool(_undated(_run(["git", "show", f"FETCH_HEAD:{PLACE}"], environment, root)) == _undated(after))
    except (CloudError, ValueError):
        # It lacks the file, or a common commit, such as in a shallow checkout.
        return False


def _undated(text: str) -> Any:
    return json.loads(text, object_hook=lambda members: {k: v for k, v in members.items() if k != "date"})


def _push(text: str, base: str, environment: Mapping[str, str], root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index = {**environment, "GIT_INDEX_FILE": os.path.join(folder, "index")}
        blob = _run(["git", "hash-object", "-w", "--stdin"], environment, root, text)
        _run(["git", "read-tree", base], index, root)
        _run(["git", "update-index", "--cacheinfo", f"100644,{blob},{PLACE}"], index, root)
        tree = _run(["git", "write-tree"], index, root)
    # A person who does this is the author.
    author = {**environment, **(_AUTHOR if environment.get("GITHUB_ACTIONS") else {})}
    commit = _run(["git", "commit-tree", tree, "-p", base, "-m", _TITLE], author, root)
    _run(["git", *_LOGIN, "push", "--force", "origin", f"{commit}:refs/heads/{BRANCH}"], environment, root)


def _run(command: list[str], environment: Mapping[str, str], root: Path, text: str = "") -> str:
    try:
        done = subprocess.run(
            command, cwd=root, env=dict(environment), input=text, capture_output=True, encoding="utf-8", check=True
        )
    except FileNotFoundError:
        raise CloudError(f"{command[0]} not found; install it.") from None
    except subprocess.CalledProcessError as error:
        raise CloudError(f"{command[0]} rejected the pull request: {error.stderr.strip()}") from None
    return done.stdout.strip()
