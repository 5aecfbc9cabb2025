"""The comment with the diff, through a `gh` that a test plays."""

import json
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from local.aws.pull_request import comment
from local.cloud import CloudError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GH = """import json, os, sys
with open(os.environ["ASKED"], "a") as file:
    body = sys.stdin.read() if "--input" in sys.argv else ""
    print(json.dumps([sys.argv[1:], body]), file=file)
if os.environ.get("REFUSED"):
    sys.exit("HTTP 403: Resource not accessible by integration")
if sys.argv[2].endswith("/pulls"):
    print(os.environ["PULLS"])
"""


@pytest.fixture
def github(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on GitHub whose commit came with pull request 7."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    script = tmp_path / "gh.py"
    script.write_text(GH)
    # A first line cannot name an interpreter whose path has a space.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_SHA": COMMIT,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "ASKED": str(tmp_path / "asked"),
        "PULLS": json.dumps([{"number": 6, "merged_at": None}, {"number": 7, "merged_at": "2026-11-25T00:00:00Z"}]),
    }


def asked(github: dict[str, str]) -> list[list[object]]:
    return [json.loads(line) for line in Path(github["ASKED"]).read_text().splitlines()]


def test_the_merged_pull_request_and_the_summary_get_the_text(
    github: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", github["PATH"])
    comment("What changes", "[+] a bucket", github)
    pulls, made = asked(github)
    assert pulls[0] == ["api", f"repos/owner/name/commits/{COMMIT}/pulls"]
    assert made[0] == ["api", "repos/owner/name/issues/7/comments", "--method", "POST", "--input", "-"]
    body = json.loads(str(made[1]))["body"]
    assert body == "**What changes** (0123456789ab)\n\n``````diff\n[+] a bucket\n``````\n"
    assert Path(github["GITHUB_STEP_SUMMARY"]).read_text() == body
    assert capsys.readouterr().out == "The comment is at #7.\n"


def test_a_commit_that_came_alone_has_only_the_summary(
    github: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", github["PATH"])
    comment("What changes", "x" * 100_000, {**github, "PULLS": "[]"})
    assert len(asked(github)) == 1
    assert len(Path(github["GITHUB_STEP_SUMMARY"]).read_text()) < 65_536
    assert "no comment is made" in capsys.readouterr().out


def test_what_github_says_against_it_is_told(github: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", github["PATH"])
    with pytest.raises(CloudError, match="GitHub turned it away: HTTP 403"):
        comment("What changes", "text", {**github, "REFUSED": "1"})


def test_elsewhere_there_is_nothing_to_comment_on() -> None:
    with pytest.raises(CloudError, match="'GITHUB_REPOSITORY' is not set; a comment is made only by a job on GitHub"):
        comment("What changes", "text", {})
