"""What a proposal of a changed catalogue leaves alone, and what it does not publish."""

import json
from pathlib import Path

import pytest

from local.catalogue.price_lists import GENAI, LITELLM
from local.catalogue.proposal import BRANCH
from local.catalogue.report import PLACE
from local.cloud import CloudError
from tests.canned import Answer, Canned
from tests.component.local.catalogue.test_proposal import FACTS, OURS, ours, said
from tests.component.local.catalogue.test_proposal import github as github
from tests.component.local.catalogue.test_refresh import checkout as checkout
from tests.component.local.catalogue.test_refresh import git, refresh
from tests.unit.local.catalogue.test_price_lists import GENAI_DATA, wheel


def branch(checkout: Path) -> str:
    """The commit of the branch on the remote; empty where there is none."""
    return git(checkout.parent / "remote", "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}")


def test_no_folder_is_published(checkout: Path, github: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    refresh(checkout, github, propose=True, progress=told.append)
    text = said(github)
    assert "`left out: genai-prices: wheel not found.`" in text
    assert str(checkout.parent) not in text
    assert f"reading the price lists in {checkout.parent}" in told


def test_the_lists_that_were_read_stand_in_the_pull_request(checkout: Path, github: dict[str, str]) -> None:
    wheel(checkout.parent, GENAI, GENAI_DATA)
    with Canned(Answer(content={"data": [{"id": "grok"}]})) as server:
        environment = {**github, "XAI_API_KEY": "my-key"}
        refresh(checkout, environment, propose=True, endpoints={"XAI_API_KEY": server.url})
    assert "\n<!-- lists: litellm, genai-prices, xAI -->\n" in said(github)


@pytest.mark.parametrize(
    ("opened", "missing"),
    [
        (ours(LITELLM, GENAI), "genai-prices"),
        (ours(LITELLM, GENAI, "OpenAI"), "genai-prices, OpenAI"),
        # Nobody knows from which it is.
        (json.dumps([FACTS]), "genai-prices"),
        (json.dumps([{**FACTS, "body": "See `<!-- lists: litellm -->`"}]), "genai-prices"),
    ],
)
@pytest.mark.parametrize("differs", [True, False])
def test_an_open_one_from_a_list_that_is_missing_stays_as_it_is(
    checkout: Path,
    github: dict[str, str],
    opened: str,
    missing: str,
    differs: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not differs:
        refresh(checkout, apply=True)
        git(checkout, "commit", "--quiet", "-am", "second")
        git(checkout, "push", "--quiet", "origin", "main")
    assert refresh(checkout, {**github, "OPEN": opened}, propose=True) == 0
    says = f"The pull request #7 stays as it is: it is also from {missing}, not read this time."
    assert says in capsys.readouterr().out
    text = said(github)
    assert "pr list" in text and not [word for word in ("close", "edit", "create") if f"pr {word}" in text]
    assert branch(checkout) == ""


@pytest.mark.parametrize("way", [[], ["--push"]])
@pytest.mark.parametrize(
    ("place", "shown"), [("/me/prompts.git", "me/prompts"), ("/prompts", "github.example/prompts")]
)
def test_the_clone_of_a_fork_is_refused(
    checkout: Path, github: dict[str, str], way: list[str], place: str, shown: str
) -> None:
    git(checkout, "remote", "set-url", *way, "origin", f"https://me:secret@github.example{place}")
    says = f"gh uses the repository .*/remote, but the remote origin is {shown}; "
    with pytest.raises(CloudError, match=says) as caught:
        refresh(checkout, github, propose=True)
    assert "secret" not in str(caught.value)
    assert branch(checkout) == "" and "pr " not in said(github)


@pytest.mark.parametrize(
    "address",
    ["git@github.example:Maker/prompts.git", "https://github.example/maker/prompts/", "ssh://git@a/maker/prompts"],
)
def test_an_address_of_the_repository_is_known_in_each_form(
    checkout: Path, github: dict[str, str], address: str
) -> None:
    here = str(checkout.parent / "remote")
    git(checkout, "remote", "set-url", "origin", address)
    github |= {"REPO": "github.example/maker/prompts", "GIT_SSH_COMMAND": "false", "GIT_ALLOW_PROTOCOL": "none"}
    # Beyond the comparison, git does not get there.
    with pytest.raises(CloudError, match="git rejected the pull request: "):
        refresh(checkout, github, propose=True)
    assert here not in said(github)


def test_every_call_names_the_repository(checkout: Path, github: dict[str, str]) -> None:
    refresh(checkout, github, propose=True)
    refresh(checkout, {**github, "OPEN": OURS}, propose=True)
    refresh(checkout, apply=True)
    git(checkout, "commit", "--quiet", "-am", "second")
    git(checkout, "push", "--quiet", "origin", "main")
    refresh(checkout, {**github, "OPEN": OURS}, propose=True)
    calls = [line for line in said(github).splitlines() if line.startswith("pr ")]
    assert {line.split()[1] for line in calls} == {"list", "create", "edit", "close"}
    assert all(line.endswith(f"--repo {github['REPO']}") for line in calls)


def test_a_default_branch_of_that_name_is_never_pushed(checkout: Path, github: dict[str, str]) -> None:
    git(checkout, "push", "--quiet", "origin", f"main:{BRANCH}")
    before = branch(checkout)
    with pytest.raises(CloudError, match="The default branch is models-refresh"):
        refresh(checkout, {**github, "DEFAULT": BRANCH}, propose=True)
    assert branch(checkout) == before != ""
    assert "pr " not in said(github)


@pytest.mark.parametrize("move", ["add", "remove"])
def test_other_commits_on_the_branch_do_not_survive(checkout: Path, github: dict[str, str], move: str) -> None:
    refresh(checkout, github, propose=True)
    git(checkout, "fetch", "--quiet", "origin", BRANCH)
    git(checkout, "switch", "--quiet", "--detach", "FETCH_HEAD")
    if move == "add":
        (checkout / "other").write_text("not ours", encoding="utf-8")
        git(checkout, "add", "other")
    else:
        git(checkout, "rm", "--quiet", PLACE)
    git(checkout, "commit", "--quiet", "-m", "not ours")
    git(checkout, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
    git(checkout, "switch", "--quiet", "main")
    other = branch(checkout)
    refresh(checkout, {**github, "OPEN": OURS}, propose=True)
    remote = checkout.parent / "remote"
    assert branch(checkout) != other
    assert git(remote, "ls-tree", "-r", "--name-only", BRANCH).splitlines() == [PLACE]
    assert "not ours" not in git(remote, "log", BRANCH)


def move_the_default_branch(checkout: Path) -> None:
    (checkout / "more").write_text("work", encoding="utf-8")
    git(checkout, "add", "more")
    git(checkout, "commit", "--quiet", "-m", "more")
    git(checkout, "push", "--quiet", "origin", "main")


def test_where_only_the_default_branch_moved_nothing_is_pushed(checkout: Path, github: dict[str, str]) -> None:
    refresh(checkout, github, propose=True)
    first = branch(checkout)
    move_the_default_branch(checkout)
    refresh(checkout, {**github, "OPEN": OURS}, propose=True)
    assert branch(checkout) == first


def test_a_shallow_checkout_that_lacks_the_base_of_the_branch_pushes(checkout: Path, github: dict[str, str]) -> None:
    refresh(checkout, github, propose=True)
    first = branch(checkout)
    move_the_default_branch(checkout)
    git(checkout.parent, "clone", "--quiet", "--depth=1", "-b", "main", f"file://{checkout.parent}/remote", "shallow")
    shallow = checkout.parent / "shallow"
    refresh(checkout, {**github, "OPEN": OURS}, propose=True, file=shallow / PLACE)
    assert git(checkout.parent / "remote", "log", "--format=%s", f"{BRANCH}~1").splitlines() == ["more", "first"]
    assert branch(checkout) != first
