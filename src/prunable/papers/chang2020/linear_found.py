"""Figures 3 and 7: what is known of a panel, its drawing and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prunable.experiments.reproduce.items import Cell, Column, Panel, Plan, Result, Series, Table
from prunable.papers.chang2020.gathering import Pair, Point, curve_series, points_series
from prunable.papers.chang2020.specs import LinearCurveSpec, LinearPanel, LinearTrialsSpec

PANELS: tuple[LinearPanel, ...] = ("a", "b")
TITLES = {
    "a": "(a) identity covariance, spiked weights",
    "b": "(b) spiked covariance, equal weights",
}
LABELS = {
    "dense": "dense",
    "magnitude": "magnitude pruned",
    "hessian": "Hessian pruned",
    "oracle": "oracle pruned",
    "retrained": "retrained after magnitude (fresh data)",
    "retrained_hessian": "retrained after Hessian (fresh data)",
    "retrained_same_data": "retrained after magnitude (same data)",
    "retrained_same_data_hessian": "retrained after Hessian (same data)",
}
PRUNED = ("dense", "magnitude", "hessian", "oracle")
FRESH = ("retrained", "retrained_hessian")
SAME = ("retrained_same_data", "retrained_same_data_hessian")


@dataclass(frozen=True)
class Found:
    """Everything known of one panel.

    Parameters
    ----------
    panel : {"a", "b"}
    n, s : int
    curve_at : sequence of int
        Widths of the curve.
    curve : mapping of str to sequence of float
        Predictions there, by name; None where there is none.
    predicted : mapping of str to mapping of int to float
        Predictions where it was simulated.
    simulated : mapping of str to sequence of Point
        In the order of width.
    """

    panel: str
    n: int
    s: int
    curve_at: Sequence[int]
    curve: Mapping[str, Sequence[float | None]]
    predicted: Mapping[str, Mapping[int, float]]
    simulated: Mapping[str, Sequence[Point]]

    def at(self, name: str, k: float) -> Point | None:
        """What was simulated at a width."""
        return next((point for point in self.simulated.get(name, ()) if point.x == k), None)

    def pairs(self, names: Sequence[str]) -> list[Pair]:
        """Predictions beside simulations."""
        return [
            Pair(
                f"{LABELS[name]} at k = {point.x:.0f} in ({self.panel})",
                predicted,
                point.value,
                point.error,
            )
            for name in names
            for point in self.simulated.get(name, ())
            if (predicted := self.predicted.get(name, {}).get(int(point.x))) is not None
        ]

    def best(self, name: str, low: float, high: float) -> Point | None:
        """Least simulated risk at widths in [low, high]."""
        inside = [point for point in self.simulated.get(name, ()) if low <= point.x <= high]
        return min(inside, key=lambda point: point.value, default=None)


def found_of(plan: Plan, usable: Mapping[str, Result], panel: str) -> Found:
    """Gather a panel from the results that can be used."""
    curve_at: Sequence[int] = ()
    curve: Mapping[str, Sequence[float | None]] = {}
    predicted: dict[str, dict[int, float]] = {}
    simulated: dict[str, list[Point]] = {}
    for key, spec in plan.runs.items():
        if key not in usable or getattr(spec, "panel", None) != panel:
            continue
        result = usable[key]
        if isinstance(spec, LinearCurveSpec) and not spec.same_data:
            curve_at, curve = spec.widths, result["risk"]
        elif isinstance(spec, LinearCurveSpec):
            for name, values in result["risk"].items():
                rows = zip(spec.widths, values, strict=True)
                predicted[name] = {k: value for k, value in rows if value is not None}
        elif isinstance(spec, LinearTrialsSpec):
            for name, means in result["mean"].items():
                errors = result["stderr"][name]
                simulated.setdefault(name, []).extend(
                    Point(k, mean, error, (spec.run_id,))
                    for k, mean, error in zip(spec.widths, means, errors, strict=True)
                    if mean is not None and error is not None
                )
    for points in simulated.values():
        points.sort(key=lambda point: point.x)
    n, s = int(plan.settings["n"]), int(plan.settings["s"])
    return Found(panel, n, s, curve_at, curve, predicted, simulated)


def drawn(found: Found, lines: Sequence[str], markers: Sequence[str]) -> Panel:
    """Theory as lines, simulation as points, and the paper's two dashed lines."""
    series = [
        curve_series(f"{LABELS[name]}, theory", found.curve_at, found.curve[name])
        for name in lines
        if name in found.curve
    ]
    series += [
        points_series(f"{LABELS[name]}, simulated", found.simulated[name])
        for name in markers
        if name in found.simulated
    ]
    values = [y for one in series for y in one.y if y is not None]
    if values:
        series.append(Series("k = s", (float(found.s),) * 2, (min(values), max(values))))
    dense = zip(found.curve_at, found.curve.get("dense", ()), strict=False)
    small = [y for k, y in dense if k < found.n and y is not None]
    if small:
        ends = (float(found.curve_at[0]), float(found.curve_at[-1]))
        series.append(Series("least underparameterized risk", ends, (min(small),) * 2))
    return Panel(TITLES[found.panel], "features used, k", "risk", tuple(series), y_log=True)


def table_of(found: Found, names: Sequence[str]) -> Table:
    """Theory and simulation at the simulated widths."""
    columns = [Column("k", "k", digits=0)]
    for name in names:
        columns += [
            Column(f"{name}-theory", f"{LABELS[name]}, theory"),
            Column(name, "simulated ± standard error"),
        ]
    rows = []
    for k in sorted({int(point.x) for points in found.simulated.values() for point in points}):
        row = [Cell(k)]
        for name in names:
            point = found.at(name, k)
            row.append(Cell(found.predicted.get(name, {}).get(k)))
            row.append(Cell() if point is None else Cell(point.value, point.error, runs=point.runs))
        rows.append(tuple(row))
    return Table(TITLES[found.panel], tuple(columns), tuple(rows))
