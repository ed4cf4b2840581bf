"""What the figures' gathering shares: points with errors, and theory held against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunable.experiments.reproduce.items import Check, Plan, Result, Series

# Limits of theory and simulation: whichever is wider.
STANDARD_ERRORS = 5.0


@dataclass(frozen=True)
class Point:
    """A measured number at one place.

    Parameters
    ----------
    x : float
    value : float
    error : float
        Standard error, or standard deviation over seeds.
    runs : tuple of str
        Ids of the runs behind it.
    """

    x: float
    value: float
    error: float = 0.0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A prediction beside what was simulated."""

    where: str
    predicted: float
    simulated: float
    stderr: float

    @property
    def deviation(self) -> float:
        """Relative to what was simulated."""
        return abs(self.predicted - self.simulated) / abs(self.simulated)

    def strain(self, share: float) -> float:
        """Deviation over what is allowed: a share of the value, or five standard errors."""
        allowed = max(share * abs(self.simulated), STANDARD_ERRORS * self.stderr)
        return abs(self.predicted - self.simulated) / allowed


def done(plan: Plan, results: Mapping[str, Result]) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Results that can be used, and a note on the others."""
    usable = {key: found for key, found in results.items() if found["status"] == "done"}
    lost = [key for key in plan.runs if key not in usable]
    if not lost:
        return usable, ()
    named = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
    return usable, (f"{len(lost)} of {len(plan.runs)} runs are left out: {named}.",)


def agreement(
    statement: str, pairs: Iterable[Pair], share: float, *, essential: bool = True
) -> Check:
    """Check that predictions lie within a share, or five standard errors, of simulations."""
    found = list(pairs)
    if not found:
        return Check(statement, None, "no results", essential)
    worst = max(found, key=lambda pair: pair.strain(share))
    outside = [pair for pair in found if pair.strain(share) > 1]
    largest = max(found, key=lambda pair: pair.deviation)
    text = f"{len(found) - len(outside)} of {len(found)} points; hardest: {_in_words(worst)}"
    if largest is not worst:
        text += f"; largest relative deviation: {_in_words(largest)}"
    return Check(statement, not outside, text, essential)


def _in_words(pair: Pair) -> str:
    return (
        f"{pair.where}, predicted {pair.predicted:.4g}, simulated {pair.simulated:.4g} "
        f"± {pair.stderr:.2g} ({100 * (pair.predicted / pair.simulated - 1):+.1f} %)"
    )


def points_series(label: str, points: Sequence[Point], style: str = "points") -> Series:
    """Points with error bars."""
    ids = dict.fromkeys(run for point in points for run in point.runs)
    return Series(
        label,
        tuple(point.x for point in points),
        tuple(point.value for point in points),
        tuple(point.error for point in points),
        style=style,  # type: ignore[arg-type]
        runs=tuple(ids),
    )


def curve_series(label: str, x: Sequence[float], y: Sequence[float | None]) -> Series:
    """A line through the finite numbers."""
    finite = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    return Series(label, tuple(float(a) for a, _ in finite), tuple(b for _, b in finite))


def percent(value: float) -> str:
    """A share in words."""
    return f"{100 * value:.1f} %"
