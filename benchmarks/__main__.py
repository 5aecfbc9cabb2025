"""Measure how fast Pixel Prompt is: ``make bench``, or ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markdown import Markdown
from rich.table import Table

from benchmarks import (
    archive,
    chart,
    cold_imports,
    cost,
    images,
    job_document,
    library,
    memory,
    orchestration,
    references,
    routes,
)
from benchmarks.figures import HEAD, Result, markdown, row
from benchmarks.workbench import Part, Workbench
from infra import caches
from local import processes, terminal
from local.paths import ROOT
from local.progress import Progress

DOCUMENT = ROOT / "docs" / "explanation" / "benchmarks.md"
CHART = ROOT / "docs" / "explanation" / "benchmarks.png"
# The samples of each part's last run: the source of the document and the chart.
RESULTS = ROOT / "docs" / "explanation" / "benchmarks.json"

PARTS: tuple[Part, ...] = (
    orchestration.ORCHESTRATION,
    orchestration.WIRE,
    routes.PART,
    cold_imports.PART,
    archive.PART,
    job_document.CONTENTION,
    library.RATE_LIMIT,
    library.MODERATION,
    library.STATUS,
    library.GALLERY,
    images.PART,
    references.PART,
    cost.PART,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, print their tables, write the document and its chart."""
    terminal.prepare()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure how fast Pixel Prompt is on a laptop cloud of its own, beside floors of the same run.",
        epilog="Parts: " + "; ".join(f"{part.name}: {part.title.lower()}" for part in PARTS) + ".",
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a part; may be given again")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, but leave docs/ as it is")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="where the samples are kept (docs/explanation/benchmarks.json)"
    )
    parser.add_argument(
        "--draw", action="store_true", help="measure nothing: write document and chart from the samples"
    )
    given = parser.parse_args(arguments)
    caches.use()
    processes.end_on_signals()
    try:
        return _run(given)
    except KeyboardInterrupt:
        print("Interrupted; what was measured before is kept.", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    progress = Progress()
    kept: dict[str, Any] = json.loads(given.results.read_text(encoding="utf-8")) if given.results.exists() else {}
    if not given.draw:
        chosen = [part for part in PARTS if not given.only or part.name in given.only]
        for name, found in _measure(chosen, progress):
            kept[name] = found
            if not given.dry_run:
                given.results.write_text(json.dumps(kept, separators=(",", ":")) + "\n", encoding="utf-8")
    if not given.dry_run and given.results == RESULTS:
        _write(kept)
        progress(f"written: {DOCUMENT.relative_to(ROOT)}, {CHART.relative_to(ROOT)}")
    return 0


def _measure(parts: Sequence[Part], progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run parts, and yield the results of each as soon as it ends."""
    bench = Workbench(progress)
    try:
        for part in parts:
            progress(f"{part.name}: {part.title}")
            began = progress.seconds
            bench.progress = _within(progress, part)
            result = part.measure(bench)
            _print(part, result)
            about = {
                "measuredAt": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": _machine(),
                "seconds": round(progress.seconds - began),
            }
            yield part.name, {**about, **_rounded(result.to_json())}
    finally:
        bench.progress = progress
        bench.close()


def _within(progress: Progress, part: Part) -> Callable[[str], None]:
    return lambda text: progress(f"  {part.name}: {text}")


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at its end"


def _rounded(value: Any) -> Any:
    """The same JSON with five digits of each number."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {name: _rounded(entry) for name, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


def _print(part: Part, result: Result) -> None:
    console = terminal.console(width=200 if not sys.stdout.isatty() else None)
    table = Table(title=part.title, title_justify="left")
    for name in HEAD:
        table.add_column(
            terminal.shown(name, console.encoding), justify="right" if name in ("median", "× floor") else "left"
        )
    for figure in result.figures:
        table.add_row(*(terminal.shown(cell.replace("**", ""), console.encoding) for cell in row(figure)))
    console.print(table)
    for note in result.notes:
        console.print(Markdown(note))


def _write(kept: Mapping[str, Any]) -> None:
    results = {part.name: (part, Result.from_json(kept[part.name])) for part in PARTS if part.name in kept}
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, (part, result) in results.items():
        measured = f"Measured {kept[name]['measuredAt']} in {kept[name]['seconds']} s: {kept[name]['machine']}."
        lines = [f"### {part.title}", part.about, f"`make bench ONLY={name}` · {measured}", markdown(result.figures)]
        block = "\n\n".join([*lines, *result.notes]).rstrip()
        text = _between(text, name, block)
    DOCUMENT.write_text(text, encoding="utf-8")
    if "cost" in results:
        cost.write(results["cost"][1].counts)
    if "archive" in results:
        memory.write(results["archive"][1].counts)
    curves = [curve for _, result in results.values() for curve in result.curves]
    if curves:
        with tempfile.NamedTemporaryFile(suffix=".png", dir=CHART.parent, delete=False) as file:
            draft = Path(file.name)
        chart.draw(
            curves,
            "Points are medians, bars the 10th to the 90th percentile, dashed gray lines floors and budgets.",
            draft,
        )
        draft.chmod(0o644)
        draft.replace(CHART)


def _between(text: str, name: str, block: str) -> str:
    """The text with a block between the markers of a part; new markers go before the end marker."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    whole = f"{begin}\n{block}\n{end}"
    if begin in text:
        return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: whole, text, flags=re.DOTALL)
    last = "<!-- bench:end -->"
    return text.replace(last, f"{whole}\n\n{last}")


if __name__ == "__main__":
    sys.exit(main())
