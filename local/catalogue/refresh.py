"""The catalogue compared with public price lists and the providers' own lists: what differs, and a patch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

from local.catalogue import differences as model_differences
from local.catalogue import price_list_download, price_lists, provider_lists
from local.catalogue import proposal as models_proposal
from local.catalogue.price_lists import ListsError
from local.catalogue.proposal import Proposal
from local.catalogue.proposal_text import markdown
from local.catalogue.report import PLACE, Refresh, report, what_to_do
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue, registry


def run(
    environment: Mapping[str, str],
    *,
    wheels: Path | None = None,
    apply: bool = False,
    patch: Path | None = None,
    check: bool = False,
    save: Path | None = None,
    propose: bool | Path = False,
    file: Path = registry.CATALOGUE,
    endpoints: Mapping[str, str] | None = None,
    day: Callable[[], date] = registry.today,
    progress: Callable[[str], None] = lambda text: None,
) -> int:
    """Compare the catalogue with the lists and print what differs; the exit code.

    It is 2 where the comparison cannot be made: no price list can be read, the catalogue is not as it should be, or a
    folder that was named is not there.

    Parameters
    ----------
    wheels : a folder with the wheels of the price lists; without it they are downloaded
    apply : write what is corroborated into the catalogue
    patch : where to write the patch
    check : 1 as the exit code where something corroborated differs
    save : a folder for what `propose` needs; it is made
    propose : open a pull request with it on GitHub, or bring the one that is open up to date; as a path, the folder of
        an earlier run's `save`: nothing is compared again
    file, endpoints, day : another catalogue, other URLs of the providers' lists, another day

    Raises
    ------
    CloudError : GitHub rejects the pull request
    """
    root = file.parents[len(Path(PLACE).parts) - 1]
    try:
        if isinstance(propose, Path):
            models_proposal.propose(models_proposal.read(propose), environment, root=root)
            return 0
        _require_folders(wheels, patch)
        found = examine(environment, wheels=wheels, file=file, endpoints=endpoints, day=day(), progress=progress)
    except ListsError as error:
        print(error, file=sys.stderr)
        return 2
    report(found)
    proposal = Proposal(found.before, found.after, markdown(found), found.names)
    if patch and found.patch:
        patch.write_text(found.patch, encoding="utf-8", newline="")
    elif patch:
        print(f"Nothing to patch: {patch} was not written.")
    if save:
        models_proposal.save(proposal, save)
    # Before the catalogue changes: a pull request is made of one as it is on GitHub.
    if propose:
        models_proposal.propose(proposal, environment, root=root)
    if apply and found.patch:
        file.write_text(found.after, encoding="utf-8", newline="")
    print(what_to_do(found, applied=apply))
    return 1 if check and found.sure else 0


def _require_folders(wheels: Path | None, patch: Path | None) -> None:
    """Refuse a folder that is missing before anything is downloaded."""
    if wheels and not wheels.is_dir():
        raise ListsError(f"{wheels} isn't a folder; WHEELS names the one with the wheels of the price lists.")
    if patch and not patch.parent.is_dir():
        raise ListsError(f"{patch.parent} isn't a folder; PATCH names a file in a folder that is there.")
    if patch and patch.is_dir():
        raise ListsError(f"{patch} is a folder; PATCH names a file.")


def examine(
    environment: Mapping[str, str],
    *,
    wheels: Path | None,
    file: Path,
    endpoints: Mapping[str, str] | None,
    day: date,
    progress: Callable[[str], None],
) -> Refresh:
    """Read the lists and compare.

    Raises
    ------
    ListsError : no price list can be read, or the catalogue is not in the form that this writes
    """
    before = _text(file)
    models = _models(before)
    with nullcontext(wheels) if wheels else price_list_download.downloaded(environment, progress) as folder:
        # The folder's name is for the terminal: what is left out also appears in a pull request.
        progress(f"reading the price lists in {folder}" if wheels else "reading the price lists")
        lists, left_out = price_lists.read(folder, day)
    progress("asking the providers whose keys are in the environment")
    own, not_asked = provider_lists.read(environment, endpoints)
    lists += own
    differences = model_differences.settled(models, model_differences.compare(models, lists, day))
    changed = model_differences.changed(models, differences)
    return Refresh(lists, [*left_out, *not_asked], differences, before, serialized(changed))


def _text(file: Path) -> str:
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise ListsError(f"Failed to read {PLACE} ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ListsError(f"{PLACE} is not in UTF-8; correct that first.") from None
    if text.startswith("\ufeff"):
        raise ListsError(f"{PLACE} begins with a byte order mark; remove it first.")
    if "\r" in text:
        raise ListsError(f"{PLACE} has Windows line endings; save it with those of Unix first.")
    return text


def _models(text: str) -> dict[str, Any]:
    try:
        models = json.loads(text)
        catalogue.parse(models)
    except (ValueError, RecursionError) as error:
        raise ListsError(f"{PLACE} is not JSON: {error}. Correct that first.") from None
    except ConfigurationError as error:
        raise ListsError(f"{PLACE} is wrong: {error}") from None
    if serialized(models) != text:
        raise ListsError(f"{PLACE} is not formatted as usual, one member of an entry in a line; correct that first.")
    return dict(models)


def serialized(models: Mapping[str, Any]) -> str:
    """A catalogue as its file has it: each member of an entry in a line of its own."""
    parts = []
    for name, value in models.items():
        shown = _json(value)
        if isinstance(value, list):
            shown = "[\n" + ",\n".join(map(_entry, value)) + "\n  ]"
        parts.append(f"  {_json(name)}: {shown}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _entry(entry: Mapping[str, Any]) -> str:
    return "    {\n" + ",\n".join(f"      {_json(name)}: {_json(value)}" for name, value in entry.items()) + "\n    }"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
