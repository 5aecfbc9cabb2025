"""The doctor's report: a row for each model and part of a deployment, with what is wrong and what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from local import terminal
from local.aws.deployment import Deployment

GOOD, WARNING, BAD = "✓", "!", "✗"
_SEVERITY = (GOOD, WARNING, BAD)


@dataclass(frozen=True)
class Finding:
    """A problem: its mark, and its cause and cure in a sentence."""

    mark: str
    sentence: str


@dataclass
class Row:
    """A line of the report.

    Attributes
    ----------
    subject : model or part of the deployment
    provider, key, listed, ends : what is known of a model; empty for a row that is not a model
    """

    subject: str
    provider: str = ""
    key: str = ""
    listed: str = ""
    ends: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """The mark of its worst finding."""
        return max((finding.mark for finding in self.findings), key=_SEVERITY.index, default=GOOD)

    def add(self, mark: str, sentence: str) -> None:
        """Note a problem."""
        self.findings.append(Finding(mark, sentence))


def report(deployment: Deployment, rows: Sequence[Row]) -> None:
    """Print the rows: a table on a terminal, a line each elsewhere."""
    print(f"Pixel Prompt, {deployment.name}")
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in rows:
            print(line(row))
    counts = [sum(row.mark == mark for row in rows) for mark in _SEVERITY]
    print(", ".join(f"{count} {mark}" for count, mark in zip(counts, _SEVERITY, strict=True)))


def line(row: Row) -> str:
    """A row as plain text."""
    facts = [
        row.key and f"key {row.key}",
        row.listed and ("listed" if row.listed == "yes" else "not listed"),
        row.ends and f"ends {row.ends}",
    ]
    about = ", ".join(filter(None, [row.provider, *facts]))
    text = f"{row.mark} {row.subject}" + (f" [{about}]" if about else "")
    sentences = " ".join(finding.sentence for finding in row.findings)
    return str(terminal.safe(f"{text}: {sentences}" if sentences else text))


def _print_table(rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    colors = {GOOD: "green", WARNING: "yellow", BAD: "red"}
    console = terminal.console()
    table = Table(box=SIMPLE)
    for heading in ("", "model", "provider", "key", "listed", "ends"):
        table.add_column(heading, no_wrap=heading in ("", "ends"))
    table.add_column("what to do", ratio=1, overflow="fold")
    for row in rows:
        sentences = "\n".join(finding.sentence for finding in row.findings)
        cells = (row.subject, row.provider, row.key, row.listed, row.ends, sentences)
        mark, *texts = (terminal.shown(text, console.encoding) for text in (row.mark, *cells))
        table.add_row(Text(mark, style=colors[row.mark]), *map(Text, texts))
    console.print(table)
