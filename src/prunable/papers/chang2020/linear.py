"""Figures 3 and 7: linear Gaussian problems pruned, and retrained."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prunable.experiments.reproduce.checks import undecided
from prunable.experiments.reproduce.document import Cell, Check, Column, Panel, Series, Table
from prunable.experiments.reproduce.frame import Found, Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.papers.chang2020.points import (
    STANDARD_ERRORS,
    Pair,
    Point,
    agreement,
    broken,
    decided,
    hill,
    least,
    points_series,
)
from prunable.papers.chang2020.settings import PAPER, linear_plan
from prunable.papers.chang2020.specs import LinearCurveSpec, LinearTrialsSpec
from prunable.runs.spec import Spec

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
# What theory may miss of a linear Gaussian problem of this size; retraining on the same data is
# our formula, heuristic and drawn.
TOLERANCE, SAME_TOLERANCE = 0.03, 0.05
# Closer to n than this share the ranking of methods is another one, also in theory.
NEAR = 0.1


def _measure(spec: Spec, result: Result) -> Iterator[tuple[Any, ...]]:
    """Risks by name at each width; simulated ones with their standard error."""
    if isinstance(spec, LinearCurveSpec):
        for name, values in result["risk"].items():
            yield from ((name, value, k) for k, value in zip(spec.widths, values, strict=True))
    elif isinstance(spec, LinearTrialsSpec):
        for name, means in result["mean"].items():
            errors = result["stderr"][name]
            rows = zip(means, spec.widths, errors, strict=True)
            yield from ((name, mean, k, error) for mean, k, error in rows if error is not None)


@dataclass(frozen=True)
class Curves:
    """What is known of one panel: theory on a fine grid and at the widths simulated."""

    found: Found
    panel: str
    n: int  # samples
    s: int  # features kept

    def theory(self, name: str, *, at_points: bool = False) -> dict[int, float]:
        """Predictions that are finite, by width."""
        rows = self.found.of(f"{self.panel} theory{' at points' * at_points}", name).rows
        return {int(row.x or 0): row.value for row in rows}

    def simulated(self, name: str) -> list[Point]:
        """In the order of width."""
        rows = self.found.of(f"{self.panel} simulated", name).rows
        points = [Point(row.x or 0, row.value, row.error or 0.0, (row.run,)) for row in rows]
        return sorted(points, key=lambda point: point.x)

    def wider(self, name: str, k: float) -> list[Point]:
        return [point for point in self.simulated(name) if point.x > k]

    def at(self, name: str, k: float) -> Point | None:
        return next((point for point in self.simulated(name) if point.x == k), None)

    def beside(self, points: Iterable[Point], name: str) -> list[tuple[Point, Point]]:
        """Points and what was simulated of a model at their widths."""
        return [(point, other) for point in points if (other := self.at(name, point.x)) is not None]

    def pairs(self, names: Sequence[str]) -> Iterator[Pair]:
        for name in names:
            theory = self.theory(name, at_points=True)
            for point in self.simulated(name):
                if (predicted := theory.get(int(point.x))) is not None:
                    where = f"{LABELS[name]} at k = {point.x:.0f} in ({self.panel})"
                    yield Pair(where, predicted, point.value, point.error)

    def best(self, name: str, low: float = 1, high: float = math.inf) -> Point | None:
        """Least simulated risk at widths in [low, high]."""
        inside = [point for point in self.simulated(name) if low <= point.x <= high]
        return least(inside) if inside else None


def _curves(found: Found) -> tuple[Curves, Curves]:
    n, s = (int(str(found.plan.settings[name])) for name in ("n", "s"))
    return Curves(found, "a", n, s), Curves(found, "b", n, s)


def _claims_3(found: Found) -> Iterator[Check]:
    a, b = _curves(found)
    yield agreement(
        "Theory predicts dense, magnitude, Hessian and oracle risks in (a) and (b) within "
        "5 standard errors or 3 %",
        [*a.pairs(PRUNED), *b.pairs(PRUNED)],
        TOLERANCE,
    )
    yield _coincide(a)
    yield from (_double_descent(one) for one in (a, b))
    for claim in (_beats_small, _beats_retrained, _best_is_wide):
        yield from (claim(b, name) for name in ("hessian", "oracle"))
    near = f"that is not within {100 * NEAR:.0f} % of n"
    yield _ordered(
        f"In (b) Hessian pruning beats magnitude pruning at every k > s {near}",
        b.n,
        b.beside(b.wider("hessian", b.s), "magnitude"),
    )
    yield _ordered(
        f"Hessian pruning does better in (b) than in (a) at every k > n {near}",
        b.n,
        a.beside(b.wider("hessian", b.n), "hessian"),
    )


def _coincide(curves: Curves) -> Check:
    statement = (
        f"In ({curves.panel}) Hessian and magnitude pruning coincide: their risks differ by at "
        "most 2 %"
    )
    rows = curves.beside(curves.simulated("hessian - magnitude"), "magnitude")
    if not rows:
        return undecided(statement)
    worst, other = max(rows, key=lambda row: abs(row[0].value) / row[1].value)
    share = worst.value / other.value
    text = (
        f"{len(rows)} widths; largest difference {100 * share:+.2f} % "
        f"± {100 * worst.error / other.value:.2f} at k = {worst.x:.0f}"
    )
    return Check(statement, abs(share) <= 0.02, text)


def _double_descent(curves: Curves) -> Check:
    statement = f"Dense and pruned risks in ({curves.panel}) rise to a peak at k = n and fall again"
    texts, holds = [], True
    for name in PRUNED:
        before = [point for point in curves.simulated(name) if point.x < curves.n]
        after = curves.wider(name, curves.n)
        if not before or not after:
            return undecided(statement)
        peak = max(curves.simulated(name), key=lambda point: point.value)
        low, again = least(before), least(after)
        holds &= peak in (before[-1], after[0]) and 2 * max(again.value, low.value) < peak.value
        texts.append(f"{LABELS[name]} {hill('k', low, peak, again)}")
    return Check(statement, holds, "; ".join(texts))


def _beats_small(curves: Curves, name: str) -> Check:
    """The paper's striking consequence: large and pruned beats small and right."""
    statement = (
        f"In ({curves.panel}) {LABELS[name]} models of all features beat every model of fewer "
        "features than samples, that of the s salient ones included"
    )
    best = curves.best("dense", high=curves.n - 1)
    return _beats(curves, name, statement, best, "least underparameterized")


