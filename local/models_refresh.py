"""The catalogue compared with public price lists and the providers' own lists: what differs, and a patch."""

from __future__ import annotations

import difflib
import html
import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from local import model_differences, price_list_download, price_lists, provider_lists, terminal
from local.corroboration import UNLISTED, Difference
from local.price_lists import ListsError, PriceList
from pixelprompt import registry

PLACE = "functions/pixelprompt/models.json"
# Without a terminal nothing says how wide it may be.
_WIDTH = 100


@dataclass(frozen=True)
class Refresh:
    """What a comparison found.

    Attributes
    ----------
    lists, left_out : the lists that were read, and a sentence for each that was not
    before, after : the catalogue's text as it is, and with all that is corroborated
    """

    lists: Sequence[PriceList]
    left_out: Sequence[str]
    differences: Sequence[Difference]
    before: str
    after: str

    @property
    def sure(self) -> list[Difference]:
        """The corroborated differences."""
        return [difference for difference in self.differences if not difference.doubt]

    @property
    def unsure(self) -> list[Difference]:
        """The others that a list has."""
        return [difference for difference in self.differences if difference.doubt not in ("", UNLISTED)]

    @property
    def unlisted(self) -> str:
        """A sentence about the prices that no list has; empty where there is none."""
        models = [difference.model for difference in self.differences if difference.doubt == UNLISTED]
        return f"No list has the price of {', '.join(models)}." if models else ""

    @property
    def patch(self) -> str:
        """The way from the text before to the one after, as `git apply` takes it; empty where they are the same."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, f"a/{PLACE}", f"b/{PLACE}"))


def run(
    environment: Mapping[str, str],
    *,
    wheels: Path | None = None,
    apply: bool = False,
    patch: Path | None = None,
    check: bool = False,
    propose: bool = False,
    file: Path = registry.CATALOGUE,
    endpoints: Mapping[str, str] | None = None,
    day: Callable[[], date] = registry.today,
    progress: Callable[[str], None] = lambda text: None,
) -> int:
    """Compare the catalogue with the lists and print what differs; the exit code.

    Parameters
    ----------
    wheels : a folder with the wheels of the price lists; without it they are downloaded
    apply : write what is corroborated into the catalogue
    patch : where to write the patch
    check : 1 as the exit code where something corroborated differs
    propose : open a pull request with it on GitHub, or bring the one that is open up to date
    file, endpoints, day : another catalogue, other addresses of the providers' lists, another day

    Raises
    ------
    CloudError : GitHub turns the pull request away
    """
    try:
        found = examine(environment, wheels=wheels, file=file, endpoints=endpoints, day=day(), progress=progress)
    except ListsError as error:
        print(error, file=sys.stderr)
        return 2
    report(found)
    if patch:
        patch.write_text(found.patch, encoding="utf-8")
    if apply and found.patch:
        file.write_text(found.after, encoding="utf-8")
    print(_what_to_do(found, applied=apply))
    if propose and found.patch:
        from local import models_proposal

        models_proposal.propose(found.after, markdown(found), environment, root=file.parents[2])
    return 1 if check and found.sure else 0


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
    before = file.read_text(encoding="utf-8")
    models = json.loads(before)
    if serialized(models) != before:
        raise ListsError(f"{PLACE} is not formatted as usual, one member of an entry in a line; correct that first.")
    if wheels and not wheels.is_dir():
        raise ListsError(f"{wheels} is no folder; WHEELS names the one with the wheels of the price lists.")
    with nullcontext(wheels) if wheels else price_list_download.downloaded(environment, progress) as folder:
        progress("reading the price lists")
        lists, left_out = price_lists.read(folder, day)
    progress("asking the providers whose keys are in the environment")
    own, not_asked = provider_lists.read(environment, endpoints)
    lists += own
    differences = model_differences.settled(models, model_differences.compare(models, lists, day))
    changed = model_differences.changed(models, differences)
    return Refresh(lists, [*left_out, *not_asked], differences, before, serialized(changed))


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


def report(found: Refresh) -> None:
    """Print the lists, the differences and the patch."""
    print("\n".join(_lists(found)))
    sources = list(dict.fromkeys(one.source for one in [*found.sure, *found.unsure] if one.source))
    numbers = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    if found.sure:
        print("\nCorroborated:")
        _print_table(found.sure, numbers)
    if found.unsure:
        print("\nUncorroborated, not in the patch:")
        _print_table(found.unsure, numbers)
    if found.unlisted:
        print(textwrap.fill(found.unlisted, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n")
    if sources:
        print("\n".join(f"{number} {source}" for source, number in numbers.items()))
    if found.patch:
        print(f"\n{found.patch}")
    else:
        print()


def _lists(found: Refresh) -> list[str]:
    read = [
        " ".join(filter(None, [one.name, one.version])) + f": {one.images} image models of the catalogue's providers"
        for one in found.lists
    ]
    return [*read, *(f"left out: {sentence}" for sentence in found.left_out)]


def _print_table(differences: Sequence[Difference], numbers: Mapping[str, str]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    console = terminal.console(**({} if sys.stdout.isatty() else {"width": _WIDTH}))
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    doubtful = any(one.doubt for one in differences)
    # An id is to be copied, where there is room for it.
    whole = console.width >= _WIDTH and max(len(one.model) for one in differences) <= _WIDTH // 3
    for heading in ("kind", "model", "catalogue", "list", "source", *(["why"] if doubtful else [])):
        table.add_column(heading, no_wrap=heading == "kind" or (heading == "model" and whole), overflow="fold")
    for one in differences:
        # A whole address would leave no room for the rest.
        source = f"{one.lists} {numbers.get(one.source, '')}".strip()
        cells = (one.kind, one.model, one.ours, one.theirs, source, *([one.doubt] if doubtful else []))
        # As texts: brackets are no markup.
        table.add_row(*(Text(terminal.shown(cell, console.encoding)) for cell in cells))
    console.print(table)


def _what_to_do(found: Refresh, *, applied: bool) -> str:
    if not found.patch:
        return "Nothing that is corroborated differs from the catalogue."
    new = " Say in `takes` which parameters a new model takes." * any(one.kind == "new" for one in found.sure)
    if applied:
        return f"It is written into {PLACE}. Look at the sources, then commit it.{new}"
    return f"Look at the sources, then write it into the catalogue with `make models-refresh APPLY=1`.{new}"


def markdown(found: Refresh) -> str:
    """The differences as the text of a pull request."""
    blocks = ["\n".join(f"- {line}" for line in _lists(found)), _markdown_table(found.sure)]
    if found.unsure:
        blocks += ["Uncorroborated, and not in this pull request:", _markdown_table(found.unsure)]
    if found.unlisted:
        blocks.append(html.escape(found.unlisted, quote=False))
    if any(one.kind == "new" for one in found.sure):
        blocks.append("Say in `takes` which parameters a new model takes before you merge this.")
    return "\n\n".join(blocks) + "\n"


def _markdown_table(differences: Sequence[Difference]) -> str:
    doubtful = any(one.doubt for one in differences)
    headings = ("kind", "model", "catalogue", "list", "source", *(["why"] if doubtful else []))
    rows: list[tuple[str, ...]] = [headings, ("---",) * len(headings)]
    for one in differences:
        source = f"{one.lists} {one.source}".strip()
        cells = (f"`{one.model}`", one.ours, one.theirs, source, *([one.doubt] if doubtful else []))
        # The lists are other people's texts: none of them is markup.
        rows.append((one.kind, *(html.escape(cell, quote=False).replace("|", "&#124;") for cell in cells)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
