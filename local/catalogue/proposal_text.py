"""The result of a comparison of the catalogue with the lists, as the text of a pull request.

The lists are other people's texts. They stand between backticks, where nothing is markup, a mention or a link.
"""

from __future__ import annotations

from collections.abc import Sequence

from local.catalogue.corroboration import Difference
from local.catalogue.report import Refresh, lines_of_lists

# GitHub accepts 65536 characters. The parts, and the text around them, are below 60000 together.
_MAX_TABLE, _MAX_DOUBTS, _MAX_MODELS = 30_000, 15_000, 8_000
_MAX_CELL = 400


def markdown(found: Refresh) -> str:
    """The differences as the text of a pull request, below 60000 characters; a sentence says what was cut."""
    blocks = ["\n".join(f"- {code(line)}" for line in lines_of_lists(found)), _table(found.sure, _MAX_TABLE)]
    if found.unsure:
        blocks += ["Uncorroborated, and not in this pull request:", _table(found.unsure, _MAX_DOUBTS)]
    if found.without_price:
        shown = _fitting([code(model) for model in found.without_price], _MAX_MODELS)
        blocks.append(f"No list has the price of {', '.join(shown)}.{_cut(len(found.without_price) - len(shown))}")
    if any(one.kind == "new" for one in found.sure):
        blocks.append(
            "Before you merge this, say in `supports` which parameters a new model has and, where its provider is told "
            "sizes in pixels, in `pixels` which ones."
        )
    return "\n\n".join(blocks) + "\n"


def code(text: str) -> str:
    """A text as it is, in Markdown; none of it is markup, and it has one line and an end."""
    # Even here, a table would read a bar as the end of a cell.
    text = "".join(character if character.isprintable() else " " for character in text)
    text = text.replace("`", "").replace("|", "\u00a6").strip()
    if len(text) > _MAX_CELL:
        text = text[: _MAX_CELL - 1] + "\u2026"
    return f"`{text}`" if text else ""


def _table(differences: Sequence[Difference], longest: int) -> str:
    doubtful = any(one.doubt for one in differences)
    headings = ("kind", "model", "catalogue", "list", "source", *(["why"] if doubtful else []))
    rows: list[str] = []
    for one in differences:
        source = f"{code(one.lists)} {code(one.source)}".strip()
        cells = (code(one.model), code(one.ours), code(one.theirs), source, *([code(one.doubt)] if doubtful else []))
        rows.append(_row((one.kind, *cells)))
    shown = _fitting(rows, longest)
    table = "\n".join([_row(headings), _row(("---",) * len(headings)), *shown])
    cut = _cut(len(rows) - len(shown))
    return f"{table}\n\n{cut.strip()}" if cut else table


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fitting(texts: Sequence[str], longest: int) -> list[str]:
    """The first of the texts that have no more than so many characters together."""
    shown: list[str] = []
    for text in texts:
        longest -= len(text) + 2
        if longest < 0:
            break
        shown.append(text)
    return shown


def _cut(count: int) -> str:
    return f" {count} more were cut here; `make models-refresh` prints them." if count else ""
