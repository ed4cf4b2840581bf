"""Figures 2 and 4: the paper's statements about random features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunable.experiments.reproduce.items import Check, Result
from prunable.papers.chang2020.features_found import FRESH, PRUNED, SAME, Found, Risks
from prunable.papers.chang2020.gathering import Point, agreement

# What the equivalence may miss; see the measured errors in docs/predict-features.md.
TOLERANCE, PRUNED_TOLERANCE = 0.10, 0.25
# So many features a sample are well past interpolation.
PAST = 1.5
NOTHING = "no results"


def describes_same(found: Found, sizes: Sequence[int], low: float) -> Check:
    """Check the formula for fresh data on what the paper really does."""
    pairs = [
        pair
        for s in sizes
        for same, fresh in found.both(SAME, FRESH, s)
        if same.p >= low * found.n and (pair := same.against(fresh)) is not None
    ]
    return agreement(
        "The formula for fresh data describes retraining on the same data within 10 % or 5 "
        f"standard errors{_at(low)}, except at the largest s/n",
        pairs,
        TOLERANCE,
    )


def _at(low: float) -> str:
    return f" at p >= {low:g} n" if low else " at every p"


def _sides(rows: Sequence[Risks]) -> tuple[list[Point], list[Point]]:
    """Points of fewer and of more features than samples."""
    return (
        [row.point for row in rows if row.p < row.n],
        [row.point for row in rows if row.p > row.n],
    )


def double_descent(dense: Sequence[Risks]) -> Check:
    """Double descent of the dense model."""
    statement = "The dense risk rises to a peak at p = n and falls again, below its first minimum"
    before, after = _sides(dense)
    if not before or not after:
        return Check(statement, None, NOTHING)
    peak = max((*before, *after), key=_value)
    low, again = min(before, key=_value), min(after, key=_value)
    text = (
        f"{low.value:.3g} at p = {low.x:.0f}, {peak.value:.3g} at {peak.x:.0f}, "
        f"{again.value:.3g} at {again.x:.0f}"
    )
    return Check(statement, peak in (before[-1], after[0]) and again.value < low.value, text)


def best_is_wide(found: Found, s: int) -> Check:
    """Where the best sparse model comes from."""
    statement = (
        f"Pruned to s/n = {s / found.n:g} and retrained, models of more features than samples "
        "are best"
    )
    before, after = _sides(found.curve(SAME, s))
    if not before or not after:
        return Check(statement, None, NOTHING)
    low, again = min(before, key=_value), min(after, key=_value)
    text = (
        f"least risk {again.value:.3g} ± {again.error:.2g} at p = {again.x:.0f} > n, "
        f"{low.value:.3g} ± {low.error:.2g} at p = {low.x:.0f} < n"
    )
    return Check(statement, again.value < low.value, text)


def near_dense(found: Found, sizes: Sequence[int]) -> Check:
    """What sparsity costs."""
    statement = "The best sparse model comes within a factor of 1.5 of the best dense one"
    dense = [row.point for row in found.dense()]
    sparse = [(row.point, s) for s in sizes for row in found.curve(SAME, s)]
    if not dense or not sparse:
        return Check(statement, None, NOTHING, essential=False)
    whole = min(dense, key=_value)
    best, s = min(sparse, key=lambda row: row[0].value)
    text = (
        f"sparse {best.value:.3g} at p = {best.x:.0f} and s/n = {s / found.n:g}, dense "
        f"{whole.value:.3g} at p = {whole.x:.0f}"
    )
    return Check(statement, best.value < 1.5 * whole.value, text, essential=False)


def _gaps(found: Found, s: int, low: float) -> list[tuple[float, Point, Point]]:
    """Risk on the same data over that on fresh data, minus 1."""
    return [
        (same.point.value / fresh.point.value - 1, same.point, fresh.point)
        for same, fresh in found.both(SAME, FRESH, s)
        if same.p >= low * found.n
    ]


def _gap_in_words(gaps: Sequence[tuple[float, Point, Point]]) -> str:
    share, same, fresh = max(gaps, key=lambda row: abs(row[0]))
    mean = sum(abs(row[0]) for row in gaps) / len(gaps)
    return (
        f"{100 * mean:.1f} % on average over {len(gaps)} numbers of features, at most "
        f"{100 * share:+.1f} % at p = {same.x:.0f}: same {same.value:.3g} ± {same.error:.2g}, "
        f"fresh {fresh.value:.3g} ± {fresh.error:.2g}"
    )


def differs(found: Found, s: int) -> Check:
    """The mismatch that figure 4 is about."""
    statement = (
        f"At s/n = {s / found.n:g} retraining on the same data differs from retraining on fresh "
        f"data by more than 10 %{_at(PAST)} too"
    )
    gaps = _gaps(found, s, PAST)
    if not gaps:
        return Check(statement, None, NOTHING)
    return Check(statement, max(abs(row[0]) for row in gaps) > TOLERANCE, _gap_in_words(gaps))


def is_the_same(found: Found, s: int, low: float) -> Check:
    """No such mismatch where fewer features are kept."""
    statement = (
        f"At s/n = {s / found.n:g} retraining on the same data gives the risk of retraining on "
        f"fresh data within 10 %{_at(low)}"
    )
    gaps = _gaps(found, s, low)
    if not gaps:
        return Check(statement, None, NOTHING, essential=False)
    holds = max(abs(row[0]) for row in gaps) <= TOLERANCE
    return Check(statement, holds, _gap_in_words(gaps), essential=False)


def crucial(found: Found, s: int) -> Check:
    """What retraining is for."""
    statement = "Retraining lowers the risk of pruned random features at every p"
    rows = [(same.point, pruned.point) for same, pruned in found.both(SAME, PRUNED, s)]
    if not rows:
        return Check(statement, None, NOTHING)
    one, other = max(rows, key=lambda row: row[0].value / row[1].value)
    text = (
        f"{sum(a.value < b.value for a, b in rows)} of {len(rows)}; least gain at p = {one.x:.0f}: "
        f"{one.value:.3g} retrained, {other.value:.3g} pruned only"
    )
    return Check(statement, one.value < other.value, text)


def conditions(usable: Mapping[str, Result]) -> tuple[str, ...]:
    """How well the predictions are conditioned."""
    if not usable:
        return ()
    condition = max(result["condition"] for result in usable.values())
    floored = max(result["n_floored"] for result in usable.values())
    return (
        f"The feature covariances have condition numbers up to {condition:.1e}; at most {floored} "
        "eigenvalues were raised to the floor.",
    )


def _value(point: Point) -> float:
    return point.value
