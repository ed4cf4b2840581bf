"""Whether our means and a paper's printed ones are means of runs of one law."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import Check, Outcome
from prunable.experiments.reproduce.frame import Frame
from prunable.experiments.reproduce.published import Printed


@dataclass(frozen=True, eq=False)
class Law:
    """The predicted law of one run's number, as many draws from it."""

    draws: np.ndarray

    def interval(self, n: int, others: int) -> tuple[float, float]:
        """Central 95 % interval of the difference of means of n runs and of others."""
        rng = np.random.default_rng(0)
        ours, theirs = (rng.choice(self.draws, (4000, count)).mean(axis=1) for count in (n, others))
        low, high = np.quantile(ours - theirs, [(1 - checks.LEVEL) / 2, (1 + checks.LEVEL) / 2])
        return float(low), float(high)


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

    def allowed(self, published_runs: int) -> tuple[float, float] | None:
        """Interval of our mean minus the printed one, if both come of one law; None unknown."""
        n, scatter = len(self.ours), self.printed.std
        if self.ours.mean is None or self.printed.mean is None:
            return None
        if self.law is not None:
            return self.law.interval(n, published_runs)
        if scatter is None:
            return None
        t = float(stats.t.ppf((1 + checks.LEVEL) / 2, published_runs - 1))
        half = t * scatter * math.sqrt(1 / n + 1 / published_runs)
        return -half, half


def agrees(
    statement: str,
    rows: Iterable[Comparison],
    *,
    published_runs: int = checks.PUBLISHED_RUNS,
    words: checks.Words = checks.percent,
    essential: bool = False,
) -> Check:
    """The claim that our means and the printed ones are means of runs of one law.

    Decided by the 95 % interval of the difference of two such means: under the predicted law
    where a row brings one, else under the published scatter (Student's t). A giant among our own
    seeds widens neither; the distance in standard errors of both scatters, which it does widen,
    is told beside it. Rows without a printed deviation and without a law are left out.
    """
    texts, outcomes = [], []
    for row in rows:
        interval, mean, target = row.allowed(published_runs), row.ours.mean, row.printed.mean
        if interval is None or mean is None or target is None:
            continue
        (low, high), gap, scatter = interval, mean - target, row.printed.std
        inside = low <= gap <= high
        weak = inside and row.effect is not None and (high - low) / 2 > row.effect
        seeds = 0
        if weak and row.effect is not None:
            seeds = math.ceil(published_runs * ((high - low) / 2 / row.effect) ** 2)
        outcome: Outcome = "underpowered" if weak else "holds" if inside else "contradicted"
        outcomes.append(checks.Judged(outcome, seeds))
        told = f"{row.name}: {words(mean)} ± {checks.in_words(row.ours.std, words)} against "
        told += f"{words(target)} ± {checks.in_words(scatter, words)}"
        own = scatter if len(row.ours) == 1 else row.ours.std
        if own and scatter:
            error = math.hypot(own / math.sqrt(len(row.ours)), scatter / math.sqrt(published_runs))
            told += f", {gap / error:+.1f} s.e."
        kind = "law" if row.law is not None else "published scatter"
        texts.append(f"{told} ({kind}: {100 * low:+.1f} to {100 * high:+.1f} points)")
    if not texts:
        return checks.undecided(statement, "no row has a published deviation", essential=essential)
    agreeing = sum(one.outcome != "contradicted" for one in outcomes)
    evidence = f"{agreeing} of {len(texts)} ({'; '.join(texts)})"
    return checks.of_several(statement, outcomes, evidence, essential=essential)
