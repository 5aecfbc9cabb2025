"""A comment at the pull request that a commit came with, by GitHub's own command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from local.cloud import CloudError

# GitHub accepts 65536 characters; the end of a diff has its summary.
_LONGEST = 60_000


def comment(title: str, text: str, environment: Mapping[str, str]) -> None:
    """Put a text into the summary of the job, and at the merged pull request, if there is one.

    Parameters
    ----------
    environment : of a job on GitHub, with a token as GH_TOKEN

    Raises
    ------
    CloudError : this is not such a job, or GitHub rejects the comment
    """
    try:
        repository, commit = environment["GITHUB_REPOSITORY"], environment["GITHUB_SHA"]
    except KeyError as error:
        raise CloudError(f"{error} is not set; a comment is made only by a job on GitHub.") from None
    if len(text) > _LONGEST:
        text = f"…\n{text[-_LONGEST:]}"
    # A fence that the text cannot close.
    body = f"**{title}** ({commit[:12]})\n\n``````diff\n{text}\n``````\n"
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(body)
    pulls = json.loads(_gh(f"repos/{repository}/commits/{commit}/pulls", environment) or "[]")
    merged = [pull["number"] for pull in pulls if pull.get("merged_at")]
    if merged:
        _gh(f"repos/{repository}/issues/{merged[0]}/comments", environment, {"body": body})
    print(f"The comment is at #{merged[0]}." if merged else "No pull request brought this commit; no comment is made.")


def _gh(path: str, environment: Mapping[str, str], body: Mapping[str, str] | None = None) -> str:
    command = ["gh", "api", path, *(("--method", "POST", "--input", "-") if body else ())]
    text = json.dumps(body) if body else None
    try:
        done = subprocess.run(
            command, env=dict(environment), input=text, capture_output=True, encoding="utf-8", check=True
        )
    except FileNotFoundError:
        raise CloudError("gh, GitHub's command line, not found; install it.") from None
    except subprocess.CalledProcessError as error:
        raise CloudError(f"GitHub turned it away: {error.stderr.strip()}") from None
    return done.stdout