def _beats_retrained(curves: Curves, name: str) -> Check:
    statement = (
        f"In ({curves.panel}) {LABELS[name]} models of all features beat every retrained model"
    )
    again = [best for other in (*FRESH, *SAME) if (best := curves.best(other))]
    return _beats(curves, name, statement, least(again) if again else None, "least retrained")


def _beats(curves: Curves, name: str, statement: str, best: Point | None, what: str) -> Check:
    points = curves.simulated(name)
    if not points or best is None:
        return undecided(statement)
    point = points[-1]
    joint = (point.error**2 + best.error**2) ** 0.5
    text = f"{point.said()} at k = {point.x:.0f}; {what} {best.said()} at k = {best.x:.0f}"
    gap, limit = best.value - point.value, STANDARD_ERRORS * joint
    return Check(statement, gap > limit, text, outcome=decided(gap > limit, gap < -limit))


def _best_is_wide(curves: Curves, name: str) -> Check:
    statement = f"In ({curves.panel}) the least risk of {LABELS[name]} models lies at k > 2 n"
    best = curves.best(name)
    if best is None:
        return undecided(statement)
    return Check(statement, best.x > 2 * curves.n, f"{best.said()} at k = {best.x:.0f}")


def _ordered(statement: str, n: int, rows: Sequence[tuple[Point, Point]]) -> Check:
    """Check that the first of each pair is below the second, but near n."""
    far = [row for row in rows if abs(row[0].x / n - 1) > NEAR]
    if not far:
        return undecided(statement)
    one, other = max(far, key=lambda row: row[0].value / row[1].value)
    held = sum(a.value < b.value for a, b in far)
    text = (
        f"{held} of {len(far)} widths; narrowest at k = {one.x:.0f}: {one.said()} and "
        f"{other.said()}"
    )
    reversed_at = [f"{a.x:.0f}" for a, b in rows if (a, b) not in far and a.value >= b.value]
    if reversed_at:
        text += f"; near n it is reversed at k = {', '.join(reversed_at)}"
    return Check(statement, held == len(far), text)


