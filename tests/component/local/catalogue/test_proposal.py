"""The pull request with what a comparison of the catalogue with lists found."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.catalogue.corroboration import UNLISTED, Difference
from local.catalogue.price_lists import GENAI, LITELLM
from local.catalogue.proposal import BRANCH, Proposal, propose, read
from local.catalogue.proposal_text import code, markdown
from local.catalogue.report import PLACE, Refresh
from local.cloud import CloudError
from tests.component.local.catalogue.test_refresh import checkout as checkout
from tests.component.local.catalogue.test_refresh import git, refresh
from tests.unit.local.catalogue.test_differences import DAY, HERE
from tests.unit.local.catalogue.test_price_lists import GENAI_DATA, wheel

GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$SAID"
env | grep _API_KEY >> "$SAID"
case "$1 $2" in
  "repo view") echo "{\\"defaultBranchRef\\": {\\"name\\": \\"$DEFAULT\\"}, \\"url\\": \\"https://$REPO\\"}";;
  "pr list") printf '%s\\n' "$OPEN";;
  "pr close") ;;
  *) cat >> "$SAID"; echo https://github.example/pull/7;;
esac
"""
FACTS = {"number": 7, "isCrossRepository": False, "baseRefName": "main"}


def ours(*lists: str) -> str:
    """Our open pull request, made from these lists, as gh says it."""
    return json.dumps([{**FACTS, "body": f"<!-- lists: {', '.join(lists)} -->\r\n\r\nMore."}])


OURS = ours(LITELLM)


