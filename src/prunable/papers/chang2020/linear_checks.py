"""Figures 3 and 7: the paper's statements about linear Gaussian problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunable.experiments.reproduce.items import Check
from prunable.papers.chang2020.gathering import Point
from prunable.papers.chang2020.linear_found import FRESH, LABELS, PRUNED, SAME, Found

# Closer to n than this share the ranking of methods is another one, also in theory.
NEAR = 0.1
NOTHING = "no results"


def coincide(found: Found) -> Check:
    """Hessian and magnitude pruning with identity covariance."""
    statement = (
        f"In ({found.panel}) Hessian and magnitude pruning coincide: their risks differ by at "
        "most 2 %"
    )
    rows = [
        (point, other)
        for point in found.simulated.get("hessian - magnitude", ())
        if (other := found.at("magnitude", point.x)) is not None
    ]
    if not rows:
        return Check(statement, None, NOTHING)
    worst, other = max(rows, key=lambda row: abs(row[0].value) / row[1].value)
    share = worst.value / other.value
    text = (
        f"{len(rows)} widths; largest difference {100 * share:+.2f} % "
        f"± {100 * worst.error / other.value:.2f} at k = {worst.x:.0f}"
    )
    return Check(statement, abs(share) <= 0.02, text)


def double_descent(found: Found) -> Check:
    """A peak where features are as many as samples."""
    statement = f"Dense and pruned risks in ({found.panel}) rise to a peak at k = n and fall again"
    texts, holds = [], True
    for name in PRUNED:
        points = found.simulated.get(name, ())
        before = [point for point in points if point.x < found.n]
        after = [point for point in points if point.x > found.n]
        if not before or not after:
            return Check(statement, None, NOTHING)
        peak = max(points, key=_value)
        low, again = min(before, key=_value), min(after, key=_value)
        holds &= peak in (before[-1], after[0]) and 2 * max(again.value, low.value) < peak.value
        texts.append(
            f"{LABELS[name]} {low.value:.3g} at k = {low.x:.0f}, {peak.value:.3g} at "
            f"{peak.x:.0f}, {again.value:.3g} at {again.x:.0f}"
        )
    return Check(statement, holds, "; ".join(texts))


def beats_small(found: Found, name: str) -> Check:
    """The paper's striking consequence: large and pruned beats small and right."""
    statement = (
        f"In ({found.panel}) {LABELS[name]} models of all features beat every model of fewer "
        "features than samples, that of the s salient ones included"
    )
    best = found.best("dense", 1, found.n - 1)
    return _beats(found, name, statement, best, "least underparameterized")


def beats_retrained(found: Found, name: str) -> Check:
    """Pruning alone beats retraining."""
    statement = (
        f"In ({found.panel}) {LABELS[name]} models of all features beat every retrained model"
    )
    again = [best for other in (*FRESH, *SAME) if (best := found.best(other, 1, float("inf")))]
    best = min(again, key=_value, default=None)
    return _beats(found, name, statement, best, "least retrained")


def _beats(found: Found, name: str, statement: str, best: Point | None, what: str) -> Check:
    points = found.simulated.get(name, ())
    if not points or best is None:
        return Check(statement, None, NOTHING)
    point = points[-1]
    joint = (point.error**2 + best.error**2) ** 0.5
    text = (
        f"{point.value:.4g} ± {point.error:.2g} at k = {point.x:.0f}; {what} {best.value:.4g} "
        f"± {best.error:.2g} at k = {best.x:.0f}"
    )
    return Check(statement, best.value - point.value > 5 * joint, text)


def best_is_wide(found: Found, name: str) -> Check:
    """Where the best sparse model comes from."""
    statement = f"In ({found.panel}) the least risk of {LABELS[name]} models lies at k > 2 n"
    best = found.best(name, 1, float("inf"))
    if best is None:
        return Check(statement, None, NOTHING)
    text = f"{best.value:.4g} ± {best.error:.2g} at k = {best.x:.0f}"
    return Check(statement, best.x > 2 * found.n, text)


def hessian_beats_magnitude(found: Found) -> Check:
    """Within one panel."""
    return _ordered(
        f"In ({found.panel}) Hessian pruning beats magnitude pruning at every k > s that is not "
        f"within {100 * NEAR:.0f} % of n",
        found,
        [
            (point, other)
            for point in found.simulated.get("hessian", ())
            if point.x > found.s and (other := found.at("magnitude", point.x)) is not None
        ],
    )


def hessian_gains(identity: Found, spiked: Found) -> Check:
    """Between the panels."""
    return _ordered(
        "Hessian pruning does better in (b) than in (a) at every k > n that is not within "
        f"{100 * NEAR:.0f} % of n",
        spiked,
        [
            (point, other)
            for point in spiked.simulated.get("hessian", ())
            if point.x > spiked.n and (other := identity.at("hessian", point.x)) is not None
        ],
    )