def _no_gain(found: Found) -> Iterator[str]:
    """Where a larger model does not help, which the paper does not dwell on."""
    a, b = _curves(found)
    for one, name in ((a, "magnitude"), (a, "oracle"), (b, "magnitude")):
        small, wide = one.best("dense", high=one.n - 1), one.best(name, one.n + 1)
        if small is not None and wide is not None and wide.value > small.value:
            yield (
                f"In ({one.panel}) {LABELS[name]} models of more features than samples stay above "
                f"the best small model: {wide.value:.4g} at k = {wide.x:.0f}, and "
                f"{small.value:.4g} at k = {small.x:.0f}."
            )


def _reversed_by_theory(found: Found) -> Iterator[str]:
    """Where theory itself puts Hessian above magnitude pruning."""
    _, curves = _curves(found)
    hessian, magnitude = (curves.theory(name) for name in ("hessian", "magnitude"))
    ratios = {
        k: hessian[k] / magnitude[k]
        for k in hessian.keys() & magnitude.keys()
        if k > curves.s and hessian[k] > magnitude[k] * 1.001
    }
    if ratios:
        k = max(sorted(ratios), key=lambda k: ratios[k])
        yield (
            f"Near interpolation theory itself puts Hessian above magnitude pruning in (b), from "
            f"k = {min(ratios)} to {max(ratios)}, most at k = {k}: {hessian[k]:.4g} and "
            f"{magnitude[k]:.4g}."
        )


def _claims_7(found: Found) -> Iterator[Check]:
    a, b = _curves(found)
    yield agreement(
        "The formula for retraining on fresh data holds within 5 standard errors or 3 %",
        [*a.pairs(FRESH), *b.pairs(FRESH)],
        TOLERANCE,
    )
    yield agreement(
        "Our formula for retraining on the same data holds within 5 standard errors or 5 %",
        [*a.pairs(SAME), *b.pairs(SAME)],
        SAME_TOLERANCE,
    ).aside()
    for one in (a, b):
        yield _retraining_hurts(one, "magnitude", "retrained_same_data")
        yield _retraining_hurts(one, "hessian", "retrained_same_data_hessian")
    yield from (_hurts_more_when_wide(one) for one in (a, b))
    yield _beats_retrained(b, "hessian")


def _retraining_hurts(curves: Curves, method: str, again: str) -> Check:
    statement = (
        f"In ({curves.panel}) retraining on the same data after {LABELS[method].split()[0]} "
        "pruning raises the risk, except in one interval around k = n"
    )
    points = curves.wider(f"{again} - {method}", curves.s)
    if not points:
        return undecided(statement)
    helps = [i for i, point in enumerate(points) if point.value < 0]
    hurts = [p for i, p in enumerate(points) if i not in helps and p.x > curves.n]
    text, around = f"it helps at {len(helps)} of {len(points)} widths", True
    if helps:
        first, last = points[helps[0]].x, points[helps[-1]].x
        unbroken = helps == list(range(helps[0], helps[-1] + 1))
        around = unbroken and first <= 1.2 * curves.n and last >= 0.8 * curves.n
        text += f", k = {first:.0f} to {last:.0f}"
    for wide, base in curves.beside(hurts[-1:], method):
        text += f"; at k = {wide.x:.0f} it adds {wide.said(3)} to {base.value:.4g}"
    return Check(statement, around and bool(hurts), text)


def _hurts_more_when_wide(curves: Curves) -> Check:
    statement = (
        f"In ({curves.panel}) the harm of retraining after magnitude pruning is larger with more "
        "features than samples than with fewer"
    )
    harms = curves.beside(curves.wider("retrained_same_data - magnitude", curves.s), "magnitude")
    rows = [(point.value / other.value, point.x) for point, other in harms]
    narrow = max(((x, k) for x, k in rows if k < curves.n), default=None)
    wide = max(((x, k) for x, k in rows if k > curves.n), default=None)
    if narrow is None or wide is None:
        return undecided(statement).aside()
    text = (
        f"at most {100 * narrow[0]:+.1f} % at k = {narrow[1]:.0f} < n, {100 * wide[0]:+.1f} % at "
        f"k = {wide[1]:.0f} > n"
    )
    return Check(statement, wide[0] > narrow[0], text).aside()


