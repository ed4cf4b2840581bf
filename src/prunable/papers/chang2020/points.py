"""What the figures share: points with errors, and theory held against them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prunable.experiments.reproduce.checks import undecided
from prunable.experiments.reproduce.document import Check, Outcome, Series, Style

# Limits of theory and simulation: whichever is wider.
STANDARD_ERRORS = 5.0


@dataclass(frozen=True)
class Point:
    """A measured number at one place, its standard error or deviation, and the runs behind it."""

    x: float
    value: float
    error: float = 0.0
    runs: tuple[str, ...] = ()

    def said(self, digits: int = 4) -> str:
        """Number and error in words."""
        return f"{self.value:.{digits}g} ± {self.error:.2g}"


def least(points: Iterable[Point]) -> Point:
    """The point of the least value."""
    return min(points, key=lambda point: point.value)


def hill(letter: str, *points: Point) -> str:
    """A first minimum, a peak and a second minimum in words."""
    first, *others = (f"{point.value:.3g} at {{}}{point.x:.0f}" for point in points)
    return ", ".join((first.format(f"{letter} = "), *(text.format("") for text in others)))


def decided(holds: bool, excluded: bool) -> Outcome:
    """What a claim comes to; it is contradicted if the standard errors exclude it."""
    return "holds" if holds else "contradicted" if excluded else "fails"


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

    def excludes(self, share: float) -> bool:
        """Whether even five standard errors do not bring the simulation within a share."""
        nearest = abs(self.predicted - self.simulated) - STANDARD_ERRORS * self.stderr
        return self.stderr > 0 and nearest > share * abs(self.simulated)

    def __str__(self) -> str:
        return (
            f"{self.where}, predicted {self.predicted:.4g}, simulated {self.simulated:.4g} "
            f"± {self.stderr:.2g} ({100 * (self.predicted / self.simulated - 1):+.1f} %)"
        )


def agreement(statement: str, pairs: Iterable[Pair], share: float) -> Check:
    """Check that predictions lie within a share, or five standard errors, of simulations.

    It is contradicted where the simulation lies outside the share by more than its errors.
    """
    found = list(pairs)
    if not found:
        return undecided(statement)
    worst = max(found, key=lambda pair: pair.strain(share))
    outside = [pair for pair in found if pair.strain(share) > 1]
    largest = max(found, key=lambda pair: pair.deviation)
    text = f"{len(found) - len(outside)} of {len(found)} points; hardest: {worst}"
    if largest is not worst:
        text += f"; largest relative deviation: {largest}"
    excluded = any(pair.excludes(share) for pair in outside)
    return Check(statement, not outside, text, outcome=decided(not outside, excluded))


def points_series(label: str, points: Sequence[Point], style: Style = "points") -> Series:
    """Points with error bars."""
    return Series(
        label,
        tuple(point.x for point in points),
        tuple(point.value for point in points),
        tuple(point.error for point in points),
        style=style,
        runs=tuple(dict.fromkeys(run for point in points for run in point.runs)),
    )


def broken(label: str, points: Iterable[tuple[float, float]], pole: float) -> Series:
    """A line through points in the order of x, without a bridge over a pole."""
    known = list(points)
    before, after = (
        [point for point in known if (point[0] < pole) is side] for side in (True, False)
    )
    middle: list[tuple[float, float | None]] = [(pole, None)] if before and after else []
    rows = [*before, *middle, *after]
    return Series(label, tuple(x for x, _ in rows), tuple(y for _, y in rows))
