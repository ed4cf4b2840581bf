"""Tables and series of an item from its frame, by specifications of columns and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prunable.experiments.reproduce.document import Cell, Column, Series, Style, Table
from prunable.experiments.reproduce.frame import Found, Frame
from prunable.experiments.reproduce.published import NOTHING, PublishedItem

Statistic = Callable[[Frame], tuple[float | None, float | None]]


def mean_std(frame: Frame) -> tuple[float | None, float | None]:
    """Mean and standard deviation over seeds."""
    return frame.mean, frame.std


def median(frame: Frame) -> tuple[float | None, float | None]:
    """Median over seeds."""
    return frame.median, None


@dataclass(frozen=True)
class Metric:
    """A column of numbers.

    metric : Of the frame; the column's key by default, which is the published column too.
    statistic : From the numbers of a condition to value and deviation.
    of : The condition whose numbers stand here, from that of the line.
    published : In place of the table's.
    """

    key: str
    label: str
    unit: str = ""
    digits: int = 3
    metric: str = ""
    statistic: Statistic = mean_std
    of: Callable[[str], str] = str
    published: PublishedItem | None = None

    @property
    def column(self) -> Column:
        """As the document has it."""
        return Column(self.key, self.label, self.unit, self.digits)

    def cell(self, found: Found, line: Line, published: PublishedItem | None) -> Cell:
        """The number of a line, beside the published one."""
        numbers = found.of(self.of(line.condition), self.metric or self.key)
        value, std = self.statistic(numbers)
        beside = self.published or published
        printed = NOTHING if beside is None else beside.cell(line.row, self.key)
        return Cell(value, std, printed.mean, printed.std, numbers.runs)


@dataclass(frozen=True)
class Line:
    """A line of a table: its label, its condition in the frame, the published row beside it."""

    label: str | float
    condition: str
    row: str = ""


@dataclass(frozen=True)
class TableSpec:
    """A table of conditions and metrics.

    name : Of the first column, that of the labels.
    published : Whose cells stand beside ours.
    """

    title: str
    name: Column
    columns: Sequence[Metric]
    lines: Sequence[Line]
    published: PublishedItem | None = None

    def __call__(self, found: Found) -> Table:
        """Fill the table."""
        rows = [
            (Cell(line.label), *(c.cell(found, line, self.published) for c in self.columns))
            for line in self.lines
        ]
        return Table(self.title, (self.name, *(c.column for c in self.columns)), tuple(rows))


def series(
    label: str,
    groups: Iterable[tuple[float, Frame]],
    *,
    style: Style = "points",
    labels: tuple[str, ...] | None = None,
) -> Series:
    """Means with deviations over seeds, one point a group at its place; empty groups left out."""
    points = [(x, frame) for x, frame in groups if len(frame)]
    return Series(
        label,
        tuple(x for x, _ in points),
        tuple(frame.mean for _, frame in points),
        tuple(frame.std or 0.0 for _, frame in points),
        style=style,
        runs=tuple(dict.fromkeys(run for _, frame in points for run in frame.runs)),
        labels=labels,
    )


def band(
    label: str, x: Sequence[float], rows: Sequence[Sequence[float]], runs: tuple[str, ...]
) -> Series:
    """The mean of several curves on one grid, with their deviations."""
    deviations = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(x))
    means = tuple(np.mean(rows, axis=0).tolist())
    return Series(label, tuple(x), means, tuple(deviations.tolist()), runs=runs)


def curve(
    label: str, x: Sequence[float], y: Sequence[float | None], runs: tuple[str, ...] = ()
) -> Series:
    """A line through the numbers there are."""
    known = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    return Series(label, tuple(a for a, _ in known), tuple(b for _, b in known), runs=runs)