def _same_against_fresh(found: Found) -> Iterator[str]:
    """How far retraining on the same data is from the paper's formula."""
    rows = [
        (same.value / fresh.value - 1, same.x, one.panel, name)
        for one in _curves(found)
        for name, other in zip(SAME, FRESH, strict=True)
        for same, fresh in one.beside(one.wider(name, one.s), other)
    ]
    if rows:
        share, k, panel, name = max(rows, key=lambda row: abs(row[0]))
        yield (
            "The paper's formula is for fresh data, its algorithm retrains on the same: simulated, "
            f"that differs by up to {100 * share:+.1f} % ({LABELS[name]}, k = {k:.0f}, panel "
            f"{panel})."
        )


def _panels(lines: Sequence[str], markers: Sequence[str], found: Found) -> Iterator[Panel]:
    """Theory as lines, simulation as points, and the paper's two dashed lines."""
    for curves in _curves(found):
        theories = {name: curve for name in lines if (curve := curves.theory(name))}
        series = [
            broken(f"{LABELS[name]}, theory", sorted(curve.items()), curves.n)
            for name, curve in theories.items()
        ]
        series += [
            points_series(f"{LABELS[name]}, simulated", points)
            for name in markers
            if (points := curves.simulated(name))
        ]
        values = [y for one in series for y in one.y if y is not None]
        if values:
            series.append(Series("k = s", (float(curves.s),) * 2, (min(values), max(values))))
        dense = theories.get("dense", {})
        small = [y for k, y in dense.items() if k < curves.n]
        if small:
            ends = (float(min(dense)), float(max(dense)))
            series.append(Series("least underparameterized risk", ends, (min(small),) * 2))
        axes = (TITLES[curves.panel], "features used, k", "risk")
        yield Panel(*axes, tuple(series), y_log=True)


def _table(place: int, names: Sequence[str], found: Found) -> Table:
    curves = _curves(found)[place]
    columns = [Column("k", "k", digits=0)]
    for name in names:
        columns.append(Column(f"{name}-theory", f"{LABELS[name]}, theory"))
        columns.append(Column(name, "simulated ± standard error"))
    widths = {int(row.x or 0) for row in found.frame.select(f"{curves.panel} simulated").rows}
    theory = {name: curves.theory(name, at_points=True) for name in names}
    rows = []
    for k in sorted(widths):
        row = [Cell(k)]
        for name in names:
            point = curves.at(name, k)
            row.append(Cell(theory[name].get(k)))
            row.append(Cell() if point is None else Cell(point.value, point.error, runs=point.runs))
        rows.append(tuple(row))
    return Table(TITLES[curves.panel], tuple(columns), tuple(rows))


FIGURES = (
    Item.of(
        PAPER,
        "Figure 3",
        "Linear Gaussian problems: risk of pruned models against the features used",
        "Theory predicts the risks; Hessian pruning equals magnitude pruning with identity "
        "covariance; with a spiked covariance, pruning the largest model by Hessian or oracle "
        "beats every small model, even one of the salient features.",
        linear_plan,
        Gather(
            tuple(partial(_table, place, PRUNED) for place in (0, 1)),
            (partial(_panels, PRUNED, PRUNED),),
            (_claims_3,),
            (_no_gain, _reversed_by_theory),
            _measure,
        ),
    ),
    Item.of(
        PAPER,
        "Figure 7",
        "Linear Gaussian problems: risk after retraining",
        "With independent features retraining raises the risk, except near interpolation.",
        linear_plan,
        Gather(
            tuple(partial(_table, place, (*FRESH, *SAME)) for place in (0, 1)),
            (partial(_panels, (*PRUNED, *FRESH), (*PRUNED, *SAME, *FRESH)),),
            (_claims_7,),
            (_same_against_fresh,),
            _measure,
        ),
    ),
)
