"""Whether our means and a paper's printed ones are means of runs of one law."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.checks import PUBLISHED_RUNS, percent
from prunable.experiments.reproduce.document import Check
from prunable.experiments.reproduce.frame import Frame
from prunable.experiments.reproduce.published import Printed

RESAMPLED = 20_000
FLOOR = 2 / (1 + RESAMPLED)  # the least chance that resampling can tell
# Numbers of seeds that are tried where a comparison is blind.
SEEDS = (2, 3, 5, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, eq=False)
class Law:
    """The predicted law of one run's number, as many draws from it."""

    draws: np.ndarray

    @lru_cache(maxsize=16)  # noqa: B019  a law lives as long as the document it is for
    def differences(self, n: int, others: int) -> np.ndarray:
        """Sorted resampled differences of means of n runs and of others; 0 runs are the mean."""
        rng = np.random.default_rng(0)

        def means(count: int) -> np.ndarray | float:
            if not count:
                return float(np.mean(self.draws))
            return np.asarray(rng.choice(self.draws, (RESAMPLED, count)).mean(axis=1))

        return np.sort(means(n) - means(others))

    def interval(self, n: int, others: int) -> tuple[float, float]:
        """Central 95 % interval of the difference of means of n runs and of others."""
        ends = [(1 - checks.LEVEL) / 2, (1 + checks.LEVEL) / 2]
        low, high = np.quantile(self.differences(n, others), ends)
        return float(low), float(high)

    def p_of_difference(self, gap: float, n: int, others: int) -> float:
        """Two-sided chance of a difference of means as far out as `gap`."""
        sample = self.differences(n, others)
        below = int(np.searchsorted(sample, gap, side="right"))
        above = len(sample) - int(np.searchsorted(sample, gap, side="left"))
        return min(1.0, 2 * (1 + min(below, above)) / (1 + len(sample)))

    def p_of_mean(self, mean: float, n: int) -> float:
        """Two-sided chance of a mean of n runs as far out as this one."""
        return self.p_of_difference(mean - float(np.mean(self.draws)), n, 0)


def combined(chances: Sequence[float]) -> float:
    """Chance of independent rows as improbable as these together, by Fisher's method.

    >>> round(combined([0.05, 0.05]), 4)
    0.0175
    """
    return float(stats.chi2.sf(-2 * np.log(chances).sum(), 2 * len(chances)))


def at_worst(chances: Sequence[float]) -> float:
    """The same however the rows depend on each other: the least chance, times their number."""
    return min(1.0, len(chances) * min(chances))


def told(chances: Sequence[float]) -> str:
    """Both in words; resampling cannot tell a row's chance below its floor from less."""
    less = "<= " if min(chances) <= FLOOR else ""
    return (
        f"p {less or '= '}{combined(chances):.2g} together if independent, "
        f"{less or ''}{at_worst(chances):.2g} however they depend on each other"
    )


@dataclass(frozen=True)
class Comparison:
    """Our runs of one row beside the printed mean and deviation of the paper's.

    effect : Difference that a comparison must be able to see, such as the effect of the noise.
    """

    name: str
    ours: Frame
    printed: Printed
    law: Law | None = None
    effect: float | None = None

    def chance(self, gap: float, n: int) -> float | None:
        """Two-sided chance of a difference of means, if both come of one law; None unknown."""
        if self.law is not None:
            return self.law.p_of_difference(gap, n, PUBLISHED_RUNS)
        if self.printed.std is None:
            return None
        error = self.printed.std * math.sqrt(1 / n + 1 / PUBLISHED_RUNS)
        return float(2 * stats.t.sf(abs(gap) / error, PUBLISHED_RUNS - 1))

    def told(self) -> str:
        """Both means, their distance in standard errors, and the interval it may have."""
        mean, target, scatter = self.ours.mean, self.printed.mean, self.printed.std
        shown = map(percent, (mean, self.ours.std, target, scatter))
        text = "{}: {} ± {} against {} ± {}".format(self.name, *shown)
        n, own = len(self.ours), scatter if len(self.ours) == 1 else self.ours.std
        if own and scatter and mean is not None and target is not None:
            error = math.hypot(own / math.sqrt(n), scatter / math.sqrt(PUBLISHED_RUNS))
            text += f", {(mean - target) / error:+.1f} s.e."
        if self.law is not None:
            low, high = self.law.interval(n, PUBLISHED_RUNS)
            return f"{text} (law: {100 * low:+.1f} to {100 * high:+.1f} points)"
        half = float(stats.t.ppf((1 + checks.LEVEL) / 2, PUBLISHED_RUNS - 1))
        half *= (scatter or 0.0) * math.sqrt(1 / n + 1 / PUBLISHED_RUNS)
        return f"{text} (published scatter: ±{100 * half:.1f} points)"


def agrees(statement: str, rows: Iterable[Comparison]) -> Check:
    """The claim that our means and the printed ones are means of runs of one law.

    Decided by all rows together, at 5 %: the chance of each row's difference of two such means
    (under the predicted law where a row brings one, else under the published scatter, by
    Student's t), combined by Fisher's method. It is underpowered if it would not have seen even
    that our runs lack the effect. A giant among our own seeds does not widen it; the distance in
    standard errors of both scatters, which it does widen, is told beside it. Rows without a
    printed deviation and without a law are left out.
    """
    known: list[tuple[Comparison, float]] = []
    for row in rows:
        mean, target = row.ours.mean, row.printed.mean
        if mean is not None and target is not None:
            chance = row.chance(mean - target, len(row.ours))
            if chance is not None:
                known.append((row, chance))
    if not known:
        why = "no row has a published deviation"
        return checks.with_print(checks.undecided(statement, why))
    p = combined([chance for _, chance in known])
    texts = "; ".join(row.told() for row, _ in known)
    evidence = f"{len(known)} rows together: p = {p:.2g} ({texts})"
    if p < 1 - checks.LEVEL:
        return Check(statement, False, evidence, outcome="contradicted", printed=True)

    def sees(seeds: int | None) -> bool:
        missed = [
            row.chance(-row.effect, seeds or len(row.ours))
            for row, _ in known
            if row.effect is not None
        ]
        chances = [chance for chance in missed if chance is not None]
        return not chances or combined(chances) < 1 - checks.LEVEL

    if sees(None):
        return Check(statement, True, evidence, printed=True)
    enough = next(filter(sees, SEEDS), None)
    needs = f"about {enough} seeds" if enough else f"more than the {PUBLISHED_RUNS} published runs"
    return checks.with_print(checks.underpowered(statement, evidence, needs))


def follows(statement: str, rows: Iterable[tuple[str, float | None, int, Law | None]]) -> Check:
    """The claim that means of n runs come of predicted laws: (name, mean, n, law) each.

    Decided by all rows together, at 5 %, as in `agrees`; beside it stands what holds however the
    rows depend on each other, as those of a paper may.
    """
    known = [(name, mean, n, law) for name, mean, n, law in rows if mean is not None and law]
    if not known:
        return checks.undecided(statement)
    chances = [law.p_of_mean(mean, n) for _, mean, n, law in known]
    p = combined(chances)
    texts = "; ".join(
        f"{name}: {percent(mean)}, predicted {percent(float(np.mean(law.draws)))}, p = {chance:.2g}"
        for (name, mean, _, law), chance in zip(known, chances, strict=True)
    )
    evidence = f"{len(known)} rows: {told(chances)} ({texts})"
    holds = p >= 1 - checks.LEVEL
    return Check(statement, holds, evidence, outcome="holds" if holds else "contradicted")
