"""What the comparison of the catalogue with lists prints and writes."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local.catalogue import price_list_download
from local.catalogue import refresh as models_refresh
from local.catalogue.refresh import serialized
from local.catalogue.report import PLACE
from local.paths import ROOT
from pixelprompt.models import catalogue, registry
from tests.canned import Answer, Canned
from tests.unit.local.catalogue.test_differences import DAY, HERE, IMAGE, XAI, entry, models
from tests.unit.local.catalogue.test_price_lists import litellm


def test_the_catalogue_is_written_as_it_stands() -> None:
    text = registry.CATALOGUE.read_text(encoding="utf-8")
    assert serialized(json.loads(text)) == text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with a space, of a catalogue of the usual form, and wheels beside it."""
    root = tmp_path / "a check out"
    file = root / PLACE
    file.parent.mkdir(parents=True)
    content = models(entry("flux-dev", price=IMAGE), entry("flux-2", price=IMAGE), XAI)
    file.write_text(serialized(content), encoding="utf-8")
    facts = {"mode": "image_generation", "source": HERE}
    litellm(
        tmp_path,
        {
            "black_forest_labs/flux-dev": {
                **facts, "litellm_provider": "black_forest_labs", "output_cost_per_image": 0.05,
                "deprecation_date": "2027-01-01", "successor_model": "black_forest_labs/flux-2",
            },
            "black_forest_labs/flux-2": {
                "litellm_provider": "black_forest_labs", "output_cost_per_image": 0.09,
            },
            "xai/grok": {
                **facts, "litellm_provider": "xai", "output_cost_per_image_1K": 0.04, "output_cost_per_image_2K": 0.06,
            },
        },
    )  # fmt: skip
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, encoding="utf-8", check=True)
    return done.stdout


def refresh(checkout: Path, environment: dict[str, str] | None = None, **options: Any) -> int:
    chosen = {"wheels": checkout.parent, "file": checkout / PLACE, "day": lambda: DAY, **options}
    return models_refresh.run(environment or {}, **chosen)