@pytest.fixture
def github(checkout: Path, tmp_path: Path) -> dict[str, str]:
    """An environment with a gh that notes what it is told, and a remote."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gh").write_text(GH, encoding="utf-8")
    (folder / "gh").chmod(0o755)
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "remote")], check=True)
    git(checkout, "remote", "add", "origin", str(tmp_path / "remote"))
    git(checkout, "push", "--quiet", "origin", "main")
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SAID": str(tmp_path / "said"),
        "OPEN": "[]",
        "DEFAULT": "main",
        "REPO": f"github.example/{tmp_path.name}/remote",
        "GITHUB_ACTIONS": "true",
    }


def said(github: dict[str, str]) -> str:
    """What gh was told, and what it was given; it is forgotten."""
    file = Path(github["SAID"])
    told = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text("", encoding="utf-8")
    return told


def test_a_pull_request_is_opened_and_the_next_run_updates_it(
    checkout: Path, github: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (checkout / PLACE).read_text(encoding="utf-8")
    create = "pr create --base main --head models-refresh --title fix: bring the model catalogue up to date --body-file"
    edit = "pr edit 7 --title fix: bring the model catalogue up to date --body-file"
    for opened, told in (("[]", create), (OURS, edit)):
        assert refresh(checkout, {**github, "OPEN": opened}, propose=True) == 0
        text = said(github)
        assert told in text
        assert f"| price | `flux-dev` | `image $0.04` | `image $0.05` | `litellm` `{HERE}` |" in text
        assert "Close and reopen it to start them." in text
        # Neither the files nor the branch of the checkout are touched.
        assert (checkout / PLACE).read_text(encoding="utf-8") == before
        assert git(checkout, "status", "--porcelain") == ""
        remote = tmp_path / "remote"
        assert git(remote, "log", "--format=%an %s", BRANCH).splitlines() == [
            "github-actions[bot] fix: bring the model catalogue up to date", "Me first",
        ]  # fmt: skip
        assert '"amount": 0.05' in git(remote, "show", f"{BRANCH}:{PLACE}")
    assert "#7 is up to date" in capsys.readouterr().out


@pytest.mark.parametrize("facts", [{"isCrossRepository": True}, {"baseRefName": "other"}])
def test_a_pull_request_of_somebody_else_stays_as_it_is(
    checkout: Path, github: dict[str, str], facts: dict[str, Any]
) -> None:
    opened = json.dumps([{**json.loads(OURS)[0], **facts}])
    assert refresh(checkout, {**github, "OPEN": opened}, propose=True) == 0
    text = said(github)
    assert "pr list --head models-refresh --base main" in text
    assert "--json number,isCrossRepository,baseRefName,body" in text
    assert "pr create " in text and "pr edit" not in text


def test_the_pull_request_is_based_on_the_default_branch_and_publishes_no_local_work(
    checkout: Path, github: dict[str, str], tmp_path: Path
) -> None:
    git(checkout, "switch", "--quiet", "-c", "mine")
    (checkout / "secret").write_text("mine", encoding="utf-8")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "my work")
    assert refresh(checkout, github, propose=True) == 0
    remote = tmp_path / "remote"
    assert git(remote, "log", "--format=%s", BRANCH).splitlines()[1:] == ["first"]
    assert git(remote, "ls-tree", "-r", "--name-only", BRANCH).splitlines() == [PLACE]


@pytest.mark.parametrize("commit", [False, True])
def test_a_catalogue_that_is_not_the_one_on_github_is_refused(
    checkout: Path, github: dict[str, str], commit: bool, tmp_path: Path
) -> None:
    file = checkout / PLACE
    file.write_text(file.read_text(encoding="utf-8").replace("0.04", "0.041"), encoding="utf-8")
    if commit:
        git(checkout, "commit", "--quiet", "-am", "mine")
    says = "differs from that of the branch main on GitHub" if commit else "has changes that are not committed"
    with pytest.raises(CloudError, match=says):
        refresh(checkout, github, propose=True, apply=True)
    assert BRANCH not in git(tmp_path / "remote", "branch")
    assert "pr " not in said(github)


def test_where_only_days_differ_from_the_open_one_nothing_is_pushed(
    checkout: Path, github: dict[str, str], tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    refresh(checkout, github, propose=True)
    first = git(remote, "rev-parse", BRANCH)
    later = DAY.replace(day=28)
    refresh(checkout, {**github, "OPEN": OURS}, propose=True, day=lambda: later)
    assert git(remote, "rev-parse", BRANCH) == first
    assert "pr edit 7" in said(github)
    # Without an open one the branch is an old one.
    refresh(checkout, github, propose=True, day=lambda: later)
    assert "2026-11-28" in git(remote, "show", f"{BRANCH}:{PLACE}")


def test_where_nothing_differs_any_more_the_open_one_is_closed(
    checkout: Path, github: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    refresh(checkout, apply=True)
    git(checkout, "commit", "--quiet", "-am", "second")
    git(checkout, "push", "--quiet", "origin", "main")
    capsys.readouterr()
    wheel(checkout.parent, GENAI, GENAI_DATA)
    for opened, closes in (("[]", False), (OURS, True)):
        assert refresh(checkout, {**github, "OPEN": opened}, propose=True) == 0
        assert ("pr close 7 --comment No corroborated difference" in said(github)) is closes
    assert "#7 is closed" in capsys.readouterr().out


def test_what_one_step_saves_another_proposes(
    checkout: Path, github: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkout.parent / "a folder" / "in it"
    assert refresh(checkout, propose=folder) == 2
    assert "has no saved comparison" in capsys.readouterr().err
    assert refresh(checkout, save=folder) == 0
    assert refresh(checkout, github, propose=folder, wheels=checkout / "none") == 0
    text = said(github)
    assert read(folder).body in text and "pr create" in text


def test_git_and_gh_get_no_key(checkout: Path, github: dict[str, str]) -> None:
    hook = checkout / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho hook >> "$SAID"\nenv | grep _API_KEY >> "$SAID"\n:\n', encoding="utf-8")
    hook.chmod(0o755)
    refresh(checkout, save=checkout.parent)
    propose(read(checkout.parent), {**github, "OPENAI_API_KEY": "my-key", "MY_API_KEY": "my-key"}, root=checkout)
    text = said(github)
    assert "hook" in text and "_API_KEY=" not in text and "my-key" not in text


def test_what_github_rejects_is_one_sentence(checkout: Path, github: dict[str, str]) -> None:
    git(checkout, "remote", "set-url", "origin", str(checkout / "nowhere"))
    github["REPO"] = f"github.example/{checkout.name}/nowhere"
    with pytest.raises(CloudError, match="git rejected the pull request: "):
        propose(Proposal("{}", "{}", "", []), github, root=checkout)


AWKWARD = "@me <b> ![x](https://x) `x` |#1\n\n# x\x1b[2J"


def test_texts_of_a_list_are_no_markup() -> None:
    texts: dict[str, Any] = dict.fromkeys(("model", "ours", "theirs", "lists", "source"), AWKWARD)
    sure, unsure = Difference("price", **texts), Difference("price", **texts, doubt=AWKWARD)
    unlisted = Difference("price", **texts, doubt=UNLISTED)
    body = markdown(Refresh([], [AWKWARD], [sure, unsure, unlisted], "", ""))
    assert body.count("@me") == 1 + 5 + 6 + 1
    # What stands outside of backticks is ours.
    outside = re.sub(r"`[^`\n]*`", "", body)
    assert not set(outside) & set("@<![#`\x1b") and "http" not in outside
    for row in body.splitlines():
        assert row.count("|") in (0, 6, 7)
    assert code("`|`") == "`\u00a6`"
    assert code("`") == ""


def test_the_text_is_short_enough_for_github_and_says_what_was_cut() -> None:
    long: dict[str, Any] = {
        "model": "m" * 120,
        "ours": "o" * 500,
        "theirs": "t" * 500,
        "lists": "one, two",
        "source": "s" * 300,
    }
    sure, unsure = Difference("price", **long), Difference("price", **long, doubt="d" * 2000)
    unlisted = Difference("price", **long, doubt=UNLISTED)
    body = markdown(Refresh([], ["l" * 9000] * 6, [*[sure] * 500, *[unsure] * 500, *[unlisted] * 500], "", ""))
    assert 40_000 < len(body) < 59_000
    cut = [int(number) for number in re.findall(r"(\d+) more were cut here; `make models-refresh` prints them", body)]
    shown = body.count("\n| price |"), body.count("`" + "m" * 120 + "`")
    assert len(cut) == 3 and sum(cut[:2]) + shown[0] == 1000 and sum(cut) + shown[1] == 1500