def _ordered(statement: str, found: Found, rows: Sequence[tuple[Point, Point]]) -> Check:
    """Check that the first of each pair is below the second, but near n."""
    far = [row for row in rows if abs(row[0].x / found.n - 1) > NEAR]
    if not far:
        return Check(statement, None, NOTHING)
    one, other = max(far, key=lambda row: row[0].value / row[1].value)
    held = sum(a.value < b.value for a, b in far)
    text = (
        f"{held} of {len(far)} widths; narrowest at k = {one.x:.0f}: {one.value:.4g} "
        f"± {one.error:.2g} and {other.value:.4g} ± {other.error:.2g}"
    )
    reversed_at = [f"{a.x:.0f}" for a, b in rows if (a, b) not in far and a.value >= b.value]
    if reversed_at:
        text += f"; near n it is reversed at k = {', '.join(reversed_at)}"
    return Check(statement, held == len(far), text)


def retraining_hurts(found: Found, method: str, again: str) -> Check:
    """The message of figure 7."""
    statement = (
        f"In ({found.panel}) retraining on the same data after {LABELS[method].split()[0]} "
        "pruning raises the risk, except in one interval around k = n"
    )
    points = [p for p in found.simulated.get(f"{again} - {method}", ()) if p.x > found.s]
    if not points:
        return Check(statement, None, NOTHING)
    helps = [i for i, point in enumerate(points) if point.value < 0]
    hurts = [p for i, p in enumerate(points) if i not in helps and p.x > found.n]
    text, around = f"it helps at {len(helps)} of {len(points)} widths", True
    if helps:
        first, last = points[helps[0]].x, points[helps[-1]].x
        unbroken = helps == list(range(helps[0], helps[-1] + 1))
        around = unbroken and first <= 1.2 * found.n and last >= 0.8 * found.n
        text += f", k = {first:.0f} to {last:.0f}"
    base = found.at(method, hurts[-1].x) if hurts else None
    if base is not None:
        wide = hurts[-1]
        text += (
            f"; at k = {wide.x:.0f} it adds {wide.value:.3g} ± {wide.error:.2g} to {base.value:.4g}"
        )
    return Check(statement, around and bool(hurts), text)


def hurts_more_when_wide(found: Found) -> Check:
    """On which side of interpolation retraining does more harm."""
    statement = (
        f"In ({found.panel}) the harm of retraining after magnitude pruning is larger with more "
        "features than samples than with fewer"
    )
    rows = [
        (point.value / other.value, point.x)
        for point in found.simulated.get("retrained_same_data - magnitude", ())
        if point.x > found.s and (other := found.at("magnitude", point.x)) is not None
    ]
    narrow = max(((x, k) for x, k in rows if k < found.n), default=None)
    wide = max(((x, k) for x, k in rows if k > found.n), default=None)
    if narrow is None or wide is None:
        return Check(statement, None, NOTHING, essential=False)
    text = (
        f"at most {100 * narrow[0]:+.1f} % at k = {narrow[1]:.0f} < n, {100 * wide[0]:+.1f} % at "
        f"k = {wide[1]:.0f} > n"
    )
    return Check(statement, wide[0] > narrow[0], text, essential=False)


def no_gain(found: Mapping[str, Found]) -> tuple[str, ...]:
    """Say where a larger model does not help, which the paper does not dwell on."""
    notes = []
    for panel, name in (("a", "magnitude"), ("a", "oracle"), ("b", "magnitude")):
        one = found[panel]
        small = one.best("dense", 1, one.n - 1)
        wide = one.best(name, one.n + 1, float("inf"))
        if small is not None and wide is not None and wide.value > small.value:
            notes.append(
                f"In ({panel}) {LABELS[name]} models of more features than samples stay above the "
                f"best small model: {wide.value:.4g} at k = {wide.x:.0f}, and {small.value:.4g} "
                f"at k = {small.x:.0f}."
            )
    return tuple(notes)


def reversed_by_theory(found: Found) -> tuple[str, ...]:
    """Say where theory itself puts Hessian above magnitude pruning."""
    names = ("hessian", "magnitude")
    if any(name not in found.curve for name in names):
        return ()
    rows = zip(found.curve_at, *(found.curve[name] for name in names), strict=True)
    worse = [(k, h, m) for k, h, m in rows if k > found.s and h is not None and m and h > m * 1.001]
    if not worse:
        return ()
    k, hessian, magnitude = max(worse, key=lambda row: row[1] / row[2])
    return (
        f"Near interpolation theory itself puts Hessian above magnitude pruning in "
        f"({found.panel}), from k = {worse[0][0]} to {worse[-1][0]}, most at k = {k}: "
        f"{hessian:.4g} and {magnitude:.4g}.",
    )


def same_against_fresh(found: Mapping[str, Found]) -> tuple[str, ...]:
    """Say how far retraining on the same data is from the paper's formula."""
    rows = [
        (point.value / other.value - 1, point.x, panel, name)
        for panel, one in found.items()
        for name, fresh in zip(SAME, FRESH, strict=True)
        for point in one.simulated.get(name, ())
        if point.x > one.s and (other := one.at(fresh, point.x)) is not None
    ]
    if not rows:
        return ()
    share, k, panel, name = max(rows, key=lambda row: abs(row[0]))
    return (
        "The paper's formula is for fresh data, its algorithm retrains on the same: simulated, "
        f"that differs by up to {100 * share:+.1f} % ({LABELS[name]}, k = {k:.0f}, panel {panel}).",
    )


def _value(point: Point) -> float:
    return point.value
