"""Figures 2 and 4: risks over first layers, their drawing and their table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunable.experiments.reproduce.items import Cell, Column, Panel, Plan, Result, Series, Table
from prunable.papers.chang2020.gathering import Pair, Point, points_series
from prunable.papers.chang2020.specs import RandomFeaturesSpec

DENSE, PRUNED, FRESH, SAME = "dense", "magnitude", "retrained", "retrained_same_data"
LABELS = {
    DENSE: "dense",
    PRUNED: "pruned only",
    FRESH: "retrained on fresh data",
    SAME: "retrained on the same data",
}


@dataclass(frozen=True, eq=False)
class Risks:
    """Risks of one model with p features, s of them kept, over first layers.

    Attributes
    ----------
    model : str
    n, p, s : int
    predicted, simulated : ndarray, shape (layers,)
        Predictions are infinite where there is none.
    runs : tuple of str
    """

    model: str
    n: int
    p: int
    s: int
    predicted: NDArray[np.float64]
    simulated: NDArray[np.float64]
    runs: tuple[str, ...]

    @property
    def point(self) -> Point:
        """Simulated mean and its standard error."""
        return Point(self.p, float(self.simulated.mean()), _stderr(self.simulated), self.runs)

    @property
    def line(self) -> float | None:
        """Predicted mean, None where there is none."""
        mean = float(self.predicted.mean())
        return mean if math.isfinite(mean) else None

    @property
    def where(self) -> str:
        """The place in words."""
        kept = "" if self.model == DENSE else f", s/n = {self.s / self.n:g}"
        return f"{LABELS[self.model]} at p = {self.p}{kept}"

    def against(self, prediction: Risks) -> Pair | None:
        """A prediction beside this simulation; errors are of differences, layer by layer."""
        line = prediction.line
        if line is None:
            return None
        error = _stderr(self.simulated - prediction.predicted)
        return Pair(self.where, line, self.point.value, error)


def _stderr(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.0


@dataclass(frozen=True)
class Found:
    """All risks.

    Parameters
    ----------
    n : int
    rows : mapping of (model, s, p) to Risks
    """

    n: int
    rows: Mapping[tuple[str, int, int], Risks]

    def curve(self, model: str, s: int) -> list[Risks]:
        """In the order of p."""
        return [
            row for (name, kept, _), row in sorted(self.rows.items()) if (name, kept) == (model, s)
        ]

    def dense(self) -> list[Risks]:
        """The dense risks, which are the same whatever is kept, in the order of p."""
        by_p = {p: row for (model, _, p), row in sorted(self.rows.items()) if model == DENSE}
        return [by_p[p] for p in sorted(by_p)]

    def both(self, one: str, other: str, s: int) -> list[tuple[Risks, Risks]]:
        """Two models at the numbers of features that both have."""
        return [
            (row, self.rows[other, s, row.p])
            for row in self.curve(one, s)
            if (other, s, row.p) in self.rows
        ]

    def pairs(self, model: str, sizes: Sequence[int]) -> list[Pair]:
        """Predictions beside simulations."""
        rows = [row for s in sizes for row in self.curve(model, s)]
        return [pair for row in rows if (pair := row.against(row)) is not None]


def found_of(plan: Plan, usable: Mapping[str, Result]) -> Found:
    """Put the parts of each number of features together."""
    n = int(plan.settings["n"])
    parts: dict[tuple[str, int, int], list[tuple[list[float], list[float], str]]] = {}
    for key, spec in plan.runs.items():
        if key not in usable or not isinstance(spec, RandomFeaturesSpec):
            continue
        for model in LABELS:
            for place, s in enumerate(spec.kept):
                predicted, simulated = (
                    [
                        math.inf if row[place] is None else row[place]
                        for row in usable[key][of][model]
                    ]
                    for of in ("predicted", "simulated")
                )
                part = (predicted, simulated, spec.run_id)
                parts.setdefault((model, s, spec.p), []).append(part)
    return Found(
        n,
        {
            (model, s, p): Risks(
                model,
                n,
                p,
                s,
                np.concatenate([part[0] for part in some]),
                np.concatenate([part[1] for part in some]),
                tuple(part[2] for part in some),
            )
            for (model, s, p), some in parts.items()
        },
    )


def line_of(label: str, rows: Sequence[Risks]) -> Series:
    """Predictions against p/n."""
    finite = [(row.p / row.n, row.line) for row in rows if row.line is not None]
    return Series(label, tuple(x for x, _ in finite), tuple(y for _, y in finite))


def markers_of(label: str, rows: Sequence[Risks]) -> Series:
    """Simulations against p/n."""
    points = [Point(row.p / row.n, row.point.value, row.point.error, row.runs) for row in rows]
    return points_series(label, points)


def both_of(label: str, rows: Sequence[Risks]) -> list[Series]:
    """Predictions and simulations of the same model."""
    return [line_of(f"{label}, theory", rows), markers_of(f"{label}, simulated", rows)]


def panel_of(title: str, series: Sequence[Series]) -> Panel:
    """A panel of risks against p/n, without what has no points."""
    shown = tuple(one for one in series if one.x)
    return Panel(title, "features per sample, p/n", "risk", shown, y_log=True)


def table_of(found: Found, sizes: Sequence[int]) -> Table:
    """Theory and simulation of all models."""
    columns = [Column("p", "p", digits=0), Column("kept", "s/n", digits=1)]
    for model, label in LABELS.items():
        columns += [
            Column(f"{model}-theory", f"{label}, theory"),
            Column(model, "simulated ± standard error"),
        ]
    rows = []
    for p in sorted({p for _, _, p in found.rows}):
        for s in sizes:
            risks = [found.rows[model, s, p] for model in LABELS if (model, s, p) in found.rows]
            if len(risks) < len(LABELS):
                continue
            row = [Cell(p), Cell(s / found.n)]
            for one in risks:
                row += [Cell(one.line), Cell(one.point.value, one.point.error, runs=one.runs)]
            rows.append(tuple(row))
    return Table("Risks of random-features regression", tuple(columns), tuple(rows))