def test_the_patch_does_what_applying_does_and_then_nothing_is_left(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, patch = checkout / PLACE, checkout.parent / "a patch"
    before = file.read_text(encoding="utf-8")
    assert refresh(checkout, patch=patch, check=True) == 1
    printed = capsys.readouterr().out
    assert patch.read_text(encoding="utf-8") in printed
    assert file.read_text(encoding="utf-8") == before
    git(checkout, "apply", str(patch))
    patched = file.read_text(encoding="utf-8")
    git(checkout, "checkout", "--quiet", ".")
    assert refresh(checkout, apply=True) == 0
    assert file.read_text(encoding="utf-8") == patched
    after = json.loads(patched)
    catalogue.parse(after)
    prices = [one["price"] for one in after["models"]]
    assert [price["source"] for price in prices] == [HERE, IMAGE["source"], HERE]
    assert [price["date"] for price in prices] == ["2026-11-27", IMAGE["date"], "2026-11-27"]
    capsys.readouterr()
    assert refresh(checkout, apply=True, check=True) == 0
    printed = capsys.readouterr().out
    assert file.read_text(encoding="utf-8") == patched
    assert "\nCorroborated:" not in printed and "\nUncorroborated, not in the patch:" in printed
    assert "Nothing that is corroborated differs from the catalogue." in printed


def test_what_is_printed_fits_a_hundred_columns_but_for_addresses_and_the_patch(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refresh(checkout)
    head, _, patch = capsys.readouterr().out.partition("\n--- a/")
    lines = head.splitlines()
    assert lines[0] == "litellm 1.2.0: 2 image models of the catalogue's providers"
    assert lines[1] == "left out: genai-prices: wheel not found."
    assert any("OPENAI_API_KEY" in line for line in lines)
    assert all(len(line) <= 100 for line in lines if not line.startswith(("left out: ", "[")))
    assert f"[1] {HERE}" in lines
    assert "it names no source" in " ".join(head.split())
    assert patch.rstrip().endswith("make models-refresh APPLY=1`.")


def test_the_providers_own_list_is_read_with_a_key_that_is_never_shown(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Canned(Answer(content={"data": [{"id": "grok"}, {"id": "grok-9-image"}]})) as server:
        code = refresh(checkout, {"XAI_API_KEY": "my-key"}, endpoints={"XAI_API_KEY": server.url}, apply=True)
    printed = capsys.readouterr()
    assert code == 0
    assert "my-key" not in printed.out + printed.err
    assert "xAI's own list: 1 image models" in printed.out
    assert "Say in `supports` which parameters a new model accepts." in printed.out
    after = json.loads((checkout / PLACE).read_text(encoding="utf-8"))
    catalogue.parse(after)
    assert after["models"][-1]["id"] == "grok-9-image" and "supports" not in after["models"][-1]


def test_a_change_that_the_catalogue_would_be_wrong_with_does_not_hold_back_the_others(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"litellm_provider": "xai", "mode": "image_generation", "source": HERE}
    litellm(checkout.parent, {"xai/GROK": facts})
    with Canned(Answer(content={"data": [{"id": "grok"}, {"id": "GROK"}, {"id": "grok-9-image"}]})) as server:
        assert refresh(checkout, {"XAI_API_KEY": "my-key"}, endpoints={"XAI_API_KEY": server.url}, apply=True) == 0
    after = json.loads((checkout / PLACE).read_text(encoding="utf-8"))
    assert [one["id"] for one in after["models"]] == ["flux-dev", "flux-2", "grok", "grok-9-image"]
    assert "the catalogue would be wrong" in " ".join(re.sub("[^a-z ]", " ", capsys.readouterr().out).split())


def test_without_a_list_it_is_one_sentence(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, says in (
        (checkout, f"No price list found in {checkout}. "),
        (checkout / "none", "isn't a folder"),
    ):
        assert refresh(checkout, wheels=folder) == 2
        assert says in capsys.readouterr().err


def test_a_catalogue_in_another_form_is_left_alone(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = checkout / PLACE
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    assert refresh(checkout) == 2
    assert "is not formatted as usual" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda content: content.replace(b"\n", b"\r\n"), "has Windows line endings"),
        (lambda content: b"\xef\xbb\xbf" + content, "begins with a byte order mark"),
        (lambda content: content[:-3], "is not JSON: "),
        (lambda content: content.replace(b"flux-dev", b"\xff"), "is not in UTF-8"),
        (lambda content: content.replace(b'"bfl"', b'"nobody"'), "is wrong: "),
        (lambda content: b"[]\n", "is wrong: "),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_one_sentence_with_its_name(
    checkout: Path, spoil: Callable[[bytes], bytes], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkout / PLACE
    content = spoil(file.read_bytes())
    file.write_bytes(content)
    assert refresh(checkout, apply=True) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{PLACE} {says}")
    assert file.read_bytes() == content


def test_a_folder_that_is_missing_is_named_before_anything_is_downloaded(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(price_list_download, "downloaded", lambda *_: pytest.fail("something was downloaded"))
    for patch, says in ((checkout / "none" / "patch", "none isn't a folder"), (checkout, "is a folder")):
        assert refresh(checkout, wheels=None, patch=patch) == 2
        assert says in capsys.readouterr().err


def test_where_nothing_differs_no_patch_is_written(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refresh(checkout, apply=True)
    patch = checkout.parent / "patch"
    assert refresh(checkout, patch=patch) == 0
    assert not patch.exists()
    assert f"Nothing to patch: {patch} was not written." in capsys.readouterr().out


def test_the_real_catalogue_is_compared_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Any model whose price is sure, and has no end.
    model, price = next(
        (one["id"], 2 * one["price"]["amount"])
        for one in json.loads(registry.CATALOGUE.read_text(encoding="utf-8"))["models"]
        if one["provider"] == "bfl" and "price" in one and not {"shutdown", "retired", "uncorroborated"} & set(one)
        and "uncorroborated" not in one["price"] and "byResolution" not in one["price"]
    )  # fmt: skip
    facts = {"litellm_provider": "black_forest_labs", "mode": "image_generation", "output_cost_per_image": price}
    litellm(tmp_path, {f"black_forest_labs/{model}": {**facts, "source": HERE}})
    before = registry.CATALOGUE.read_bytes()
    patch = tmp_path / "patch"
    arguments = ["models-refresh", "--wheels", str(tmp_path), "--patch", str(patch), "--check"]
    assert command.main(["--directory", str(tmp_path), *arguments]) == 1
    assert registry.CATALOGUE.read_bytes() == before
    changed_lines = [line for line in patch.read_text("utf-8").splitlines() if line[0] in "+-"][2:]
    assert [line[0] for line in changed_lines] == ["-", "+"]
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, check=True)
