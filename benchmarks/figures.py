"""Results of a benchmark: figures with their spread, beside a floor and a budget, and curves of how they grow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Samples = Sequence[float]


def percentile(samples: Samples, share: float) -> float:
    """The value that this share (0 to 1) of the samples does not exceed; the nearest rank."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Budget:
    """The most that a figure may be: its median (``of="median"``, in the figure's unit) or its ratio to the floor."""

    most: float
    of: str = "median"


@dataclass(frozen=True)
class Figure:
    """One figure of a table.

    Attributes
    ----------
    unit : ``s``, ``ms``, ``MB``, ``requests``, …
    samples : values of the runs; the figure is their median
    floor : the least possible time, measured in the same run; none without a comparison
    floor_name : description of the floor
    """

    name: str
    unit: str
    samples: Samples
    floor: Samples = ()
    floor_name: str = ""
    budget: Budget | None = None

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """The figure by its floor; None without one."""
        floor = statistics.median(self.floor) if self.floor else 0.0
        return self.median / floor if floor else None

    @property
    def holds(self) -> bool | None:
        """Whether the budget is kept; None without one."""
        if self.budget is None:
            return None
        value = self.ratio if self.budget.of == "ratio" else self.median
        return value is not None and value <= self.budget.most


@dataclass(frozen=True)
class Curve:
    """Growth of a figure, for the chart.

    Attributes
    ----------
    series : by name, points of a value of x and the samples there; names of floors and budgets begin with that word
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, Samples]]]
    logarithmic: bool = False


@dataclass(frozen=True)
class Result:
    """Results of a part.

    Attributes
    ----------
    notes : paragraphs of Markdown for below the table
    counts : other data that a part keeps
    """

    figures: Sequence[Figure]
    curves: Sequence[Curve] = ()
    notes: Sequence[str] = ()
    counts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        """The result in a JSON object."""
        figures = [
            Figure(**{**figure, "budget": Budget(**figure["budget"]) if figure["budget"] else None})
            for figure in value["figures"]
        ]
        return cls(figures, [Curve(**curve) for curve in value["curves"]], value["notes"], value["counts"])


def number(value: float, unit: str = "") -> str:
    """A value with three digits that matter, and its unit; counts of things are whole."""
    if value == 0 or abs(value) >= 100 or value == round(value):
        text = f"{value:.0f}"
    else:
        text = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    # One request, two requests.
    return f"{text} {unit.removesuffix('s') if text == '1' and len(unit) > 2 else unit}".rstrip()


def grouped(value: float) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,.0f}".replace(",", " ")


HEAD = ("figure", "median", "spread", "floor", "× floor", "budget", "kept")


def row(figure: Figure) -> tuple[str, ...]:
    """The cells of a figure, as in ``HEAD``; the spread is from the 10th to the 90th percentile."""
    low, high = percentile(figure.samples, 0.1), percentile(figure.samples, 0.9)
    floor = number(statistics.median(figure.floor), figure.unit) if figure.floor else ""
    budget = ""
    if figure.budget:
        limit = number(figure.budget.most, "" if figure.budget.of == "ratio" else figure.unit)
        budget = f"≤ {limit}" + (" × floor" if figure.budget.of == "ratio" else "")
    return (
        figure.name,
        number(figure.median, figure.unit),
        f"{number(low)}–{number(high)}" if high > low else "",
        f"{floor} ({figure.floor_name})" if floor else "",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        budget,
        {None: "", True: "yes", False: "**no**"}[figure.holds],
    )


def markdown(figures: Iterable[Figure]) -> str:
    """The table of the figures in Markdown."""
    lines = [HEAD, ("---", "---:", "---", "---", "---:", "---", "---"), *map(row, figures)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def rounds(count: int, progress: Callable[[str], None], what: str) -> Iterator[int]:
    """Count rounds, and say which one it is."""
    for turn in range(1, count + 1):
        progress(f"{what}, {turn} of {count}")
        yield turn
