"""Rows of tables from stored results: means and deviations over seeds, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunable.experiments.reproduce.items import Cell, Column, Plan, Result
from prunable.papers.wan2023.published import published

RATIO = "pruning_ratio_squared"
TEST = "test_accuracy"
PRUNED = "test_accuracy_pruned_squared"

COLUMNS = (
    Column("row", "alpha"),
    Column("train_accuracy", "train acc."),
    Column(TEST, "test acc."),
    Column(RATIO, "pruned, squared error ≤ 0.1", "%", 2),
    Column("train_accuracy_pruned_squared", "train acc. a.p."),
    Column(PRUNED, "test acc. a.p."),
    Column("median", "median pruned", "%", 2),
    Column("pruning_ratio_frobenius", "pruned, error ≤ 0.1", "%", 2),
    Column("test_accuracy_pruned_frobenius", "test acc. a.p., error ≤ 0.1"),
)


@dataclass(frozen=True)
class Row:
    """Finished runs of one condition.

    Parameters
    ----------
    key : str
        Of the condition, such as `type1-1.8`.
    seeds : tuple of int
    runs : tuple of str
        Ids.
    results : tuple of dict
    """

    key: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    results: tuple[Result, ...]

    def values(self, metric: str) -> tuple[float, ...]:
        """A metric of every run."""
        return tuple(float(result["metrics"][metric]) for result in self.results)

    def mean(self, metric: str) -> float | None:
        """Mean over the runs; None without any."""
        values = self.values(metric)
        return float(np.mean(values)) if values else None

    def deviation(self, metric: str) -> float | None:
        """Standard deviation (ddof 1) over the runs; None of fewer than two."""
        values = self.values(metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def median(self, metric: str) -> float | None:
        """Median over the runs."""
        values = self.values(metric)
        return float(np.median(values)) if values else None


def row_of(plan: Plan, results: Mapping[str, Result], key: str) -> Row:
    """Finished runs of one condition, from keys such as `type1-1.8/0`."""
    found = [
        (int(name.rsplit("/", 1)[1]), spec.run_id, results[name])
        for name, spec in plan.runs.items()
        if name.rsplit("/", 1)[0] == key and results[name]["status"] == "done"
    ]
    seeds, runs, rows = zip(*found, strict=True) if found else ((), (), ())
    return Row(key, tuple(seeds), tuple(runs), tuple(rows))


def lost_runs(plan: Plan, results: Mapping[str, Result]) -> tuple[str, ...]:
    """A note on the runs that could not be used."""
    lost = {key: results[key] for key in plan.runs if results[key]["status"] != "done"}
    if not lost:
        return ()
    named = "; ".join(f"{key}: {found['reason']}" for key, found in list(lost.items())[:4])
    return (f"{len(lost)} of {len(plan.runs)} runs are left out ({named}).",)


def cells(
    row: Row, label: str, columns: Sequence[Column], table: int | None, name: str
) -> tuple[Cell, ...]:
    """One line of a table.

    Parameters
    ----------
    row : Row
    label : str
        Of the line, in the first column.
    columns : sequence of Column
        Their keys are metrics; "median" is that of the pruned share.
    table : int, optional
        The paper's; None if it has no such line.
    name : str
        Of the paper's row.
    """
    line = [Cell(label)]
    for column in columns[1:]:
        if column.key == "median":
            line.append(Cell(row.median(RATIO), runs=row.runs))
            continue
        mean, deviation = (None, None) if table is None else published(table, name, column.key)
        line.append(
            Cell(row.mean(column.key), row.deviation(column.key), mean, deviation, row.runs)
        )
    return tuple(line)


def standard_error(*deviations_and_counts: tuple[float | None, int]) -> float | None:
    """Of a difference of means, from the deviations; None where one is unknown or 0 remain."""
    total = 0.0
    for deviation, count in deviations_and_counts:
        if deviation is None or count < 1:
            return None
        total += deviation**2 / count
    return math.sqrt(total)


def percent(value: float | None, digits: int = 2) -> str:
    """A share in words."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"
