"""The result of a comparison of the catalogue with the lists, as it is printed."""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local import terminal
from local.catalogue.corroboration import UNLISTED, Difference
from local.catalogue.price_lists import PriceList

PLACE = "functions/pixelprompt/models/models.json"
# Without a terminal nothing says how wide it may be.
_WIDTH = 100


@dataclass(frozen=True)
class Refresh:
    """The result of a comparison.

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
        """A sentence about the prices that no list has; empty where every price is in one."""
        return f"No list has the price of {', '.join(self.without_price)}." if self.without_price else ""

    @property
    def without_price(self) -> list[str]:
        """The models of the catalogue whose price no list has."""
        return [difference.model for difference in self.differences if difference.doubt == UNLISTED]

    @property
    def names(self) -> list[str]:
        """The lists that were read; a provider's own by the provider's name."""
        return [one.name.removesuffix("'s own list") for one in self.lists]

    @property
    def patch(self) -> str:
        """The patch from the text before to the one after, for `git apply`; empty where they are the same."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, f"a/{PLACE}", f"b/{PLACE}"))


def report(found: Refresh) -> None:
    """Print the lists, the differences and the patch."""
    print("\n".join(lines_of_lists(found)))
    sources = list(dict.fromkeys(one.source for one in [*found.sure, *found.unsure] if one.source))
    numbers = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    if found.sure:
        print("\nCorroborated:")
        _print_table(found.sure, numbers)
    if found.unsure:
        print("\nUncorroborated, not in the patch:")
        _print_table(found.unsure, numbers)
    listed = "\n".join(f"{number} {source}" for source, number in numbers.items())
    unlisted = textwrap.fill(found.unlisted, _WIDTH, break_long_words=False, break_on_hyphens=False)
    # A patch ends with a line break of its own.
    print("\n\n".join(filter(None, [listed, unlisted, found.patch])) + "\n" * (not found.patch))


def lines_of_lists(found: Refresh) -> list[str]:
    """The lists that were read, and those that were not and why."""
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
        # A whole URL would leave no room for the rest.
        source = f"{one.lists} {numbers.get(one.source, '')}".strip()
        cells = (one.kind, one.model, one.ours, one.theirs, source, *([one.doubt] if doubtful else []))
        # As `Text`: brackets are not markup.
        table.add_row(*(Text(terminal.shown(cell, console.encoding)) for cell in cells))
    console.print(table)


def what_to_do(found: Refresh, *, applied: bool) -> str:
    """The work that is left for a person, as a sentence or two."""
    if not found.patch:
        return "Nothing that is corroborated differs from the catalogue."
    new = " Say in `supports` which parameters a new model accepts." * any(one.kind == "new" for one in found.sure)
    if applied:
        return f"It is written into {PLACE}. Look at the sources, then commit it.{new}"
    return f"Look at the sources, then write it into the catalogue with `make models-refresh APPLY=1`.{new}"
